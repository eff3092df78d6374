"""Checks that several data sets share."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from typing import Any

import numpy as np
import torch
from torch import Tensor

from rootspace._errors import DataError

_CONTROL = re.compile("[\x00-\x1f\x7f-\x9f]")
"""What ends a line or commands a terminal."""


LARGEST_IMAGE = 8192
"""Side of what a network gets, in pixels: 200 MB an image of three channels."""


def check_at_least(argument: str, value: int, minimum: int, why: str = "") -> None:
    """Raise unless `value >= minimum`; `why` is added in parentheses."""
    if value < minimum:
        reason = f" ({why})" if why else ""
        raise DataError(f"Argument '{argument}' must be at least {minimum}{reason}, not {value}.")


def check_image_size(image_size: int) -> None:
    check_at_least("image_size", image_size, 8, "pixels; smaller pictures are not legible")
    if image_size > LARGEST_IMAGE:
        raise DataError(
            f"Argument 'image_size' must be at most {LARGEST_IMAGE} pixels, not {image_size}."
        )


def check_tensor(argument: str, value: Any, dtype: torch.dtype, shape: str) -> None:
    """Raise unless a value is a tensor of this type and of as many dimensions.

    Args:
        argument: its name.
        value: of it.
        dtype: expected.
        shape: expected, such as `[N, C, H, W]`.
    """
    tensor = isinstance(value, Tensor)
    if not tensor or value.dtype != dtype or value.ndim != shape.count(",") + 1:
        found = f"{value.dtype} {list(value.shape)}" if tensor else type(value).__name__
        raise DataError(f"Argument '{argument}' must be a {dtype} tensor {shape}, not {found}.")


def check_one_each(argument: str, found: int, wanted: int, what: str) -> None:
    """Raise unless there are as many of an argument as of something else."""
    if found != wanted:
        raise DataError(
            f"Argument '{argument}' must have one for each of the {wanted:,} {what}, not {found:,}."
        )


def check_names(names: Iterable[str], source: str, *, repeated: bool) -> None:
    """Raise unless names of classes can be told apart and written.

    Args:
        names: of the classes.
        source: of the names, for the message.
        repeated: whether to look for names that come twice, which takes them all into memory.
    """
    seen: set[str] = set()
    for name in names:
        try:
            name.encode()
        except UnicodeEncodeError:
            raise DataError(
                f"{source} have the class {os.fsencode(name)!r}: names must be UTF-8. Rename it."
            ) from None
        if not name.strip() or _CONTROL.search(name):
            raise DataError(
                f"{source} have the class {name!r}: names must not be blank, and have no line "
                "ends or control characters. Rename it."
            )
        if repeated:
            if name in seen:
                raise DataError(f"{source} have the class {name!r} twice: names must be different.")
            seen.add(name)


def check_labels(labels: np.ndarray, num_images: int, num_classes: int, source: str) -> None:
    """Raise unless there is one label in `[0, num_classes)` for each image.

    Args:
        labels: [N], integers.
        num_images: how many images the labels belong to.
        num_classes: of the data set.
        source: the file they were read from, for the message.
    """
    if len(labels) != num_images:
        raise DataError(
            f"'{source}' holds {len(labels)} labels for {num_images} images: both files must come "
            "from the same copy of the data set."
        )
    wrong = labels[(labels < 0) | (labels >= num_classes)]
    if len(wrong):
        raise DataError(
            f"'{source}' holds the label {wrong[0]}: labels must be from 0 to {num_classes - 1}."
        )
