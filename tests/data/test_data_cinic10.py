"""CINIC-10 as its archive lies on disk, in small."""

from __future__ import annotations

import pickle
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from loading import ready
from PIL import Image
from torchvision import datasets

from rootspace.data import CINIC10, Content, DataError, FileImages, LabeledDataset, cinic10

CLASSES = ["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"]
SPLITS = ("train", "valid", "test")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Three images from ImageNet and two of CIFAR-10 in each class of each split."""
    root = tmp_path / "cinic-10"
    generator = np.random.default_rng(0)
    for place, split in enumerate(SPLITS):
        for label, name in enumerate(CLASSES):
            folder = root / split / name
            folder.mkdir(parents=True)
            names = [f"n{2691156 + label:08d}_{3 * place + i}.png" for i in range(3)]
            origin = "test" if split == "test" else "train"
            # The archive spells it the first way, its description the second.
            names += [f"cifar10-{origin}-{label}.png", f"cifar-10-{origin}-1{label}.png"]
            for file in names:
                pixels = generator.integers(0, 256, (32, 32, 3), dtype=np.uint8)
                Image.fromarray(pixels).save(folder / file)
    return root


def make(root: Path, **arguments: Any) -> Content:
    return CINIC10(root, complete=False, **arguments).read()


def files(data: LabeledDataset) -> list[str]:
    assert isinstance(data, FileImages)
    return list(data.files)


def expected(root: Path, *splits: str) -> list[tuple[str, int]]:
    """What torchvision finds, less CIFAR-10's."""
    found = []
    for split in splits:
        samples = datasets.ImageFolder(root / split).samples
        found += [(path, label) for path, label in samples if "/cifar" not in path]
    return found


@pytest.mark.parametrize("splits", [("train",), ("valid", "train"), ("test",)])
def test_images_and_labels_are_those_of_torchvision(root: Path, splits: tuple[str, ...]) -> None:
    others = [split for split in SPLITS if split not in splits][:1]
    train = make(root, train_splits=list(splits), test_splits=others).train
    wanted = expected(root, *splits)
    assert len(train) == 30 * len(splits)
    found = zip(files(train), train.labels.tolist(), strict=True)
    assert [(str(root / file), label) for file, label in found] == wanted
    images, labels = train.batch([4, 0])
    for image, label, index in zip(images, labels, (4, 0), strict=True):
        pixels = np.asarray(Image.open(wanted[index][0]))
        assert np.array_equal(image.permute(1, 2, 0), pixels) and label == wanted[index][1]


def test_defaults_are_the_paper_s(root: Path) -> None:
    content = make(root)
    assert content.class_names == CLASSES
    assert [*content.tests] == ["test"]
    assert all(file.startswith("train/") for file in files(content.train))
    assert not any("cifar" in file for file in files(content.train))
    assert ready(CINIC10(root, complete=False)).describe() == (
        "CINIC10: 10 classes, 30 training images 3x32x32, test sets: test (30)"
    )


def test_first_classes(root: Path, make_cifar: Callable[[], Path]) -> None:
    content = make(root, num_classes=3, cifar10_root=make_cifar())
    assert content.class_names == CLASSES[:3] and len(content.train) == 9
    assert all(int(test.labels.max()) < 3 for test in content.tests.values() if len(test))


def test_cifar10_as_a_test_set(root: Path, make_cifar: Callable[[], Path]) -> None:
    folder = make_cifar()
    raw = pickle.loads((folder / "test_batch").read_bytes())
    content = make(root, cifar10_root=folder)
    assert [*content.tests] == ["test", "cifar10"]
    images, labels = content.tests["cifar10"].batch(range(4))
    assert np.array_equal(images.flatten(1), raw["data"]) and labels.tolist() == raw["labels"]
    with pytest.raises(DataError, match=r"'cifar10_root' must be the folder 'cifar-10.*nothing"):
        make(root, cifar10_root=root / "nothing")


def test_a_test_image_comes_back_from_its_file(root: Path) -> None:
    content = make(root)
    test = content.tests["test"]
    assert content.preprocessing is not None
    assert torch.equal(content.preprocessing(root / files(test)[7]), test[7][0])


def test_a_copy_must_be_complete(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(
        DataError, match=r"train/airplane' must hold 7,000 images .* not 3: .*'complete'"
    ):
        CINIC10(root).read()
    monkeypatch.setattr(cinic10, "_PER_CLASS", 3)
    CINIC10(root).read()
    next((root / "test/ship").glob("n*.png")).unlink()
    with pytest.raises(DataError, match="test/ship' must hold 3 images from ImageNet, not 2"):
        CINIC10(root).read()
    CINIC10(root, test_splits=["valid"]).read()


def test_cifar_images_may_have_been_removed_before(root: Path) -> None:
    before = files(make(root).train)
    for path in root.rglob("cifar*.png"):
        path.unlink()
    assert files(make(root).train) == before


def test_hidden_files_do_not_count(root: Path) -> None:
    before = files(make(root).train)
    (root / "train/cat/._n02121808_9.png").write_bytes(b"macOS")
    (root / ".DS_Store").write_bytes(b"macOS")
    assert files(make(root).train) == before


def test_images_from_elsewhere(root: Path) -> None:
    shutil.copy(root / "train/cat/cifar10-train-3.png", root / "train/cat/mine.png")
    with pytest.raises(
        DataError, match=r"train' holds an image named 'mine\.png', which is neither"
    ):
        make(root)


def test_missing_folders(root: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"'root' must be CINIC-10's folder, .* not '.*nothing'"):
        make(tmp_path / "nothing")
    shutil.rmtree(root / "train/frog")
    with pytest.raises(
        DataError, match=r"train' must hold CINIC-10's classes, airplane, .*truck, not"
    ):
        make(root)
    (root / "train/frog").mkdir()
    with pytest.raises(DataError, match="train/frog' holds no images"):
        make(root)
    shutil.rmtree(root / "valid")
    make(root, train_splits=["test"], test_splits=[])
    with pytest.raises(DataError, match=r"'.*valid' does not exist: copy it again"):
        make(root, train_splits=["test"], test_splits=["valid"])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            {"train_splits": ["val"]},
            "'train_splits' must name some of train, valid, test, not 'val'",
        ),
        ({"train_splits": []}, "'train_splits' must name at least one of train, valid, test"),
        ({"test_splits": ["test", "test"]}, "'test_splits' must not name 'test' twice"),
        ({"test_splits": ["train"]}, "'test_splits' must not name 'train', which is trained on"),
    ],
)
def test_wrong_splits(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(DataError, match=re.escape(message)):
        CINIC10("anywhere", **arguments)
