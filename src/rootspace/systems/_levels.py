"""The non-zero values of a structured vector: validation and recognition."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Sequence

import torch
from torch import Tensor

SMALLEST = 1e-12
"""Values keep away from the limits of float32; only their ratios matter."""


def check_values(dim: int, values: Iterable[float], *, name: str) -> list[float]:
    """Non-zero finite numbers, at most `dim` of them.

    Raises:
        ValueError: naming the argument, its value and what was expected.
    """
    if isinstance(dim, bool) or not isinstance(dim, int) or dim < 1:
        raise ValueError(f"Argument 'dim' must be a positive integer, not {dim!r}.")
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
