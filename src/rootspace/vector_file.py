"""A file of one vector a class: what `prototypes.vectors` names."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from ._files import read_json
from .systems import Table

SETTING = "Argument 'prototypes.vectors'"


def open_array(path: str | Path, setting: str = SETTING, rows: str = "classes") -> np.ndarray:
    """The `[rows, dim]` array of a .npy file, mapped rather than read.

    Args:
        path: of the file.
        setting: that named it, for the message.
        rows: what they are, likewise.

    Raises:
        ValueError: it is missing, or holds something else.
    """
    try:
        # Copy on write: torch does not take memory that cannot be written.
        array = np.load(path, mmap_mode="c", allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise ValueError(f"{setting}: {path} is not a .npy file of numbers: {error}") from error
    if not isinstance(array, np.ndarray) or array.ndim != 2 or array.dtype.kind != "f":
        what = (
            f"{array.dtype}{list(array.shape)}" if isinstance(array, np.ndarray) else "an archive"
        )
        raise ValueError(f"{setting}: {path} must hold floats of shape [{rows}, dim], not {what}.")
    if not array.dtype.isnative or array.dtype.itemsize > 8:
        raise ValueError(
            f"{setting}: {path} must hold floats of 16, 32 or 64 bits in the byte order of this "
            f"machine, not {array.dtype}."
        )
    return array


def read_table(path: str | Path) -> Table:
    """The rows of a .npy file as a vector system.

    Raises:
        ValueError: it is missing, holds something else, or two rows have one direction.
    """
    array = open_array(path)
    try:
        return Table(torch.from_numpy(array))
    except ValueError as error:
        raise ValueError(f"{SETTING}: {path}: {error}") from error


def read_vectors(path: str | Path, dim: int, names: Sequence[str]) -> Tensor:
    """The vector of each class, in the order of the data.

    Rows belong to classes by the names in a file beside it, `vectors.txt` (one a line) or
    `vectors.json` (a list) for `vectors.npy`, and else by their order.

    Args:
        path: of the .npy file.
        dim: of the vector system.
        names: of the classes of the data.

    Returns:
        `[len(names), dim]`, mapped from the file where the order is its own.

    Raises:
        ValueError: the file does not fit the system or the data.
    """
    array = open_array(path)
    if array.shape[1] != dim:
        raise ValueError(
            f"{SETTING}: {path} has dimension {array.shape[1]}, the vector system {dim}. Set "
            "'head.system' or 'head.dim' to fit."
        )
    rows = _rows_by_name(Path(path), len(array), names)
    if rows is None and len(array) != len(names):
        raise ValueError(
            f"{SETTING}: {path} must hold {len(names)} rows, one for each class of the data in "
            f"their order, not {len(array)}; or put their names into "
            f"{Path(path).with_suffix('.txt')}."
        )
    vectors = torch.from_numpy(array if rows is None else array[rows])
    for start, part in zip(range(0, len(vectors), 2**16), vectors.split(2**16), strict=True):
        good = torch.isfinite(part).all(dim=1) & (part != 0).any(dim=1)
        if not bool(good.all()):
            row = start + int((~good).nonzero()[0, 0])
            raise ValueError(
                f"{SETTING}: the vector of class {names[row]!r} in {path} must be finite and not "
                "zero."
            )
    return vectors


def _rows_by_name(path: Path, count: int, names: Sequence[str]) -> list[int] | None:
    """Which row each class has by the file of names; None where there is none."""
    lines, listed = path.with_suffix(".txt"), path.with_suffix(".json")
    if lines.is_file():
        file = lines
        # Not `splitlines`: names may be characters at which it splits.
        try:
            text = lines.read_text(encoding="utf-8-sig")
        except UnicodeDecodeError as error:
            raise ValueError(f"{SETTING}: {lines} must be UTF-8: {error}.") from error
        found = text.removesuffix("\n").split("\n")
    elif listed.is_file():
        file = listed
        try:
            found = read_json(listed)
        except ValueError as error:
            raise ValueError(f"{SETTING}: {error}") from error
    else:
        return None
    if not isinstance(found, list) or len(found) != count or len(set(map(str, found))) != count:
        raise ValueError(
            f"{SETTING}: {file} must hold {count} different names, one for each row of {path.name}."
        )
    row_of = {str(name): row for row, name in enumerate(found)}
    missing = [name for name in names if name not in row_of]
    if missing:
        raise ValueError(
            f"{SETTING}: {file} lacks {len(missing)} of the {len(names)} classes of the data, "
            f"such as {missing[0]!r}."
        )
    return [row_of[name] for name in names]
