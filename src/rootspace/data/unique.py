"""Every image a class of its own (Sec. 5.3 of arXiv 2510.04090)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np
import torch

from .datasets import LabeledDataset, View
from .errors import DataError
from .strings import LazyStrings


class ImageNames(LazyStrings):
    """Label -> name where each input is a class of its own, made when it is asked for.

    Where the image comes from; for one without a name its class and its place in the data set, as
    "Ankle boot #59999".

    Args:
        dataset: the images.
        class_names: of their classes before.
    """

    def __init__(self, dataset: View, class_names: Sequence[str]) -> None:
        self.dataset = dataset
        self.class_names = class_names

    def __len__(self) -> int:
        return len(self.dataset)

    def _at(self, place: int) -> str:
        rows, data = self.dataset.rows, self.dataset.data
        row = place if rows is None else int(rows[place])
        own = data.name(row)
        return f"{self.class_names[int(data.labels[row])]} #{row}" if own is None else own


def unique_images(images: LabeledDataset, wanted: int | Literal["all"], seed: int) -> View:
    """All images, or `wanted` of them drawn by `seed`, in their own order.

    Raises:
        DataError: there are fewer.
    """
    count = len(images) if wanted == "all" else wanted
    rows = _drawn(len(images), count, seed, "unique_labels", "training inputs")
    return View(images, torch.arange(count), rows)


def images_tested(images: View, wanted: int | None, seed: int) -> View:
    """All of them, or `wanted` drawn by `seed`, under their labels.

    Raises:
        DataError: there are fewer.
    """
    if wanted is None:
        return images
    return View.some(images, _drawn(len(images), wanted, seed, "unique_tests", "labels"))


def _drawn(count: int, wanted: int, seed: int, setting: str, what: str) -> torch.Tensor:
    """So many of `count` places, ascending, as a setting of the loader asks for."""
    if wanted > count:
        raise DataError(
            f"Argument 'loader.{setting}' must be at most {count} (the {what}), not {wanted}."
        )
    if wanted == count:
        return torch.arange(count)
    rows = np.random.default_rng(seed).choice(count, wanted, replace=False)
    return torch.from_numpy(np.sort(rows))
