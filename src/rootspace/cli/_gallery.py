"""Galleries as the commands name them."""

from __future__ import annotations

import argparse
from pathlib import Path

from rootspace.gallery.gallery import NAME
from rootspace.gallery.locations import Location, holds_gallery, run_of
from rootspace.gallery.postgres import is_postgres


def location(text: str) -> Location:
    """A folder, or the address of a table."""
    return text if is_postgres(text) else Path(text).expanduser()


def add_gallery(parser: argparse.ArgumentParser) -> None:
    """The argument of a gallery, or of a run that has one."""
    parser.add_argument(
        "run", type=location, metavar="RUN|GALLERY", help="a run with a gallery, or a gallery"
    )


def places(given: Location, by: Path | None = None) -> tuple[Location, Path]:
    """Where the gallery is that a command names, and the run that embeds its images.

    Args:
        given: the gallery, or a run that has one.
        by: another run to embed by.

    Raises:
        ValueError: there is no gallery.
    """
    if holds_gallery(given):
        return given, run_of(given) if by is None else by
    if not isinstance(given, Path):
        raise ValueError(
            f"{given} holds no gallery: make one with `rootspace index RUN --gallery`."
        )
    folder = given / NAME
    if not holds_gallery(folder):
        raise ValueError(
            f"{given} has no gallery: make one with `rootspace index {given} FOLDER`, or name the "
            "folder of one."
        )
    return folder, given if by is None else by
