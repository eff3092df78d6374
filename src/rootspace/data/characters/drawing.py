"""Pictures of all the characters that some font faces share."""

from __future__ import annotations

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np

from rootspace._terminal import bar

from ..errors import DataError
from .fonts import FontFace
from .ranges import Ranges, select_drawn
from .typeface import Typeface

_LONG_WORK = 100_000  # characters, which take seconds


@dataclass(frozen=True)
class Pictures:
    """Dark ink on white paper, as a scanner sees it.

    Args:
        codes: int64 [N], code points, ascending.
        images: uint8 [faces, N, size, size], ink 0, paper 255.
    """

    codes: np.ndarray
    images: np.ndarray


def draw_pictures(faces: Sequence[FontFace], ranges: Ranges | None, size: int) -> Pictures:
    """Draw every character that all faces hold, on as many threads as there are cores.

    Characters that leave the paper blank in any face are left out.

    Args:
        faces: at least one.
        ranges: None takes all characters; separators, controls, combining marks and private
            characters are left out in any case.
        size: of a picture, in pixels.

    Raises:
        DataError: a face cannot be read, or the faces share no character.
    """
    codes = _shared_codes(faces, ranges)
    images = np.zeros((len(faces), len(codes), size, size), dtype=np.uint8)

    steps = len(faces) * len(codes)

    def draw(row: int) -> None:
        with Typeface(faces[row]) as typeface:
            typeface.draw(codes, images[row], shown.advance)

    with (
        bar("Drawing characters", steps, long=steps >= _LONG_WORK) as shown,
        ThreadPoolExecutor(min(len(faces), os.cpu_count() or 1)) as pool,
    ):
        list(pool.map(draw, range(len(faces))))

    inked = np.asarray(images.any(axis=(2, 3)))
    for row, face in enumerate(faces):
        if not inked[row].any():
            raise DataError(f"Font file '{face.path}' has no outlines to draw: choose another.")
    visible = inked.all(axis=0)
    if not visible.any():
        raise DataError(f"No character leaves ink in all of the fonts {_names(faces)}.")
    if not visible.all():
        codes, images = codes[visible], images[:, visible]
    np.subtract(255, images, out=images)
    return Pictures(codes, images)


def _shared_codes(faces: Sequence[FontFace], ranges: Ranges | None) -> np.ndarray:
    codes = np.zeros(0, dtype=np.int64)
    for position, face in enumerate(faces):
        with Typeface(face) as typeface:
            if position == 0:
                shared = select_drawn(typeface.codes(), ranges)
            else:
                shared = codes[typeface.covers(codes)]
        if not len(shared):
            within = "" if ranges is None else " within 'ranges'"
            others = f" that {_names(faces[:position])} share" if position else ""
            raise DataError(
                f"Font '{face.name}' ('{face.path}') holds none of the characters{others}{within}: "
                "choose other 'train_fonts', 'test_fonts' or 'ranges'."
            )
        codes = shared
    return codes


def _names(faces: Sequence[FontFace]) -> str:
    return ", ".join(face.name for face in faces)
