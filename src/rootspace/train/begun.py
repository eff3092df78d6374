"""Which data a part of a run was made of, kept beside it and held against those that come later."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from rootspace._files import read_json, write_json
from rootspace.data import DataModule
from rootspace.data.module import Fingerprint
from rootspace.runs.folder import checked

DATA = "data.json"


def write_data(folder: Path, data: DataModule) -> None:
    """Write which data a folder is made of; its manifest must name the file.

    Args:
        folder: of `start/` or `targets/`.
        data: set up.
    """
    write_json(folder / DATA, asdict(data.fingerprint()))


def check_data(folder: Path, data: DataModule, names: Sequence[str] | None = None) -> None:
    """Raise a ValueError for other data than those that a folder is made of.

    Args:
        folder: with a manifest.
        data: set up.
        names: of the classes of those data, where they are known.
    """
    then = Fingerprint(**read_json(checked(folder / DATA)))
    if then != data.fingerprint():
        raise ValueError(data.difference(then, names))
