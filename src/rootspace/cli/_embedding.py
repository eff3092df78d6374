"""Embeddings of many inputs, with a progress bar on the terminal; a bad file costs its own only."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from rootspace._terminal import say, tracked
from rootspace.config import LoaderConfig
from rootspace.data import DataError, FileImages, ImagePreprocessing, LabeledDataset
from rootspace.data.datasets import Batches, as_is
from rootspace.run import Run
from rootspace.sampling import InOrder, ResumableLoader


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


def readable_batches(
    data: LabeledDataset, loader: LoaderConfig, title: str, unread: Unread
) -> Iterator[tuple[Any, Tensor, Tensor]]:
    """Those inputs of a data set that can be read, in batches, with labels and numbers `[B]`.

    Args:
        data: the data set.
        loader: its batch size, and its processes beside this one.
        title: beside the progress bar.
        unread: takes the other inputs.
    """
    sampler = InOrder(len(data), loader.batch_size, sharded=False)
    batches = ResumableLoader(
        Batches(_Readable(data)),
        batch_sampler=sampler,
        num_workers=loader.num_workers,
        collate_fn=as_is,
    )
    for x, labels, rows, errors in tracked(batches, title, len(batches)):
        for error in errors:
            unread.add(error)
        if len(rows):
            yield x, labels, rows


class _Readable(LabeledDataset):
    """Those inputs of another data set that can be read.

    Batches are inputs, labels, numbers of the inputs, and what is wrong with the others.
    """

    def __init__(self, data: LabeledDataset) -> None:
        super().__init__(data.labels)
        self.data = data

    def batch(self, indices: Sequence[int]) -> tuple[Any, Tensor, Tensor, list[str]]:
        try:
            x, labels, *_ = self.data.batch(indices)
            return x, labels, torch.as_tensor(indices), []
        except DataError:
            pass  # one by one, then
        good, errors = [], []
        for index in indices:
            try:
                self.data.batch([index])
                good.append(index)
            except DataError as error:
                errors.append(str(error))
        if not good:
            nothing = torch.empty(0, dtype=torch.int64)
            return None, nothing, nothing, errors
        x, labels, *_ = self.data.batch(good)
        return x, labels, torch.tensor(good), errors

    def original(self, index: int) -> Any:
        return self.data.original(index)


def file_batches(
    trained: Run, files: list[Path], loader: LoaderConfig, title: str, unread: Unread
) -> Iterator[tuple[list[Path], Tensor]]:
    """Those image files that can be read, in batches, and their embeddings `[B, dim]`.

    Args:
        trained: a run on images.
        files: of the images.
        loader: how they are read.
        title: beside the progress bar.
        unread: takes the others.
    """
    none = torch.zeros(len(files), dtype=torch.int64)
    images = FileImages(Path(), [str(file) for file in files], none, image_shape(trained))
    for x, _, rows in readable_batches(images, loader, title, unread):
        yield [files[row] for row in rows.tolist()], trained.embed_batch(x)


def embed_files(
    trained: Run, files: list[Path], loader: LoaderConfig, title: str, unread: Unread
) -> tuple[list[Path], Tensor]:
    """The image files that can be read, and their embeddings `[N, dim]`; as `file_batches`.

    Raises:
        ValueError: there is none.
    """
    read: list[Path] = []
    parts: list[Tensor] = []
    for some, z in file_batches(trained, files, loader, title, unread):
        read += some
        parts.append(z)
    if not read:
        unread.check(len(files))
    return read, torch.cat(parts)
