"""Images with labels that hand out whole batches at once."""

from __future__ import annotations

import abc
from collections.abc import Callable, Sequence
from typing import TypeAlias

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

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

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        images, labels = self.__getitems__([index])
        return images[0], int(labels[0])

    def __len__(self) -> int:
        return len(self.labels)


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


class FileDataset(LabelledImages):
    """Images in files, decoded when they are asked for.

    Args:
        paths: of the N images.
        labels: int64 [N].
        load: from a path to an image, uint8 [C, H, W]; all of one shape.
    """

    def __init__(self, paths: list[str], labels: Tensor, load: Callable[[str], Tensor]) -> None:
        assert len(paths) == len(labels)
        super().__init__(labels)
        self.paths = paths
        self.load = load

    def __getitems__(self, indices: Sequence[int]) -> Batch:
        images = torch.stack([self.load(self.paths[index]) for index in indices])
        return images, self.labels[torch.as_tensor(indices)]


def as_is(batch: Batch) -> Batch:
    """The `collate_fn` of data sets that already return batches."""
    return batch
