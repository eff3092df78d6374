"""Image files in one folder a class."""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from .errors import DataError
from .strings import Strings

IMAGE_SUFFIXES = (".bmp", ".gif", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp")
"""Of the files that are taken for images, whatever the case."""


def image_files(folder: str | Path) -> list[str]:
    """Paths of the image files below a folder, those of a folder together, sorted.

    Hidden files and folders, whose names begin with a dot, are left out at any depth: macOS and
    notebooks put their own there. What lies above does not matter. Links are followed.
    """
    found: list[tuple[str, list[str]]] = []
    for place, folders, names in os.walk(folder, followlinks=True):
        folders[:] = [name for name in folders if name[0] != "."]
        images = [n for n in names if n[0] != "." and n.lower().endswith(IMAGE_SUFFIXES)]
        found.append((place, sorted(images)))
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
) -> tuple[Strings, Tensor]:
    """The image files below the folders of some classes, class by class and sorted.

    Args:
        folder: which holds the class folders.
        class_names: label -> name.
        wanted: which of the classes to list; None for all.
        keep: which file names to take; None for all.

    Returns:
        N paths relative to `folder`, and their labels, int64 [N].

    Raises:
        DataError: a class has no images.
    """
    counts = np.zeros(len(class_names), dtype=np.int64)

    def listed() -> Iterator[str]:
        for label, name in enumerate(class_names):
            if wanted is None or name in wanted:
                files = _files_of(folder, name, keep)
                counts[label] = len(files)
                yield from files

    files = Strings.of(listed())
    return files, torch.from_numpy(np.repeat(np.arange(len(counts)), counts))


def _files_of(folder: Path, name: str, keep: Callable[[str], bool] | None) -> list[str]:
    # One class at a time: the list of a million files would be many times as large as their names.
    above = os.path.join(str(folder), "")
    files = [
        path.removeprefix(above)
        for path in image_files(os.path.join(above, name))
        if keep is None or keep(os.path.basename(path))
    ]
    if not files:
        raise DataError(
            f"Class folder '{folder / name}' holds no images: add some "
            f"({', '.join(IMAGE_SUFFIXES)}) or remove it."
        )
    return files
