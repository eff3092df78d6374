"""Data sets whose images and classes stand in lists beside them, and are split by class."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor

from .datasets import FileImages, View
from .errors import DataError
from .preprocessing import IMAGENET_RGB, ImagePreprocessing
from .source import Content, RetrievalSet
from .strings import Strings

UNSEEN = "unseen"
"""The name of the retrieval set."""


def color_images(size: int, *, fit: Literal["crop", "pad"] = "crop") -> ImagePreprocessing:
    """How the color images of these data sets are prepared."""
    return ImagePreprocessing(3, size, *IMAGENET_RGB, fit=fit)


def read_list(path: Path, columns: Sequence[str], skip: int = 0) -> list[list[str]]:
    """The lines of a list, each as its columns.

    Args:
        path: of the list.
        columns: what they are; between them is white space.
        skip: lines before the first.

    Raises:
        DataError: it is missing or no such list.
    """
    try:
        lines = path.read_text(encoding="utf-8").splitlines()[skip:]
    except OSError as error:
        raise DataError(f"List '{path}' cannot be read: {error.strerror}.") from error
    except UnicodeDecodeError as error:
        raise DataError(f"List '{path}' is not UTF-8: copy it again.") from error
    rows = [(number, line.split()) for number, line in enumerate(lines, skip + 1) if line.strip()]
    for number, row in rows:
        if len(row) != len(columns):
            raise DataError(
                f"List '{path}', line {number}: {len(columns)} columns expected "
                f"({', '.join(columns)}), not {len(row)}."
            )
    if not rows:
        raise DataError(f"List '{path}' holds no lines: copy it again.")
    return [row for _, row in rows]


def check_root(root: Path, what: str) -> None:
    """Raise a DataError unless a folder is there."""
    if not root.is_dir():
        raise DataError(f"Argument 'root' must be the folder of {what}, not '{root}'.")


def listed_images(
    root: Path, files: Sequence[str], labels: Sequence[int], shape: ImagePreprocessing, source: Path
) -> FileImages:
    """Images of a list.

    Args:
        root: folder.
        files: relative to it.
        labels: one for each file.
        shape: how they are prepared.
        source: the list, for messages.

    Raises:
        DataError: the files are not all there.
    """
    missing = [file for file in files if not os.path.isfile(os.path.join(root, file))]
    if missing:
        raise DataError(
            f"{len(missing):,} of the {len(files):,} images that '{source}' names are not in "
            f"'{root}', such as '{missing[0]}': unpack the images there."
        )
    return FileImages(root, Strings.of(files), torch.tensor(labels, dtype=torch.int64), shape)


def numbered(names: Sequence[str]) -> tuple[list[str], list[int]]:
    """The different names in the order in which they come, and the number of each name there."""
    number: dict[str, int] = {}
    labels = [number.setdefault(name, len(number)) for name in names]
    return list(number), labels


def by_classes(
    images: FileImages, class_names: Sequence[str], shape: ImagePreprocessing, top: tuple[int, ...]
) -> Content:
    """Train on the first half of the classes; the others are searched for one another.

    Raises:
        DataError: there are fewer than four classes.
    """
    half = len(class_names) // 2
    if half < 2:
        raise DataError(
            f"Folder '{images.root}' must have at least 4 classes, two to train on, not "
            f"{len(class_names)}."
        )
    seen = images.labels < half
    train = View.some(images, seen.nonzero()[:, 0])
    rows = (~seen).nonzero()[:, 0]
    others = View(images, images.labels[rows] - half, rows)
    unseen = RetrievalSet(class_names[half:], others, top=top)
    return Content(class_names[:half], train, {}, shape, images.notes(), retrieval={UNSEEN: unseen})


def by_images(
    images: FileImages, is_train: Tensor, class_names: Sequence[str], shape: ImagePreprocessing
) -> Content:
    """The split within each class: the closed set of all of them."""
    parts = [View.some(images, rows.nonzero()[:, 0]) for rows in (is_train, ~is_train)]
    return Content(class_names, parts[0], {"test": parts[1]}, shape, images.notes())


def check_split(split: str) -> None:
    """Raise a DataError unless a split is one of the two that these data sets have."""
    if split not in ("classes", "images"):
        raise DataError(f"Argument 'split' must be 'classes' or 'images', not {split!r}.")
