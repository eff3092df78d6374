"""Top-k: the best first, and which placements of an orbit's values can be among the k nearest.

Sort the coordinates of an embedding in descending order (their magnitudes for a signed orbit).
A placement is then a word w of values, w[r] the value on the coordinate of rank r, and w beats w'
for *every* embedding exactly if its partial sums are nowhere smaller (Abel summation). A word that
k others beat is never needed; the rest is a small set that does not depend on the embedding.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from torch import Tensor

from .base import constant_while_compiling

Groups = tuple[tuple[float, int], ...]
"""The values of an orbit and how often each is placed."""


def best_first(score: Tensor, rank: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """The k largest scores along the last axis, equal ones by smaller rank."""
    rank, order = rank.sort(dim=-1)
    score, by_score = score.gather(-1, order).sort(dim=-1, descending=True, stable=True)
    return score[..., :k], rank.gather(-1, by_score)[..., :k]


# ------------------------------------------------------------------------ the ends of a row


class Ends:
    """Positions of the largest and smallest coordinates, where no two of them are equal.

    `topk` is several times faster than what orders equal coordinates by their position; the few
    rows in which two of the coordinates found are equal are left to the caller.

    Args:
        key: `[N, dim]` embeddings.
        high: how many of the largest are needed.
        low: how many of the smallest; high + low <= dim.
    """

    def __init__(self, key: Tensor, high: int, low: int) -> None:
        self._key = key
        self._high, tied_high = _extremes(key, high, largest=True)
        self._low, tied_low = _extremes(key, low, largest=False)
        tied = tied_high | tied_low
        self._tied = tied.nonzero()[:, 0] if bool(tied.any()) else None

    def positions(self, high: int, low: int, tied: Callable[[Tensor], Tensor]) -> Tensor:
        """`[N, high + low]` positions of the largest and the smallest, in descending order.

        Args:
            high: how many of the largest.
            low: how many of the smallest.
            tied: gives these positions for rows `[R, dim]` with equal coordinates.
        """
        found = torch.cat([self._high[:, :high], self._low[:, :low].flip(-1)], dim=-1)
        if self._tied is not None:
            found[self._tied] = tied(self._key[self._tied])
        return found


def _extremes(key: Tensor, count: int, *, largest: bool) -> tuple[Tensor, Tensor]:
    """Positions `[N, count]`, best first, and `[N]` whether two of the best count + 1 are equal."""
    if not count:
        none = key.new_zeros(len(key), dtype=torch.bool)
        return key.new_empty((len(key), 0), dtype=torch.int64), none
    values, positions = key.topk(min(count + 1, key.shape[1]), dim=-1, largest=largest)
    return positions[:, :count], (values[:, 1:] == values[:, :-1]).any(-1)


# ------------------------------------------------------------------------ placements


def best_placements(
    top: tuple[float, ...], groups: Groups, k: int, signed: bool, flips: bool
) -> tuple[Tensor, Tensor]:
    """The words of `best_words`, by where they have each of the placed values.

    Args:
        top: as for `best_words`.
        groups: the m placed values, in the order of the result.
        k: number of neighbors wanted.
        signed: a signed orbit.
        flips: as for `best_words`.

    Returns:
        `[P, m]` the rank of the coordinate that each value is on, and `[P, m]` its sign.
    """
    if torch.compiler.is_compiling():
        ranks, signs = _placements(top, groups, k, signed, flips)
        return torch.tensor(ranks), torch.tensor(signs)
    return _placement_tensors(top, groups, k, signed, flips)


@lru_cache(maxsize=256)
def _placement_tensors(*arguments: Any) -> tuple[Tensor, Tensor]:
    ranks, signs = _placements(*arguments)
    with torch.inference_mode(False):  # what is kept must do for training as well
        return torch.tensor(ranks), torch.tensor(signs)


@constant_while_compiling
def _placements(
    top: tuple[float, ...], groups: Groups, k: int, signed: bool, flips: bool
) -> tuple[list[list[int]], list[list[int]]]:
    placed = [value for value, count in groups for _ in range(count)]
    high, low = [v for v in placed if v > 0], [v for v in placed if v < 0]
    room = len(top) - len(placed) >= k - 1  # the ends do not meet
    if room and not flips and len(high) <= 2 and len(low) <= 2:
        rank_of = _apart(high, low, k, len(top))
        signs = np.ones_like(rank_of)
    else:
        words = best_words(top, k, flips=flips)
        size = np.abs(words) if signed else words
        rank_of = np.concatenate(
            [np.nonzero(size == v)[1].reshape(len(words), count) for v, count in groups], axis=-1
        )
        signs = np.where(np.take_along_axis(words, rank_of, axis=-1) < 0, -1, 1)
    return rank_of.tolist(), signs.tolist()


def _apart(high: list[float], low: list[float], k: int, width: int) -> np.ndarray:
    """`[P, m]` where the placed values can be, for positive and negative ones that do not meet.

    A word is beaten by the products of what beats its two ends, so the words that fewer than k
    beat are counted, not searched for.
    """
    above, beaten_above = _end(high, k)
    below, beaten_below = _end([-v for v in reversed(low)], k)
    pairs = np.argwhere(np.outer(beaten_above, beaten_below) <= k)
    return np.concatenate([above[pairs[:, 0]], width - 1 - below[pairs[:, 1], ::-1]], axis=-1)


def _end(values: list[float], k: int) -> tuple[np.ndarray, np.ndarray]:
    """Ranks `[Q, m]` of at most two descending values, and how many placements are no worse."""
    if not values:
        return np.zeros((1, 0), dtype=np.int64), np.ones(1, dtype=np.int64)
    if len(values) == 1:
        return np.arange(k)[:, None], np.arange(1, k + 1)
    a, b = (grid.ravel() for grid in np.indices((k + 1, k + 1)))
    if values[0] == values[1]:
        a, b = a[a < b], b[a < b]
        beaten = (a + 1) * b - a * (a + 1) // 2
    else:
        a, b = a[a != b], b[a != b]
        beaten = np.where(a < b, (a + 1) * b, 2 * (b + 1) * a - b * (b + 1))
    return np.stack([a, b], axis=-1)[beaten <= k], beaten[beaten <= k]


@lru_cache(maxsize=256)
def best_words(top: tuple[float, ...], k: int, *, flips: bool) -> np.ndarray:
    """The words that fewer than k others beat.

    Args:
        top: the best word: the values, zeros included, in descending order.
        k: number of neighbors wanted.
        flips: a signed orbit, whose last coordinate is the smallest in magnitude: the value on
            it may change its sign.

    Returns:
        `[P, len(top)]` float64, k <= P unless there are fewer words in all.

    Words are visited from the best down by exchanging neighbors (and flipping the last sign).
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
