"""Exact search among the class vectors, where no closed form leads to one of them."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

SCORES = 2**24
"""Scores computed together, to bound the memory of a search."""


def search_vectors(
    z: Tensor, vectors: Callable[[int, int], Tensor], num_classes: int, k: int
) -> tuple[Tensor, Tensor]:
    """The k best of all class vectors, computed a chunk at a time: O(N * num_classes * dim).

    Args:
        z: `[N, dim]` unit embeddings.
        vectors: `start, stop` -> the unit vectors `[stop - start, dim]` of these classes.
        num_classes: how many there are.
        k: how many are wanted.

    Returns:
        Cosines and labels `[N, k]`, best first.
    """
    step = max(1, SCORES // max(len(z), z.shape[1]))
    return _scan(z, lambda start, stop: z @ vectors(start, stop).T, num_classes, k, step)


def search_placements(
    z: Tensor, placements: Callable[[int, int], tuple[Tensor, Tensor]], num_classes: int, k: int
) -> tuple[Tensor, Tensor]:
    """`search_vectors` through the m non-zero coordinates: O(N * num_classes * m).

    Args:
        z: `[N, dim]` unit embeddings.
        placements: `start, stop` -> positions and values `[stop - start, m]` of these classes.
        num_classes: how many there are.
        k: how many are wanted.
    """

    def score(start: int, stop: int) -> Tensor:
        positions, values = placements(start, stop)
        return sum(
            (z[:, positions[:, j]] * values[:, j] for j in range(1, positions.shape[1])),
            start=z[:, positions[:, 0]] * values[:, 0],
        )

    return _scan(z, score, num_classes, k, max(1, SCORES // max(len(z), 64)))


def _scan(
    z: Tensor, score: Callable[[int, int], Tensor], num_classes: int, k: int, step: int
) -> tuple[Tensor, Tensor]:
    cosine = z.new_empty((len(z), 0))
    label = torch.empty((len(z), 0), dtype=torch.int64, device=z.device)
    for start in range(0, num_classes, step):
        scores = score(start, min(start + step, num_classes))
        cosine, label = _keep_best(cosine, label, scores, start, k)
    return cosine, label


def _keep_best(
    cosine: Tensor, label: Tensor, scores: Tensor, start: int, k: int
) -> tuple[Tensor, Tensor]:
    """The k best of those so far and of new scores of the classes from `start` on."""
    if k == 1:
        best, where = scores.max(dim=-1, keepdim=True)
    else:
        best, where = scores.topk(min(k, scores.shape[1]), dim=-1)
    cosine, label = torch.cat([cosine, best], -1), torch.cat([label, where + start], -1)
    cosine, order = cosine.topk(min(k, cosine.shape[-1]), dim=-1)
    return cosine, label.gather(-1, order)
