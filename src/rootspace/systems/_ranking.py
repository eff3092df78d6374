"""Ranking of subsets: the combinatorial number system, vectorised.

A subset {p_1 < ... < p_m} of n positions has the colexicographic rank sum_i C(p_i, i)
(Knuth, TAOCP 4A, 7.2.1.3, Theorem L).
"""

from __future__ import annotations

import math
from functools import lru_cache

import torch
from torch import Tensor

from .base import MAX_INDEX, constant_while_compiling


def binomials(n: int, m: int) -> Tensor:
    """`[m + 1, n + 1]` int64: C(p, i) at [i, p], clamped to 2**63 - 1."""
    if torch.compiler.is_compiling():
        return torch.tensor(_rows(n, m), dtype=torch.int64)
    return _binomials(n, m)


@lru_cache(maxsize=256)
def _binomials(n: int, m: int) -> Tensor:
    return torch.tensor(_rows(n, m), dtype=torch.int64)


@constant_while_compiling
def _rows(n: int, m: int) -> list[list[int]]:
    return [[min(math.comb(p, i), MAX_INDEX) for p in range(n + 1)] for i in range(m + 1)]


def rank_subset(positions: Tensor, n: int) -> Tensor:
    """`[..., m]` positions in [0, n), ascending -> `[...]` colexicographic rank."""
    m = positions.shape[-1]
    if m == 1:
        return positions[..., 0]
    table = binomials(n, m).to(positions.device)
    order = torch.arange(1, m + 1, device=positions.device)
    return table[order, positions].sum(-1)


def unrank_subset(rank: Tensor, n: int, m: int) -> Tensor:
    """`[...]` ranks in [0, C(n, m)) -> `[..., m]` positions, ascending."""
    table = binomials(n, m).to(rank.device)
    positions = []
    for i in range(m, 0, -1):
        row = table[i, :n].contiguous()
        position = torch.searchsorted(row, rank.contiguous(), right=True) - 1
        rank = rank - row[position]
        positions.append(position)
    if not positions:
        return rank.new_empty((*rank.shape, 0))
    return torch.stack(positions[::-1], dim=-1)


def skip_positions(relative: Tensor, used: Tensor) -> Tensor:
    """Positions numbered among the unused ones -> absolute positions.

    Args:
        relative: `[..., m]`.
        used: `[..., u]` absolute positions already taken, in any order.
    """
    absolute = relative
    for taken in used.sort(dim=-1).values.unbind(-1):
        absolute = absolute + (taken.unsqueeze(-1) <= absolute).to(absolute.dtype)
    return absolute


def without_positions(absolute: Tensor, used: Tensor) -> Tensor:
    """Inverse of `skip_positions`."""
    if used.shape[-1] == 0:
        return absolute
    return absolute - (used.unsqueeze(-2) < absolute.unsqueeze(-1)).sum(-1)
