"""Vectors in groups of similar ones."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from .means import BLOCK

AT_ONCE = 4096
"""Vectors among which the nearest are found by comparing all pairs."""


def neighborhoods(vectors: Tensor, size: int, generator: torch.Generator) -> list[Tensor]:
    """Cut vectors at random into groups of similar ones.

    A vector drawn at random takes the nearest of those that are left, and so on. Each call gives
    other groups, so that in time a vector meets all that resemble it. More than 4,096 vectors are
    halved first, and their halves, between two centers. Costs O(N dim) time for each of 4,096, and
    memory for their similarities and for a part of the vectors at a time.

    Args:
        vectors: `[N, dim]`, all of one length.
        size: the most members of a group.
        generator: of the choices.

    Returns:
        Groups of indices, in random order; together each index once.
    """
    groups = [
        part[near]
        for part in regions(vectors, AT_ONCE, generator)
        for near in _nearest_left(vectors[part], size)
    ]
    return [groups[i] for i in torch.randperm(len(groups), generator=generator).tolist()]


def regions(vectors: Tensor, size: int, generator: torch.Generator) -> Iterator[Tensor]:
    """Halve vectors, and their halves, between two centers drawn at random.

    Args:
        vectors: `[N, dim]`, all of one length.
        size: the most members of a part.
        generator: of the choices.

    Yields:
        Parts of the indices, each in random order; together each index once.
    """
    waiting = [torch.randperm(len(vectors), generator=generator)]
    while waiting:
        part = waiting.pop()
        if len(part) > size:
            waiting += _halves(part, vectors)
        else:
            yield part


def _halves(part: Tensor, vectors: Tensor) -> tuple[Tensor, ...]:
    """Two equal parts around two centers: 2-means, balanced, begun at two members."""
    direction = vectors[part[0]] - vectors[part[1]]
    for _ in range(3):
        low, high = _along(direction, part, vectors).argsort().tensor_split(2)
        direction = _mean(part[high], vectors) - _mean(part[low], vectors)
    order = _along(direction, part, vectors).argsort()
    # Back in random order, for the draws that follow.
    return tuple(part[half.sort().values] for half in order.tensor_split(2))


def _along(direction: Tensor, part: Tensor, vectors: Tensor) -> Tensor:
    return torch.cat([vectors[rows] @ direction for rows in _blocks(part, vectors)])


def _mean(part: Tensor, vectors: Tensor) -> Tensor:
    sums = torch.stack([vectors[rows].sum(dim=0) for rows in _blocks(part, vectors)])
    return sums.sum(dim=0) / len(part)


def _blocks(part: Tensor, vectors: Tensor) -> tuple[Tensor, ...]:
    """Indices whose vectors are copied together: all of them may be too many for the memory."""
    return part.split(max(1, BLOCK // vectors.shape[1]))


def _nearest_left(vectors: Tensor, size: int) -> list[Tensor]:
    similarity = vectors @ vectors.T
    taken, left = torch.zeros(len(vectors), dtype=torch.bool), len(vectors)
    is_taken = taken.numpy()  # the same memory, of which single values are read faster
    groups = []
    for index in range(len(vectors)):
        if is_taken[index]:
            continue
        row = similarity[index].masked_fill_(taken, -torch.inf)  # read once
        row[index] = torch.inf
        near = row.topk(min(size, left)).indices
        taken[near] = True
        left -= len(near)
        groups.append(near)
    return groups
