"""Drawn pictures kept on disk, so that a second run starts at once."""

from __future__ import annotations

import hashlib
import unicodedata
from collections.abc import Sequence
from pathlib import Path

from ..cache import load_arrays, save_arrays
from .drawing import Pictures, draw_pictures
from .fonts import FontFace
from .ranges import Ranges
from .typeface import freetype_version

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
