"""Sets of Unicode code points: `U+4E00-U+9FA5`."""

from __future__ import annotations

import re
import unicodedata

import numpy as np

from ..errors import DataError

Ranges = tuple[tuple[int, int], ...]
"""First and last code point of each range: sorted, disjoint, none next to another."""

_RANGE = re.compile(r"U\+([0-9A-F]{1,6})(?:-(?:U\+)?([0-9A-F]{1,6}))?", re.IGNORECASE)
_LAST_CODE_POINT = 0x10FFFF

# General categories without a picture of their own: separators (Z*), controls and formats (Cc, Cf),
# surrogates (Cs), private use (Co: every font shows something else) and combining marks (M*).
# Unassigned code points stay: which ones those are depends on the version of Python.
_UNDRAWN = ("Z", "Cc", "Cf", "Cs", "Co", "M")


def parse_ranges(ranges: str | list[str]) -> Ranges:
    """Read `"U+4E00-U+9FA5"`, `"U+0041"`, a list of such, or several separated by commas.

    Raises:
        DataError: something else, a range that ends before it starts, or none at all.

    Example:
        >>> parse_ranges("U+0041-U+005A, U+005B, U+0030")
        ((48, 48), (65, 91))
    """
    texts = [ranges] if isinstance(ranges, str) else ranges
    merged: list[tuple[int, int]] = []
    for first, last in sorted(_parse_one(part) for text in texts for part in text.split(",")):
        if merged and first <= merged[-1][1] + 1:
            merged[-1] = (merged[-1][0], max(merged[-1][1], last))
        else:
            merged.append((first, last))
    if not merged:
        raise DataError("Argument 'ranges' must name at least one range, such as 'U+4E00-U+9FA5'.")
    return tuple(merged)


def _parse_one(text: str) -> tuple[int, int]:
    match = _RANGE.fullmatch(text.strip())
    if match is None:
        raise DataError(
            f"Argument 'ranges' must look like 'U+4E00-U+9FA5' or 'U+0041', not '{text.strip()}'."
        )
    first = int(match[1], 16)
    last = int(match[2], 16) if match[2] else first
    if not first <= last <= _LAST_CODE_POINT:
        raise DataError(
            f"Argument 'ranges' must go up and end at U+10FFFF or before, unlike '{text.strip()}'."
        )
    return first, last


def select_drawn(codes: np.ndarray, ranges: Ranges | None) -> np.ndarray:
    """Those code points that lie in `ranges` (None: anywhere) and have a picture of their own."""
    if ranges is not None:
        inside = np.zeros(len(codes), dtype=bool)
        for first, last in ranges:
            inside |= (codes >= first) & (codes <= last)
        codes = codes[inside]
    drawn = [not unicodedata.category(chr(code)).startswith(_UNDRAWN) for code in codes]
    return codes[np.array(drawn, dtype=bool)]
