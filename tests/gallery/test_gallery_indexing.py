"""Image files that are renamed and change places keep their items."""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from functools import reduce
from operator import add
from pathlib import Path

import pytest

from image_folders import write_images
from rootspace.gallery import (
    Gallery,
    ImageFile,
    Indexed,
    Payload,
    index_files,
    indexing,
    missing_files,
)


def index(gallery: Gallery, files: Sequence[Path]) -> Indexed:
    found = Indexed()
    for part in index_files(gallery, [ImageFile(file) for file in files]):
        found += part
    return found


def contents(gallery: Gallery) -> dict[str, int]:
    """Path -> id of all items."""
    ids = gallery.ids().tolist()
    return {Path(item.path or "").name: item.id for item in gallery.get(ids)}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Files `0.png` to `5.png`."""
    return write_images(tmp_path, ["c"], 6, 0) / "c"


@pytest.fixture(params=(2, 1024))
def part(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(indexing, "PART", request.param)


@pytest.mark.usefixtures("part")
def test_files_that_change_places(gallery: Gallery, folder: Path):
    files = [folder / f"{i}.png" for i in range(4)]
    index(gallery, files)
    gallery.update([0], label="mine")
    os.rename(files[0], folder / "x")
    os.rename(files[3], files[0])
    os.rename(folder / "x", files[3])
    index(gallery, files)
    assert contents(gallery) == {"0.png": 3, "1.png": 1, "2.png": 2, "3.png": 0}
    assert gallery.get([0])[0].label == "mine"
    assert gallery.ids(f"path = '{files[3]}'").tolist() == [0]
    assert index(gallery, files) == Indexed(seen=4, known=4)


@pytest.mark.usefixtures("part")
def test_files_that_are_renumbered(gallery: Gallery, folder: Path, tmp_path: Path):
    files = [folder / f"{i}.png" for i in range(5)]
    index(gallery, files)
    for i in reversed(range(5)):
        os.rename(folder / f"{i}.png", folder / f"{i + 1}.png")
    os.rename(write_images(tmp_path, ["d"], 1, 7) / "d/0.png", folder / "0.png")
    files.append(folder / "5.png")
    index(gallery, files)
    assert contents(gallery) == {f"{i}.png": i - 1 if i else 5 for i in range(6)}
    assert index(gallery, files) == Indexed(seen=6, known=6)


def test_a_call_that_was_stopped_goes_on(
    gallery: Gallery, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """The items of files that had changed in the first part are deleted by the second call."""
    monkeypatch.setattr(indexing, "PART", 2)
    files = [folder / f"{i}.png" for i in range(4)]
    index(gallery, files)
    for i, file in enumerate(sorted(write_images(tmp_path, ["d"], 2, 7).glob("d/*"))):
        os.replace(file, files[i])
    next(index_files(gallery, [ImageFile(file) for file in files]))
    assert len(gallery) == 6
    index(gallery, files)
    assert contents(gallery) == {"0.png": 4, "1.png": 5, "2.png": 2, "3.png": 3}


def test_names_that_are_not_utf8(gallery: Gallery, folder: Path):
    """Such a file, and one whose name reads as its escape, are two, and both are there."""
    names = (os.fsdecode(b"caf\xe9.png"), "caf\\xe9.png", "a\\b.png")
    files = [folder / name for name in names]
    try:
        for i, file in enumerate(files):
            os.rename(folder / f"{i}.png", file)
    except OSError:
        pytest.skip("the file system takes no such names")
    assert index(gallery, files) == Indexed(seen=3, added=3)
    assert contents(gallery) == {"caf\\xe9.png": 0, "caf\\x5cxe9.png": 1, "a\\b.png": 2}
    assert index(gallery, files) == Indexed(seen=3, known=3)
    assert missing_files(gallery) == []
    files[0].unlink()
    assert missing_files(gallery) == [0]


def labeled(gallery: Gallery, root: Path, payload: Payload | None = None) -> Indexed:
    files = sorted(root.rglob("*.png"))
    given = [ImageFile(file, file.parent.name, payload or {}) for file in files]
    return reduce(add, index_files(gallery, given), Indexed())


@pytest.mark.usefixtures("part")
def test_a_file_that_was_moved_keeps_its_item(gallery: Gallery, tmp_path: Path):
    """It gets the label of its new folder; one that a user gave stays within a folder."""
    root = write_images(tmp_path / "root", ["A", "B"], 3, 0)
    labeled(gallery, root, {"n": 1})
    gallery.update([1, 2], label="mine")
    for old, new in (("A/0", "B/moved"), ("A/1", "B/again"), ("A/2", "A/renamed")):
        os.rename(root / f"{old}.png", root / f"{new}.png")
    shutil.copy(root / "B/moved.png", root / "B/zz.png")
    found = labeled(gallery, root, {"n": 2})
    assert (found.added, found.known, found.changed) == (0, 6, 0)
    assert [(one.reason, one.id) for one in found.rejected] == [("duplicate", 0)]  # the copy
    items = gallery.get([0, 1, 2])
    assert [item.label for item in items] == ["B", "B", "mine"]
    names = ("B/moved.png", "B/again.png", "A/renamed.png")
    assert [item.path for item in items] == [str(root / name) for name in names]
    assert all(dict(item.payload) == {"n": 2} for item in items)
    assert missing_files(gallery) == []
    (root / "B/zz.png").unlink()
    assert labeled(gallery, root) == Indexed(seen=6, known=6)


def test_files_that_change_places_change_their_labels(gallery: Gallery, tmp_path: Path):
    root = write_images(tmp_path / "root", ["A", "B"], 1, 0)
    labeled(gallery, root)
    os.rename(root / "A/0.png", root / "x")
    os.rename(root / "B/0.png", root / "A/0.png")
    os.rename(root / "x", root / "B/0.png")
    labeled(gallery, root)
    assert [item.label for item in gallery.get([0, 1])] == ["B", "A"]
