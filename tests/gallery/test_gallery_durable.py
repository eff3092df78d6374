"""What a change has written is on the disk when it returns: a power cut loses none of it."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

from rootspace.gallery.items import Rows
from rootspace.gallery.lance import TABLE, LanceStore
from rootspace.gallery.pin import Pin

HINT = "latest_version_hint.json"
"""The one file that Lance changes, and does not need."""


@pytest.fixture
def synced(monkeypatch: pytest.MonkeyPatch) -> set[Path]:
    """Files that the disk was asked to hold, and folders whose names it was."""
    found = set()
    plain = os.fsync

    def fsync(opened: int) -> None:
        found.add(Path(os.readlink(f"/proc/self/fd/{opened}")))
        plain(opened)

    monkeypatch.setattr(os, "fsync", fsync)
    return found


def rows(*digests: str) -> Rows:
    count = len(digests)
    unit = np.eye(count, 8, dtype=np.float32)
    nothing = [None] * count
    return Rows(unit, digests, nothing, nothing, ["a"] * count, [{}] * count, nothing)


def files(folder: Path) -> set[Path]:
    """Of the table."""
    found = (folder / f"{TABLE}.lance").rglob("*")
    return {path for path in found if path.is_file() and path.name != HINT}


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="needs names of open files")
def test_every_file_and_its_name(tmp_path: Path, synced: set[Path]) -> None:
    folder = tmp_path / "gallery"
    LanceStore.create(folder, Pin("model", 8, "system", 3, "prototypes"), tmp_path)
    store, before = LanceStore(folder), files(folder)
    changes = {
        "insert": lambda: store.insert(rows("a", "b", "c")),
        "update some": lambda: store.update([0, 1], labels=["x", "y"]),
        "update alike": lambda: store.update([2], labels=["x"]),
        "delete": lambda: store.delete([1]),
        "compact": store.compact,
    }
    for name, change in changes.items():
        synced.clear()
        change()
        new = files(folder) - before
        assert new and new <= synced, name
        assert {path.parent for path in new} <= synced, name
        if name != "compact":  # numbers are counted first, in a file that takes this name
            assert {folder / "counters.json.tmp", folder} <= synced, name
        before = files(folder)
