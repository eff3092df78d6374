from __future__ import annotations

import os
import sys
from collections import Counter
from pathlib import Path

import pytest
import torch
from torchvision import datasets

from rootspace.data import DataError, ImageFolder

SPLIT = {"train/cat": 3, "train/dog": 2, "val/cat": 1, "test/dog": 2}


def make(root: Path, *args, **arguments) -> ImageFolder:
    data = ImageFolder(root, *args, **arguments)
    data.setup()
    return data


def files(dataset) -> list[str]:
    return ["/".join(Path(path).parts[-2:]) for path in dataset.files]


def test_folders_of_training_and_test_images(make_images):
    data = make(make_images(SPLIT))
    assert data.class_names == ["cat", "dog"]
    assert (data.num_classes, data.in_channels, data.image_size) == (2, 3, 32)
    assert files(data.train_dataset) == [
        "cat/0.png",
        "cat/1.png",
        "cat/2.png",
        "dog/0.png",
        "dog/1.png",
    ]
    assert data.train_dataset.labels.tolist() == [0, 0, 0, 1, 1]
    assert [*data.test_datasets] == ["val", "test"]
    assert data.test_datasets["test"].labels.tolist() == [1, 1]
    assert len(data.mean) == len(data.std) == 3
    assert data.describe() == (
        "image_folder: 2 classes, 5 training images 3x32x32, test sets: val (1), test (2)"
    )


def test_files_and_labels_are_those_of_torchvision(make_images, monkeypatch):
    counts = {"train/b": 3, "train/a": 12, "train/a/deep/er": 2, "train/c": 1, "val/a": 1}
    root = make_images(counts)
    (root / "train/c/0.png").rename(root / "train/c/IMAGE.JPEG")
    expected = datasets.ImageFolder(root / "train")
    monkeypatch.chdir(root)
    for place in (root, Path(".")):
        data = make(place)
        train = data.train_dataset
        assert data.class_names == expected.classes
        assert [str(root / "train" / file) for file in train.files] == [
            path for path, _ in expected.samples
        ]
        assert train.labels.tolist() == expected.targets


def test_some_classes_by_seed(make_images):
    names = [f"n{number:08d}" for number in range(20)]
    counts = {f"train/{name}": 2 for name in names} | {f"val/{name}": 1 for name in names[5:]}
    root = make_images(counts)
    drawn = [make(root, num_classes=7, seed=seed) for seed in (0, 0, 1)]
    assert drawn[0].class_names == drawn[1].class_names != drawn[2].class_names
    for data in drawn:
        chosen = data.class_names
        assert len(chosen) == 7 and chosen == sorted(set(chosen) & set(names))
        assert {file.split("/")[0] for file in data.train_dataset.files} == set(chosen)
        assert data.train_dataset.labels.tolist() == [i for i in range(7) for _ in range(2)]
        test = data.test_datasets["val"]
        assert [chosen[label] for label in test.labels] == [n for n in chosen if n in names[5:]]
    assert make(root, num_classes=20).class_names == names
    with pytest.raises(DataError, match=r"'num_classes' must be at most 20 \(.*\), not 21\."):
        make(root, num_classes=21)
    with pytest.raises(DataError, match="'num_classes' must be at least 2, not 1"):
        make(root, num_classes=1)


@pytest.mark.parametrize("layout", ["", "train/"])
def test_a_share_is_set_aside_where_there_is_no_test_folder(make_images, layout):
    counts = {"a": 1, "b": 2, "c": 10, "d": 31}
    root = make_images({f"{layout}{name}": count for name, count in counts.items()})
    data = make(root, test_fraction=0.2)
    train, test = data.train_dataset, data.test_datasets["test"]
    assert Counter(test.labels.tolist()) == {1: 1, 2: 2, 3: 6}
    assert Counter(train.labels.tolist()) == {0: 1, 1: 1, 2: 8, 3: 25}
    assert len({*train.files, *test.files}) == len(train) + len(test) == 44
    again, other = make(root, test_fraction=0.2), make(root, test_fraction=0.2, seed=1)
    assert files(again.test_datasets["test"]) == files(test) != files(other.test_datasets["test"])


def test_another_class_does_not_change_the_shares_of_the_others(make_images):
    root = make_images({"b": 20, "c": 20})
    before = files(make(root).test_datasets["test"])
    make_images({"a": 20})
    after = files(make(root).test_datasets["test"])
    assert [path for path in after if path[0] != "a"] == before


def test_no_share_is_set_aside_for_0(make_images):
    data = make(make_images({"a": 3, "b": 3}), test_fraction=0)
    assert data.test_datasets == {} and len(data.train_dataset) == 6


@pytest.mark.parametrize("num_workers", [0, 2])
def test_batches(make_images, num_workers):
    data = make(make_images(SPLIT), 16, batch_size=2, num_workers=num_workers)
    sizes = [len(labels) for _, labels in data.train_dataloader()]
    assert sizes == [2, 2]  # the fifth would be alone
    for images, labels in data.test_dataloader()[1]:
        assert images.shape == (2, 3, 16, 16) and images.dtype == torch.uint8
        assert labels.dtype == torch.int64


def test_load_image_is_what_the_test_set_holds(make_images):
    data = make(make_images(SPLIT), 12, grayscale=True)
    assert (data.in_channels, data.image_size, len(data.mean)) == (1, 12, 1)
    tests = data.test_datasets["test"]
    image, label = tests[1]
    assert label == 1 and image.shape == (1, 12, 12)
    assert torch.equal(data.load_image(tests.root / tests.files[1]), image)


def test_hidden_folders_and_other_files_are_not_classes(make_images):
    root = make_images({"a": 2, ".cache": 2})
    (root / "README.txt").write_text("about these images")
    (root / "a" / "notes.txt").write_text("about a")
    assert make(root, test_fraction=0).class_names == ["a"]


@pytest.mark.parametrize("num_workers", [0, 1])
def test_a_damaged_image_is_named_when_it_is_needed(make_images, num_workers):
    root = make_images(SPLIT)
    (root / "test/dog/1.png").write_bytes(b"damaged")
    data = make(root, num_workers=num_workers)
    with pytest.raises(DataError, match=r"dog/1\.png' cannot be decoded"):
        list(data.test_dataloader()[1])


def test_a_missing_root(tmp_path):
    for path in (tmp_path / "nothing", tmp_path / "file"):
        (tmp_path / "file").write_text("")
        with pytest.raises(
            DataError, match=f"'root' must be a folder of images, not '.*{path.name}'"
        ):
            ImageFolder(path).setup()


def test_an_empty_root(tmp_path, make_images):
    with pytest.raises(DataError, match="holds no class folders: put each class's images in one"):
        ImageFolder(tmp_path).setup()
    root = make_images({"train/a": 2})
    (root / "test").mkdir()
    with pytest.raises(DataError, match="test' holds no class folders"):
        ImageFolder(root).setup()


@pytest.mark.parametrize("part", ["train", "val"])
def test_a_class_without_images(make_images, part):
    root = make_images({"train/a": 2, "train/b": 2, "val/a": 2, f"{part}/c": 0, "train/c ": 1})
    (root / "train/c").mkdir(exist_ok=True)
    if part == "val":
        (root / "train/c ").rename(root / "train/c/d")  # images may lie deeper
    with pytest.raises(DataError, match=rf"Class folder '.*{part}/c' holds no images: .*\.png"):
        ImageFolder(root).setup()


def test_test_classes_that_training_does_not_know(make_images):
    root = make_images({"train/a": 2, "test/a": 1, "test/cat": 1, "test/bat": 1})
    with pytest.raises(DataError, match=r"test' holds classes that '.*train' lacks: bat, cat"):
        ImageFolder(root).setup()


@pytest.mark.skipif(sys.platform != "linux", reason="names are bytes there")
def test_a_folder_whose_name_is_not_utf8(make_images):
    root = make_images({"a": 3, "b": 3})
    (root / "b").rename(root / os.fsdecode(b"b\xff"))
    with pytest.raises(DataError, match=r"have the class b'b\\xff': names must be UTF-8"):
        ImageFolder(root).setup()


def test_wrong_arguments(tmp_path):
    with pytest.raises(DataError, match=r"'image_size' must be at least 8 .*, not 4"):
        ImageFolder(tmp_path, image_size=4)
    for fraction in (-0.1, 1.0):
        with pytest.raises(DataError, match=f"'test_fraction' must be .* not {fraction}"):
            ImageFolder(tmp_path, test_fraction=fraction)
