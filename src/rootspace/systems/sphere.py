"""Points spread over the sphere by chance or by repulsion."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from rootspace._checks import integer

from .enumerated import CHUNK
from .table import Table

STEPS = 400
"""Of the descent; it stops earlier where the energy no longer falls."""

STILL = 1e-14
"""Relative fall of the energy that counts as none."""


MOST_NUMBERS = 2**27
"""Numbers of the table, at most: a gigabyte in float64."""


class Sphere(Table):
    """Explicit vectors spread over the unit sphere, from a seed.

    `"random"` draws them uniformly. `"energy"` then lets them repel each other, which enlarges the
    smallest angle: it descends the hyperspherical energy, the sum over pairs of 1 / |v - w|**2
    (Liu et al., arXiv 1805.09298, with s = 2; the Thomson problem of Sec. 3.2 of arXiv 2510.04090
    with another exponent), along the gradient projected to the sphere. It finds a local minimum.

    Computed in float64 and stored in float32. The random numbers of a seed are the same
    everywhere, but the descent may round differently on another machine: `ClassMap.save` stores
    the vectors, and the map that it reads again has them as a `Table`.

    Args:
        dim: number of coordinates, at least 2.
        num: number of vectors.
        method: `"random"` or `"energy"`.
        seed: of the random numbers.

    Complexity: O(num * dim) memory; the descent takes up to 400 steps of O(num**2 * dim) time,
    some 5 s for 1,000 vectors in 16 dimensions on one core, and O(num * dim + 2**23) memory.

    Example:
        >>> round(Sphere(3, 12, "energy").min_angle, 2)  # the icosahedron
        63.43
    """

    def __init__(
        self,
        dim: int,
        num: int,
        method: Literal["random", "energy"] = "random",
        seed: int = 0,
    ) -> None:
        dim, num = integer("dim", dim, 2), integer("num", num)
        if dim * num > MOST_NUMBERS:
            raise ValueError(
                f"Arguments 'dim' and 'num' must make at most {MOST_NUMBERS:,} numbers, all of "
                "which are kept."
            )
        if method not in ("random", "energy"):
            raise ValueError(f"Argument 'method' must be 'random' or 'energy', not {method!r}.")
        generator = torch.Generator().manual_seed(seed)
        points = torch.randn(num, dim, generator=generator, dtype=torch.float64)
        points = torch.nn.functional.normalize(points, dim=-1)
        if method == "energy":
            points = _spread(points)
        super().__init__(points.float())
        self._arguments = f"{dim}, {num}, {method!r}, seed={seed}"

    def __repr__(self) -> str:
        return f"Sphere({self._arguments})"


def energy(points: Tensor) -> tuple[float, Tensor]:
    """`[n, dim]` unit vectors -> sum over ordered pairs of 1 / |v - w|**2, and the forces.

    Returns:
        The energy, and `[n, dim]` minus half its gradient along the sphere.
    """
    total, forces = 0.0, torch.empty_like(points)
    step = max(1, CHUNK // (4 * len(points)))
    for start in range(0, len(points), step):
        rows = points[start : start + step]
        inverse = (2 - 2 * rows @ points.T).clamp_min_(1e-30).reciprocal_()
        own = torch.arange(len(rows))
        inverse[own, own + start] = 0
        total += float(inverse.sum())
        inverse.square_()
        push = 2 * (rows * inverse.sum(-1, keepdim=True) - inverse @ points)
        forces[start : start + step] = push - (push * rows).sum(-1, keepdim=True) * rows
    return total, forces


def _spread(points: Tensor) -> Tensor:
    """Descend the energy; a step that raises it is taken back and tried at half the length."""
    lowest, forces = energy(points)
    largest = float(torch.linalg.vector_norm(forces, dim=-1).max())
    rate = 0.1 / max(largest, 1e-30)
    for _ in range(STEPS):
        moved = torch.nn.functional.normalize(points + rate * forces, dim=-1)
        found, pushes = energy(moved)
        if found > lowest:
            rate /= 2
            continue
        still = lowest - found <= STILL * lowest
        # Two gradients tell how the force changes along the way (Barzilai and Borwein, 1988).
        way, change = moved - points, forces - pushes
        bend = float((way * change).sum())
        rate = float(way.square().sum()) / bend if bend > 0 else 2 * rate
        points, forces, lowest = moved, pushes, found
        if still:
            break
    return points
