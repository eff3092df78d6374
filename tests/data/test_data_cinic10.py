"""CINIC-10 as its archive lies on disk, in small."""

from __future__ import annotations

import pickle
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision import datasets

from rootspace.data import CINIC10, DataError, cinic10

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


def make(root: Path, **arguments) -> CINIC10:
    data = CINIC10(root, complete=False, **arguments)
    data.setup()
    return data


def expected(root: Path, *splits: str) -> list[tuple[str, int]]:
    """What torchvision finds, less CIFAR-10's."""
    found = []
    for split in splits:
        samples = datasets.ImageFolder(root / split).samples
        found += [(path, label) for path, label in samples if "/cifar" not in path]
    return found


@pytest.mark.parametrize("splits", [("train",), ("valid", "train"), ("test",)])
def test_images_and_labels_are_those_of_torchvision(root: Path, splits: tuple[str, ...]):
    others = [split for split in SPLITS if split not in splits][:1]
    data = make(root, train_splits=list(splits), test_splits=others)
    train, wanted = data.train_dataset, expected(root, *splits)
    assert len(train) == 30 * len(splits)
    assert [
        (str(root / f), y) for f, y in zip(train.files, train.labels.tolist(), strict=True)
    ] == (wanted)
    images, labels = train.__getitems__([4, 0])
    for image, label, index in zip(images, labels, (4, 0), strict=True):
        pixels = np.asarray(Image.open(wanted[index][0]))
        assert np.array_equal(image.permute(1, 2, 0), pixels) and label == wanted[index][1]


def test_defaults_are_the_paper_s(root: Path):
    data = make(root)
    assert data.class_names == CLASSES and data.image_size == 32
    assert [*data.test_datasets] == ["test"]
    assert all(file.startswith("train/") for file in data.train_dataset.files)
    assert not any("cifar" in file for file in data.train_dataset.files)
    assert data.describe() == (
        "cinic10: 10 classes, 30 training images 3x32x32, test sets: test (30)"
    )


def test_cifar10_as_a_test_set(root: Path, make_cifar, pack_cifar):
    folder = make_cifar()
    raw = pickle.loads((folder / "test_batch").read_bytes())
    for cifar in (folder, pack_cifar(folder)):
        data = make(root, cifar10_root=cifar)
        assert [*data.test_datasets] == ["test", "cifar10"]
        images, labels = data.test_datasets["cifar10"].__getitems__(range(4))
        assert np.array_equal(images.flatten(1), raw[b"data"]) and labels.tolist() == raw[b"labels"]
    with pytest.raises(
        DataError, match=r"'cifar10_root' must be 'cifar-10-python\.tar\.gz', .*nothing"
    ):
        make(root, cifar10_root=root / "nothing")


def test_load_image_is_what_the_test_set_holds(root: Path):
    data = make(root)
    test = data.test_datasets["test"]
    assert torch.equal(data.load_image(root / test.files[7]), test[7][0])


def test_a_copy_must_be_complete(root: Path, monkeypatch: pytest.MonkeyPatch):
    with pytest.raises(
        DataError, match=r"train/airplane' must hold 7,000 images .* not 3: .*'complete'"
    ):
        CINIC10(root).setup()
    monkeypatch.setattr(cinic10, "_PER_CLASS", 3)
    CINIC10(root).setup()
    next((root / "test/ship").glob("n*.png")).unlink()
    with pytest.raises(DataError, match="test/ship' must hold 3 images from ImageNet, not 2"):
        CINIC10(root).setup()
    CINIC10(root, test_splits=["valid"]).setup()


def test_cifar_images_may_have_been_removed_before(root: Path):
    before = make(root).train_dataset
    for path in root.rglob("cifar*.png"):
        path.unlink()
    after = make(root).train_dataset
    assert list(after.files) == list(before.files)


def test_images_from_elsewhere(root: Path):
    shutil.copy(root / "train/cat/cifar10-train-3.png", root / "train/cat/mine.png")
    with pytest.raises(
        DataError, match=r"train' holds an image named 'mine\.png', which is neither"
    ):
        make(root)


def test_missing_folders(root: Path, tmp_path: Path):
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
def test_wrong_splits(arguments: dict, message: str):
    with pytest.raises(DataError, match=re.escape(message)):
        CINIC10("anywhere", **arguments)
