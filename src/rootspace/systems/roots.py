"""The root systems A_n, B_n, D_n and E8, and polytopes among them."""

from __future__ import annotations

import itertools
import math
from collections import Counter
from collections.abc import Sequence
from fractions import Fraction
from typing import Literal

import torch
from torch import Tensor

from rootspace._checks import check_kind

from .base import VectorSystem, check_dim
from .codes import SignedKHot
from .enumerated import Enumerated
from .hyperplane import Hyperplane
from .orbit import Orbit
from .ordered import Ordered
from .union import Union

HALF_SPIN = 128
"""Roots whose coordinates are all +-1/2."""


class RootA(VectorSystem):
    r"""The roots e_i - e_j of A_n in n dimensions, optionally halved and interpolated.

    Args:
        n: dimension of the vectors.
        projection: `"drop"` leaves out the last of the n + 1 coordinates, as the paper does (45
            degrees, 60 between most neighbors); `"isometric"` expresses the roots in an
            orthonormal basis of the hyperplane they span (60 degrees throughout).
        positive: A_np, one of each pair +-v: those whose first non-zero coordinate is positive.
        interpolations: t adds the points that divide each edge between roots at 60 degrees into
            2**t equal parts, before the projection: n(n^2 - 1)(2^t - 1) more.

    Size: n(n + 1) roots, half of them if positive, and as many added points as said above.

    Index order: the roots, then the points of the first interpolation, of the second, ...; within
    these as `Orbit` and `Ordered` number them.

    Complexity: O(N * n) for t = 0, O(N * n * 4^t) else; see `Orbit`.

    Example:
        >>> RootA(9).size, RootA(384).size, RootA(384, interpolations=1).size
        (90, 147840, 56770560)
    """

    def __init__(
        self,
        n: int,
        projection: Literal["drop", "isometric"] = "drop",
        positive: bool = False,
        interpolations: int = 0,
    ) -> None:
        check_dim(n, "n")
        if projection not in ("drop", "isometric"):
            raise ValueError(
                f"Argument 'projection' must be 'drop' or 'isometric', not {projection!r}."
            )
        if type(interpolations) is not int or interpolations not in range(9):
            raise ValueError(
                f"Argument 'interpolations' must be an integer from 0 to 8, not {interpolations!r}."
            )
        check_kind("positive", positive, bool, "True or False")
        self._n = n
        self._projection = projection
        self._positive = positive
        self._interpolations = interpolations
        drop = projection == "drop"
        make = _halves if positive else _orbits
        parts = [
            part
            for values in _edge_points(interpolations)
            for part in make(n if drop else n + 1, values, drop)
        ]
        system = parts[0] if len(parts) == 1 else Union(parts)
        self._system = system if drop else Hyperplane(system)

    @property
    def dim(self) -> int:
        return self._n

    @property
    def size(self) -> int:
        return self._system.size

    def __repr__(self) -> str:
        arguments = [str(self._n)]
        if self._projection != "drop":
            arguments.append(f"projection={self._projection!r}")
        if self._positive:
            arguments.append("positive=True")
        if self._interpolations:
            arguments.append(f"interpolations={self._interpolations}")
        return f"RootA({', '.join(arguments)})"

    def _vectors(self, index: Tensor, dtype: torch.dtype) -> Tensor:
        return self._system._vectors(index, dtype)

    def _placements(self, index: Tensor, dtype: torch.dtype) -> tuple[Tensor, Tensor] | None:
        return self._system._placements(index, dtype)

    def _index(self, vectors: Tensor) -> Tensor:
        return self._system._index(vectors)

    def _nearest(self, z: Tensor, k: int) -> tuple[Tensor, Tensor]:
        return self._system._nearest(z, k)

    def _quantize(self, z: Tensor) -> Tensor:
        return self._system._quantize(z)

    def _log_partition(self, u: Tensor, length: float) -> Tensor:
        return self._system._log_partition(u, length)

    def _largest_cosine(self) -> float:
        return self._system._largest_cosine()

    def _representatives(self) -> tuple[Tensor, Sequence[Fraction | int]]:
        return self._system._representatives()


def _edge_points(interpolations: int) -> list[tuple[int, ...]]:
    """Non-zero values of the roots, then of the points that each interpolation adds.

    The edge from e_i - e_j to e_i - e_k is divided at e_i - (1-s) e_j - s e_k with s a multiple of
    2**-t; s and 1 - s give the same orbit.
    """
    values: list[tuple[int, ...]] = [(1, -1)]
    for t in range(1, interpolations + 1):
        whole = 2**t
        values += [(whole, -(whole - s), -s) for s in range(1, whole // 2 + 1, 2)]
    return values


def _orbits(dim: int, values: tuple[int, ...], drop: bool) -> list[VectorSystem]:
    opposite = tuple(-value for value in values)
    kinds = [values] if Counter(values) == Counter(opposite) else [values, opposite]
    kept: list[tuple[int, ...]] = []
    for kind in kinds:
        kept.append(kind)
        if drop:
            # The coordinate left out held a zero, or one of the values. The root's smaller value
            # first: e_i comes before -e_i.
            for value in sorted(set(kind)):
                rest = list(kind)
                rest.remove(value)
                kept.append(tuple(rest))
    return [Orbit(dim, dict(Counter(kind))) for kind in kept if len(kind) <= dim]


def _halves(dim: int, values: tuple[int, ...], drop: bool) -> list[VectorSystem]:
    opposite = tuple(-value for value in values)
    words = {*itertools.permutations(values), *itertools.permutations(opposite)}
    words = sorted((word for word in words if word[0] > 0), reverse=True)
    kept = [*words, *(word[:-1] for word in words)] if drop else words
    return [Ordered(dim, word) for word in kept if len(word) <= dim]


class RootD(SignedKHot):
    """The 2n(n - 1) roots +-e_i +-e_j of D_n, at 60 degrees.

    Args:
        dim: n.
    """

    def __init__(self, dim: int) -> None:
        check_dim(dim, least=2)
        super().__init__(dim, 2)

    def __repr__(self) -> str:
        return f"RootD({self.dim})"


class RootB(Union):
    """The 2n^2 roots of B_n: those of D_n, then +-e_i; at 45 degrees.

    Args:
        dim: n.
    """

    def __init__(self, dim: int) -> None:
        check_dim(dim, least=2)
        super().__init__([Orbit(dim, {1: 2}, signed=True), Orbit(dim, {1: 1}, signed=True)])

    def __repr__(self) -> str:
        return f"RootB({self.dim})"


class Orthoplex(SignedKHot):
    """The 2n vectors +-e_i, at 90 degrees: vertices of the cross-polytope.

    Args:
        dim: n.
    """

    def __init__(self, dim: int) -> None:
        super().__init__(dim, 1)

    def __repr__(self) -> str:
        return f"Orthoplex({self.dim})"


class Hypercube(SignedKHot):
    """The 2^n vectors (+-1, ..., +-1): vertices of the hypercube.

    Args:
        dim: n.
    """

    def __init__(self, dim: int) -> None:
        check_dim(dim)
        super().__init__(dim, dim)

    def __repr__(self) -> str:
        return f"Hypercube({self.dim})"


class RootE8(Enumerated):
    """The 240 roots of E8, at 60 degrees: the kissing arrangement of 8 dimensions.

    J. H. Conway, N. J. A. Sloane, Sphere Packings, Lattices and Groups, ch. 4, sec. 8.1.

    Index order: the 112 roots +-e_i +-e_j in the order of `RootD(8)`, then the 128 roots
    (+-1/2, ..., +-1/2) with an even number of minus signs, whose number has bit i set for a minus
    at coordinate i of the first seven.

    Complexity: O(240 * 8) an embedding for everything.

    Example:
        >>> (RootE8().vectors(torch.tensor([112, 113])) * 8**0.5).round()
        tensor([[ 1.,  1.,  1.,  1.,  1.,  1.,  1.,  1.],
                [-1.,  1.,  1.,  1.,  1.,  1.,  1., -1.]])
    """

    def __init__(self) -> None:
        self._integral = Orbit(8, {1: 2}, signed=True)

    @property
    def dim(self) -> int:
        return 8

    @property
    def size(self) -> int:
        return self._integral.size + HALF_SPIN

    def __repr__(self) -> str:
        return "RootE8()"

    def _vectors(self, index: Tensor, dtype: torch.dtype) -> Tensor:
        count = self._integral.size
        integral = self._integral._vectors(index.clamp(max=count - 1), dtype)
        signs = even_signs((index - count).clamp(min=0), 8)
        half = (signs * math.sqrt(1 / 8)).to(dtype)
        return torch.where((index < count)[:, None], integral, half)

    def _largest_cosine(self) -> float:
        return 0.5

    def _representatives(self) -> tuple[Tensor, list[int]]:
        # The Weyl group maps any root to any other.
        return self._vectors(torch.tensor([0]), torch.float64), [self.size]


def even_signs(bits: Tensor, count: int) -> Tensor:
    """`[N]` int64 -> `[N, count]` float64 signs, -1 where a bit is set; the last makes -1s even."""
    negative = (bits[:, None] >> torch.arange(count - 1, device=bits.device)) & 1
    signs = 1 - 2 * torch.cat([negative, negative.sum(-1, keepdim=True) & 1], dim=-1)
    return signs.double()
