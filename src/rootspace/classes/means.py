"""Mean embedding of each class, in bounded memory at any number of classes."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
import torch.distributed
from torch import Tensor
from torch.nn.functional import normalize

from rootspace._distributed import is_distributed
from rootspace._precision import full_precision
from rootspace.systems import check_range

IN_MEMORY = 2**28
"""Bytes of a table of class means that is kept in memory; larger ones are mapped from a file."""

BLOCK = 2**22
"""Numbers of a table that are worked on together."""


class ClassMeans:
    """Mean embedding of each class, summed up batch by batch.

    O(num_classes * dim) on the CPU, in memory up to `IN_MEMORY` bytes and in a temporary file
    beyond that; nothing on the device.

    Args:
        num_classes: number of classes.
        dim: of the embeddings.
        directory: for the temporary file, the system's own by default. The file has no name: its
            space is free again when the tensors that it holds are gone, also after a crash.
    """

    def __init__(
        self, num_classes: int, dim: int, directory: str | os.PathLike[str] | None = None
    ) -> None:
        self._directory = directory
        self._sums = zeros(num_classes, dim, directory)
        self._counts = torch.zeros(num_classes, dtype=torch.int64)

    def add(self, embeddings: Tensor, labels: Tensor) -> None:
        """Take embeddings into the means.

        Args:
            embeddings: `[B, dim]` of any length.
            labels: `[B]` integers in [0, num_classes).

        Raises:
            ValueError: another shape, or embeddings that are not finite.
            IndexError: a label out of range.
        """
        z, labels = self._checked(embeddings, labels)
        self._sums.index_add_(0, labels, z)
        self._counts.index_add_(0, labels, torch.ones_like(labels))

    def _checked(self, embeddings: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """In float32 and int64 on the CPU."""
        num_classes, dim = self._sums.shape
        if embeddings.ndim != 2 or embeddings.shape[1] != dim:
            raise ValueError(
                f"Argument 'embeddings' must be of shape [B, {dim}], not {tuple(embeddings.shape)}."
            )
        if labels.shape != embeddings.shape[:1]:
            raise ValueError(
                f"Argument 'labels' must be of shape [{len(embeddings)}], one for each embedding, "
                f"not {tuple(labels.shape)}."
            )
        labels = labels.cpu().long()
        check_range(labels, num_classes, "'labels' must lie in")
        z = embeddings.detach().float().cpu()
        finite = torch.isfinite(z).all(dim=1)
        if not bool(finite.all()):
            row = int((~finite).nonzero()[0, 0])
            raise ValueError(
                f"Argument 'embeddings' must be finite; row {row}, of class {int(labels[row])}, "
                "holds NaN or infinity."
            )
        return z, labels

    @property
    def missing(self) -> Tensor:
        """int64 labels of the classes that have had no embedding."""
        return (self._counts == 0).nonzero()[:, 0]

    def reduce(self, device: torch.device) -> None:
        """Add up the sums of all processes of a distributed run, over `device` in blocks."""
        add_up(blocks(self._sums), device)
        add_up(self._counts.split(BLOCK), device)

    def center(self) -> Tensor:
        """`[dim]` mean of all embeddings, summed in float64."""
        total = torch.stack([part.sum(0, dtype=torch.float64) for part in blocks(self._sums)]).sum(
            0
        )
        return (total / self._counts.sum().clamp_min(1)).float()

    def means(self, center: Tensor | None = None, rotation: Tensor | None = None) -> Tensor:
        """The mean of each class, in memory or in a file as the sums are.

        Args:
            center: `[dim]` to subtract from each, or None.
            rotation: `[new_dim, dim]` to multiply each with after that, or None.

        Returns:
            `[num_classes, dim]`, or `[num_classes, new_dim]`, float32.

        Raises:
            ValueError: a class has had no embedding.
        """
        if len(self.missing):
            raise ValueError(f"Class {int(self.missing[0])} has no embedding to take the mean of.")
        num_classes, dim = self._sums.shape
        means = zeros(num_classes, dim if rotation is None else len(rotation), self._directory)
        start = 0
        for sums in blocks(self._sums):
            rows = slice(start, start + len(sums))
            part = sums / self._counts[rows, None]
            part = part if center is None else part - center
            # As exact where a Trainer of half precision asks.
            with full_precision(torch.device("cpu")):
                means[rows] = part if rotation is None else part @ rotation.T
            start = rows.stop
        return means

    def directions(self) -> Tensor:
        """The mean of each class at unit length, in memory or in a file as the sums are.

        Returns:
            `[num_classes, dim]`, float32.

        Raises:
            ValueError: a class has had no embedding.
        """
        directions = self.means()
        for part in blocks(directions):
            part.copy_(normalize(part, dim=-1))
        return directions


def zeros(
    num_rows: int,
    dim: int,
    directory: str | os.PathLike[str] | None = None,
    dtype: type[np.floating[Any]] = np.float32,
) -> Tensor:
    """`[num_rows, dim]` zeros, in a file without a name where they are many.

    Raises:
        OSError: there is no room for the file.
    """
    size = np.dtype(dtype).itemsize * num_rows * dim
    if size <= IN_MEMORY:
        return torch.from_numpy(np.zeros((num_rows, dim), dtype=dtype))
    with tempfile.TemporaryFile(dir=directory) as file:  # the mapping outlives it
        # Else a write into the mapping would end the process where the disk is full.
        if hasattr(os, "posix_fallocate"):
            try:
                os.posix_fallocate(file.fileno(), 0, size)
            except OSError as error:
                raise OSError(
                    error.errno,
                    f"A table of {num_rows:,} rows needs {size / 1e6:,.0f} MB in "
                    f"{directory or tempfile.gettempdir()}: {error.strerror}. Set TMPDIR to a "
                    "folder with room",
                ) from error
        return torch.from_numpy(np.memmap(file, dtype=dtype, mode="w+", shape=(num_rows, dim)))


def blocks(table: Tensor) -> tuple[Tensor, ...]:
    """The rows of a table in parts that are worked on together."""
    return table.split(max(1, BLOCK // table.shape[1]))


def add_up(parts: Sequence[Tensor], device: torch.device) -> None:
    """Replace tensors by their sums over all processes of a distributed run."""
    if is_distributed():
        for part in parts:
            total = part.to(device, copy=True)
            torch.distributed.all_reduce(total)
            part.copy_(total)
