"""Vectors with coordinate sum zero, seen in an orthonormal basis of that hyperplane."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction

import torch
from torch import Tensor

from rootspace._checks import check_kind

from .base import VectorSystem


class Hyperplane(VectorSystem):
    """A system whose vectors all have coordinate sum zero, in one dimension less.

    The basis is Helmert's: h_k = (1, ..., 1, -k, 0, ..., 0) / sqrt(k(k+1)) with k ones, which is
    what Gram-Schmidt gives (the uniformity-preserving projection of Sec. 3.2.1, Fig. 2b). It is
    applied by a cumulative sum, O(dim) a vector, not as a matrix. Angles are those of the system.

    Args:
        system: in n + 1 dimensions, with coordinate sum zero (checked on sample vectors).
    """

    def __init__(self, system: VectorSystem) -> None:
        check_kind("system", system, VectorSystem, "a vector system")
        vectors, _ = system._representatives()
        if system.dim < 2 or not torch.allclose(vectors.sum(-1), vectors.new_zeros(()), atol=1e-9):
            raise ValueError(
                f"Argument 'system' must have vectors with coordinate sum zero, not {system!r}."
            )
        self._system = system

    @property
    def dim(self) -> int:
        return self._system.dim - 1

    @property
    def size(self) -> int:
        return self._system.size

    def __repr__(self) -> str:
        return f"Hyperplane({self._system!r})"

    def _vectors(self, index: Tensor, dtype: torch.dtype) -> Tensor:
        wide = torch.float64 if dtype == torch.float64 else torch.float32
        return drop(self._system._vectors(index, wide)).to(dtype)

    def _index(self, vectors: Tensor) -> Tensor:
        half = vectors.dtype in (torch.float16, torch.bfloat16)
        lifted = lift(vectors.float() if half else vectors)
        return self._system._index(lifted.to(vectors.dtype))

    def _nearest(self, z: Tensor, k: int) -> tuple[Tensor, Tensor]:
        return self._system._nearest(lift(z), k)

    def _quantize(self, z: Tensor) -> Tensor:
        return drop(self._system._quantize(lift(z)))

    def _log_partition(self, u: Tensor, length: float) -> Tensor:
        return self._system._log_partition(lift(u), length)

    def _largest_cosine(self) -> float:
        return self._system._largest_cosine()

    def _representatives(self) -> tuple[Tensor, Sequence[Fraction | int]]:
        vectors, counts = self._system._representatives()
        return drop(vectors), counts


def _norms(dim: int, like: Tensor) -> tuple[Tensor, Tensor]:
    k = torch.arange(1, dim + 1, dtype=like.dtype, device=like.device)
    return k, torch.sqrt(k * (k + 1))


def lift(z: Tensor) -> Tensor:
    """`[N, n]` coordinates in the basis -> `[N, n + 1]` with sum zero."""
    k, norm = _norms(z.shape[-1], z)
    scaled = z / norm
    ones = scaled.flip(-1).cumsum(-1).flip(-1)
    first = torch.cat([ones, torch.zeros_like(z[:, :1])], dim=-1)
    return first - torch.cat([torch.zeros_like(z[:, :1]), scaled * k], dim=-1)


def drop(v: Tensor) -> Tensor:
    """`[N, n + 1]` -> `[N, n]` coordinates in the basis; the transpose of `lift`."""
    k, norm = _norms(v.shape[-1] - 1, v)
    return (v[:, :-1].cumsum(-1) - k * v[:, 1:]) / norm
