"""The first classes of a data set, and the first images of each."""

from __future__ import annotations

from dataclasses import replace

import torch

from .datasets import LabeledDataset, View
from .errors import DataError
from .source import Content


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
        train = View.some(content.train, torch.cat(rows).sort().values)
        content = replace(content, train=train)
    return content


def _first_classes(images: LabeledDataset, num_classes: int) -> LabeledDataset:
    return View.some(images, (images.labels < num_classes).nonzero()[:, 0])
