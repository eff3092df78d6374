"""Exact search in memory: the items with the largest cosines, to the last bit.

Scores of a first pass, in float32 or int8, are within a known distance of the true cosines. What
can be among the k best by that is scored again, in float64 and one row like the other, so the
answer does not depend on the batch, the block or the number of threads.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Literal, TypeAlias

import numpy as np
import torch

from .items import Found

Precision: TypeAlias = Literal["float32", "int8"]

BLOCK = 4096
"""Vectors scored together: their scores stay in the cache for a batch of some queries."""

QUERIES = 256
"""Queries scored together."""

_ROOM = 1024
_LARGEST = 127  # of int8
_WASTE = 4  # a quarter of the rows may be deleted ones before they are dropped

Exact: TypeAlias = Callable[[np.ndarray], np.ndarray]
"""From ids `[N]` to their float32 unit vectors `[N, dim]`."""


@dataclass(frozen=True)
class _Arrays:
    """Columns of the index with room behind; what was written once is not changed.

    Attributes:
        ids: int64 `[room]`, ascending.
        vectors: float32 or int8 `[room, dim]`.
        scale: float32 `[room]`, of int8 vectors.
        error: float32 `[room]`, length of what rounding left over.
    """

    ids: np.ndarray
    vectors: np.ndarray
    scale: np.ndarray
    error: np.ndarray


@dataclass(frozen=True)
class Snapshot:
    """The index as it was at one moment: what is written later does not touch it.

    Attributes:
        size: rows of it, deleted ones included.
        dead: bool `[size]`, which of them are deleted.
        precision: of the vectors.
    """

    _arrays: _Arrays
    size: int
    dead: np.ndarray
    precision: Precision

    @property
    def ids(self) -> np.ndarray:
        """int64 `[size]`, ascending, with those of deleted rows."""
        return self._arrays.ids[: self.size]

    def __len__(self) -> int:
        return self.size - int(self.dead.sum())

    def rows(self, ids: np.ndarray) -> np.ndarray:
        """The rows of those ids that it holds, -1 for others."""
        place = np.searchsorted(self.ids, ids)
        place[place == self.size] = 0
        if not self.size:
            return np.full(len(ids), -1)
        there = (self.ids[place] == ids) & ~self.dead[place]
        return np.where(there, place, -1)

    def search(
        self,
        queries: np.ndarray,
        k: int,
        keep: np.ndarray | None = None,
        exact: Exact | None = None,
    ) -> Found:
        """The k best of each query, equal cosines by smaller id.

        Args:
            queries: float32 `[N, dim]` unit vectors.
            k: how many; fewer where there are fewer.
            keep: bool `[size]`, rows that may be found; all by default.
            exact: gives the exact vectors, which an int8 index does not hold.
        """
        keep = ~self.dead if keep is None else keep & ~self.dead
        found = Found([], [])
        for start in range(0, len(queries), QUERIES):
            part = self._search(queries[start : start + QUERIES], k, keep, exact)
            found.ids.extend(part.ids)
            found.cosines.extend(part.cosines)
        return found

    def _search(self, queries: np.ndarray, k: int, keep: np.ndarray, exact: Exact | None) -> Found:
        rows, columns = self._candidates(queries, min(k, int(keep.sum())), keep)
        unique, place = np.unique(columns, return_inverse=True)
        if self.precision == "float32":
            vectors = self._arrays.vectors[unique]
        else:
            assert exact is not None
            vectors = exact(self.ids[unique])
        found = Found([], [])
        bounds = np.searchsorted(rows, np.arange(len(queries) + 1))
        for query, start, stop in zip(queries, bounds[:-1], bounds[1:], strict=True):
            own = place[start:stop]
            # One sum a row, not a matrix product, whose sums depend on where a row stands.
            cosine = (vectors[own].astype(np.float64) * query.astype(np.float64)).sum(axis=-1)
            ids = self.ids[columns[start:stop]]
            best = np.lexsort((ids, -cosine))[:k]
            found.ids.append(ids[best])
            found.cosines.append(cosine[best].clip(-1, 1))
        return found

    def _candidates(
        self, queries: np.ndarray, k: int, keep: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """Pairs of queries, ascending, and of rows that may be among their k best."""
        if not k:
            return np.empty(0, np.int64), np.empty(0, np.int64)
        score = self._scorer(queries)
        # The k largest lower bounds so far of each query: no row with a smaller upper bound than
        # the last of them is among the k best.
        floor = torch.full((len(queries), k), -torch.inf)
        pool: list[tuple[torch.Tensor, torch.Tensor, torch.Tensor]] = []
        for start in range(0, self.size, BLOCK):
            stop = min(start + BLOCK, self.size)
            rows = None
            if not keep[start:stop].all():
                rows = np.flatnonzero(keep[start:stop]) + start
                if not len(rows):
                    continue
            scores, error = score(slice(start, stop) if rows is None else rows)
            upper = scores + error
            query, column = (upper >= floor[:, -1:]).nonzero(as_tuple=True)
            if not len(query):
                continue
            lower = scores.sub_(error)
            best = lower.topk(min(k, lower.shape[1]), dim=-1).values
            floor = torch.cat([floor, best], dim=-1).topk(k, dim=-1).values
            upper = upper[query, column]
            good = upper >= floor[query, -1]
            query, column, upper = query[good], column[good], upper[good]
            place = column + start if rows is None else torch.from_numpy(rows)[column]
            pool.append((query, place, upper))
        query, place, upper = (torch.cat(parts) for parts in zip(*pool, strict=True))
        good = upper >= floor[query, -1]
        query, place = query[good], place[good]
        order = query.argsort(stable=True)
        return query[order].numpy(), place[order].numpy()

    def _scorer(
        self, queries: np.ndarray
    ) -> Callable[[slice | np.ndarray], tuple[torch.Tensor, torch.Tensor]]:
        """A function from rows to scores `[N, rows]`, and how far these may be from the cosines.

        By Cauchy-Schwarz, with what a sum of float32 products may be wrong by.
        """
        rounding = 2.0**-23 * (queries.shape[1] + 8)
        arrays = self._arrays
        if self.precision == "float32":
            error = torch.full((len(queries), 1), rounding)

            def score(rows: slice | np.ndarray) -> tuple[torch.Tensor, torch.Tensor]:
                # numpy's product is always in float32; torch's may be set to less.
                return torch.from_numpy(queries @ arrays.vectors[rows].T), error

            return score
        step = np.abs(queries).max(axis=-1, keepdims=True) / _LARGEST
        codes = np.rint(queries / step).astype(np.int8)
        left = 1.001 * np.linalg.norm(queries - step * codes, axis=-1, keepdims=True)
        steps, lefts = torch.from_numpy(step), torch.from_numpy(left.astype(np.float32))

        def score8(rows: slice | np.ndarray) -> tuple[torch.Tensor, torch.Tensor]:
            products = _int8_product(codes, arrays.vectors[rows])
            scores = products.mul_(steps).mul_(torch.from_numpy(arrays.scale[rows]))
            error = torch.from_numpy(arrays.error[rows])
            # A rounded vector may be longer than one by its error.
            return scores, error * (1 + lefts) + (lefts + 2 * rounding)

        return score8


class ExactIndex:
    """Unit vectors in memory, to be searched exactly. It can be thrown away: a table holds them.

    One thread changes it at a time; any number search what `snapshot` gave them.

    Args:
        dim: of the vectors.
        precision: `float32` holds them; `int8` takes a quarter of the memory, and asks for the
            exact vectors of the few rows that it scores again.
    """

    def __init__(self, dim: int, precision: Precision = "float32") -> None:
        if precision not in ("float32", "int8"):
            raise ValueError(f"Argument 'precision' must be float32 or int8, not {precision!r}.")
        self.dim = dim
        self.precision: Precision = precision
        rounded = ("scale", "error") if precision == "int8" else ()
        self._columns = ("ids", "vectors", *rounded)
        self._now = Snapshot(self._empty(0), 0, np.zeros(0, bool), precision)

    def snapshot(self) -> Snapshot:
        """The index as it is now."""
        return self._now

    @property
    def nbytes(self) -> int:
        """Memory of its arrays."""
        arrays = self._now._arrays
        parts = (arrays.ids, arrays.vectors, arrays.scale, arrays.error, self._now.dead)
        return sum(part.nbytes for part in parts)

    def load(self, ids: np.ndarray, batches: Iterable[tuple[np.ndarray, np.ndarray]]) -> None:
        """Take all vectors of an empty index.

        Args:
            ids: int64 `[N]`, ascending.
            batches: ids and vectors, as of `append` but in any order; all of them.
        """
        arrays, done = self._empty(len(ids)), 0
        arrays.ids[:] = ids
        for some, vectors in batches:
            self._put(arrays, np.searchsorted(ids, some), vectors)
            done += len(some)
        if done != len(ids):
            raise ValueError(f"Argument 'batches' must hold {len(ids)} vectors, not {done}.")
        self._now = Snapshot(arrays, done, np.zeros(done, bool), self.precision)

    def append(self, ids: np.ndarray, vectors: np.ndarray) -> None:
        """Take more vectors.

        Args:
            ids: int64 `[N]`, ascending, larger than those it has.
            vectors: float32 `[N, dim]` unit vectors.
        """
        now, number = self._now, len(ids)
        size = now.size + number
        arrays = now._arrays
        if size > len(arrays.ids):
            room = self._empty(max(size, _ROOM, now.size + now.size // 2))
            for name in self._columns:
                getattr(room, name)[: now.size] = getattr(arrays, name)[: now.size]
            arrays = room
        # Snapshots that were given out end before these rows.
        part = slice(now.size, size)
        arrays.ids[part] = ids
        self._put(arrays, part, vectors)
        dead = np.concatenate([now.dead, np.zeros(number, bool)])
        self._now = Snapshot(arrays, size, dead, self.precision)

    def remove(self, ids: np.ndarray) -> bool:
        """Leave rows out from now on.

        Returns:
            Whether the rows that are left have moved: too many were deleted ones.
        """
        now = self._now
        rows = now.rows(ids)
        dead = now.dead.copy()
        dead[rows[rows >= 0]] = True
        if int(dead.sum()) * _WASTE <= now.size:
            self._now = Snapshot(now._arrays, now.size, dead, self.precision)
            return False
        left = np.flatnonzero(~dead)
        old, arrays = now._arrays, self._empty(len(left))
        for name in self._columns:
            getattr(arrays, name)[:] = getattr(old, name)[left]
        self._now = Snapshot(arrays, len(left), np.zeros(len(left), bool), self.precision)
        return True

    def _put(self, arrays: _Arrays, rows: slice | np.ndarray, vectors: np.ndarray) -> None:
        if self.precision == "float32":
            arrays.vectors[rows] = vectors
        else:
            arrays.vectors[rows], arrays.scale[rows], arrays.error[rows] = _rounded(vectors)

    def _empty(self, room: int) -> _Arrays:
        extra = room if self.precision == "int8" else 0
        return _Arrays(
            np.empty(room, np.int64),
            np.empty((room, self.dim), np.int8 if self.precision == "int8" else np.float32),
            np.empty(extra, np.float32),
            np.empty(extra, np.float32),
        )


def _rounded(vectors: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """int8 codes, their scale, and how long the rest is, a little more."""
    scale = np.abs(vectors).max(axis=-1, initial=0) / _LARGEST
    scale = np.maximum(scale, np.finfo(np.float32).tiny).astype(np.float32)
    codes = np.rint(vectors / scale[:, None]).astype(np.int8)
    left = np.linalg.norm(vectors - scale[:, None] * codes, axis=-1)
    return codes, scale, (1.001 * left + 1e-6).astype(np.float32)


def _int8_product(queries: np.ndarray, vectors: np.ndarray) -> torch.Tensor:
    """float32 `[N, rows]` products of int8 vectors, exact below dimension 1,000."""
    product = getattr(torch, "_int_mm", None)
    if product is None:
        return torch.from_numpy(queries.astype(np.float32) @ vectors.astype(np.float32).T)
    return product(torch.from_numpy(queries), torch.from_numpy(vectors).T).float()
