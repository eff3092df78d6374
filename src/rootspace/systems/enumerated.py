"""Systems small enough to look at every vector, whose vectors are computed and not stored."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from fractions import Fraction
from functools import cached_property

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from ._topk import best_first
from .base import VectorSystem

CHUNK = 2**23
"""Scores computed together, to bound the memory of a search or a sum over all vectors."""

BLOCK = 2**20
"""Coordinates of vectors computed together, at most."""

SMALL_BLOCK = 2**14
"""Coordinates computed together in a small system, where a 16th of its size is less."""

SAMPLE = 256
"""Vectors that stand for all where no symmetry is known."""


class Enumerated(VectorSystem):
    """A system that is searched and summed by computing all of its vectors, some at a time.

    The shortest way to a system of your own: a leaf class must write `dim`, `size`, `__repr__` and
    `_vectors`, and all else follows from these. It may write anything for speed: `_index` where
    the number of a vector can be read from it (`_checked` helps), `_largest_cosine` where it is
    known, `_representatives` where a symmetry maps all vectors to one another.

    Complexity: time O(N * size * dim) for `nearest`, `log_partition` and `index`, and O(size**2 *
    dim) for `min_angle`; memory O(N * 2**13 + 2**20), the same while training.
    """

    # ---------------------------------------------------------------- a leaf may write these

    def _block(self, start: int, stop: int, like: Tensor) -> Tensor:
        """`[stop - start, dim]` the vectors with these indices, as `like` in device and dtype."""
        return self._vectors(torch.arange(start, stop, device=like.device), like.dtype)

    def _block_size(self) -> int:
        """How many vectors are computed together, at most."""
        # No more than a part of the system, so that nothing made is ever the size of it.
        return min(BLOCK, max(SMALL_BLOCK, self.size // 16)) // self.dim

    # ---------------------------------------------------------------- derived

    def _blocks(self, num_rows: int) -> Iterator[tuple[int, int]]:
        """(start, stop) of the blocks that are scored with so many embeddings, in order."""
        step = max(1, min(self._block_size(), CHUNK // max(1, num_rows)))
        for start in range(0, self.size, step):
            yield start, min(start + step, self.size)

    def _index(self, vectors: Tensor) -> Tensor:
        wide = vectors.float() if vectors.itemsize < 4 else vectors
        return self._checked(self._nearest(wide, 1)[1][:, 0], vectors)

    def _checked(self, index: Tensor, vectors: Tensor) -> Tensor:
        """`[N]` likely indices of `[N, dim]` -> -1 where they are not those of these vectors."""
        half = vectors.itemsize < 4
        wide = vectors.float() if half else vectors
        distance = torch.linalg.vector_norm(self._vectors(index, wide.dtype) - wide, dim=-1)
        return torch.where(distance <= (2e-2 if half else 1e-4), index, -1)

    def _nearest(self, z: Tensor, k: int) -> tuple[Tensor, Tensor]:
        score = z.new_full((len(z), k if k == 1 else 0), -torch.inf)
        index = torch.zeros(score.shape, dtype=torch.int64, device=z.device)
        for start, stop in self._blocks(len(z)):
            part = z @ self._block(start, stop, z).T
            if k == 1:
                some, where = part.max(dim=-1, keepdim=True)  # the first of equals
                better = some > score
                score = torch.where(better, some, score)
                index = torch.where(better, where + start, index)
            else:
                some, where = part.topk(min(k, stop - start), dim=-1)
                score, index = best_first(
                    torch.cat([score, some], -1), torch.cat([index, where + start], -1), k
                )
        return score, index

    def _log_partition(self, u: Tensor, length: float) -> Tensor:
        # What is too large to be kept for the gradient is computed once more.
        again = u.requires_grad and self.size * max(len(u), self.dim) > CHUNK
        parts = [
            checkpoint(self._log_sum, u, start, stop, use_reentrant=False, preserve_rng_state=False)
            if again
            else self._log_sum(u, start, stop)
            for start, stop in self._blocks(len(u))
        ]
        return parts[0] if len(parts) == 1 else torch.logsumexp(torch.stack(parts, dim=-1), dim=-1)

    def _log_sum(self, u: Tensor, start: int, stop: int) -> Tensor:
        return torch.logsumexp(u @ self._block(start, stop, u).T, dim=-1)

    def _largest_cosine(self) -> float:
        return self._scanned_cosine

    @cached_property
    def _scanned_cosine(self) -> float:
        largest, like = -1.0, torch.empty(0, dtype=torch.float64)
        step = math.isqrt(CHUNK)
        for first, last in self._blocks(step):
            rows = self._block(first, last, like)
            for start, stop in self._blocks(step):
                if start >= first:
                    cosine = rows @ self._block(start, stop, like).T
                    if start == first:
                        cosine.fill_diagonal_(-1.0)
                    largest = max(largest, float(cosine.max()))
        return largest

    def _representatives(self) -> tuple[Tensor, Sequence[Fraction | int]]:
        count = min(self.size, SAMPLE)
        index = torch.tensor([i * (self.size - 1) // max(count - 1, 1) for i in range(count)])
        return self._vectors(index, torch.float64), [1] * count
