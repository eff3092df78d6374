"""Finding font files by name, glob or path."""

from __future__ import annotations

import difflib
import fnmatch
import glob
import hashlib
import os
import re
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from rootspace._extras import require

from ..errors import DataError

FONT_EXTENSIONS = (".ttf", ".otf", ".ttc", ".otc", ".pfb")

# matplotlib's own faces, so that the default data set is the same everywhere. The Display faces are
# left out: they hold a handful of characters.
DEFAULT_FACES = tuple(
    f"DejaVu{family}{style}"
    for family, slant in (("Sans", "Oblique"), ("SansMono", "Oblique"), ("Serif", "Italic"))
    for style in ("", "-Bold", f"-{slant}", f"-Bold{slant}")
)
# The nearest training picture, pixel by pixel, has the right class for 88 % and 76 % of them: one
# easy and one harder face, both of families and slants that the other ten show.
DEFAULT_TEST_FACES = ("DejaVuSansMono-BoldOblique", "DejaVuSerif-Italic")


@dataclass(frozen=True)
class FontFace:
    """One face of a font file.

    Args:
        path: of the file.
        index: which face of a collection.
    """

    path: Path
    index: int = 0

    @property
    def name(self) -> str:
        """`"NotoSansCJK-Regular"`, or `"NotoSansCJK-Regular#2"` for the third of a collection."""
        return f"{self.path.stem}#{self.index}" if self.index else self.path.stem

    @cached_property
    def digest(self) -> str:
        """Of what the face is, wherever the file lies."""
        try:
            with self.path.open("rb") as file:
                return f"{hashlib.file_digest(file, 'sha256').hexdigest()}#{self.index}"
        except OSError as error:
            raise DataError(f"Font file '{self.path}' cannot be read: {error.strerror}.") from error


def choose_faces(
    train_fonts: Sequence[str] | None, test_fonts: Sequence[str] | None
) -> tuple[list[FontFace], list[FontFace]]:
    """Training and test faces; None stands for the default ones minus the others.

    Raises:
        DataError: a font is not found, listed on both sides, or no training font is left.
    """
    train = find_faces(DEFAULT_FACES if train_fonts is None else train_fonts, "train_fonts")
    test = find_faces(DEFAULT_TEST_FACES if test_fonts is None else test_fonts, "test_fonts")
    if train_fonts is None:
        taken = {face.digest for face in test}
        train = [face for face in train if face.digest not in taken]
    elif test_fonts is None:
        taken = {face.digest for face in train}
        test = [face for face in test if face.digest not in taken]
    if not train:
        raise DataError("Argument 'train_fonts' must leave at least one font to train on.")
    by_digest = {face.digest: face for face in train}
    names: set[str] = set()
    for face in test:
        if face.digest in by_digest:
            raise DataError(
                f"Argument 'test_fonts' must not name '{face.name}': it is the training font "
                f"'{by_digest[face.digest].path}'."
            )
        if face.name in names:
            raise DataError(
                f"Argument 'test_fonts' must not name two fonts called '{face.name}': test sets go "
                "by these names."
            )
        names.add(face.name)
    return train, test


def find_faces(fonts: Sequence[str], argument: str) -> list[FontFace]:
    """The faces these names, globs and paths stand for, each once.

    Args:
        fonts: see `Characters`.
        argument: where they come from, for messages.

    Raises:
        DataError: one of them fits no font, or a single text, whose letters would be fonts.
    """
    if isinstance(fonts, str):
        raise DataError(f"Argument '{argument}' must be a list of fonts, not the text {fonts!r}.")
    installed = {path.name: path for path in reversed(list(_installed_fonts()))}
    faces: dict[str, FontFace] = {}
    for font in fonts:
        match = re.fullmatch(r"(.+?)(?:#(\d+))?", font.strip())
        if match is None:
            raise DataError(f"Argument '{argument}' must name fonts, not '{font}'.")
        for path in _find_paths(match[1], installed, argument):
            face = FontFace(path, int(match[2] or 0))
            faces.setdefault(face.digest, face)
    return list(faces.values())


def _find_paths(font: str, installed: dict[str, Path], argument: str) -> list[Path]:
    is_path = any(separator in font for separator in ("/", os.sep, "~"))
    if any(sign in font for sign in "*?["):
        pattern = os.path.expanduser(font)
        found = (
            [Path(name) for name in glob.glob(pattern, recursive=True)]
            if is_path
            else [
                path
                for path in installed.values()
                if fnmatch.fnmatch(path.name, font) or fnmatch.fnmatch(path.stem, font)
            ]
        )
        found = sorted(path for path in found if path.suffix.lower() in FONT_EXTENSIONS)
        if not found:
            where = "" if is_path else f" in {_searched()}"
            raise DataError(f"Argument '{argument}': no font file matches '{font}'{where}.")
        return found
    if not is_path:
        for name in (font, *(font + extension for extension in FONT_EXTENSIONS)):
            if name in installed:
                return [installed[name]]
    path = Path(font).expanduser()
    if path.is_file():
        return [path]
    if is_path:
        raise DataError(f"Argument '{argument}': the font file '{font}' does not exist.")
    similar = difflib.get_close_matches(font, [path.stem for path in installed.values()])
    hint = f" Similar names: {', '.join(sorted(set(similar)))}." if similar else ""
    raise DataError(
        f"Argument '{argument}': no font '{font}' is installed in {_searched()}; install it or "
        f"give its path.{hint}"
    )


def font_directories() -> list[Path]:
    """Where fonts are looked for, in this order: matplotlib's own, then the system's."""
    matplotlib = require("matplotlib", extra="data", purpose="Finding fonts")
    home = Path.home()
    match sys.platform:
        case "darwin":
            system = [Path("/System/Library/Fonts"), Path("/Library/Fonts"), home / "Library/Fonts"]
        case "win32":
            system = [
                Path(os.environ.get("WINDIR", "C:/Windows")) / "Fonts",
                home / "AppData/Local/Microsoft/Windows/Fonts",
            ]
        case _:
            system = [
                Path("/usr/share/fonts"),
                Path("/usr/local/share/fonts"),
                home / ".fonts",
                home / ".local/share/fonts",
            ]
    return [Path(matplotlib.get_data_path()) / "fonts/ttf", *system]


def _installed_fonts() -> Iterator[Path]:
    """Every font file in the font directories, in a fixed order."""
    for directory in font_directories():
        for folder, subfolders, names in os.walk(directory, followlinks=True):
            subfolders[:] = sorted(name for name in subfolders if name[0] != ".")
            for name in sorted(names):
                if name[0] != "." and name.lower().endswith(FONT_EXTENSIONS):
                    yield Path(folder, name)


def _searched() -> str:
    return ", ".join(str(directory) for directory in font_directories())
