"""Arrays kept on disk, so that a second run starts at once."""

from __future__ import annotations

import hashlib
import os
import warnings
from collections.abc import Iterable, Mapping
from pathlib import Path

import numpy as np

from rootspace._files import replacing


def default_cache_directory() -> Path:
    """`$ROOTSPACE_CACHE`, or `rootspace` in the user's cache directory."""
    if chosen := os.environ.get("ROOTSPACE_CACHE"):
        return Path(chosen).expanduser()
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "rootspace"


_DIGEST = "digest"
"""Of all the arrays, in the same file: a changed file may still be one of arrays."""


def load_arrays(path: Path, names: Iterable[str]) -> dict[str, np.ndarray] | None:
    """The arrays that `save_arrays` wrote; None where they are not there as they were."""
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as stored:
            arrays = {name: stored[name] for name in names}
            return arrays if np.array_equal(stored[_DIGEST], _digest(arrays)) else None
    except Exception:  # numpy and zipfile raise almost anything for a damaged file
        return None


def _digest(arrays: Mapping[str, np.ndarray]) -> np.ndarray:
    """uint8 [32] of names, types, shapes and contents."""
    found = hashlib.sha256()
    for name in sorted(arrays):
        array = np.ascontiguousarray(arrays[name])
        found.update(repr((name, array.dtype.str, arrays[name].shape)).encode())
        found.update(array.data)
    return np.frombuffer(found.digest(), np.uint8)


def save_arrays(path: Path, arrays: Mapping[str, np.ndarray], otherwise: str) -> None:
    """Write under another name and rename, so that no other process sees half a file.

    Args:
        path: of the file.
        arrays: by name.
        otherwise: what follows where it cannot be written, for the warning.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with replacing(path, shared=True) as temporary, temporary.open("wb") as file:
            np.savez(file, **arrays, **{_DIGEST: _digest(arrays)})  # pyright: ignore[reportArgumentType]
    except OSError as error:
        warnings.warn(f"{otherwise}, since '{path}' cannot be written: {error}.", stacklevel=2)
