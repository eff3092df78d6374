"""Vectors on the circle, doubled by rotation: Sec. 5.1 of arXiv 2510.04090."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from ._topk import best_first
from .base import VectorSystem

MOST = 20
"""With more doublings float64 could not tell the cosines of neighbors apart."""


class Circle(VectorSystem):
    """4 * 2**doublings equally spaced vectors in 2 dimensions, in the order of their making.

    The first four are at right angles; each doubling appends all vectors so far, rotated by half
    the angle between neighbors. The paper halves the cluster radius with each doubling:
    `cluster_radius`.

    Args:
        doublings: how often the vectors are doubled, 0 to 20 (4,194,304 vectors, 0.00009 degrees).

    Complexity: everything is O(k) an embedding; `log_partition` O(sqrt(size + scale)).

    Example:
        >>> Circle(1).vectors(torch.tensor([0, 1, 4])).round(decimals=4)
        tensor([[1.0000, 0.0000],
                [0.0000, 1.0000],
                [0.7071, 0.7071]])
    """

    def __init__(self, doublings: int) -> None:
        if type(doublings) is not int or doublings not in range(MOST + 1):
            raise ValueError(
                f"Argument 'doublings' must be an integer from 0 to {MOST}, not {doublings!r}."
            )
        self._doublings = doublings

    @property
    def dim(self) -> int:
        return 2

    @property
    def size(self) -> int:
        return 4 << self._doublings

    def __repr__(self) -> str:
        return f"Circle({self._doublings})"

    def cluster_radius(self, radius: float = 1.0) -> float:
        """r_c of eq. (7) after the doublings, `radius` being that of the first four classes."""
        return radius / 2**self._doublings

    # An index i = 4 b + q is the sector of reversed bits: quadrant q, then 45 deg for the lowest
    # bit of b, 22.5 deg for the next one, ...

    def _sector(self, index: Tensor) -> Tensor:
        return ((index & 3) << self._doublings) + self._reversed(index >> 2)

    def _unsector(self, sector: Tensor) -> Tensor:
        sector = sector % self.size
        fraction = sector & ((1 << self._doublings) - 1)
        return (self._reversed(fraction) << 2) + (sector >> self._doublings)

    def _reversed(self, bits: Tensor) -> Tensor:
        out = torch.zeros_like(bits)
        for i in range(self._doublings):
            out = out | (((bits >> i) & 1) << (self._doublings - 1 - i))
        return out

    def _vectors(self, index: Tensor, dtype: torch.dtype) -> Tensor:
        sector = self._sector(index)
        quadrant, step = sector >> self._doublings, sector & ((1 << self._doublings) - 1)
        angle = step.double() * (2 * math.pi / self.size)
        vectors = torch.stack([angle.cos(), angle.sin()], dim=-1)
        # Right angles are exact: turn by coordinates, not by rounded angles.
        turned = torch.stack([-vectors[..., 1], vectors[..., 0]], dim=-1)
        vectors = torch.where((quadrant % 2 == 1)[..., None], turned, vectors)
        vectors = torch.where((quadrant >= 2)[..., None], -vectors, vectors)
        return (vectors + 0.0).to(dtype)  # no negative zeros

    def _index(self, vectors: Tensor) -> Tensor:
        index = self._nearest(vectors.float() if vectors.itemsize < 4 else vectors, 1)[1][:, 0]
        off = (self._vectors(index, torch.float64) - vectors).norm(dim=-1)
        tolerance = 8 * torch.finfo(vectors.dtype).eps
        return torch.where(off <= min(tolerance, math.pi / self.size), index, -1)

    def _nearest(self, z: Tensor, k: int) -> tuple[Tensor, Tensor]:
        z = z.double()
        # One more to either side than needed, so that ties are seen and rounding does not matter.
        index = self._around(z, min(self.size, 2 * (k // 2) + 5))
        score = torch.einsum("nkd,nd->nk", self._vectors(index, z.dtype), z)
        return best_first(score, index, k)

    def _around(self, z: Tensor, width: int) -> Tensor:
        """`[N, width]` numbers of the vectors around each embedding."""
        turn = torch.atan2(z[:, 1], z[:, 0]).double() / (2 * math.pi)
        middle = (turn * self.size).round().to(torch.int64)
        steps = torch.arange(width, device=z.device) - width // 2
        return self._unsector(middle[:, None] + steps)

    def _log_partition(self, u: Tensor, length: float) -> Tensor:
        if self.size <= 2 * length + 64:
            # Farther from the embedding than this, terms are below exp(-800) of the nearest.
            reach = self.size * math.sqrt(1600 / max(length, 1.0)) / (2 * math.pi)
            width = min(self.size, 2 * math.ceil(reach) + 3)
            near = self._around(u, width)
            terms = torch.einsum("nkd,nd->nk", self._vectors(near, u.dtype), u)
            # A zero embedding is equally far from all, not only from those around it.
            zero = (u == 0).all(-1)
            return torch.where(zero, math.log(self.size), torch.logsumexp(terms, dim=-1))
        # The trapezoidal rule on so many points is exact to rounding: the aliasing terms are
        # Bessel functions of order size and above.
        scale = torch.linalg.vector_norm(u, dim=-1)
        return math.log(self.size) + torch.log(torch.special.i0e(scale)) + scale

    def _largest_cosine(self) -> float:
        return math.cos(2 * math.pi / self.size)

    def _smallest_angle(self) -> float:
        return 360 / self.size

    def _representatives(self) -> tuple[Tensor, list[int]]:
        return torch.tensor([[1.0, 0.0]], dtype=torch.float64), [self.size]
