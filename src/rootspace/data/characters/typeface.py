"""Pictures of the characters of one font face, drawn by FreeType.

The flow of one glyph: outline in font units -> scaled and moved in 1/64 pixel -> gray coverage,
written by FreeType into the row of the result that belongs to it.
"""

from __future__ import annotations

import ctypes
import os
from collections.abc import Callable
from typing import Any

import numpy as np

from rootspace._extras import require

from ..errors import DataError
from .fonts import FontFace

_GREY = 2  # FT_PIXEL_MODE_GRAY
_OUTLINE = 1 | 2 | 8  # FT_LOAD_NO_SCALE | FT_LOAD_NO_HINTING | FT_LOAD_NO_BITMAP
_UNICODE = int.from_bytes(b"unic", "big")  # FT_ENCODING_UNICODE

# The box that holds all but the outermost 2 % of the tops, bottoms and widths of a face is what is
# fitted to the picture, so a single tall glyph does not make all others small. The box is at least
# 0.9 em, or a face would show nothing but full stops as large as letters.
_OUTERMOST = 2.0
_SMALLEST_BOX = 0.9

_REPORT = 500  # characters between two reports of progress


def freetype_version() -> str:
    """Of the library that draws, as `"2.13.2"`."""
    return ".".join(str(part) for part in _freetype("freetype").version())


def _freetype(module: str) -> Any:
    return require(module, extra="data", purpose="Drawing characters")


class Typeface:
    """A face opened with FreeType, to be used by one thread at a time and closed (`with`).

    Each has a FreeType library of its own, since those are what threads must not share.

    Raises:
        DataError: the file is not a font, has no such face, or does not know Unicode.
    """

    def __init__(self, face: FontFace) -> None:
        self._raw = _freetype("freetype.raw")
        self._library = self._raw.FT_Library()
        self._face = self._raw.FT_Face()
        self._raw.FT_Init_FreeType(ctypes.byref(self._library))
        try:
            self._open(face)
        except DataError:
            self.close()
            raise

    def _open(self, face: FontFace) -> None:
        if self._raw.FT_New_Face(
            self._library, os.fsencode(face.path), face.index, ctypes.byref(self._face)
        ):
            raise DataError(
                f"Font file '{face.path}' has no face {face.index}: leave out '#{face.index}' or "
                "choose a smaller number."
                if face.index
                else f"Font file '{face.path}' is not a font that FreeType can read."
            )
        if self._raw.FT_Select_Charmap(self._face, _UNICODE):
            raise DataError(f"Font file '{face.path}' does not say which characters it holds.")
        self._em = self._face.contents.units_per_EM or 1000

    def close(self) -> None:
        self._raw.FT_Done_FreeType(self._library)  # and all its faces

    def __enter__(self) -> Typeface:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def codes(self) -> np.ndarray:
        """All code points the face has a glyph for, int64, ascending."""
        glyph = ctypes.c_uint()
        code = self._raw.FT_Get_First_Char(self._face, ctypes.byref(glyph))
        found = []
        while glyph.value:
            found.append(code)
            code = self._raw.FT_Get_Next_Char(self._face, ctypes.c_ulong(code), ctypes.byref(glyph))
        return np.array(found, dtype=np.int64)

    def covers(self, codes: np.ndarray) -> np.ndarray:
        """Bool [N]: which of the code points the face has a glyph for."""
        return np.array([self._glyph(code) != 0 for code in codes.tolist()], dtype=bool)

    def draw(self, codes: np.ndarray, out: np.ndarray, advance: Callable[[int], None]) -> None:
        """Draw characters, all at one scale and on one baseline, as coverage (ink 255 on 0).

        The advance box of each is centerd. A glyph that would leave the picture is moved inside;
        only one that is larger than the picture is made smaller.

        Args:
            codes: [N], code points that the face covers.
            out: uint8 [N, size, size], contiguous and zero.
            advance: called now and then with the number of characters drawn since.
        """
        assert out.flags.c_contiguous and out.dtype == np.uint8
        size = out.shape[-1]
        bitmap = self._raw.FT_Bitmap()
        bitmap.rows = bitmap.width = bitmap.pitch = size
        bitmap.num_grays, bitmap.pixel_mode = 256, _GREY
        pixels = type(bitmap.buffer)
        matrix = self._raw.FT_Matrix()
        scales, shifts = _place(self._measure(codes), self._em, size)
        for row, code in enumerate(codes.tolist()):
            outline = self._outline(code)
            if outline is not None:
                x, y = shifts[row]
                matrix.xx = matrix.yy = scales[row]
                bitmap.buffer = ctypes.cast(out.ctypes.data + row * size * size, pixels)
                self._raw.FT_Outline_Transform(outline, ctypes.byref(matrix))
                self._raw.FT_Outline_Translate(outline, ctypes.c_long(x), ctypes.c_long(y))
                self._raw.FT_Outline_Get_Bitmap(self._library, outline, ctypes.byref(bitmap))
            if row % _REPORT == _REPORT - 1:
                advance(_REPORT)
        advance(len(codes) % _REPORT)

    def _measure(self, codes: np.ndarray) -> np.ndarray:
        """Left, bottom, right, top of the ink and the advance, in font units: int64 [N, 5]."""
        metrics = np.zeros((len(codes), 5), dtype=np.int64)
        box = self._raw.FT_BBox()
        for row, code in enumerate(codes.tolist()):
            outline = self._outline(code)
            if outline is not None:
                self._raw.FT_Outline_Get_BBox(outline, ctypes.byref(box))
                advance = self._face.contents.glyph.contents.metrics.horiAdvance
                metrics[row] = box.xMin, box.yMin, box.xMax, box.yMax, advance
        return metrics

    def _glyph(self, code: int) -> int:
        return self._raw.FT_Get_Char_Index(self._face, ctypes.c_ulong(code))

    def _outline(self, code: int) -> Any:
        """A reference to the outline, valid until the next call; None for a broken glyph."""
        if self._raw.FT_Load_Glyph(self._face, self._glyph(code), _OUTLINE):
            return None
        return ctypes.byref(self._face.contents.glyph.contents.outline)


def _place(metrics: np.ndarray, em: int, size: int) -> tuple[list[int], list[tuple[int, int]]]:
    """Scale (16.16) and shift (1/64 pixel, from the lower left corner) of each glyph.

    Args:
        metrics: see `Typeface._measure`.
        em: font units.
        size: of the picture in pixels.
    """
    left, bottom, right, top, advance = metrics.astype(np.float64).T
    width, height = right - left, top - bottom
    ink = (width > 0) & (height > 0)
    if not ink.any():
        return [0] * len(metrics), [(0, 0)] * len(metrics)
    high = np.percentile(top[ink], 100 - _OUTERMOST, method="higher")
    low = np.percentile(bottom[ink], _OUTERMOST, method="lower")
    broad = np.percentile(width[ink], 100 - _OUTERMOST, method="higher")
    box = max(high - low, broad, _SMALLEST_BOX * em)
    canvas = 64.0 * size
    margin = 64.0 * max(1, size // 32)
    scale = np.full(len(metrics), (canvas - 2 * margin) / box)
    scale = np.minimum(scale, canvas / np.maximum(np.maximum(width, height), 1))
    # max after min: where rounding leaves no room, the glyph touches the lower left corner.
    x = np.maximum(
        np.minimum((canvas - scale * advance) / 2, canvas - scale * right), -scale * left
    )
    baseline = (canvas - (high + low) * (canvas - 2 * margin) / box) / 2
    y = np.maximum(np.minimum(baseline, canvas - scale * top), -scale * bottom)
    shifts = zip(np.rint(x).astype(int).tolist(), np.rint(y).astype(int).tolist(), strict=True)
    return np.rint(scale * 65536).astype(int).tolist(), list(shifts)
