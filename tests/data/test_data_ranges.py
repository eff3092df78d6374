from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from rootspace.data import DataError
from rootspace.data.characters.ranges import parse_ranges, select_drawn


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("U+4E00-U+9FA5", ((0x4E00, 0x9FA5),)),
        ("U+4e00-9fa5", ((0x4E00, 0x9FA5),)),
        ("u+41", ((0x41, 0x41),)),
        (" U+0041 , U+0061-U+007A ", ((0x41, 0x41), (0x61, 0x7A))),
        (["U+61", "U+41,U+30"], ((0x30, 0x30), (0x41, 0x41), (0x61, 0x61))),
        ("U+50-U+60, U+41-U+55, U+61", ((0x41, 0x61),)),
        ("U+10FFFF", ((0x10FFFF, 0x10FFFF),)),
    ],
)
def test_ranges_are_read_sorted_and_merged(text: str, expected: Any) -> None:
    assert parse_ranges(text) == expected


@pytest.mark.parametrize("text", ["A-Z", "4E00-9FA5", "U+", "U+41-", "U+41--U+42", "U+1234567", ""])
def test_other_texts_are_refused(text: str) -> None:
    with pytest.raises(DataError, match=r"'ranges' must look like 'U\+4E00-U\+9FA5' .*not '"):
        parse_ranges(text)


@pytest.mark.parametrize("text", ["U+5A-U+41", "U+41-U+110000"])
def test_ranges_must_go_up_within_unicode(text: str) -> None:
    with pytest.raises(DataError, match=r"must go up and end at U\+10FFFF"):
        parse_ranges(text)


def test_an_empty_list_is_refused() -> None:
    with pytest.raises(DataError, match="must name at least one range"):
        parse_ranges([])


def test_only_characters_with_a_picture_of_their_own_are_drawn() -> None:
    codes = np.array([0x09, 0x20, 0x41, 0xA0, 0xAD, 0x300, 0x4E00, 0xD800, 0xE000, 0xE0000])
    # Unassigned U+E0000 stays: the fonts decide, not the version of Python.
    assert select_drawn(codes, None).tolist() == [0x41, 0x4E00, 0xE0000]
    assert select_drawn(codes, ((0x20, 0x41),)).tolist() == [0x41]
    assert select_drawn(codes, ((0x42, 0x42),)).tolist() == []
