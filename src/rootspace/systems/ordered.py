"""Placements of values in a fixed order: the halves of root systems."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from ._partition import NEVER, best_tree_sums, log_tree_sum
from ._ranking import binomials, check_values, rank_subset, snap, unrank_subset
from .base import MAX_INDEX, VectorSystem


class Ordered(VectorSystem):
    r"""All placements of non-zero values, in the given order, on increasing coordinates.

    `Ordered(n, (1, -1))` holds the vectors e_i - e_j with i < j, the positive roots of A_{n-1}.
    An `Orbit` is the disjoint union of `Ordered` over the arrangements of its values.

    Args:
        dim: number of coordinates.
        values: non-zero numbers, at most `dim` of them, with at most 2**63 - 1 placements.

    Index order: colexicographic in the coordinates, C(dim, len(values)) vectors.

    Complexity: `nearest` and `log_partition` take O(N * dim * len(values)**3 * k**2) time by
    divide and conquer over the coordinates; nothing is proportional to `size`.

    Example:
        >>> system = Ordered(4, (1, -1))
        >>> system.size
        6
        >>> (system.vectors(torch.tensor([0, 5])) * 2**0.5).round()
        tensor([[ 1., -1.,  0.,  0.],
                [ 0.,  0.,  1., -1.]])
    """

    def __init__(self, dim: int, values: Sequence[float]) -> None:
        self._values = tuple(check_values(dim, values, name="values"))
        self._dim = dim
        self._norm = math.hypot(*self._values)
        if self.size > MAX_INDEX:
            raise ValueError(
                f"Arguments of Ordered must give at most 2**63 - 1 vectors, not about "
                f"2**{self.size.bit_length() - 1}."
            )
        # A state is the interval [first, last) of the values placed so far; all empty ones are
        # state 0, the whole is the last.
        m = len(self._values)
        intervals = [(a, b) for length in range(1, m + 1) for a, b in _intervals(m, length)]
        state = {(a, a): 0 for a in range(m + 1)} | {ab: i for i, ab in enumerate(intervals, 1)}
        self._products = [[(0, 0)]] + [
            [(state[a, s], state[s, b]) for s in range(a, b + 1)] for a, b in intervals
        ]

    @property
    def dim(self) -> int:
        return self._dim

    @property
    def values(self) -> tuple[float, ...]:
        return self._values

    @property
    def size(self) -> int:
        return math.comb(self._dim, len(self._values))

    def __repr__(self) -> str:
        return f"Ordered({self._dim}, {self._values!r})"

    def _vectors(self, index: Tensor, dtype: torch.dtype) -> Tensor:
        positions, values = self._placements(index, dtype)
        vectors = torch.zeros(len(index), self._dim, dtype=dtype, device=index.device)
        return vectors.scatter_(1, positions, values)

    def _placements(self, index: Tensor, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
        positions = unrank_subset(index, self._dim, len(self._values))
        return positions, self._unit(index.new_empty(0, dtype=dtype)).expand_as(positions)

    def _index(self, vectors: Tensor) -> Tensor:
        snapped, member = snap(vectors * self._norm, sorted(set(self._values)))
        placed = snapped != 0
        member &= placed.sum(-1) == len(self._values)
        # Rows that do not fit get some other placement, so that all have one width.
        first = torch.arange(self._dim, device=vectors.device) < len(self._values)
        positions = torch.where(member[:, None], placed, first).nonzero()[:, 1]
        positions = positions.reshape(len(vectors), len(self._values))
        expected = torch.tensor(self._values, dtype=torch.float64).to(snapped)
        member &= (snapped.gather(1, positions) == expected).all(-1)
        return torch.where(member, rank_subset(positions, self._dim), -1)

    def _nearest(self, z: Tensor, k: int) -> tuple[Tensor, Tensor]:
        m = len(self._values)
        table = binomials(self._dim, m).to(z.device)
        ranks = torch.zeros(self._dim, len(self._products), dtype=torch.int64, device=z.device)
        ranks[:, 1 : m + 1] = table[1:, : self._dim].T
        # With the values as given, often integers, equal scores come out equal.
        score, index = best_tree_sums(self._leaves(z, 1.0), ranks, self._products, k)
        return score / self._norm, index

    def _log_partition(self, u: Tensor, length: float) -> Tensor:
        return log_tree_sum(self._leaves(u, self._norm), self._products)

    def _leaves(self, z: Tensor, norm: float) -> Tensor:
        placed = z[:, :, None] * (torch.tensor(self._values, dtype=torch.float64) / norm).to(z)
        nothing = torch.zeros_like(z)[:, :, None]
        never = torch.full_like(z, NEVER)[:, :, None]
        more = len(self._products) - 1 - len(self._values)
        return torch.cat([nothing, placed, never.expand(-1, -1, more)], dim=2)

    def _unit(self, like: Tensor) -> Tensor:
        return (torch.tensor(self._values, dtype=torch.float64) / self._norm).to(like)

    def _largest_cosine(self) -> float:
        # Moving the smallest value to a free coordinate is the shortest step.
        if len(self._values) == self._dim:
            return -1.0
        return 1 - min(value * value for value in self._values) / self._norm**2

    def _representatives(self) -> tuple[Tensor, list[int]]:
        # No permutation maps the system to itself, so an even sample stands for it.
        count = min(self.size, 64)
        index = torch.tensor([i * (self.size - 1) // max(count - 1, 1) for i in range(count)])
        return self._vectors(index, torch.float64), [1] * count


def _intervals(m: int, length: int) -> list[tuple[int, int]]:
    return [(a, a + length) for a in range(m - length + 1)]
