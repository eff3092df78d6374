"""Unique labels: every training image a class, and the test set of itself."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from loading import ready, training

from rootspace.config import LoaderConfig
from rootspace.data import (
    ArrayImages,
    Characters,
    Content,
    DataError,
    DataSource,
    FashionMNIST,
    ImageFolder,
    ImagePreprocessing,
    Light1,
    View,
)
from rootspace.data.transforms import ImageTransform
from rootspace.data.unique import ImageNames

TREE = {"train/cat": 4, "train/dog": 3, "val/cat": 2}
Make = Callable[..., Path]


def light1(shape: ImagePreprocessing | None) -> ImageTransform:
    assert shape is not None
    return ImageTransform(Light1(shape.size), shape)


def test_each_file_is_a_class_named_by_its_path(make_images: Make) -> None:
    root = make_images(TREE)
    data = ready(ImageFolder(root), unique_labels="all")
    plain = ready(ImageFolder(root))
    assert data.num_classes == len(data.train_dataset) == 7
    cats, dogs = (f"cat/{i}.png" for i in range(4)), (f"dog/{i}.png" for i in range(3))
    assert list(data.class_names) == [*cats, *dogs]
    assert data.class_names[-2:] == ["dog/1.png", "dog/2.png"]
    images, labels = data.train_dataset.batch([5, 0, 5])
    assert labels.tolist() == [5, 0, 5]
    assert torch.equal(images, plain.train_dataset.batch([5, 0, 5])[0])
    assert torch.equal(data.train_dataset.labels, torch.arange(7))
    line = data.describe().splitlines()[0]
    assert line.endswith("7 classes, 7 training images 3x32x32, test sets: train (7)")


def test_the_test_set_is_the_training_images_as_they_are(make_images: Make) -> None:
    root = make_images(TREE)
    data = ready(ImageFolder(root), light1, unique_labels="all", batch_size=4)
    plain = ready(ImageFolder(root))
    assert [*data.test_datasets] == ["train"]
    (loader,) = data.test_loaders()
    images, labels = (torch.cat(parts) for parts in zip(*loader, strict=True))
    assert labels.tolist() == list(range(7))
    assert torch.equal(images, plain.train_dataset.batch(range(7))[0])
    trained = torch.cat([images for images, _ in training(data)])
    assert trained.shape == images.shape and not torch.equal(trained, images)


def test_no_share_is_set_aside(make_images: Make) -> None:
    data = ready(ImageFolder(make_images({"a": 10, "b": 10})), unique_labels="all")
    assert data.num_classes == 20


def test_some_of_the_images_by_seed(make_images: Make) -> None:
    root = make_images({"a": 30, "b": 30})
    chosen = [
        list(ready(ImageFolder(root), unique_labels=12, seed=seed).class_names)
        for seed in (0, 0, 1)
    ]
    assert chosen[0] == chosen[1] != chosen[2]
    everything = ready(ImageFolder(root), unique_labels="all")
    for names in chosen:
        assert len(set(names)) == 12
        assert names == [name for name in everything.class_names if name in names]  # their order
    data = ready(ImageFolder(root), unique_labels=12)
    dataset, shape = data.train_dataset, data.preprocessing
    assert shape is not None
    for label in range(12):
        path = root / data.class_names[label]
        assert torch.equal(dataset[label][0], shape(path)) and dataset[label][1] == label
    assert ready(ImageFolder(root), unique_labels=60).num_classes == 60


def test_images_without_a_file_are_named_by_class_and_place(make_idx: Make) -> None:
    data = ready(FashionMNIST(make_idx()), unique_labels="all")
    assert data.class_names[9] == "Ankle boot #9" and len(set(data.class_names)) == 12
    letters = ready(Characters(ranges="U+0041-U+0043"), unique_labels="all")
    assert len(letters.class_names) == 30 == len(set(letters.class_names))  # in ten fonts
    assert letters.class_names[:4] == ["A #0", "B #1", "C #2", "A #3"]


def test_data_are_pickled_whole(make_images: Make) -> None:
    data = ready(ImageFolder(make_images(TREE)), unique_labels="all")
    twin = pickle.loads(pickle.dumps(data))
    assert list(twin.class_names) == list(data.class_names)
    assert torch.equal(twin.train_dataset[3][0], data.train_dataset[3][0])


class Many(DataSource):
    """A million images of one pixel."""

    def read(self) -> Content:
        images = torch.zeros(1_000_000, 1, 1, 1, dtype=torch.uint8)
        train = ArrayImages(images, torch.zeros(1_000_000, dtype=torch.int64))
        return Content(["all"], train, {}, ImagePreprocessing(1, 1, (0.5,), (0.5,)))


def test_a_million_labels_are_two_arrays() -> None:
    """Rows and labels, 16 MB, and nothing in proportion to the images beside them."""
    data = ready(Many(), unique_labels="all")
    dataset = data.train_dataset
    assert isinstance(dataset, View) and data.test_datasets["train"] is dataset
    assert len(pickle.dumps(dataset.rows)) < 8.1e6 and len(pickle.dumps(dataset.labels)) < 8.1e6
    assert isinstance(data.class_names, ImageNames)
    assert len(pickle.dumps(data.class_names.class_names)) < 100
    assert data.class_names[999_999] == "all #999999"
    batch, labels = next(iter(training(data)))
    assert batch.shape == (256, 1, 1, 1) and len(labels.unique()) == 256


@pytest.mark.parametrize("wanted", [1, 0, -3, True, "some", 2.5])
def test_wrong_numbers(wanted: Any) -> None:
    with pytest.raises(ValueError, match=rf"unique_labels' must be 'all' or .*, not {wanted!r}\."):
        LoaderConfig(unique_labels=wanted)


def test_more_images_than_there_are(make_images: Make) -> None:
    with pytest.raises(
        DataError, match=r"'loader.unique_labels' must be at most 7 \(the .*\), not 8\."
    ):
        ready(ImageFolder(make_images(TREE)), unique_labels=8)
