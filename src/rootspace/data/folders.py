"""Image files in one folder a class."""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from rootspace._extras import require

from .errors import DataError
from .strings import Strings


def class_folders(folder: Path) -> list[str]:
    """Names of the folders in a folder, sorted; hidden ones are none.

    Raises:
        DataError: there is none.
    """
    names = sorted(
        entry.name for entry in folder.iterdir() if entry.is_dir() and entry.name[0] != "."
    )
    if not names:
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
    module = require("torchvision.datasets.folder", extra="data", purpose="Listing image files")
    # One class at a time: the list of a million files would be many times as large as their names.
    found = module.make_dataset(str(folder), {name: 0}, module.IMG_EXTENSIONS, allow_empty=True)
    above = os.path.join(str(folder), "")
    files = [
        path.removeprefix(above)
        for path, _ in found
        if keep is None or keep(os.path.basename(path))
    ]
    if not files:
        raise DataError(
            f"Class folder '{folder / name}' holds no images: add some "
            f"({', '.join(module.IMG_EXTENSIONS)}) or remove it."
        )
    return files
