"""The first classes of a data set, and the first images of each."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor

from ._base import Content
from ._datasets import Batch, LabelledImages
from ._errors import DataError


class SomeImages(LabelledImages):
    """Some images of another data set, under their labels.

    Args:
        images: the other data set.
        rows: int64 [N], which of its images.
    """

    def __init__(self, images: LabelledImages, rows: Tensor) -> None:
        super().__init__(images.labels[rows])
        self.images = images
        self.rows = rows

    def __getitems__(self, indices: Sequence[int]) -> Batch:
        return self.images.__getitems__(self.rows[torch.as_tensor(indices)].tolist())

    def original(self, index: int) -> Tensor:
        return self.images.original(int(self.rows[index]))

    def name(self, index: int) -> str | None:
        return self.images.name(int(self.rows[index]))


def subset(content: Content, num_classes: int | None, images_per_class: int | None) -> Content:
    """The same data with fewer classes or training images.

    Args:
        content: all of it.
        num_classes: keep the first so many classes, in all sets; None for all.
        images_per_class: keep the first so many training images of each class; None for all.

    Raises:
        DataError: there are fewer.
    """
    if num_classes is not None:
        known = len(content.class_names)
        if not 2 <= num_classes <= known:
            raise DataError(
                f"Argument 'num_classes' must lie between 2 and {known}, not {num_classes}."
            )
        content = replace(
            content,
            class_names=content.class_names[:num_classes],
            train=_first_classes(content.train, num_classes),
            tests={name: _first_classes(t, num_classes) for name, t in content.tests.items()},
        )
    if images_per_class is not None:
        counts = torch.bincount(content.train.labels, minlength=len(content.class_names))
        fewest = int(counts.min())
        if not 1 <= images_per_class <= fewest:
            raise DataError(
                f"Argument 'images_per_class' must lie between 1 and {fewest} (the training images "
                f"of the smallest class), not {images_per_class}."
            )
        labels = content.train.labels
        rows = [(labels == c).nonzero()[:images_per_class, 0] for c in range(len(counts))]
        train = SomeImages(content.train, torch.cat(rows).sort().values)
        content = replace(content, train=train)
    return content


def _first_classes(images: LabelledImages, num_classes: int) -> LabelledImages:
    return SomeImages(images, (images.labels < num_classes).nonzero()[:, 0])
