"""What the checks compare a system with: its vectors, embeddings of all kinds, dense scores."""

from __future__ import annotations

from functools import cached_property

import torch
from torch import Tensor

from rootspace.systems import MAX_INDEX

from ._case import SystemCase

FLOATS = (torch.float32, torch.float64)
HALVES = (torch.bfloat16, torch.float16)


class Probe:
    """Test material for one system, the same for the same seed."""

    def __init__(self, case: SystemCase, seed: int) -> None:
        self.case = case
        self.system = case.system
        self.seed = seed

    @property
    def indexed(self) -> bool:
        """int64 can number the vectors."""
        return self.system.size <= MAX_INDEX

    @property
    def dense(self) -> bool:
        """All vectors can be enumerated here."""
        return self.system.size <= self.case.exhaustive

    @cached_property
    def indices(self) -> Tensor:
        """All indices, or a sample that holds the first and last ones."""
        size = self.system.size
        if self.dense:
            return torch.arange(size)
        ends = torch.tensor([0, 1, size - 2, size - 1])
        inside = torch.randint(size, (8 * self.case.samples,), generator=self.generator())
        return torch.cat([ends, inside]).unique()

    @cached_property
    def table(self) -> Tensor:
        """`[len(indices), dim]` float64: the vectors of `indices`."""
        return self.system.vectors(self.indices, dtype=torch.float64)

    @property
    def numbers_of_neighbors(self) -> list[int]:
        largest = min(self.case.max_k, self.system.size)
        return sorted({min(k, largest) for k in (1, 3, largest)})

    def generator(self) -> torch.Generator:
        return torch.Generator().manual_seed(self.seed)

    def random(self, count: int) -> Tensor:
        """`[count, dim]` float64 embeddings of random direction and length."""
        shape = (count, self.system.dim)
        return torch.randn(shape, generator=self.generator(), dtype=torch.float64)

    def members(self, count: int) -> Tensor:
        """`[count, dim]` float64 vectors of the system, with repetition."""
        if not self.indexed:
            return self.system.quantize(self.random(count))
        rows = torch.randint(len(self.table), (count,), generator=self.generator())
        return self.table[rows]

    def embeddings(self, dtype: torch.dtype) -> Tensor:
        """Random embeddings, others near and on vectors, and midpoints of two vectors."""
        count = self.case.samples
        random, members = self.random(count), self.members(2 * count)
        near = members[:count] + random * (0.3 / self.system.dim**0.5)
        midpoints = (members[:count] + members[count:]) / 2
        midpoints = midpoints[torch.linalg.vector_norm(midpoints, dim=-1) > 1e-3]  # not v and -v
        return torch.cat([random, near, members[:count], midpoints]).to(dtype)

    def cosines(self, z: Tensor) -> Tensor:
        """`[N, len(indices)]` float64 cosines of embeddings with the vectors of `table`."""
        return unit(z.double()) @ self.table.T

    def eps(self, dtype: torch.dtype) -> float:
        """Rounding of a vector in this dtype."""
        return max(torch.finfo(dtype).eps, torch.finfo(self.case.precision).eps)

    def tolerance(self, dtype: torch.dtype) -> float:
        """Of a cosine that was computed in this dtype."""
        return self.case.ulps * torch.finfo(dtype).eps


def unit(z: Tensor) -> Tensor:
    """Rows of length 1; zero stays zero."""
    return z / torch.linalg.vector_norm(z, dim=-1, keepdim=True).clamp_min(1e-300)


def ensure(holds: bool | Tensor, detail: str) -> None:
    """Raise AssertionError with this detail unless the condition holds."""
    if not bool(holds):
        raise AssertionError(detail)


def raises(kind: type[Exception], call: object, detail: str) -> None:
    """Raise AssertionError with this detail unless the call raises an error of this kind."""
    assert callable(call)
    try:
        call()
    except kind:
        return
    raise AssertionError(f"{detail} must raise {kind.__name__}")
