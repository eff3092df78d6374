"""Images with labels that hand out whole batches at once."""

from __future__ import annotations

import abc
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from ._decode import crop_to_square, read_image, to_tensor

if TYPE_CHECKING:
    from PIL.Image import Image

Batch: TypeAlias = tuple[Tensor, Tensor]
"""Images, uint8 [B, C, H, W], and their labels, int64 [B]."""


class LabelledImages(Dataset[tuple[Tensor, int]], abc.ABC):
    """Images with labels. `DataLoader` calls `__getitems__`, so pair it with `as_is`.

    Args:
        labels: int64 [N].
    """

    def __init__(self, labels: Tensor) -> None:
        self.labels = labels

    @abc.abstractmethod
    def __getitems__(self, indices: Sequence[int]) -> Batch:
        """The batch of these samples, in this order."""

    @abc.abstractmethod
    def original(self, index: int) -> Tensor:
        """An image before it was cut to a square: uint8 [C, h, w], of any height and width."""

    @abc.abstractmethod
    def name(self, index: int) -> str | None:
        """Where an image comes from; None if nobody has given it a name."""

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        images, labels = self.__getitems__([index])
        return images[0], int(labels[0])

    def __len__(self) -> int:
        return len(self.labels)


class RelabelledImages(LabelledImages):
    """Images of another data set, or some of them, under other labels.

    Args:
        images: the other data set.
        labels: int64 [N], one for each image.
        rows: int64 [N], which of its images; all in their order if None.
    """

    def __init__(self, images: LabelledImages, labels: Tensor, rows: Tensor | None = None) -> None:
        super().__init__(labels)
        self.images = images
        self.rows = rows

    def __getitems__(self, indices: Sequence[int]) -> Batch:
        places = torch.as_tensor(indices)
        rows = indices if self.rows is None else self.rows[places].tolist()
        images, _ = self.images.__getitems__(rows)
        return images, self.labels[places]

    def original(self, index: int) -> Tensor:
        return self.images.original(self._row(index))

    def name(self, index: int) -> str | None:
        return self.images.name(self._row(index))

    def _row(self, index: int) -> int:
        return index if self.rows is None else int(self.rows[index])


class ArrayDataset(LabelledImages):
    """Images in memory: a batch is one indexing of one tensor.

    Args:
        images: uint8 [N, C, H, W].
        labels: int64 [N].
    """

    def __init__(self, images: Tensor, labels: Tensor) -> None:
        assert images.dtype == torch.uint8 and labels.dtype == torch.int64
        assert len(images) == len(labels)
        super().__init__(labels)
        self.images = images

    def __getitems__(self, indices: Sequence[int]) -> Batch:
        # numpy copies the rows in this thread; torch would start threads that take longer to meet
        # than a batch takes to copy, above all where other work keeps the cores busy.
        chosen = np.asarray(indices)
        images, labels = self.images.numpy()[chosen], self.labels.numpy()[chosen]
        return torch.from_numpy(images), torch.from_numpy(labels)

    def original(self, index: int) -> Tensor:
        return self.images[index]

    def name(self, index: int) -> None:
        return None


class EncodedDataset(LabelledImages):
    """Images in files of some kind, decoded when they are asked for: one subclass a kind.

    The shorter side is scaled to `size`, then the centre is cut out.

    Args:
        labels: int64 [N].
        channels: 1 (grey) or 3 (RGB).
        size: height and width in pixels.
    """

    def __init__(self, labels: Tensor, channels: int, size: int) -> None:
        super().__init__(labels)
        self.channels = channels
        self.size = size

    @abc.abstractmethod
    def decode(self, index: int) -> Image:
        """An image in its own size, of `channels` channels.

        Raises:
            DataError: it is missing or cannot be decoded.
        """

    def __getitems__(self, indices: Sequence[int]) -> Batch:
        images = torch.stack([crop_to_square(self.decode(index), self.size) for index in indices])
        return images, self.labels[torch.as_tensor(indices)]

    def original(self, index: int) -> Tensor:
        return to_tensor(self.decode(index))


class FileDataset(EncodedDataset):
    """One file an image.

    Args:
        root: a folder.
        files: of the N images, relative to it; `Strings` where they are many.
        labels: int64 [N].
        channels: 1 (grey) or 3 (RGB).
        size: height and width in pixels.
    """

    def __init__(
        self, root: Path, files: Sequence[str], labels: Tensor, channels: int, size: int
    ) -> None:
        assert len(files) == len(labels)
        super().__init__(labels, channels, size)
        self.root = root
        self.files = files

    def decode(self, index: int) -> Image:
        return read_image(self.root / self.files[index], self.channels)

    def name(self, index: int) -> str:
        return self.files[index]


def as_is(batch: Batch) -> Batch:
    """The `collate_fn` of data sets that already return batches."""
    return batch
