from __future__ import annotations

import os
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from loading import ready, training
from torchvision import datasets

from rootspace.cli._arguments import image_files
from rootspace.data import (
    Content,
    DataError,
    FileImages,
    ImageFolder,
    ImagePreprocessing,
    LabeledDataset,
)

SCALED = "the first image is 20 x 16, scaled to 32 x 32"
SPLIT = {"train/cat": 3, "train/dog": 2, "val/cat": 1, "test/dog": 2}


Make = Callable[..., Path]


def make(root: Path, *args: Any, **arguments: Any) -> Content:
    return ImageFolder(root, *args, **arguments).read()


def paths(data: LabeledDataset) -> list[str]:
    assert isinstance(data, FileImages)
    return list(data.files)


def files(data: LabeledDataset) -> list[str]:
    return ["/".join(Path(path).parts[-2:]) for path in paths(data)]


def preprocessing(content: Content) -> ImagePreprocessing:
    assert content.preprocessing is not None
    return content.preprocessing


def test_folders_of_training_and_test_images(make_images: Make) -> None:
    root = make_images(SPLIT)
    content = make(root)
    assert content.class_names == ["cat", "dog"]
    assert (preprocessing(content).channels, preprocessing(content).size) == (3, 32)
    assert files(content.train) == [
        "cat/0.png",
        "cat/1.png",
        "cat/2.png",
        "dog/0.png",
        "dog/1.png",
    ]
    assert content.train.labels.tolist() == [0, 0, 0, 1, 1]
    assert [*content.tests] == ["val", "test"] and content.notes == (SCALED,)
    assert content.tests["test"].labels.tolist() == [1, 1]
    assert len(preprocessing(content).mean) == len(preprocessing(content).std) == 3
    assert ready(ImageFolder(root)).describe() == (
        "ImageFolder: 2 classes, 5 training images 3x32x32, test sets: val (1), test (2)\n" + SCALED
    )


def test_files_and_labels_are_those_of_torchvision(
    make_images: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    counts = {"train/b": 3, "train/a": 12, "train/a/deep/er": 2, "train/c": 1, "val/a": 1}
    root = make_images(counts)
    (root / "train/c/0.png").rename(root / "train/c/IMAGE.JPEG")
    expected = datasets.ImageFolder(root / "train")
    monkeypatch.chdir(root)
    for place in (root, Path(".")):
        content = make(place)
        train = content.train
        assert content.class_names == expected.classes
        assert [str(root / "train" / file) for file in paths(train)] == [
            path for path, _ in expected.samples
        ]
        assert train.labels.tolist() == expected.targets


def test_some_classes_by_seed(make_images: Make) -> None:
    names = [f"n{number:08d}" for number in range(20)]
    counts = {f"train/{name}": 2 for name in names} | {f"val/{name}": 1 for name in names[5:]}
    root = make_images(counts)
    drawn = [make(root, num_classes=7, seed=seed) for seed in (0, 0, 1)]
    assert drawn[0].class_names == drawn[1].class_names != drawn[2].class_names
    for data in drawn:
        chosen = list(data.class_names)
        assert len(chosen) == 7 and chosen == sorted(set(chosen) & set(names))
        assert {file.split("/")[0] for file in paths(data.train)} == set(chosen)
        assert data.train.labels.tolist() == [i for i in range(7) for _ in range(2)]
        test = data.tests["val"]
        assert [chosen[label] for label in test.labels] == [n for n in chosen if n in names[5:]]
    assert make(root, num_classes=20).class_names == names
    with pytest.raises(DataError, match=r"'num_classes' must be at most 20 \(.*\), not 21\."):
        make(root, num_classes=21)
    with pytest.raises(DataError, match="'num_classes' must be at least 2, not 1"):
        make(root, num_classes=1)


@pytest.mark.parametrize("layout", ["", "train/"])
def test_a_share_is_set_aside_where_there_is_no_test_folder(make_images: Make, layout: str) -> None:
    counts = {"a": 1, "b": 2, "c": 10, "d": 31}
    root = make_images({f"{layout}{name}": count for name, count in counts.items()})
    data = make(root, test_fraction=0.2)
    train, test = data.train, data.tests["test"]
    assert Counter(test.labels.tolist()) == {2: 2, 3: 6}
    assert Counter(train.labels.tolist()) == {0: 1, 1: 2, 2: 8, 3: 25}
    assert len({*paths(train), *paths(test)}) == len(train) + len(test) == 44
    again, other = make(root, test_fraction=0.2), make(root, test_fraction=0.2, seed=1)
    assert files(again.tests["test"]) == files(test) != files(other.tests["test"])


def test_small_classes_lose_little(make_images: Make) -> None:
    """Test and validation set together take a fifth, as they say, and no class is emptied."""
    counts = {f"{i:02}": 3 for i in range(20)}
    data = ready(ImageFolder(make_images(counts)), validation=0.1)
    sizes = {name: len(test) for name, test in data.test_datasets.items()}
    assert sizes == {"validation": 4, "test": 6} and len(data.train_dataset) == 50
    assert min(Counter(data.train_dataset.labels.tolist()).values()) == 2


def test_another_class_does_not_change_the_shares_of_the_others(make_images: Make) -> None:
    root = make_images({"b": 20, "c": 20})
    before = files(make(root).tests["test"])
    make_images({"a": 20})
    after = files(make(root).tests["test"])
    assert [path for path in after if path[0] != "a"] == before


def test_no_share_is_set_aside_for_0(make_images: Make) -> None:
    data = make(make_images({"a": 3, "b": 3}), test_fraction=0)
    assert data.tests == {} and len(data.train) == 6


def test_no_empty_test_set(make_images: Make) -> None:
    """Where nothing can be set aside, or the test folder holds none of the classes drawn."""
    assert ready(ImageFolder(make_images({"a": 1, "b": 1}))).test_datasets == {}
    classes = {f"train/{name}": 2 for name in "cdefgh"}
    root = make_images({f"few/{name}": count for name, count in {**classes, "val/c": 1}.items()})
    seen = set()
    for seed in range(8):
        data = ready(ImageFolder(root / "few", num_classes=2, seed=seed))
        empty = "c" not in data.class_names
        assert [*data.test_datasets] == ([] if empty else ["val"])
        assert ("not used: test set val, which is empty" in data.describe()) == empty
        seen.add(empty)
    assert seen == {True, False}


@pytest.mark.parametrize("num_workers", [0, 2])
def test_batches(make_images: Make, num_workers: int) -> None:
    data = ready(ImageFolder(make_images(SPLIT), 16), batch_size=2, num_workers=num_workers)
    sizes = [len(labels) for _, labels in training(data)]
    assert sizes == [2, 2]  # the fifth would be alone
    for images, labels in data.test_loaders()[1]:
        assert images.shape == (2, 3, 16, 16) and images.dtype == torch.uint8
        assert labels.dtype == torch.int64


def test_a_test_image_comes_back_from_its_file(make_images: Make) -> None:
    root = make_images(SPLIT)
    content = make(root, 12, grayscale=True)
    shape = preprocessing(content)
    assert (shape.channels, shape.size, len(shape.mean)) == (1, 12, 1)
    tests = content.tests["test"]
    image, label = tests[1]
    assert label == 1 and image.shape == (1, 12, 12)
    assert torch.equal(shape(root / "test" / paths(tests)[1]), image)


# ---------------------------------------------------------------- what counts


def test_hidden_folders_and_other_files_are_not_classes(make_images: Make) -> None:
    root = make_images({"a": 2, ".cache": 2})
    (root / "README.txt").write_text("about these images")
    (root / "a" / "notes.txt").write_text("about a")
    assert make(root, test_fraction=0).class_names == ["a"]


@pytest.mark.parametrize("layout", ["", "train/"])
def test_hidden_files_and_folders_are_skipped_at_any_depth(make_images: Make, layout: str) -> None:
    hidden = (".ipynb_checkpoints", "deep/.thumbnails", "deep/.thumbnails/more")
    counts = {"a": 3, "a/deep": 2, "b": 3} | {f"a/{name}": 2 for name in hidden}
    root = make_images({f"{layout}{name}": count for name, count in counts.items()})
    for name in "ab":
        (root / layout / name / "._0.png").write_bytes(b"macOS")
    wanted = ["a/0.png", "a/1.png", "a/2.png", "a/deep/0.png", "a/deep/1.png"]
    wanted += [f"b/{i}.png" for i in range(3)]
    assert paths(make(root, test_fraction=0).train) == wanted
    folder = root / layout
    assert image_files([folder]) == [folder / file for file in wanted], "as in prediction"
    assert image_files([folder / "b", folder / "b/._0.png"])[-1].name == "._0.png", "named: meant"


def test_what_lies_above_may_be_hidden(make_images: Make) -> None:
    root = make_images({".data/a": 2, ".data/b": 2}) / ".data"
    assert len(make(root, test_fraction=0).train) == 4 and len(image_files([root])) == 4


def test_a_folder_called_like_an_image_is_none(make_images: Make) -> None:
    root = make_images({"a/scans.png": 2, "b": 1})
    wanted = ["a/scans.png/0.png", "a/scans.png/1.png", "b/0.png"]
    assert paths(make(root, test_fraction=0).train) == wanted
    assert image_files([root]) == [root / file for file in wanted]


def test_folders_that_are_not_used_are_named(make_images: Make) -> None:
    root = make_images({"train/x": 8, "train/y": 8, "dev/x": 2, "bus": 1, ".git": 1, "val/x": 1})
    assert make(root).notes == (f"not used: bus, dev in {root}", SCALED)
    line = ready(ImageFolder(root)).describe().splitlines()[1]
    assert line == f"not used: bus, dev in {root}"


def test_files_that_are_left_out_are_counted(make_images: Make) -> None:
    root = make_images({"train/x": 2, "train/y": 3, "train/y/.cache": 2, "val/x": 1})
    for name in ("x/a.HEIC", "x/b.heic", "y/c.txt", "y/LICENSE", "y/._0.png"):
        (root / "train" / name).write_text("")
    (root / "val/x/Thumbs.db").write_text("")
    (root / "train/loose.png").write_text("")
    assert make(root).notes == (
        f"not used: 1 images beside the class folders of {root / 'train'}, such as loose.png",
        "left out: 5 files that are no images by their name (.heic 2, none 1, .txt 1, .db 1), such "
        f"as {root / 'train/x/a.HEIC'}; 2 hidden files or folders",
        SCALED,
    )


def test_folders_within_class_folders_are_told(make_images: Make) -> None:
    """They may be the classes that were meant, or a test set under a name that is none here."""
    root = make_images({"training/x": 2, "training/y": 2, "testing/x": 2, "testing/y": 2})
    content = make(root)
    assert content.class_names == ["testing", "training"]
    first = next(str(root / f"testing/{name}") for name in os.listdir(root / "testing"))
    assert content.notes[0] == (
        f"the images of 4 folders within class folders, such as {first}, are of the class above"
    )


def test_a_link_to_a_folder_above_is_not_followed_again(make_images: Make) -> None:
    root = make_images({"a/deep": 2, "b": 2})
    (root / "a/deep/loop").symlink_to(root / "a", target_is_directory=True)
    (root / "b/linked").symlink_to(root / "a/deep", target_is_directory=True)
    listed = files(make(root, test_fraction=0).train)
    assert listed == [
        "deep/0.png",
        "deep/1.png",
        "b/0.png",
        "b/1.png",
        "linked/0.png",
        "linked/1.png",
    ]


def test_a_folder_that_cannot_be_read_is_an_error(
    make_images: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And not a smaller class: shared storage fails like this."""
    root, scan = make_images({"a": 2, "a/deep": 2, "b": 2}), os.scandir

    def fail(path: str) -> Any:
        if str(path).endswith("deep"):
            raise PermissionError(13, "Permission denied", str(path))
        return scan(path)

    monkeypatch.setattr(os, "scandir", fail)
    with pytest.raises(DataError, match=r"deep' cannot be read: Permission denied"):
        make(root)


@pytest.mark.parametrize(("size", "note"), [((32, 32), ()), ((48, 32), ("48 x 32",))])
def test_the_size_of_the_files_is_said(
    make_images: Make, size: tuple[int, int], note: tuple[str, ...]
) -> None:
    root = make_images({"a": 3, "b": 3}, size)
    assert make(root).notes == tuple(f"the first image is {n}, scaled to 32 x 32" for n in note)
    (root / "a/0.png").write_bytes(b"damaged")
    assert make(root, test_fraction=0).notes == (), "named when it is needed"


def test_validation_is_a_test_folder(make_images: Make) -> None:
    content = make(make_images({"train/x": 8, "train/y": 8, "validation/x": 2}))
    assert [*content.tests] == ["validation"] and content.notes == (SCALED,)


def test_a_class_called_train(make_images: Make) -> None:
    content = make(make_images({"bus": 4, "car": 4, "train": 4}))
    assert content.class_names == ["bus", "car", "train"]


def test_a_train_folder_that_may_be_a_class(make_images: Make) -> None:
    """Refused, whatever it is: never two classes where there are three."""
    root = make_images({"bus": 4, "car": 4, "train/steam": 4, "train/electric": 4})
    with pytest.raises(
        DataError, match=r"holds 'train', in which are folders, beside bus, car, .*"
    ):
        make(root)
    assert make(root / "train").class_names == ["electric", "steam"]
    (root / "train").rename(root / "trains")
    content = make(root, test_fraction=0)
    assert content.class_names == ["bus", "car", "trains"] and len(content.train) == 16


def test_images_beside_splits_are_no_class(make_images: Make) -> None:
    root = make_images({"train/a": 4, "train/b": 4, "val/a": 1, "unlabeled": 3})
    assert make(root).notes == (f"not used: unlabeled in {root}", SCALED)


@pytest.mark.parametrize("name", ["a\nb", "a\tb", "\x1b[2J", " ", "\u3000 "])
def test_names_that_cannot_be_written(make_images: Make, name: str) -> None:
    root = make_images({"a": 2, name: 2})
    with pytest.raises(DataError, match="names must not be blank, and have no line ends") as found:
        ready(ImageFolder(root))
    assert repr(name) in str(found.value)


def test_names_that_differ_in_case_are_two_classes(make_images: Make) -> None:
    assert make(make_images({"cat": 2, "Cat": 2})).class_names == ["Cat", "cat"]


@pytest.mark.parametrize("names", [("Train", "Test"), ("TRAIN", "Val", "bus")])
def test_splits_are_not_taken_for_classes(make_images: Make, names: tuple[str, ...]) -> None:
    root = make_images({f"{name}/{c}": 2 for name in names for c in "xy"})
    with pytest.raises(DataError, match=f"holds {' and '.join(sorted(names[:2]))}, which are no"):
        make(root)


def test_test_folders_by_name(make_images: Make) -> None:
    counts = {"train/x": 4, "train/y": 4, "val/x": 1, "clean/x": 2, "hard/blur/y": 3}
    root = make_images(counts)
    content = make(root, test_folders={"clean": "clean", "blur": "hard/blur"})
    assert {name: len(test) for name, test in content.tests.items()} == {"clean": 2, "blur": 3}
    assert content.notes == (f"not used: val in {root}", SCALED)
    absolute = make(root, test_folders={"clean": str(root / "clean")})
    assert files(absolute.tests["clean"]) == files(content.tests["clean"])
    with pytest.raises(DataError, match=r"'test_folders': 'a' must be a folder: .*nothing"):
        make(root, test_folders={"a": "nothing"})


def test_test_folders_without_a_training_folder(make_images: Make) -> None:
    root = make_images({"x": 4, "y": 4, "held/x": 2, "more/of/it/y": 1})
    content = make(root, test_folders={"held": "held", "far": "more/of/it"})
    assert content.class_names == ["x", "y"] and len(content.train) == 8
    assert {name: len(test) for name, test in content.tests.items()} == {"held": 2, "far": 1}


@pytest.mark.parametrize("num_workers", [0, 1])
def test_a_damaged_image_is_named_when_it_is_needed(make_images: Make, num_workers: int) -> None:
    """In the same one line, whichever process meets it."""
    root = make_images(SPLIT)
    (root / "test/dog/1.png").write_bytes(b"damaged")
    data = ready(ImageFolder(root), num_workers=num_workers)
    with pytest.raises(
        DataError, match=r"^Image file '.*dog/1\.png' cannot be decoded .*$"
    ) as found:
        list(data.test_loaders()[1])
    assert "\n" not in str(found.value)


def test_a_missing_root(tmp_path: Path) -> None:
    for path in (tmp_path / "nothing", tmp_path / "file"):
        (tmp_path / "file").write_text("")
        with pytest.raises(
            DataError, match=f"'root' must be a folder of images, not '.*{path.name}'"
        ):
            ImageFolder(path).read()


def test_an_empty_root(tmp_path: Path, make_images: Make) -> None:
    with pytest.raises(DataError, match="holds no class folders: put each class's images in one"):
        ImageFolder(tmp_path).read()
    root = make_images({"train/a": 2})
    (root / "test").mkdir()
    with pytest.raises(DataError, match="test' holds no class folders"):
        ImageFolder(root).read()


@pytest.mark.parametrize("part", ["train", "val"])
def test_a_class_without_images(make_images: Make, part: str) -> None:
    root = make_images({"train/a": 2, "train/b": 2, "val/a": 2, f"{part}/c": 0, "train/c ": 1})
    (root / "train/c").mkdir(exist_ok=True)
    if part == "val":
        (root / "train/c ").rename(root / "train/c/d")  # images may lie deeper
    with pytest.raises(DataError, match=rf"Class folder '.*{part}/c' holds no images: .*\.png"):
        ImageFolder(root).read()


def test_test_classes_that_training_does_not_know(make_images: Make) -> None:
    root = make_images({"train/a": 2, "test/a": 1, "test/cat": 1, "test/bat": 1})
    with pytest.raises(DataError, match=r"test' holds classes that '.*train' lacks: bat, cat"):
        ImageFolder(root).read()


@pytest.mark.skipif(sys.platform != "linux", reason="names are bytes there")
def test_a_folder_whose_name_is_not_utf8(make_images: Make) -> None:
    root = make_images({"a": 3, "b": 3})
    (root / "b").rename(root / os.fsdecode(b"b\xff"))
    with pytest.raises(DataError, match=r"have the class b'b\\xff': names must be UTF-8"):
        ready(ImageFolder(root))


def test_wrong_arguments(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"'image_size' must be at least 8 .*, not 4"):
        ImageFolder(tmp_path, image_size=4)
    for fraction in (-0.1, 1.0):
        with pytest.raises(DataError, match=f"'test_fraction' must be .* not {fraction}"):
            ImageFolder(tmp_path, test_fraction=fraction)
