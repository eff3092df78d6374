"""The regular simplex: the most vectors that are all at one obtuse angle."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from ._topk import best_first
from .base import VectorSystem, check_dim
from .hyperplane import drop, lift


class Simplex(VectorSystem):
    """n + 1 vectors in n dimensions, each at cosine -1/n with every other one.

    The unit vectors e_0, ..., e_n seen in Helmert's basis of the hyperplane with coordinate sum
    zero, made longer by sqrt((n + 1) / n). It is the arrangement to which class means converge
    under cross entropy (neural collapse, Papyan, Han and Donoho, arXiv 2008.08186), and of
    largest angle for n + 1 vectors.

    Args:
        dim: n.

    Complexity: everything is O(n) an embedding.

    Example:
        >>> v = Simplex(3).vectors(torch.arange(4))
        >>> (v[0] @ v[1:].T).round(decimals=4)
        tensor([-0.3333, -0.3333, -0.3333])
    """

    def __init__(self, dim: int) -> None:
        check_dim(dim)
        self._dim = dim
        self._length = math.sqrt((dim + 1) / dim)

    @property
    def dim(self) -> int:
        return self._dim

    @property
    def size(self) -> int:
        return self._dim + 1

    def __repr__(self) -> str:
        return f"Simplex({self._dim})"

    def _vectors(self, index: Tensor, dtype: torch.dtype) -> Tensor:
        wide = torch.float64 if dtype == torch.float64 else torch.float32
        corners = torch.zeros(len(index), self.size, dtype=wide, device=index.device)
        corners.scatter_(1, index[:, None], self._length)
        return drop(corners).to(dtype)

    def _index(self, vectors: Tensor) -> Tensor:
        half = vectors.itemsize < 4
        vectors = vectors.float() if half else vectors
        index = lift(vectors).argmax(dim=-1)
        distance = torch.linalg.vector_norm(self._vectors(index, vectors.dtype) - vectors, dim=-1)
        return torch.where(distance <= (2e-2 if half else 1e-4), index, -1)

    def _nearest(self, z: Tensor, k: int) -> tuple[Tensor, Tensor]:
        score = lift(z) * self._length
        if k == 1:
            best, index = score.max(dim=-1, keepdim=True)  # the first of equals
            return best, index
        best, index = score.topk(k, dim=-1)
        return best_first(best, index, k)

    def _log_partition(self, u: Tensor, length: float) -> Tensor:
        return torch.logsumexp(lift(u) * self._length, dim=-1)

    def _largest_cosine(self) -> float:
        return -1 / self._dim

    def _representatives(self) -> tuple[Tensor, list[int]]:
        return self._vectors(torch.tensor([0]), torch.float64), [self.size]
