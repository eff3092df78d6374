from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from rootspace.data import DataError
from rootspace.data.characters.fonts import FontFace, find_faces
from rootspace.data.characters.typeface import Typeface

SIZE = 32


def draw(face: FontFace, text: str) -> np.ndarray:
    codes = np.array([ord(character) for character in text])
    out = np.zeros((len(text), SIZE, SIZE), dtype=np.uint8)
    with Typeface(face) as typeface:
        typeface.draw(codes, out, lambda _: None)
    return out


def ink_box(picture: np.ndarray) -> tuple[int, int, int, int]:
    """First and last inked row and column."""
    rows, columns = np.flatnonzero(picture.any(axis=1)), np.flatnonzero(picture.any(axis=0))
    return rows[0], rows[-1], columns[0], columns[-1]


def dejavu(name: str = "DejaVuSans") -> FontFace:
    return find_faces([name], "train_fonts")[0]


def test_a_rectangle_covers_the_area_it_should(make_font: Callable[..., Path]) -> None:
    # The box of both glyphs is 1 em high: 30 of 32 pixels.
    font = make_font("Boxes", {"A": (0, -200, 1000, 800), "B": (250, 300, 750, 550)})
    large, small = draw(FontFace(font), "AB").astype(float) / 255
    assert large.sum() == pytest.approx(30 * 30, rel=0.01)
    assert small.sum() == pytest.approx(15 * 7.5, rel=0.01)
    assert ink_box(large) == (1, 30, 1, 30)


def test_one_baseline_and_scale_for_all_characters() -> None:
    comma, dot, o, capital, underscore = draw(dejavu(), ",·oO_")
    assert ink_box(comma)[0] > ink_box(dot)[1]
    assert ink_box(o)[1] == ink_box(capital)[1] < ink_box(underscore)[0]
    assert ink_box(o)[0] > ink_box(capital)[0]


def test_a_face_of_small_characters_is_not_blown_up() -> None:
    (dot,) = draw(dejavu(), ".")
    assert dot.astype(float).sum() / 255 < 0.03 * SIZE**2


def test_nothing_is_cut_off(make_font: Callable[..., Path]) -> None:
    letters = dict.fromkeys((chr(code) for code in range(0x100, 0x180)), (200, 0, 800, 700))
    outliers = {"h": (0, 0, 900, 1500), "d": (0, -900, 900, -100), "w": (0, 0, 5000, 100)}
    font = make_font("Outliers", {**letters, **outliers})
    pictures = draw(FontFace(font), "hdw" + "".join(letters))
    high, deep, wide, letter = pictures[:4].astype(float) / 255
    scale = 30 / 900  # the smallest box is 0.9 em; the outliers are too few to matter
    assert letter.sum() == pytest.approx(600 * 700 * scale**2, rel=0.01)
    assert deep.sum() == pytest.approx(900 * 800 * scale**2, rel=0.01)  # moved, not scaled
    assert ink_box(deep)[1] == SIZE - 1
    assert high.sum() == pytest.approx(900 * 1500 * (SIZE / 1500) ** 2, rel=0.01)  # scaled
    assert ink_box(high)[:2] == (0, SIZE - 1)
    assert wide.sum() == pytest.approx(5000 * 100 * (SIZE / 5000) ** 2, rel=0.01)
    assert ink_box(wide)[2:] == (0, SIZE - 1)


def test_a_glyph_without_outline_stays_blank(make_font: Callable[..., Path]) -> None:
    blank, inked = draw(FontFace(make_font("Blank", {"A": None, "B": (0, 0, 900, 900)})), "AB")
    assert not blank.any() and inked.any()
    (only,) = draw(FontFace(make_font("OnlyBlank", {"A": None})), "A")
    assert not only.any()


def test_slanted_faces_are_slanted() -> None:
    upright, slanted = (draw(dejavu(name), "l")[0] for name in ("DejaVuSans", "DejaVuSans-Oblique"))

    def lean(picture: np.ndarray) -> float:
        rows = [row for row in picture if row.any()]
        return float(np.argmax(rows[2]) - np.argmax(rows[-3]))

    assert lean(upright) == 0
    assert lean(slanted) >= 3


def test_codes_and_covers_agree(make_font: Callable[..., Path]) -> None:
    font = make_font("Few", {"B": (0, 0, 9, 9), "A": (0, 0, 9, 9), "𝔸": (0, 0, 9, 9)})
    with Typeface(FontFace(font)) as typeface:
        assert typeface.codes().tolist() == [ord("A"), ord("B"), ord("𝔸")]
        assert typeface.covers(np.array([64, 65, 66, 67])).tolist() == [False, True, True, False]


def test_progress_adds_up() -> None:
    with Typeface(dejavu()) as typeface:
        codes = typeface.codes()[:1234]
        reports: list[int] = []
        typeface.draw(codes, np.zeros((1234, 8, 8), dtype=np.uint8), reports.append)
    assert sum(reports) == 1234 and len(reports) == 3


def test_a_file_that_is_no_font_is_named(tmp_path: Path) -> None:
    path = tmp_path / "fake.ttf"
    path.write_text("not a font")
    with pytest.raises(DataError, match=r"fake\.ttf' is not a font that FreeType can read"):
        Typeface(FontFace(path))


def test_a_missing_face_is_named() -> None:
    with pytest.raises(DataError, match=r"DejaVuSans\.ttf' has no face 7: leave out '#7'"):
        Typeface(FontFace(dejavu().path, 7))
