"""Embeddings of many inputs, with a progress bar on the terminal; a bad file costs its own only."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import torch
from torch import Tensor

from rootspace._terminal import say, tracked
from rootspace.data import DataError, ImagePreprocessing
from rootspace.run import BATCH, Run


class Unread:
    """Inputs that cannot be read: named one by one as they come, counted in the end."""

    def __init__(self) -> None:
        self.number = 0

    def add(self, error: str) -> None:
        """Name one on stderr."""
        self.number += 1
        say(error)

    def check(self, total: int) -> None:
        """Raise a ValueError, which ends a command with exit code 2, where there was one."""
        if self.number:
            raise ValueError(
                f"{self.number:,} of {total:,} inputs cannot be read, see above; the other "
                f"{total - self.number:,} are done."
            )


def image_shape(trained: Run) -> ImagePreprocessing:
    """How a run takes images.

    Raises:
        ValueError: it takes none.
    """
    shape = trained.model.preprocessing
    if shape is None:
        raise ValueError(
            f"{trained.folder} is no run on images, and this command takes image files. In Python, "
            "`rootspace.load(RUN).predict(batch)` takes what its network takes."
        )
    return shape


def file_batches(
    trained: Run, files: list[Path], title: str, unread: Unread
) -> Iterator[tuple[list[Path], Tensor]]:
    """Those image files that can be read, in batches, and their embeddings `[B, dim]`.

    Args:
        trained: a run on images.
        files: of the images.
        title: beside the progress bar.
        unread: takes the others.
    """
    shape = image_shape(trained)
    parts = [files[start : start + BATCH] for start in range(0, len(files), BATCH)]
    for some in tracked(parts, title, len(parts)):
        read, images = [], []
        for path in some:
            try:
                images.append(shape(path))
            except DataError as error:
                unread.add(str(error))
            else:
                read.append(path)
        if read:
            yield read, trained.embed_batch(torch.stack(images))


def embed_files(
    trained: Run, files: list[Path], title: str, unread: Unread
) -> tuple[list[Path], Tensor]:
    """The image files that can be read, and their embeddings `[N, dim]`.

    Raises:
        ValueError: there is none.
    """
    read: list[Path] = []
    parts: list[Tensor] = []
    for some, z in file_batches(trained, files, title, unread):
        read += some
        parts.append(z)
    if not read:
        unread.check(len(files))
    return read, torch.cat(parts)
