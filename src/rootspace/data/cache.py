"""Arrays kept on disk, so that a second run starts at once."""

from __future__ import annotations

import os
import warnings
import zipfile
from collections.abc import Iterable, Mapping
from pathlib import Path

import numpy as np

from rootspace._files import replacing


def default_cache_directory() -> Path:
    """`$ROOTSPACE_CACHE`, or `rootspace` in the user's cache directory."""
    if chosen := os.environ.get("ROOTSPACE_CACHE"):
        return Path(chosen).expanduser()
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "rootspace"


def load_arrays(path: Path, names: Iterable[str]) -> dict[str, np.ndarray] | None:
    """The arrays that `save_arrays` wrote; None where they are not there as a whole."""
    try:
        with np.load(path, allow_pickle=False) as stored:
            return {name: stored[name] for name in names}
    # What numpy and zipfile raise for a missing, cut off or changed file.
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
        return None


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
            np.savez(file, **arrays)  # pyright: ignore[reportArgumentType]
    except OSError as error:
        warnings.warn(f"{otherwise}, since '{path}' cannot be written: {error}.", stacklevel=2)
