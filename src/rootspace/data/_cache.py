"""Arrays kept on disk, so that a second run starts at once; above all drawn pictures."""

from __future__ import annotations

import hashlib
import os
import unicodedata
import warnings
import zipfile
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np

from rootspace._files import replacing

from ._fonts import FontFace
from ._pictures import Pictures, draw_pictures
from ._ranges import Ranges
from ._typeface import freetype_version

# Part of the key: raise it whenever the same fonts would give other pictures.
_RENDERER_VERSION = 1


def cached_pictures(
    faces: Sequence[FontFace], ranges: Ranges | None, size: int, directory: Path
) -> Pictures:
    """`draw_pictures`, or what it gave the last time.

    A damaged file is drawn again, and a directory that cannot be written only costs the time of
    drawing: neither is an error.
    """
    path = directory / f"characters-{cache_key(faces, ranges, size)[:32]}.npz"
    stored = load_arrays(path, ("codes", "images"))
    if stored is not None:
        return Pictures(**stored)
    pictures = draw_pictures(faces, ranges, size)
    arrays = {"codes": pictures.codes, "images": pictures.images}
    save_arrays(path, arrays, "The pictures are drawn again next time")
    return pictures


def cache_key(faces: Sequence[FontFace], ranges: Ranges | None, size: int) -> str:
    """A digest of everything the pictures depend on, down to the contents of the font files."""
    parts = (
        _RENDERER_VERSION,
        freetype_version(),
        unicodedata.unidata_version,  # decides which characters have a picture
        size,
        ranges,
        [face.digest for face in faces],
    )
    return hashlib.sha256(repr(parts).encode()).hexdigest()


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
