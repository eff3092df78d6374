"""Image files that are renamed and change places keep their items."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import pytest

from image_folders import write_images
from rootspace.gallery import Gallery, ImageFile, Indexed, index_files, indexing, missing_files


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
