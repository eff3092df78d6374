"""Named orbits with many vectors: k-hot systems and permutation codes."""

from __future__ import annotations

import itertools
import math
from statistics import NormalDist

from rootspace._checks import integer

from .base import check_dim
from .orbit import Orbit


class PermutationSystem(Orbit):
    """V_n^ab of arXiv 2512.07509: all permutations of `plus` ones, `minus` minus ones and zeros.

    Args:
        dim: number of coordinates n.
        plus: a.
        minus: b.

    Example:
        >>> PermutationSystem(384, 2, 1).size
        28090752
    """

    def __init__(self, dim: int, plus: int, minus: int) -> None:
        check_dim(dim)
        plus, minus = integer("plus", plus), integer("minus", minus)
        if plus + minus > dim:
            raise ValueError(
                f"Arguments 'plus' and 'minus' must place at most dim = {dim} values, not "
                f"{plus} and {minus}."
            )
        super().__init__(dim, {1: plus, -1: minus})
        self._arguments = (dim, plus, minus)

    def __repr__(self) -> str:
        return f"PermutationSystem{self._arguments}"


class SignedKHot(Orbit):
    """All vectors with k non-zero coordinates of one magnitude and any signs.

    C(dim, k) 2^k vectors at cosine (k - 1) / k. Past k of about 8 there are more of them than
    int64 can number: `quantize` then finds the nearest of them, and `ClassMap.assigned` stores one
    for each class in 2 bits a coordinate.

    Args:
        dim: number of coordinates.
        k: non-zero coordinates.

    Example:
        >>> SignedKHot(384, 3).size
        74908672
    """

    def __init__(self, dim: int, k: int) -> None:
        check_dim(dim)
        k = integer("k", k, 1, dim)
        super().__init__(dim, {1: k}, signed=True)
        self._k = k

    def __repr__(self) -> str:
        return f"SignedKHot({self.dim}, {self._k})"


class PermutationCode(Orbit):
    """All signed permutations of a vector whose levels follow a normal distribution.

    A permutation source code (Berger, Jelinek and Wolf, 1972; Slepian's variant II): because
    the magnitudes of a random direction are distributed like its levels 0, 1, ..., `levels`, some
    vector of the code lies close to any direction, at a mean cosine of 0.90, 0.96, 0.976, 0.985 for
    1, 2, 3, 4 levels. That is what assigning classes to vectors near their means needs. Finding it
    takes a sort. dim / (levels + 1) coordinates are zero; the others are the half-normal
    distribution rounded in equal steps.

    The partition function has too many states to be practical beyond some 20 dimensions: train
    with the cosine or the in-batch loss.

    Args:
        dim: number of coordinates.
        levels: different magnitudes besides 0.

    Example:
        >>> PermutationCode(128).multiplicities
        {3: 14, 2: 29, 1: 53}
    """

    def __init__(self, dim: int, levels: int = 3) -> None:
        check_dim(dim)
        if isinstance(levels, bool) or not isinstance(levels, int) or not 1 <= levels < dim:
            raise ValueError(
                f"Argument 'levels' must be an integer in [1, dim = {dim!r}), not {levels!r}."
            )
        counts = half_normal_counts(dim, levels)
        super().__init__(dim, {level: counts[level] for level in range(1, levels + 1)}, signed=True)
        self._levels = levels

    def __repr__(self) -> str:
        return f"PermutationCode({self.dim}, levels={self._levels})"


def half_normal_counts(dim: int, levels: int) -> list[int]:
    """How many of `dim` coordinates have magnitude 0, 1, ..., levels; each at least one."""
    normal = NormalDist()
    # |x| < step / 2 rounds to zero, and has probability 1 / (levels + 1).
    step = 2 * normal.inv_cdf(0.5 + 0.5 / (levels + 1))
    edges = [0.0, *((level + 0.5) * step for level in range(levels)), math.inf]
    below = [2 * normal.cdf(edge) - 1 for edge in edges]
    wanted = [dim * (b - a) for a, b in itertools.pairwise(below)]
    counts = [max(1, math.floor(share)) for share in wanted]
    # What rounding left over goes where most is missing.
    while sum(counts) != dim:
        change = 1 if sum(counts) < dim else -1
        level = max(
            (level for level in range(levels + 1) if counts[level] + change >= 1),
            key=lambda level: change * (wanted[level] - counts[level]),
        )
        counts[level] += change
    return counts
