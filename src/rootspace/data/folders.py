"""Image files in one folder a class."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NoReturn

import numpy as np
import torch
from torch import Tensor

from .errors import DataError
from .strings import Strings

IMAGE_SUFFIXES = (
    *(".avif", ".bmp", ".gif", ".jfif", ".jp2", ".jpeg", ".jpg", ".pbm", ".pgm", ".png", ".pnm"),
    *(".ppm", ".tif", ".tiff", ".webp"),
)
"""Of the files that are taken for images, whatever the case."""

TEST_FOLDERS = ("val", "valid", "validation", "test")
"""Beside `train`: each is a test set of its name."""

_SUFFIXES_SHOWN = 5


@dataclass
class Listing:
    """What a reader may not expect of the folders that were listed.

    Attributes:
        suffixes: of files that are no images by their name, which are left out -> how many.
        example: one of them.
        hidden: how many files and folders are hidden, and left out.
        inner: how many folders within class folders hold images, which are of that class.
        inner_example: one of them.
    """

    suffixes: Counter[str] = field(default_factory=Counter)
    example: str = ""
    hidden: int = 0
    inner: int = 0
    inner_example: str = ""

    def notes(self) -> tuple[str, ...]:
        """A line on each; none where all is as it seems."""
        parts = []
        if count := self.suffixes.total():
            kinds = [f"{kind} {n:,}" for kind, n in self.suffixes.most_common(_SUFFIXES_SHOWN)]
            kinds += ["..."] * (len(self.suffixes) > len(kinds))
            shown = f"{count:,} files that are no images by their name ({', '.join(kinds)})"
            parts.append(f"{shown}, such as {self.example}")
        if self.hidden:
            parts.append(f"{self.hidden:,} hidden files or folders")
        notes = [f"left out: {'; '.join(parts)}"] if parts else []
        if self.inner:
            shown = f"the images of {self.inner:,} folders within class folders"
            notes.append(f"{shown}, such as {self.inner_example}, are of the class above")
        return tuple(notes)


def is_image(name: str) -> bool:
    """Whether a file is taken for an image: by its suffix, and it is not hidden."""
    return name[0] != "." and name.lower().endswith(IMAGE_SUFFIXES)


def image_files(folder: str | Path, listing: Listing | None = None) -> list[str]:
    """Paths of the image files below a folder, those of a folder together, sorted.

    Hidden files and folders, whose names begin with a dot, are left out at any depth: macOS and
    notebooks put their own there. What lies above does not matter. Links are followed, into each
    folder once.

    Args:
        folder: it.
        listing: to be told what was met.

    Raises:
        DataError: a folder cannot be read.
    """
    found: list[tuple[str, list[str]]] = []
    walked = set[tuple[int, int]]()
    for place, folders, names in os.walk(folder, onerror=_unreadable, followlinks=True):
        status = os.stat(place)
        if (status.st_dev, status.st_ino) in walked:  # by a link, perhaps to a folder above
            folders.clear()
            continue
        walked.add((status.st_dev, status.st_ino))
        images = sorted(name for name in names if is_image(name))
        if listing is not None:
            listing.hidden += sum(name[0] == "." for name in (*folders, *names))
            if len(images) < len(names):
                others = sorted(n for n in names if n[0] != "." and not is_image(n))
                listing.suffixes.update(Path(n).suffix.lower() or "none" for n in others)
                if others and not listing.example:
                    listing.example = os.path.join(place, others[0])
            if images and place != str(folder):
                listing.inner += 1
                listing.inner_example = listing.inner_example or place
        folders[:] = [name for name in folders if name[0] != "."]
        found.append((place, images))
    return [os.path.join(place, name) for place, images in sorted(found) for name in images]


def _unreadable(error: OSError) -> NoReturn:
    raise DataError(f"Folder '{error.filename}' cannot be read: {error.strerror}.") from error


def class_folders(folder: Path, *, needed: bool = True) -> list[str]:
    """Names of the folders in a folder, sorted; hidden ones are none.

    Raises:
        DataError: there is none, and some are needed.
    """
    names = sorted(
        entry.name for entry in folder.iterdir() if entry.is_dir() and entry.name[0] != "."
    )
    if needed and not names:
        raise DataError(
            f"Folder '{folder}' holds no class folders: put each class's images in one."
        )
    return names


def list_images(
    folder: Path,
    class_names: Sequence[str],
    wanted: Collection[str] | None = None,
    keep: Callable[[str], bool] | None = None,
    listing: Listing | None = None,
) -> tuple[Strings, Tensor]:
    """The image files below the folders of some classes, class by class and sorted.

    Args:
        folder: which holds the class folders.
        class_names: label -> name.
        wanted: which of the classes to list; None for all.
        keep: which file names to take; None for all.
        listing: to be told what was met.

    Returns:
        N paths relative to `folder`, and their labels, int64 [N].

    Raises:
        DataError: a class has no images.
    """
    counts = np.zeros(len(class_names), dtype=np.int64)

    def listed() -> Iterator[str]:
        for label, name in enumerate(class_names):
            if wanted is None or name in wanted:
                files = _files_of(folder, name, keep, listing)
                counts[label] = len(files)
                yield from files

    files = Strings.of(listed())
    return files, torch.from_numpy(np.repeat(np.arange(len(counts)), counts))


def _files_of(
    folder: Path, name: str, keep: Callable[[str], bool] | None, listing: Listing | None
) -> list[str]:
    # One class at a time: the list of a million files would be many times as large as their names.
    above = os.path.join(str(folder), "")
    files = [
        path.removeprefix(above)
        for path in image_files(os.path.join(above, name), listing)
        if keep is None or keep(os.path.basename(path))
    ]
    if not files:
        raise DataError(
            f"Class folder '{folder / name}' holds no images: add some "
            f"({', '.join(IMAGE_SUFFIXES)}) or remove it."
        )
    return files
