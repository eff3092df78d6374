"""Which placements of an orbit's values can be among the k nearest, for coordinates in order.

Sort the coordinates of an embedding in descending order (their magnitudes for a signed orbit).
A placement is then a word w of values, w[r] the value on the coordinate of rank r, and w beats w'
for *every* embedding exactly if its partial sums are nowhere smaller (Abel summation). A word that
k others beat is never needed; the rest is a small set that does not depend on the embedding.
"""

from __future__ import annotations

import heapq
from functools import lru_cache

import numpy as np


@lru_cache(maxsize=256)
def best_words(top: tuple[float, ...], k: int, *, flips: bool) -> np.ndarray:
    """The words that fewer than k others beat.

    Args:
        top: the best word: the values, zeros included, in descending order.
        k: number of neighbours wanted.
        flips: a signed orbit, whose last coordinate is the smallest in magnitude: the value on
            it may change its sign.

    Returns:
        `[P, len(top)]` float64, k <= P unless there are fewer words in all.

    Words are visited from the best down by exchanging neighbours (and flipping the last sign).
    The words that beat w have a larger sum of partial sums, so all of them are visited before w.
    """
    tolerance = 1e-9 * max(map(abs, top))
    accepted: list[np.ndarray] = []
    sums = np.empty((0, len(top)))
    seen = {top}
    heap = [(-_height(top), top)]
    while heap:
        _, word = heapq.heappop(heap)
        partial = np.cumsum(word)
        if (sums >= partial - tolerance).all(axis=1).sum() >= k:
            continue
        accepted.append(np.array(word))
        sums = np.vstack([sums, partial])
        for worse in _next_words(word, flips):
            if worse not in seen:
                seen.add(worse)
                heapq.heappush(heap, (-_height(worse), worse))
    return np.array(accepted)


def _height(word: tuple[float, ...]) -> float:
    return float(np.cumsum(word).sum())


def _next_words(word: tuple[float, ...], flips: bool) -> list[tuple[float, ...]]:
    words = [
        (*word[:r], word[r + 1], word[r], *word[r + 2 :])
        for r in range(len(word) - 1)
        if word[r] > word[r + 1]
    ]
    if flips and word[-1] > 0:
        words.append((*word[:-1], -word[-1]))
    return words
