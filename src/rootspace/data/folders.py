"""Image files in one folder a class."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

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
class LeftOut:
    """What listings have passed over.

    Attributes:
        suffixes: of files that are no images by their name -> how many there are.
        example: one of them.
        hidden: how many files and folders are hidden.
    """

    suffixes: Counter[str] = field(default_factory=Counter)
    example: str = ""
    hidden: int = 0

    def notes(self) -> tuple[str, ...]:
        """A line that says so; none where nothing was passed over."""
        parts = []
        if count := self.suffixes.total():
            kinds = [f"{kind} {n:,}" for kind, n in self.suffixes.most_common(_SUFFIXES_SHOWN)]
            kinds += ["..."] * (len(self.suffixes) > len(kinds))
            shown = f"{count:,} files that are no images by their name ({', '.join(kinds)})"
            parts.append(f"{shown}, such as {self.example}")
        if self.hidden:
            parts.append(f"{self.hidden:,} hidden files or folders")
        return (f"left out: {'; '.join(parts)}",) if parts else ()


def is_image(name: str) -> bool:
    """Whether a file is taken for an image: by its suffix, and it is not hidden."""
    return name[0] != "." and name.lower().endswith(IMAGE_SUFFIXES)


def image_files(folder: str | Path, left_out: LeftOut | None = None) -> list[str]:
    """Paths of the image files below a folder, those of a folder together, sorted.

    Hidden files and folders, whose names begin with a dot, are left out at any depth: macOS and
    notebooks put their own there. What lies above does not matter. Links are followed.

    Args:
        folder: it.
        left_out: to be told what is passed over.
    """
    found: list[tuple[str, list[str]]] = []
    for place, folders, names in os.walk(folder, followlinks=True):
        images = sorted(name for name in names if is_image(name))
        if left_out is not None:
            left_out.hidden += sum(name[0] == "." for name in (*folders, *names))
            if len(images) < len(names):
                others = sorted(n for n in names if n[0] != "." and not is_image(n))
                left_out.suffixes.update(Path(n).suffix.lower() or "none" for n in others)
                if others and not left_out.example:
                    left_out.example = os.path.join(place, others[0])
        folders[:] = [name for name in folders if name[0] != "."]
        found.append((place, images))
    return [os.path.join(place, name) for place, images in sorted(found) for name in images]


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
    left_out: LeftOut | None = None,
) -> tuple[Strings, Tensor]:
    """The image files below the folders of some classes, class by class and sorted.

    Args:
        folder: which holds the class folders.
        class_names: label -> name.
        wanted: which of the classes to list; None for all.
        keep: which file names to take; None for all.
        left_out: to be told what is passed over.

    Returns:
        N paths relative to `folder`, and their labels, int64 [N].

    Raises:
        DataError: a class has no images.
    """
    counts = np.zeros(len(class_names), dtype=np.int64)

    def listed() -> Iterator[str]:
        for label, name in enumerate(class_names):
            if wanted is None or name in wanted:
                files = _files_of(folder, name, keep, left_out)
                counts[label] = len(files)
                yield from files

    files = Strings.of(listed())
    return files, torch.from_numpy(np.repeat(np.arange(len(counts)), counts))


def _files_of(
    folder: Path, name: str, keep: Callable[[str], bool] | None, left_out: LeftOut | None
) -> list[str]:
    # One class at a time: the list of a million files would be many times as large as their names.
    above = os.path.join(str(folder), "")
    files = [
        path.removeprefix(above)
        for path in image_files(os.path.join(above, name), left_out)
        if keep is None or keep(os.path.basename(path))
    ]
    if not files:
        raise DataError(
            f"Class folder '{folder / name}' holds no images: add some "
            f"({', '.join(IMAGE_SUFFIXES)}) or remove it."
        )
    return files
