"""Unit vectors, and the same rounded to int8 for the first look at them."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

LARGEST = 127
"""Of int8."""

TOGETHER = 2**19
"""Coordinates that are gathered together: they stay in the cache."""

ROOM = 1024
"""Rows that an array has room for at least."""


def rounding(dim: int) -> float:
    """How far a float32 inner product of two unit vectors may be from the true one."""
    return 2.0**-23 * (dim + 8)


def appended(rows: Tensor, new: Tensor) -> Tensor:
    """The rows and the new ones behind them; the storage grows by half when it is full.

    Rows that were given out stay as they are: new ones are written behind them. So it must be
    called with the longest of the views of a storage.
    """
    size, width = len(rows), rows.stride(0) if rows.ndim > 1 else 1
    room = rows.untyped_storage().nbytes() // (rows.element_size() * max(1, width))
    if size + len(new) > room:
        larger = rows.new_empty(max(size + len(new), size + size // 2, ROOM), *rows.shape[1:])
        larger[:size] = rows
        rows = larger
    whole = rows.as_strided((size + len(new), *rows.shape[1:]), rows.stride(), 0)
    whole[size:] = new
    return whole


@dataclass(frozen=True)
class Rows:
    """Unit vectors: `step * rounded`, which are wrong by vectors of length `error` at most.

    Attributes:
        rounded: `[N, dim]` int8.
        step: of the rounding.
        error: length of what rounding left over, at most; 0 for integer codes.
        exact: `[N, dim]` float32, or None where rounding left nothing over.
    """

    rounded: Tensor
    step: float
    error: float
    exact: Tensor | None

    @classmethod
    def none(cls, dim: int) -> Rows:
        """No rows yet, of vectors that are not integers."""
        return cls(torch.empty(0, dim, dtype=torch.int8), 0.0, 0.0, torch.empty(0, dim))

    @classmethod
    def of_vectors(cls, exact: Tensor) -> Rows:
        """`[N, dim]` float32 unit vectors, used as they are."""
        step = _roomy(exact)
        rounded, error = _rounded(exact, step)
        return cls(rounded, step, error, exact)

    @classmethod
    def of_levels(cls, levels: Tensor, norm: float) -> Rows:
        """`[N, dim]` int8 vectors of one length, divided by it."""
        return cls(levels, 1 / norm, 0.0, None)

    def __len__(self) -> int:
        return len(self.rounded)

    @property
    def dim(self) -> int:
        return self.rounded.shape[1]

    @property
    def nbytes(self) -> int:
        exact = 0 if self.exact is None else self.exact.numel() * self.exact.element_size()
        return self.rounded.numel() + exact

    @property
    def slack(self) -> float:
        """How far the product of two rounded rows may be from their cosine."""
        return self.error * (2 + self.error) + 1e-6

    def with_vectors(self, new: Tensor) -> Rows:
        """The rows and `[M, dim]` float32 unit vectors."""
        assert self.exact is not None
        exact = appended(self.exact, new)
        if len(new) and float(new.abs().max()) > LARGEST * self.step:
            # All are rounded again, and seldom.
            step = _roomy(new)
            rounded, error = _rounded(exact, step)
            return Rows(rounded, step, error, exact)
        rounded, error = _rounded(new, self.step)
        return replace(
            self,
            rounded=appended(self.rounded, rounded),
            error=max(self.error, error),
            exact=exact,
        )

    def with_levels(self, new: Tensor) -> Rows:
        """The rows and `[M, dim]` int8 vectors of the same length."""
        assert self.exact is None
        return replace(self, rounded=appended(self.rounded, new))

    def only(self, kept: Tensor) -> Rows:
        """The rows at these places, copied."""
        exact = None if self.exact is None else self.exact[kept]
        return replace(self, rounded=self.rounded[kept], exact=exact)

    def digest(self, size: int) -> str:
        """SHA-256 of the first rows."""
        rows = self.rounded if self.exact is None else self.exact
        return hashlib.sha256(np.ascontiguousarray(rows[:size].numpy()).data).hexdigest()

    def take(self, index: np.ndarray, dtype: type[np.floating] = np.float32) -> np.ndarray:
        """`[...]` places -> `[..., dim]` unit vectors."""
        if self.exact is None:
            return self.rounded.numpy().take(index, axis=0).astype(dtype) * dtype(self.step)
        return self.exact.numpy().take(index, axis=0).astype(dtype, copy=False)

    def scores(self, z: np.ndarray, index: np.ndarray) -> np.ndarray:
        """Cosines of `[N, dim]` float32 embeddings to `[N, C]` rows each."""
        some = max(1, TOGETHER // max(1, index.shape[1] * self.dim))
        if len(index) > some:
            parts = range(0, len(index), some)
            return np.concatenate(
                [self.scores(z[i : i + some], index[i : i + some]) for i in parts]
            )
        # numpy's product is always in float32; torch's may be set to less.
        if self.exact is not None:
            return (self.exact.numpy().take(index, axis=0) @ z[:, :, None])[:, :, 0]
        rows = self.rounded.numpy().take(index, axis=0).astype(np.float32)
        return (rows @ (z * np.float32(self.step))[:, :, None])[:, :, 0]


def rounded_queries(z: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """`[B, dim]` float32 unit embeddings -> int8, and the `[B, 1]` steps of the rounding."""
    step = np.abs(z).max(axis=-1, keepdims=True) / np.float32(LARGEST)
    return np.rint(z / step).astype(np.int8), step


def score_error(z: np.ndarray, rounded: np.ndarray, step: np.ndarray, rows: Rows) -> np.ndarray:
    """`[B, 1]` how far int8 scores of embeddings and rows may be from their cosines.

    By Cauchy-Schwarz, from the length of what rounding left over; see `rounded_queries`.
    """
    # Rounding of this bound itself is far below a thousandth of it.
    left = 1.001 * np.linalg.norm(z - step * rounded, axis=-1, keepdims=True) + 1e-6
    # |z.v - z'.v'| <= |z - z'| |v| + |z'| |v - v'|
    return left + (1 + left) * rows.error + rounding(rows.dim)


def _roomy(vectors: Tensor) -> float:
    """A step of rounding with room for somewhat larger coordinates."""
    parts = vectors.split(ROOM) if len(vectors) else ()
    largest = max((float(part.abs().max()) for part in parts), default=0.0)
    return min(1.25 * largest, 1.0) / LARGEST


def _rounded(vectors: Tensor, step: float) -> tuple[Tensor, float]:
    """int8, and the largest length of what is left over."""
    rounded, error = torch.empty(vectors.shape, dtype=torch.int8), 0.0
    for start in range(0, len(vectors), ROOM):
        part = vectors[start : start + ROOM]
        whole = (part / step).round_().clamp_(-LARGEST, LARGEST)
        rounded[start : start + ROOM] = whole
        left = torch.linalg.vector_norm(part - step * whole, dim=-1)
        error = max(error, 1.001 * float(left.max()) + 1e-6)
    return rounded, error
