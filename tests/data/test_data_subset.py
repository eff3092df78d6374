"""The first classes of a data set, and the first images of each."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from rootspace.data import DataError, FashionMNIST


def test_first_classes_and_images(make_idx: Callable[..., Path]):
    root = make_idx()
    whole, some = FashionMNIST(root), FashionMNIST(root, num_classes=2, images_per_class=1)
    whole.setup(), some.setup()
    assert some.class_names == whole.class_names[:2] and some.num_classes == 2
    # Labels are 0, 1, ..., 9, 0, 1 for training and 0, ..., 4 for testing.
    assert some.train_dataset.labels.tolist() == [0, 1]
    images, labels = some.train_dataset.__getitems__([1, 0])
    assert labels.tolist() == [1, 0]
    assert torch.equal(images, whole.train_dataset.__getitems__([1, 0])[0])
    assert torch.equal(some.train_dataset.original(1), whole.train_dataset.original(1))
    assert some.train_dataset.name(0) is None
    assert some.test_datasets["test"].labels.tolist() == [0, 1]
    assert some.mean == whole.mean, "inputs are scaled alike, so that networks go on"
    pairs = FashionMNIST(root, num_classes=2)
    pairs.setup()
    assert pairs.train_dataset.labels.tolist() == [0, 1, 0, 1]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"num_classes": 11}, r"'num_classes' must lie between 2 and 10, not 11"),
        ({"num_classes": 1}, "not 1"),
        ({"images_per_class": 2}, r"'images_per_class' must lie between 1 and 1 .*, not 2"),
        ({"images_per_class": 0}, "not 0"),
    ],
)
def test_errors(settings: dict, message: str, make_idx: Callable[..., Path]):
    with pytest.raises(DataError, match=message):
        FashionMNIST(make_idx(), **settings).setup()
