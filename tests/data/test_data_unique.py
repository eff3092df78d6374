"""Unique labels: every training image a class, and the test set of itself."""

from __future__ import annotations

import pickle
from pathlib import Path

import pytest
import torch

from rootspace.data import (
    ArrayDataset,
    Characters,
    DataError,
    FashionMNIST,
    ImageData,
    ImageFolder,
    UniqueImages,
)
from rootspace.data._base import Content

TREE = {"train/cat": 4, "train/dog": 3, "val/cat": 2}


def ready(data: ImageData) -> ImageData:
    data.setup()
    return data


def test_each_file_is_a_class_named_by_its_path(make_images):
    root = make_images(TREE)
    data = ready(ImageFolder(root, unique_labels="all"))
    plain = ready(ImageFolder(root))
    assert data.num_classes == len(data.train_dataset) == 7
    cats, dogs = (f"cat/{i}.png" for i in range(4)), (f"dog/{i}.png" for i in range(3))
    assert list(data.class_names) == [*cats, *dogs]
    assert data.class_names[-2:] == ["dog/1.png", "dog/2.png"]
    images, labels = data.train_dataset.__getitems__([5, 0, 5])
    assert labels.tolist() == [5, 0, 5]
    assert torch.equal(images, plain.train_dataset.__getitems__([5, 0, 5])[0])
    assert torch.equal(data.train_dataset.labels, torch.arange(7))
    assert data.describe().endswith("7 classes, 7 training images 3x32x32, test sets: train (7)")


def test_the_test_set_is_the_training_images_as_they_are(make_images):
    root = make_images(TREE)
    data = ready(ImageFolder(root, unique_labels="all", augment="light1", batch_size=4))
    plain = ready(ImageFolder(root))
    assert [*data.test_datasets] == ["train"]
    (loader,) = data.test_dataloader()
    images, labels = (torch.cat(parts) for parts in zip(*loader, strict=True))
    assert labels.tolist() == list(range(7))
    assert torch.equal(images, plain.train_dataset.__getitems__(range(7))[0])
    trained = torch.cat([images for images, _ in data.train_dataloader()])
    assert trained.shape == images.shape and not torch.equal(trained, images)


def test_no_share_is_set_aside(make_images):
    data = ready(ImageFolder(make_images({"a": 10, "b": 10}), unique_labels="all"))
    assert data.num_classes == 20


def test_some_of_the_images_by_seed(make_images):
    root = make_images({"a": 30, "b": 30})
    chosen = [
        list(ready(ImageFolder(root, unique_labels=12, seed=seed)).class_names)
        for seed in (0, 0, 1)
    ]
    assert chosen[0] == chosen[1] != chosen[2]
    everything = ready(ImageFolder(root, unique_labels="all"))
    for names in chosen:
        assert len(set(names)) == 12
        assert names == [name for name in everything.class_names if name in names]  # their order
    data = ready(ImageFolder(root, unique_labels=12))
    dataset = data.train_dataset
    for label in range(12):
        path = root / data.class_names[label]
        assert torch.equal(dataset[label][0], data.load_image(path)) and dataset[label][1] == label
    assert ready(ImageFolder(root, unique_labels=60)).num_classes == 60


def test_images_without_a_file_are_named_by_class_and_place(make_idx):
    data = ready(FashionMNIST(make_idx(), unique_labels="all"))
    assert data.class_names[9] == "Ankle boot #9" and len(set(data.class_names)) == 12
    letters = ready(Characters(ranges="U+0041-U+0043", unique_labels="all"))
    assert len(letters.class_names) == 30 == len(set(letters.class_names))  # in ten fonts
    assert letters.class_names[:4] == ["A #0", "B #1", "C #2", "A #3"]


def test_data_are_pickled_whole(make_images):
    data = ready(ImageFolder(make_images(TREE), unique_labels="all"))
    twin = pickle.loads(pickle.dumps(data))
    assert list(twin.class_names) == list(data.class_names)
    assert torch.equal(twin.train_dataset[3][0], data.train_dataset[3][0])


class Many(ImageData):
    """A million images of one pixel."""

    name = "many"

    def _read(self) -> Content:
        images = torch.zeros(1_000_000, 1, 1, 1, dtype=torch.uint8)
        train = ArrayDataset(images, torch.zeros(1_000_000, dtype=torch.int64))
        return Content(["all"], (1, 1, 1), train, {}, (0.5,), (0.5,))

    def load_image(self, path: str | Path) -> torch.Tensor:
        raise NotImplementedError


def test_a_million_labels_are_two_arrays():
    """Rows and labels, 16 MB, and nothing in proportion to the images beside them."""
    data = ready(Many(unique_labels="all"))
    dataset = data.train_dataset
    assert isinstance(dataset, UniqueImages) and data.test_datasets["train"] is dataset
    assert len(pickle.dumps(dataset.rows)) < 8.1e6 and len(pickle.dumps(dataset.labels)) < 8.1e6
    assert len(pickle.dumps(data.class_names.class_names)) < 100  # pyright: ignore
    assert data.class_names[999_999] == "all #999999"
    batch, labels = next(iter(data.train_dataloader()))
    assert batch.shape == (256, 1, 1, 1) and len(labels.unique()) == 256


@pytest.mark.parametrize("wanted", [1, 0, -3, True, "some", 2.5])
def test_wrong_numbers(wanted, tmp_path):
    with pytest.raises(DataError, match=rf"'unique_labels' must be 'all' or .*, not {wanted!r}\."):
        ImageFolder(tmp_path, unique_labels=wanted)


def test_more_images_than_there_are(make_images):
    with pytest.raises(DataError, match=r"'unique_labels' must be at most 7 \(the .*\), not 8\."):
        ready(ImageFolder(make_images(TREE), unique_labels=8))
