"""Where to look first, and how to know that nothing else need be looked at."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from ._linking import Progress, insert, link
from ._ranking import fill
from ._rows import Rows, rounded_queries, rounding
from ._scan import QUERIES, int8_products, ready

CELL = 128
"""Rows for each entry: those that it is nearest to make its cell, so many on average."""

MOST_ENTRIES = 2**14
"""Beyond that a look at all of them costs more than larger cells."""

PROBES = (1, 8)
"""Cells that are looked into, at first and where that was not enough."""

HOPS = 4
"""Times that a search goes on from a better row in the list of the best so far."""

COLUMNS = 64
"""Scores whose best is found together."""


@dataclass(frozen=True)
class Graph:
    """Cells around some of the rows, and lists of the nearest rows of each.

    Attributes:
        lists: `[N, width]` int32 nearest rows of each row, best first, -1 for none.
        horizon: `[N]` float32; no row outside the list and not the row itself has a larger cosine
            to it.
        entries: `[P, dim]` int8 rows, drawn at random, that queries are compared with first.
        cell: `[N]` int32 nearest entry of each row.
        order: `[N]` int32 rows by cell.
        starts: `[P + 1]` where each cell begins in `order`.
    """

    lists: np.ndarray
    horizon: np.ndarray
    entries: Tensor
    cell: np.ndarray
    order: np.ndarray
    starts: np.ndarray

    def __len__(self) -> int:
        return len(self.lists)

    @property
    def nbytes(self) -> int:
        arrays = (self.lists, self.horizon, self.cell, self.order, self.starts)
        converted = 0 if self._ready is self.entries else self._ready.nbytes
        return self.entries.nbytes + converted + sum(array.nbytes for array in arrays)

    def arrays(self) -> dict[str, np.ndarray]:
        """What cannot be made again quickly."""
        return {
            "lists": self.lists,
            "horizon": self.horizon,
            "entries": self.entries.numpy(),
            "cell": self.cell,
        }

    @classmethod
    def from_arrays(cls, arrays: dict[str, np.ndarray]) -> Graph:
        """The graph of some `arrays`.

        Raises:
            KeyError: one is missing.
            ValueError: they do not fit each other.
        """
        lists, horizon = arrays["lists"], arrays["horizon"]
        entries, cell = arrays["entries"], arrays["cell"]
        found = [(array.dtype.name, array.ndim) for array in (lists, horizon, entries, cell)]
        if found != [("int32", 2), ("float32", 1), ("int8", 2), ("int32", 1)]:
            raise ValueError(f"its arrays are {found}")
        if not len(lists) == len(horizon) == len(cell) or not (
            -1 <= lists.min(initial=0) <= lists.max(initial=0) < len(lists)
            and 0 <= cell.min(initial=0) <= cell.max(initial=0) < len(entries)
        ):
            raise ValueError("its arrays do not fit each other")
        return _with_cells(lists, horizon, torch.from_numpy(entries), cell)

    @classmethod
    def of(cls, rows: Rows, alive: Tensor, width: int, progress: Progress) -> Graph:
        """Of all rows: N * N * dim / 2 int8 operations, and N * P * dim for the cells."""
        lists, horizon = link(rows, alive, 0, width, progress)
        entries = _entries(rows, alive)
        return _with_cells(lists.numpy(), horizon.numpy(), entries, _cell(rows, entries, 0))

    def grown(self, rows: Rows, alive: Tensor, progress: Progress) -> Graph:
        """With the rows that came since: M * N * dim int8 operations for M new rows."""
        size = len(self)
        old = torch.from_numpy(self.lists), torch.from_numpy(self.horizon)
        lists, horizon = insert(rows, *old, alive, size)
        new_lists, new_horizon = link(rows, alive, size, self.lists.shape[1], progress)
        lists, horizon = torch.cat([lists, new_lists]), torch.cat([horizon, new_horizon])
        if 2 * len(self.entries) < _num_entries(len(rows)):
            entries = _entries(rows, alive)
            return _with_cells(lists.numpy(), horizon.numpy(), entries, _cell(rows, entries, 0))
        cell = np.concatenate([self.cell, _cell(rows, self.entries, size)])
        return _with_cells(lists.numpy(), horizon.numpy(), self.entries, cell)

    def only(self, kept: np.ndarray, rows: Rows) -> Graph:
        """Of the rows at these places, ascending, which get new ones; no others were alive."""
        number = np.full(len(self) + 1, -1, np.int32)
        number[kept] = np.arange(len(kept))
        lists = number[self.lists[kept]]  # -1 is the last, which has no number
        return _with_cells(lists, self.horizon[kept], self.entries, self.cell[kept])

    # ---------------------------------------------------------------- search

    @cached_property
    def _ready(self) -> Tensor:
        """The entries as products take them, 4 bytes a coordinate without int8 instructions."""
        return ready(self.entries)

    def search(
        self,
        rows: Rows,
        z: np.ndarray,
        k: int,
        keep: Tensor | None,
        best: tuple[np.ndarray, np.ndarray],
        exact: bool,
    ) -> np.ndarray:
        """Search the graph, and fill in what is certified; what is not as well where that will do.

        Returns:
            `[B]` bool: certified.
        """
        z32, margin = z.astype(np.float32, copy=False), rounding(rows.dim)
        rounded = torch.from_numpy(rounded_queries(z32)[0])
        certified = np.zeros(len(z), bool)
        failed = np.full(len(z), -1)  # the center that did not do
        left = np.arange(len(z))
        pairs: list[tuple[np.ndarray, np.ndarray]] = []
        for probes in PROBES:
            last = not exact and probes == PROBES[-1]
            cosine, center = self.near(z32[left], rounded[torch.from_numpy(left)], rows, probes)
            for hop in range(HOPS):
                if not last:
                    new = (cosine > -2) & (center != failed[left])
                    left, center, cosine = left[new], center[new], cosine[new]
                if not len(left):
                    break
                failed[left] = center
                ids, scores = self.neighborhood(z32[left], rows, center, cosine)
                found = scores if keep is None else np.where(keep.numpy()[ids], scores, -2)
                kth = found.max(-1) if k == 1 else np.partition(found, -k, axis=-1)[:, -k]
                done = proven = self.bound(center, cosine, rows.dim) < kth - margin
                certified[left[proven]] = True
                where = scores.argmax(axis=-1)
                if last:
                    done = proven | (where == 0) | (hop == HOPS - 1)
                # What may be among the k best, with all that equals the last of them.
                near = found[done] >= np.maximum(kth[done] - 2 * margin, -1.5)[:, None]
                query, column = near.nonzero()
                pairs.append((left[done][query], ids[done][query, column]))
                go = ~done & (where > 0)
                left, where = left[go], where[go]
                center = np.take_along_axis(ids[go], where[:, None], axis=-1)[:, 0]
                cosine = np.take_along_axis(scores[go], where[:, None], axis=-1)[:, 0]
            left = np.flatnonzero(~certified)
            if not len(left):
                break
        if pairs:
            fill(z, rows, pairs, k, best)
        return certified

    def near(
        self, z: np.ndarray, rounded: Tensor, rows: Rows, probes: int
    ) -> tuple[np.ndarray, np.ndarray]:
        """The best row in the cells of the nearest entries, as well as int8 tells.

        Args:
            z: `[B, dim]` float32 unit embeddings.
            rounded: `[B, dim]` int8 of the same directions.
            rows: all of them.
            probes: cells that are looked into.

        Returns:
            Cosines and places `[B]`; -2 and 0 where all these cells are empty.
        """
        scores = int8_products(rounded, self._ready)
        if probes == 1:
            cell = scores.numpy().argmax(axis=-1)[:, None]
        else:
            cell = top_columns(scores, min(probes, len(self.entries))).numpy()
        place = np.full(len(z), -1)
        starts, stops = self.starts[cell].tolist(), self.starts[cell + 1].tolist()
        for query, runs in enumerate(zip(starts, stops, strict=True)):
            parts = [self.order[start:stop] for start, stop in zip(*runs, strict=True)]
            ids = parts[0] if probes == 1 else np.concatenate(parts)
            if len(ids):
                some = torch.from_numpy(rows.rounded.numpy().take(ids, axis=0))
                best = int8_products(rounded[query : query + 1], some)
                place[query] = ids[best.numpy()[0].argmax()]
        cosine = rows.scores(z, place[:, None])[:, 0]
        cosine[place < 0] = -2
        return cosine, place.clip(0)

    def neighborhood(
        self, z: np.ndarray, rows: Rows, center: np.ndarray, cosine: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """Each center and its list.

        Args:
            z: `[B, dim]` float32 unit embeddings.
            rows: all of them.
            center: `[B]` places.
            cosine: `[B]` of the embeddings to them.

        Returns:
            Places and cosines `[B, 1 + width]`; -2 where a list is short.
        """
        ids = np.empty((len(center), 1 + self.lists.shape[1]), np.int64)
        ids[:, 0], ids[:, 1:] = center, self.lists[center]
        scores = np.empty(ids.shape, np.float32)
        scores[:, 0], scores[:, 1:] = cosine, rows.scores(z, ids[:, 1:])
        scores[ids < 0] = -2
        return ids, scores

    def bound(self, center: np.ndarray, cosine: np.ndarray, dim: int) -> np.ndarray:
        """A cosine that no row outside the center's neighborhood exceeds; 1 where none is known.

        The triangle inequality of angles: with a = angle(z, c) and h = the least angle of another
        row to c, its angle to z is h - a at least.
        """
        # Rounding that makes a smaller than it is would not be safe. float32 would lose the root.
        near = (cosine.astype(np.float64) - rounding(dim)).clip(-1, 1)
        far = self.horizon[center].astype(np.float64).clip(-1, 1)
        apart = near * far + np.sqrt((1 - near * near) * (1 - far * far)) + rounding(dim)
        return np.where(far <= near, apart, 1.0)


def top_columns(scores: Tensor, k: int) -> Tensor:
    """`[B, C]` -> `[B, k]` columns of the k largest, best first.

    They are in the k groups with the largest maxima; the rest need not be sorted.
    """
    width = scores.shape[1] // COLUMNS * COLUMNS
    if width // COLUMNS <= 2 * k:
        return scores.topk(k, dim=-1).indices
    groups = scores[:, :width].unflatten(1, (-1, COLUMNS))
    first = groups.amax(-1).topk(k, dim=-1).indices
    column = (first[:, :, None] * COLUMNS + torch.arange(COLUMNS)).flatten(1)
    rest = torch.arange(width, scores.shape[1]).expand(len(scores), -1)
    column = torch.cat([column, rest], dim=-1)
    best = scores.gather(-1, column).topk(k, dim=-1).indices
    return column.gather(-1, best)


def _num_entries(size: int) -> int:
    return max(1, min(size // CELL, MOST_ENTRIES))


def _entries(rows: Rows, alive: Tensor) -> Tensor:
    """Rows drawn at random, the same each time for the same rows."""
    places = alive.nonzero()[:, 0]
    generator = torch.Generator().manual_seed(0)
    chosen = torch.randperm(len(places), generator=generator)[: _num_entries(len(places))]
    return rows.rounded[places[chosen]]


def _cell(rows: Rows, entries: Tensor, start: int) -> np.ndarray:
    """`[N - start]` int32 nearest entry of each row from `start` on."""
    entries = ready(entries)
    parts = rows.rounded[start:].split(QUERIES)
    found = [int8_products(part, entries).numpy().argmax(axis=-1) for part in parts]
    return np.concatenate(found).astype(np.int32)


def _with_cells(lists: np.ndarray, horizon: np.ndarray, entries: Tensor, cell: np.ndarray) -> Graph:
    order = cell.argsort(kind="stable").astype(np.int32)
    starts = np.zeros(len(entries) + 1, np.int64)
    starts[1:] = np.bincount(cell, minlength=len(entries)).cumsum()
    return Graph(lists, horizon, entries, cell, order, starts)
