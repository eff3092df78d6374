"""The best pairs of an embedding and a row, to the last bit."""

from __future__ import annotations

import numpy as np

from ._rows import Rows

PAIRS = 2**15
"""Pairs scored together in float64."""


def best_pairs(
    z: np.ndarray, rows: Rows, query: np.ndarray, place: np.ndarray, k: int
) -> tuple[np.ndarray, np.ndarray]:
    """The k best of the pairs of each embedding, by cosines in float64; equal ones by place.

    Each is a sum of its own, so that equal rows have equal cosines wherever they stand.

    Args:
        z: `[B, dim]` unit embeddings.
        rows: what is searched.
        query: `[N]` numbers of embeddings; each has k pairs at least.
        place: `[N]` numbers of rows, different ones for an embedding.
        k: how many are wanted.

    Returns:
        Cosines, float64, and places `[B, k]`, best first.
    """
    cosine = np.empty(len(query))
    for start in range(0, len(query), PAIRS):
        part = slice(start, start + PAIRS)
        vectors = rows.take(place[part], np.float64)
        vectors *= z[query[part]]
        cosine[part] = vectors.sum(axis=-1).clip(-1, 1)
    if k == 1 and len(query) == len(z):  # one each
        order = query.argsort()
        best = order[:, None]
    else:
        order = np.lexsort((place, -cosine, query))
        first = np.searchsorted(query[order], np.arange(len(z)))
        best = order[first[:, None] + np.arange(k)]
    return cosine[best], place[best]


def fill(
    z: np.ndarray,
    rows: Rows,
    pairs: list[tuple[np.ndarray, np.ndarray]],
    k: int,
    best: tuple[np.ndarray, np.ndarray],
) -> None:
    """Write the k best of the pairs of each embedding, where it has so many."""
    query, place = (np.concatenate(column) for column in zip(*pairs, strict=True))
    whole = np.bincount(query, minlength=len(z)) >= k
    if whole.all():
        best[0][:], best[1][:] = best_pairs(z, rows, query, place, k)
        return
    some = whole[query]
    number = whole.cumsum() - 1
    best[0][whole], best[1][whole] = best_pairs(z[whole], rows, number[query[some]], place[some], k)
