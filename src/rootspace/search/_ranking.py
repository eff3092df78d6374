"""The best pairs of a query and a row, to the last bit."""

from __future__ import annotations

import torch
from torch import Tensor

from ._rows import Rows

PAIRS = 2**15
"""Pairs scored together in float64."""


def best_pairs(
    z: Tensor, rows: Rows, query: Tensor, place: Tensor, k: int
) -> tuple[Tensor, Tensor]:
    """The k best of the pairs of each query, by cosines in float64; equal ones by smaller place.

    Each is a sum of its own, so that equal rows have equal cosines wherever they stand.

    Args:
        z: `[B, dim]` unit embeddings.
        rows: what is searched.
        query: `[N]` numbers of embeddings; each has k pairs at least.
        place: `[N]` numbers of rows, different ones for a query.
        k: how many are wanted.

    Returns:
        Cosines, float64, and places `[B, k]`, best first.
    """
    cosine = torch.empty(len(query), dtype=torch.float64)
    for start in range(0, len(query), PAIRS):
        part = slice(start, start + PAIRS)
        vectors = rows.take(place[part], torch.float64)
        cosine[part] = vectors.mul_(z.index_select(0, query[part])).sum(-1)
    order = place.argsort()
    order = order[cosine[order].argsort(descending=True, stable=True)]
    order = order[query[order].argsort(stable=True)]
    first = torch.searchsorted(query[order], torch.arange(len(z)))
    best = order[first[:, None] + torch.arange(k)]
    return cosine[best].clamp_(-1, 1), place[best]
