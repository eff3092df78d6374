"""Between a structured vector and its number: levels of coordinates, and ranks of subsets.

A subset {p_1 < ... < p_m} of n positions has the colexicographic rank sum_i C(p_i, i), in the
combinatorial number system (Knuth, TAOCP 4A, 7.2.1.3, Theorem L).
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Sequence
from functools import lru_cache

import torch
from torch import Tensor

from .base import MAX_INDEX, check_dim, constant_while_compiling

SMALLEST = 1e-12
"""Values keep away from the limits of float32; only their ratios matter."""


# ------------------------------------------------------------------------ subsets


def binomials(n: int, m: int) -> Tensor:
    """`[m + 1, n + 1]` int64: C(p, i) at [i, p], clamped to 2**63 - 1."""
    if torch.compiler.is_compiling():
        return torch.tensor(_rows(n, m), dtype=torch.int64)
    return _binomials(n, m)


@lru_cache(maxsize=256)
def _binomials(n: int, m: int) -> Tensor:
    with torch.inference_mode(False):  # what is kept must do for training as well
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


# ------------------------------------------------------------------------ levels


def check_values(dim: int, values: Iterable[float], *, name: str) -> list[float]:
    """Non-zero finite numbers, at most `dim` of them.

    Raises:
        ValueError: naming the argument, its value and what was expected.
    """
    check_dim(dim)
    values = list(values)
    if not values:
        raise ValueError(f"Argument '{name}' must hold at least one value.")
    for value in values:
        number = isinstance(value, (int, float)) and not isinstance(value, bool)
        if not number or value == 0 or not math.isfinite(value):
            raise ValueError(f"Argument '{name}' must hold non-zero numbers, not {value!r}.")
        if not SMALLEST <= abs(value) <= 1 / SMALLEST:
            raise ValueError(
                f"Argument '{name}' must hold magnitudes from {SMALLEST:g} to {1 / SMALLEST:g}, "
                f"not {value!r}."
            )
    if len(values) > dim:
        raise ValueError(
            f"Argument '{name}' must place at most dim = {dim} values, not {len(values)}."
        )
    # One way to write a number, so that equal systems have equal names.
    return [int(value) if float(value).is_integer() else float(value) for value in values]


def snap(coordinates: Tensor, levels: Sequence[float]) -> tuple[Tensor, Tensor]:
    """Round each coordinate to the nearest of zero and the levels.

    Args:
        coordinates: `[N, dim]`.
        levels: non-zero values.

    Returns:
        The levels `[N, dim]` in at least float32, and `[N]` bool: every coordinate is one within
        rounding.
    """
    half = coordinates.dtype in (torch.float16, torch.bfloat16)
    if half:
        coordinates = coordinates.float()
    grid = sorted({0.0, *map(float, levels)})
    table = torch.tensor(grid, dtype=torch.float64).to(coordinates)
    middles = (table[1:] + table[:-1]) / 2
    snapped = table[torch.bucketize(coordinates, middles)]
    gap = min(b - a for a, b in itertools.pairwise(grid))
    tolerance = gap * (0.1 if half else 1e-3)
    return snapped, ((coordinates - snapped).abs() <= tolerance).all(-1)
