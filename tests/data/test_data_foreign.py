"""What others wrote: settings in a run's file, and the folders of torchvision."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from rootspace.data import FashionMNIST, ImagePreprocessing

GOOD: dict[str, Any] = {"channels": 3, "size": 32, "mean": [0.5] * 3, "std": [0.2] * 3}


def test_settings_survive_a_file():
    shape = ImagePreprocessing(1, 32, (0.3,), (0.1,), "crop", 0, inner=28)
    assert ImagePreprocessing.from_dict(json.loads(json.dumps(shape.as_dict()))) == shape


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"channels": 4}, r"'channels' must be 1 or 3, not 4\."),
        ({"size": 0}, r"'size' must be at least 1, not 0\."),
        ({"mean": [0.5]}, r"'mean' must be one number for each of 3 channels, not \(0\.5,\)\."),
        ({"std": [0.2, 0.2]}, "'std' must be one number for each of 3 channels, positive"),
        ({"std": [0.2, 0.0, 0.2]}, r"'std' must be .*, positive, not \(0\.2, 0\.0, 0\.2\)\."),
        ({"fit": "stretch"}, r"'fit' must be 'crop' or 'pad', not stretch\."),
        ({"background": 256}, r"'background' must be from 0 to 255, not 256\."),
        ({"inner": 33}, r"'inner' must be 1 to 32, not 33\."),
    ],
)
def test_settings_that_cannot_be(changes: dict[str, Any], message: str):
    with pytest.raises(ValueError, match=message):
        ImagePreprocessing.from_dict(GOOD | changes)


@pytest.mark.parametrize("compressed", [False, True])
def test_fashion_mnist_where_torchvision_puts_it(
    make_idx: Callable[..., Path], compressed: bool, tmp_path: Path
):
    folder = make_idx(compressed)
    expected = FashionMNIST(folder).read()
    raw = tmp_path / "data" / "FashionMNIST" / "raw"
    raw.parent.mkdir(parents=True)
    folder.rename(raw)
    found = FashionMNIST(tmp_path / "data").read()
    for mine, theirs in (
        (found.train, expected.train),
        (found.tests["test"], expected.tests["test"]),
    ):
        rows = range(len(theirs))
        assert torch.equal(mine.batch(rows)[0], theirs.batch(rows)[0])
        assert torch.equal(mine.labels, theirs.labels)
