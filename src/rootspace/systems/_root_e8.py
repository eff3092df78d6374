"""The root system E8, the densest arrangement of directions in 8 dimensions."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from .enumerated import Enumerated
from .orbit import Orbit

HALF_SPIN = 128
"""Roots whose coordinates are all +-1/2."""


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
