"""Choosing each class's vector from the data (Sec. 6.6, Fig. 12b of arXiv 2510.04090)."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.distributed
from torch import Tensor

from rootspace.systems import MAX_INDEX, VectorSystem

from ._class_map import ClassMap

CHUNK = 8192
"""Class means quantised together."""


class ClassMeans:
    """Mean embedding of each class, summed up batch by batch.

    O(num_classes * dim) memory on the CPU, nothing on the device.

    Args:
        num_classes: number of classes.
        dim: of the embeddings.
    """

    def __init__(self, num_classes: int, dim: int) -> None:
        self._sums = torch.zeros(num_classes, dim)
        self._counts = torch.zeros(num_classes)

    def add(self, embeddings: Tensor, labels: Tensor) -> None:
        """`[B, dim]` embeddings of any length, `[B]` labels."""
        labels = labels.cpu()
        self._sums.index_add_(0, labels, embeddings.detach().float().cpu())
        self._counts.index_add_(0, labels, torch.ones(len(labels)))

    def reduce(self, device: torch.device) -> None:
        """Add up the sums of all processes of a distributed run, over `device`."""
        if torch.distributed.is_available() and torch.distributed.is_initialized():
            for part in (self._sums, self._counts):
                total = part.to(device)
                torch.distributed.all_reduce(total)
                part.copy_(total)

    def center(self) -> Tensor:
        """`[dim]` mean of all embeddings."""
        return self._sums.sum(0) / self._counts.sum().clamp_min(1)

    def means(self) -> Tensor:
        """`[num_classes, dim]`.

        Raises:
            ValueError: a class has had no embedding.
        """
        if bool((self._counts == 0).any()):
            label = int((self._counts == 0).nonzero()[0, 0])
            raise ValueError(f"Class {label} has no embedding to take the mean of.")
        return self._sums / self._counts[:, None]


@dataclass(frozen=True)
class Assignment:
    """The classes and how well they fit.

    Attributes:
        classes: the map.
        mean_cosine: of the class means to their vectors.
        collisions: classes whose nearest vector was another class's.
        seconds: taken.
    """

    classes: ClassMap
    mean_cosine: float
    collisions: int
    seconds: float


def assign(system: VectorSystem, means: Tensor, names: Sequence[str] | None = None) -> Assignment:
    """Give each class a vector of its own near its mean.

    Each mean goes to its nearest vector; of several that meet there, the nearest one keeps it and
    the others go to the best free one among their neighbours (for a system too large to be
    numbered, to what small disturbances of the mean lead to).

    Args:
        system: of any size that holds the classes.
        means: `[C, dim]` centred class means of any length.
        names: one for each class, or None.

    Returns:
        An `Assignment`. O(C) times the cost of `quantize`, or of `nearest` where many collide.

    Raises:
        ValueError: more classes than vectors.
    """
    started = time.perf_counter()
    if len(means) > system.size:
        raise ValueError(
            f"Argument 'means' must have at most {system.size} rows, the number of vectors of "
            f"{system!r}, not {len(means)}."
        )
    vectors = torch.cat([system.quantize(part) for part in means.split(CHUNK)])
    cosine = torch.nn.functional.cosine_similarity(means, vectors)
    losers = _losers(vectors, cosine)
    collisions = len(losers)
    if collisions and system.size <= MAX_INDEX:
        vectors = _settle_by_neighbours(system, means, vectors, losers)
    elif collisions:
        vectors = _settle_by_disturbance(system, means, vectors, losers)
    classes = ClassMap.assigned(system, vectors, names)
    cosine = torch.nn.functional.cosine_similarity(means, vectors)
    return Assignment(classes, float(cosine.mean()), collisions, time.perf_counter() - started)


def _losers(vectors: Tensor, cosine: Tensor) -> list[int]:
    """Rows whose vector a nearer row has, nearest first."""
    order = cosine.argsort(descending=True)
    _, group = torch.unique(vectors, dim=0, return_inverse=True)
    ranked = group[order]
    first = torch.full((int(group.max()) + 1,), len(order), dtype=torch.int64)
    first = first.scatter_reduce(0, ranked, torch.arange(len(order)), "amin")
    return order[first[ranked] != torch.arange(len(order))].tolist()


def _settle_by_neighbours(
    system: VectorSystem, means: Tensor, vectors: Tensor, losers: list[int]
) -> Tensor:
    index = system.index(vectors)
    keep = torch.ones(len(means), dtype=torch.bool)
    keep[losers] = False
    taken = set(index[keep].tolist())
    waiting, k = losers, 8
    while waiting:
        k = min(k, system.size)
        still = []
        for rows in torch.tensor(waiting).split(max(1, CHUNK // k)):
            for row, candidates in zip(
                rows.tolist(), system.nearest(means[rows], k).index.tolist(), strict=True
            ):
                free = next((c for c in candidates if c not in taken), None)
                if free is None:
                    still.append(row)
                else:
                    taken.add(free)
                    index[row] = free
        waiting, k = still, 4 * k
    return system.vectors(index, dtype=means.dtype)


def _settle_by_disturbance(
    system: VectorSystem, means: Tensor, vectors: Tensor, losers: list[int]
) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    keep = torch.ones(len(means), dtype=torch.bool)
    keep[losers] = False
    taken = {row.numpy().tobytes() for row in vectors[keep]}
    vectors = vectors.clone()
    for row in losers:
        mean, size = torch.nn.functional.normalize(means[row], dim=0), 0.05
        while True:
            noise = torch.randn(mean.shape, generator=generator).to(mean) / len(mean) ** 0.5
            vectors[row] = system.quantize(mean + size * noise)
            key = vectors[row].numpy().tobytes()
            if key not in taken:
                taken.add(key)
                break
            size *= 1.5
    return vectors
