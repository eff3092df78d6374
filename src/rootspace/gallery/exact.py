"""Items in memory: which row of an exact index belongs to which id."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch

from rootspace.search import CertifiedIndex

from .items import Found

_WASTE = 4  # a quarter of the rows may be deleted ones before they are dropped


@dataclass(frozen=True)
class Snapshot:
    """The index as it was at one moment: what is written later does not touch it.

    Attributes:
        ids: int64 `[size]`, ascending, with those of deleted rows.
        dead: bool `[size]`, which of them are deleted.
        index: of the rows in the same order, only to be read.
    """

    ids: np.ndarray
    dead: np.ndarray
    index: CertifiedIndex

    @property
    def size(self) -> int:
        """Rows, deleted ones included."""
        return len(self.ids)

    def __len__(self) -> int:
        return len(self.index)

    def rows(self, ids: np.ndarray) -> np.ndarray:
        """The rows of those ids that it holds, -1 for others."""
        if not self.size:
            return np.full(len(ids), -1)
        place = np.searchsorted(self.ids, ids)
        place[place == self.size] = 0
        there = (self.ids[place] == ids) & ~self.dead[place]
        return np.where(there, place, -1)

    def vectors(self, rows: np.ndarray) -> np.ndarray:
        """float32 `[N, dim]` unit vectors of rows."""
        return self.index.vectors(torch.from_numpy(rows)).numpy()

    def search(self, queries: np.ndarray, k: int, keep: np.ndarray | None = None) -> Found:
        """The k best of each query, equal cosines by smaller id.

        Args:
            queries: float32 `[N, dim]` unit vectors.
            k: how many; fewer where there are fewer.
            keep: bool `[size]`, rows that may be found; all by default.
        """
        allowed = None if keep is None else torch.from_numpy(keep)
        number = len(self) if keep is None else int((keep & ~self.dead).sum())
        several = min(k, number)
        if not several or not len(queries):
            none = [np.empty(0, np.int64)] * len(queries), [np.empty(0)] * len(queries)
            return Found(*none)
        wide = torch.from_numpy(queries.astype(np.float64))  # cosines are in float64 then
        found = self.index.search_unit(wide, several, allowed=allowed)
        return Found([*self.ids[found.index.numpy()]], [*found.cosine.numpy()])

    def save_groups(self, path: Path) -> bool:
        """Group the rows that are in no group yet, and write the groups, if there are any.

        Returns:
            Whether something was written.
        """
        index = self.index.snapshot()
        if index.pending:
            index.build("groups")
        written = self.index.pending > index.pending
        if written:
            index.save(path, torch.from_numpy(self.ids))
        return written


class ExactIndex:
    """Unit vectors by id in memory, to be searched exactly. A table holds them: it is disposable.

    One thread changes it at a time; any number search what `snapshot` gave them.

    Args:
        dim: of the vectors.
    """

    def __init__(self, dim: int) -> None:
        self._take(np.empty(0, np.int64), CertifiedIndex(dim))

    @classmethod
    def of(cls, ids: np.ndarray, vectors: np.ndarray) -> ExactIndex:
        """Of int64 ids `[N]`, ascending, and float32 unit vectors `[N, dim]`: not copied."""
        index = cls(vectors.shape[1])
        index._take(ids, CertifiedIndex.of_unit(torch.from_numpy(vectors)))
        return index

    def _take(self, ids: np.ndarray, index: CertifiedIndex) -> None:
        self._index = index
        self._now = Snapshot(ids, np.zeros(len(ids), bool), index.snapshot())

    def snapshot(self) -> Snapshot:
        """The index as it is now."""
        return self._now

    @property
    def nbytes(self) -> int:
        """Memory of its arrays."""
        return self._index.nbytes + self._now.ids.nbytes + self._now.dead.nbytes

    def load(self, path: Path) -> None:
        """Take groups that a snapshot has saved: rows may have come and gone since.

        Raises:
            FileNotFoundError: there are none.
            ValueError: they are damaged, or not of such rows.
        """
        self._index.load(path, torch.from_numpy(self._now.ids))
        self._now = replace(self._now, index=self._index.snapshot())

    def append(self, ids: np.ndarray, vectors: np.ndarray) -> None:
        """Take more vectors.

        Args:
            ids: int64 `[N]`, ascending, larger than those it has.
            vectors: float32 `[N, dim]` unit vectors.
        """
        self._index.add_unit(torch.from_numpy(vectors))
        now = self._now
        dead = np.concatenate([now.dead, np.zeros(len(ids), bool)])
        self._now = Snapshot(np.concatenate([now.ids, ids]), dead, self._index.snapshot())

    def remove(self, ids: np.ndarray) -> bool:
        """Leave rows out from now on.

        Returns:
            Whether the rows that are left have moved: too many were deleted ones.
        """
        now = self._now
        rows = now.rows(ids)
        rows = rows[rows >= 0]
        self._index.delete(torch.from_numpy(rows))
        dead = now.dead.copy()
        dead[rows] = True
        moved = int(dead.sum()) * _WASTE > now.size
        all_ids = now.ids
        if moved:
            all_ids = all_ids[self._index.compact().numpy()]
            dead = np.zeros(len(all_ids), bool)
        self._now = Snapshot(all_ids, dead, self._index.snapshot())
        return moved
