"""Explicit vectors: class means, codes, optimized points. The slow twin of every other system."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import torch
from torch import Tensor

from rootspace._checks import wrong_kind
from rootspace._host_array import HostArray

from .enumerated import Enumerated


class Table(Enumerated):
    """Vectors given one by one, for example class means (CEembs, Sec. 4.3) or a code.

    The only system that stores its vectors: O(size * dim) memory on the host, and O(N * size * dim)
    time for `nearest` and `log_partition`. Up to 4 MB of them are on other devices too.

    Args:
        vectors: `[size, dim]`, none of them zero and no two of one direction; normalized here.

    Raises:
        TypeError: no numbers, such as the path of a file.
        ValueError: wrong shape, a zero, NaN or infinite row, or two equal rows.
    """

    def __init__(self, vectors: Tensor | Sequence[Sequence[float]]) -> None:
        try:
            table = torch.as_tensor(vectors).detach()
        except (TypeError, RuntimeError) as error:
            raise wrong_kind("vectors", vectors, "a tensor or rows of numbers") from error
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
        rows = (table / torch.where(unit, 1, norm)).to(dtype)
        self._stored = HostArray(rows)
        self._digest = hashlib.sha256(self.table.numpy().tobytes()).hexdigest()[:16]
        directions = (table / norm).float() + 0.0  # no negative zeros
        if len(torch.unique(directions, dim=0)) < len(table):
            raise ValueError("Argument 'vectors' must hold different vectors; some are equal.")

    @property
    def dim(self) -> int:
        return self.table.shape[1]

    @property
    def size(self) -> int:
        return self.table.shape[0]

    @property
    def table(self) -> Tensor:
        """`[size, dim]` the unit vectors, on the CPU."""
        return self._stored.rows

    def __repr__(self) -> str:
        return f"Table(<{self.size} x {self.dim}, sha256 {self._digest}>)"

    def _vectors(self, index: Tensor, dtype: torch.dtype) -> Tensor:
        return _cast(self._stored.take(index), dtype)

    def _block(self, start: int, stop: int, like: Tensor) -> Tensor:
        return _cast(self._stored.part(start, stop, like.device), like.dtype)

    def _block_size(self) -> int:
        return self.size  # they are there already


def _cast(rows: Tensor, dtype: torch.dtype) -> Tensor:
    """Unit vectors in another dtype, of unit length there as well."""
    if dtype == rows.dtype:
        return rows
    wide = rows.to(dtype)
    return torch.nn.functional.normalize(wide, dim=-1) if dtype == torch.float64 else wide
