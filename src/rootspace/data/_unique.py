"""Every image a class of its own (Sec. 5.3 of arXiv 2510.04090)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, TypeAlias

import numpy as np
import torch
from torch import Tensor

from ._datasets import Batch, LabelledImages
from ._errors import DataError
from ._strings import LazyStrings

UniqueLabels: TypeAlias = int | Literal["all"] | None
"""How many images become classes of their own; None leaves the classes as they are."""


class UniqueImages(LabelledImages):
    """Images of another data set under labels 0, 1, 2, ...; 16 bytes each beside those.

    Args:
        images: the other data set.
        rows: int64 [N], which of its images.
    """

    def __init__(self, images: LabelledImages, rows: Tensor) -> None:
        super().__init__(torch.arange(len(rows)))
        self.images = images
        self.rows = rows

    def __getitems__(self, indices: Sequence[int]) -> Batch:
        labels = torch.as_tensor(indices)
        images, _ = self.images.__getitems__(self.rows[labels].tolist())
        return images, labels

    def original(self, index: int) -> Tensor:
        return self.images.original(int(self.rows[index]))

    def name(self, index: int) -> str | None:
        return self.images.name(int(self.rows[index]))


class ImageNames(LazyStrings):
    """Label -> name for `UniqueImages`, made when it is asked for.

    Where the image comes from; for one without a name its class and its place in the data set, as
    "Ankle boot #59999".

    Args:
        dataset: the images.
        class_names: of their classes before.
    """

    def __init__(self, dataset: UniqueImages, class_names: Sequence[str]) -> None:
        self.dataset = dataset
        self.class_names = class_names

    def __len__(self) -> int:
        return len(self.dataset)

    def _at(self, place: int) -> str:
        row = int(self.dataset.rows[place])
        own = self.dataset.name(place)
        return (
            f"{self.class_names[int(self.dataset.images.labels[row])]} #{row}"
            if own is None
            else own
        )


def unique_images(images: LabelledImages, wanted: int | Literal["all"], seed: int) -> UniqueImages:
    """All images, or `wanted` of them drawn by `seed`, in their own order.

    Raises:
        DataError: there are fewer.
    """
    if wanted == "all":
        return UniqueImages(images, torch.arange(len(images)))
    if wanted > len(images):
        raise DataError(
            f"Argument 'unique_labels' must be at most {len(images)} (the training images), not "
            f"{wanted}."
        )
    chosen = np.random.default_rng(seed).choice(len(images), wanted, replace=False)
    return UniqueImages(images, torch.from_numpy(np.sort(chosen)))


def check_unique_labels(wanted: UniqueLabels) -> None:
    """Raise unless it is None, "all", or a number of at least two images."""
    is_number = isinstance(wanted, int) and not isinstance(wanted, bool) and wanted >= 2
    if not (wanted is None or wanted == "all" or is_number):
        raise DataError(
            "Argument 'unique_labels' must be 'all' or a number of at least 2 images, not "
            f"{wanted!r}."
        )
