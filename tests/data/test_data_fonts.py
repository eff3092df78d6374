from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from rootspace.data import Characters, DataError
from rootspace.data.characters import fonts
from rootspace.data.characters.fonts import DEFAULT_TEST_FACES, choose_faces, find_faces


def names(faces: list[fonts.FontFace]) -> list[str]:
    return [face.name for face in faces]


def test_defaults_are_ten_to_train_on_and_two_to_test() -> None:
    train, test = choose_faces(None, None)
    assert len(train) == 10 and names(test) == list(DEFAULT_TEST_FACES)
    assert not set(names(train)) & set(names(test))
    assert {face.path.parent.parts[-3:] for face in train} == {("mpl-data", "fonts", "ttf")}


def test_the_other_side_defaults_to_what_is_left() -> None:
    train, test = choose_faces(None, ["DejaVuSans"])
    assert len(train) == 11 and "DejaVuSans" not in names(train) and names(test) == ["DejaVuSans"]
    train, test = choose_faces([DEFAULT_TEST_FACES[0], "DejaVuSans"], None)
    assert names(test) == [DEFAULT_TEST_FACES[1]]
    train, test = choose_faces(["DejaVuSans"], [])
    assert names(train) == ["DejaVuSans"] and test == []


def test_fonts_are_found_by_name_path_and_glob(make_font: Callable[..., Path]) -> None:
    path = make_font("Boxes", {"A": (0, 0, 9, 9)})
    (by_name,) = find_faces(["DejaVuSans"], "train_fonts")
    assert find_faces(["DejaVuSans.ttf"], "train_fonts") == [by_name]
    assert find_faces(["DejaVuSans#0", str(by_name.path)], "train_fonts") == [by_name]
    assert names(find_faces([str(path)], "train_fonts")) == ["Boxes"]
    assert names(find_faces([str(path.parent / "B*.ttf")], "train_fonts")) == ["Boxes"]
    assert names(find_faces(["DejaVuSerif-*Italic"], "train_fonts")) == [
        "DejaVuSerif-BoldItalic",
        "DejaVuSerif-Italic",
    ]


def test_a_path_may_be_relative_and_start_at_home(
    make_font: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    path = make_font("Boxes", {"A": (0, 0, 9, 9)})
    monkeypatch.chdir(path.parent)
    monkeypatch.setenv("HOME", str(path.parent))
    assert names(find_faces(["Boxes.ttf", "./Boxes.ttf", "~/Boxes.ttf"], "train_fonts")) == [
        "Boxes"
    ]


def test_installed_fonts_are_searched_in_order(
    make_font: Callable[..., Path], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    path = make_font("Boxes", {"A": (0, 0, 9, 9)})
    first, second = tmp_path / "first", tmp_path / "second" / "deep"
    for folder in (first, second):
        folder.mkdir(parents=True)
        shutil.copy(path, folder)
    monkeypatch.setattr(fonts, "font_directories", lambda: [first, second.parent])
    assert find_faces(["Boxes"], "train_fonts")[0].path == first / "Boxes.ttf"
    (first / "Boxes.ttf").unlink()
    assert find_faces(["Boxes"], "train_fonts")[0].path == second / "Boxes.ttf"


def test_a_face_of_a_collection_has_its_own_name(make_font: Callable[..., Path]) -> None:
    path = make_font("Boxes", {"A": (0, 0, 9, 9)})
    faces = find_faces([f"{path}#2", f"{path}"], "train_fonts")
    assert [(face.name, face.index) for face in faces] == [("Boxes#2", 2), ("Boxes", 0)]


def test_each_platform_has_font_directories(monkeypatch: pytest.MonkeyPatch) -> None:
    for platform, expected in (
        ("linux", "/usr/share/fonts"),
        ("darwin", "/Library/Fonts"),
        ("win32", "Fonts"),
    ):
        monkeypatch.setattr(fonts.sys, "platform", platform)
        assert any(path.as_posix().endswith(expected) for path in fonts.font_directories())


@pytest.mark.parametrize(
    ("font", "message"),
    [
        ("DejaVuSanz", r"'train_fonts': no font 'DejaVuSanz' is installed .*Similar.*DejaVuSans"),
        ("NoSuchFont-*", r"'train_fonts': no font file matches 'NoSuchFont-\*' in .*ttf"),
        ("/nowhere/*.ttf", r"'train_fonts': no font file matches '/nowhere/\*\.ttf'\."),
        ("/nowhere/a.ttf", r"'train_fonts': the font file '/nowhere/a\.ttf' does not exist"),
        ("", r"'train_fonts' must name fonts, not ''"),
    ],
)
def test_unknown_fonts_are_named(font: str, message: str) -> None:
    with pytest.raises(DataError, match=message):
        find_faces([font], "train_fonts")


def test_a_text_is_no_list_of_fonts() -> None:
    with pytest.raises(
        DataError, match="'train_fonts' must be a list of fonts, not the text 'Deja"
    ):
        Characters(train_fonts="DejaVuSans").read()  # pyright: ignore[reportArgumentType]


def test_a_font_cannot_be_on_both_sides(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="'test_fonts' must not name 'DejaVuSans': it is the train"):
        choose_faces(["DejaVuSans*"], ["DejaVuSans"])
    source = find_faces(["DejaVuSans"], "train_fonts")[0].path
    copy = Path(shutil.copy(source, tmp_path / "Renamed.ttf"))
    with pytest.raises(DataError, match="must not name 'Renamed': it is the training font"):
        choose_faces(["DejaVuSans"], [str(copy)])


def test_test_fonts_need_names_of_their_own(make_font: Callable[..., Path], tmp_path: Path) -> None:
    first = make_font("Boxes", {"A": (0, 0, 9, 9)}).rename(tmp_path / "Boxes.ttf")
    second = make_font("Boxes", {"A": (0, 0, 8, 8)})
    with pytest.raises(DataError, match="two fonts called 'Boxes'"):
        choose_faces(None, [str(first), str(second)])


def test_something_must_be_left_to_train_on() -> None:
    with pytest.raises(DataError, match="'train_fonts' must leave at least one font"):
        choose_faces(None, ["DejaVuSans*", "DejaVuSerif*"])
    with pytest.raises(DataError, match="'train_fonts' must leave at least one font"):
        choose_faces([], None)


def test_an_unreadable_font_is_named(make_font: Callable[..., Path]) -> None:
    path = make_font("Boxes", {"A": (0, 0, 9, 9)})
    face = find_faces([str(path)], "train_fonts")[0]
    path.unlink()
    with pytest.raises(DataError, match=r"Boxes\.ttf' cannot be read: No such file"):
        _ = fonts.FontFace(face.path).digest
