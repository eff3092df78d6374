"""Explicit vectors: class means, codes, optimised points. The slow twin of every other system."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import torch
from torch import Tensor

from ._base import VectorSystem
from ._tree import best_first

CHUNK = 2**23
"""Scores computed together, to bound the memory of a search or a sum over the table."""


class Table(VectorSystem):
    """Vectors given one by one, for example class means (CEembs, Sec. 4.3) or a code.

    The only system that stores its vectors: O(size * dim) memory, and O(N * size * dim) time for
    `nearest` and `log_partition`.

    Args:
        vectors: `[size, dim]`, none of them zero and no two of one direction; normalised here.

    Raises:
        ValueError: wrong shape, a zero, NaN or infinite row, or two equal rows.
    """

    def __init__(self, vectors: Tensor | Sequence[Sequence[float]]) -> None:
        table = torch.as_tensor(vectors).detach()
        if table.ndim != 2 or not table.numel():
            raise ValueError(
                f"Argument 'vectors' must have shape [size, dim], not {tuple(table.shape)}."
            )
        dtype = torch.float64 if table.dtype == torch.float64 else torch.float32
        table = table.to(torch.float64).cpu()
        norm = torch.linalg.vector_norm(table, dim=-1, keepdim=True)
        bad = ~torch.isfinite(norm[:, 0]) | (norm[:, 0] == 0)
        if bool(bad.any()):
            row = int(bad.nonzero()[0, 0])
            raise ValueError(f"Argument 'vectors' must be finite and not zero; row {row} is not.")
        # Unit vectors stay as they are, bit for bit, so that a saved table is itself again.
        unit = (norm - 1).abs() < 4 * torch.finfo(dtype).eps
        self._table = (table / torch.where(unit, 1, norm)).to(dtype)
        self._copies = {self._table.device: self._table}
        self._digest = hashlib.sha256(self._table.numpy().tobytes()).hexdigest()[:16]
        self._cosine: float | None = None
        directions = (table / norm).float() + 0.0  # no negative zeros
        if len(torch.unique(directions, dim=0)) < len(table):
            raise ValueError("Argument 'vectors' must hold different vectors; some are equal.")

    @property
    def dim(self) -> int:
        return self._table.shape[1]

    @property
    def size(self) -> int:
        return self._table.shape[0]

    @property
    def table(self) -> Tensor:
        """`[size, dim]` the unit vectors, on the CPU."""
        return self._table

    def __repr__(self) -> str:
        return f"Table(<{self.size} x {self.dim}, sha256 {self._digest}>)"

    def _rows_like(self, z: Tensor) -> Tensor:
        if z.device not in self._copies:
            self._copies[z.device] = self._table.to(z.device)
        return self._copies[z.device]

    def _vectors(self, index: Tensor, dtype: torch.dtype) -> Tensor:
        return _cast(self._rows_like(index)[index], dtype)

    def _index(self, vectors: Tensor) -> Tensor:
        half = vectors.dtype in (torch.float16, torch.bfloat16)
        vectors = vectors.float() if half else vectors
        index = self._nearest(vectors, 1)[1][:, 0]
        distance = torch.linalg.vector_norm(self._vectors(index, vectors.dtype) - vectors, dim=-1)
        return torch.where(distance <= (2e-2 if half else 1e-4), index, -1)

    def _nearest(self, z: Tensor, k: int) -> tuple[Tensor, Tensor]:
        table = self._rows_like(z)
        score = z.new_empty((len(z), 0))
        index = torch.empty((len(z), 0), dtype=torch.int64, device=z.device)
        for start, rows in self._chunks(table, len(z)):
            part = z @ _cast(rows, z.dtype).T
            if k == 1:
                some, where = part.max(dim=-1, keepdim=True)  # the first of equals
            else:
                some, where = part.topk(min(k, len(rows)), dim=-1)
            score, index = best_first(
                torch.cat([score, some], -1), torch.cat([index, where + start], -1), k
            )
        return score, index

    def _log_partition(self, u: Tensor, length: float) -> Tensor:
        table = self._rows_like(u)
        parts = [
            torch.logsumexp(u @ _cast(rows, u.dtype).T, dim=-1)
            for _, rows in self._chunks(table, len(u))
        ]
        return torch.logsumexp(torch.stack(parts, dim=-1), dim=-1)

    @staticmethod
    def _chunks(table: Tensor, num_rows: int) -> list[tuple[int, Tensor]]:
        step = max(1, CHUNK // max(1, num_rows))
        return [(start, table[start : start + step]) for start in range(0, len(table), step)]

    def _largest_cosine(self) -> float:
        if self._cosine is None:
            self._cosine = -1.0
            if self.size > 1:
                for start, rows in self._chunks(_cast(self._table, torch.float64), self.size):
                    cosine = rows @ _cast(self._table, torch.float64).T
                    own = torch.arange(len(rows))
                    cosine[own, own + start] = -1.0
                    self._cosine = max(self._cosine, float(cosine.max()))
        return self._cosine

    def _representatives(self) -> tuple[Tensor, list[int]]:
        count = min(self.size, 256)
        index = torch.tensor([i * (self.size - 1) // max(count - 1, 1) for i in range(count)])
        return self._vectors(index, torch.float64), [1] * count


def _cast(rows: Tensor, dtype: torch.dtype) -> Tensor:
    """Unit vectors in another dtype, of unit length there as well."""
    if dtype == rows.dtype:
        return rows
    wide = rows.to(dtype)
    return torch.nn.functional.normalize(wide, dim=-1) if dtype == torch.float64 else wide
