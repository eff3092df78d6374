"""The first classes of a data set, and the first images of each."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from rootspace.data import DataError, FashionMNIST


def test_first_classes_and_images(make_idx: Callable[..., Path]) -> None:
    root = make_idx()
    whole = FashionMNIST(root).read()
    some = FashionMNIST(root, num_classes=2, images_per_class=1).read()
    assert some.class_names == whole.class_names[:2]
    # Labels are 0, 1, ..., 9, 0, 1 for training and 0, ..., 4 for testing.
    assert some.train.labels.tolist() == [0, 1]
    images, labels = some.train.batch([1, 0])
    assert labels.tolist() == [1, 0]
    assert torch.equal(images, whole.train.batch([1, 0])[0])
    assert torch.equal(some.train.original(1), whole.train.original(1))
    assert some.train.name(0) is None
    assert some.tests["test"].labels.tolist() == [0, 1]
    assert some.preprocessing == whole.preprocessing, "scaled alike, so that networks go on"
    pairs = FashionMNIST(root, num_classes=2).read()
    assert pairs.train.labels.tolist() == [0, 1, 0, 1]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"num_classes": 11}, r"'num_classes' must lie between 2 and 10, not 11"),
        ({"num_classes": 1}, "not 1"),
        ({"images_per_class": 2}, r"'images_per_class' must lie between 1 and 1 .*, not 2"),
        ({"images_per_class": 0}, "not 0"),
    ],
)
def test_errors(settings: dict[str, int], message: str, make_idx: Callable[..., Path]) -> None:
    with pytest.raises(DataError, match=message):
        FashionMNIST(make_idx(), **settings).read()
