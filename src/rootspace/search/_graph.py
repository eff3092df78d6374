"""Where to look first, and how to know that nothing else need be looked at."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ._linking import insert, link
from ._rows import TOGETHER, Rows, rounding
from ._scan import QUERIES, int8_products

CELLS = 2
"""Cells that a row belongs to: those of the entries nearest to it."""

CELL = 64
"""Rows for each entry."""

MOST_ENTRIES = 2**14
"""Beyond that a look at all of them costs more than larger cells."""

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
        cells: `[N, CELLS]` int32 nearest entries of each row.
        order: `[N * CELLS]` int32 rows by cell.
        starts: `[P + 1]` where each cell begins in `order`.
    """

    lists: Tensor
    horizon: Tensor
    entries: Tensor
    cells: Tensor
    order: Tensor
    starts: Tensor

    def __len__(self) -> int:
        return len(self.lists)

    @property
    def nbytes(self) -> int:
        return sum(x.numel() * x.element_size() for x in vars(self).values())

    @classmethod
    def of(cls, rows: Rows, alive: Tensor, width: int) -> Graph:
        """Of all rows: N * N * dim int8 operations, and N * P * dim for the cells."""
        lists, horizon = link(rows, alive, 0, len(rows), width)
        entries = _entries(rows, alive)
        return _with_cells(lists, horizon, entries, _cells(rows, entries, 0))

    def grown(self, rows: Rows, alive: Tensor) -> Graph:
        """With the rows that came since: M * N * dim int8 operations for M new rows."""
        size = len(self)
        lists, horizon = insert(rows, self.lists, self.horizon, alive, size)
        new_lists, new_horizon = link(rows, alive, size, len(rows), self.lists.shape[1])
        lists, horizon = torch.cat([lists, new_lists]), torch.cat([horizon, new_horizon])
        if 2 * len(self.entries) < _num_entries(len(rows)):
            entries = _entries(rows, alive)
            return _with_cells(lists, horizon, entries, _cells(rows, entries, 0))
        cells = torch.cat([self.cells, _cells(rows, self.entries, size)])
        return _with_cells(lists, horizon, self.entries, cells)

    def only(self, kept: Tensor) -> Graph:
        """Of the rows at these places, ascending, which get new ones; no others were alive."""
        number = torch.full((len(self) + 1,), -1, dtype=torch.int32)
        number[kept] = torch.arange(len(kept), dtype=torch.int32)
        lists = number[self.lists[kept].long()]  # -1 is the last, which has no number
        return _with_cells(lists, self.horizon[kept], self.entries, self.cells[kept])

    # ---------------------------------------------------------------- search

    def near(self, z: Tensor, rounded: Tensor, rows: Rows, probes: int) -> tuple[Tensor, Tensor]:
        """The best row in the cells of the nearest entries.

        Args:
            z: `[B, dim]` float32 unit embeddings.
            rounded: `[B, dim]` int8 of the same directions.
            rows: all of them.
            probes: cells that are looked into.

        Returns:
            Cosines and places `[B]`; -2 and 0 where all these cells are empty.
        """
        probes = min(probes, len(self.entries))
        cell = top_columns(int8_products(rounded, self.entries), probes)
        start = self.starts[cell]
        size = self.starts[cell + 1] - start
        total = size.sum(-1)
        cosine, place = torch.full((len(z),), -2.0), torch.zeros(len(z), dtype=torch.int64)
        # Those with cells of like sizes together, so that little is filled up.
        by_size = total.argsort()
        width = int(total.max())
        some = max(1, TOGETHER // max(1, width * rows.dim))
        for query in by_size.split(some):
            ids, there = _flattened(start[query], size[query])
            if not ids.shape[1]:
                continue
            ids = self.order[ids].long()
            scores = rows.scores(z[query], ids).masked_fill_(~there, -2)
            cosine[query], best = scores.max(-1)
            place[query] = ids.gather(-1, best[:, None])[:, 0]
        return cosine, place

    def neighborhood(
        self, z: Tensor, rows: Rows, center: Tensor, cosine: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Each center and its list.

        Args:
            z: `[B, dim]` float32 unit embeddings.
            rows: all of them.
            center: `[B]` places.
            cosine: `[B]` of the embeddings to them.

        Returns:
            Places and cosines `[B, 1 + width]`; -2 where a list is short.
        """
        ids = self.lists[center]
        scores = rows.scores(z, ids.clamp(min=0).long()).masked_fill_(ids < 0, -2)
        return (
            torch.cat([center[:, None], ids.long()], dim=-1),
            torch.cat([cosine[:, None], scores], dim=-1),
        )

    def bound(self, center: Tensor, cosine: Tensor, dim: int) -> Tensor:
        """A cosine that no row outside the center's neighborhood exceeds; 1 where none is known.

        The triangle inequality of angles: with a = angle(z, c) and h = the least angle of another
        row to c, its angle to z is h - a at least.
        """
        # Rounding that makes a smaller than it is would not be safe.
        near = (cosine - rounding(dim)).clamp(-1, 1)
        far = self.horizon[center]
        apart = near * far + ((1 - near * near) * (1 - far * far)).sqrt()
        return torch.where(far <= near, apart + rounding(dim), 1.0)


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


def _flattened(start: Tensor, size: Tensor) -> tuple[Tensor, Tensor]:
    """`[B, p]` begins and lengths of runs -> `[B, W]` what is in them, and where something is."""
    if start.shape[1] == 1:
        steps = torch.arange(int(size.max()))
        there = steps < size
        return torch.where(there, start + steps, 0), there
    ends = size.cumsum(-1)
    steps = torch.arange(int(ends[:, -1].max())).expand(len(start), -1).contiguous()
    run = torch.searchsorted(ends, steps, right=True).clamp_(max=start.shape[1] - 1)
    there = steps < ends[:, -1:]
    inside = steps - (ends - size).gather(-1, run)
    return torch.where(there, start.gather(-1, run) + inside, 0), there


def _num_entries(size: int) -> int:
    return max(1, min(size // CELL, MOST_ENTRIES))


def _entries(rows: Rows, alive: Tensor) -> Tensor:
    """Rows drawn at random, the same each time for the same rows."""
    places = alive.nonzero()[:, 0]
    generator = torch.Generator().manual_seed(0)
    chosen = torch.randperm(len(places), generator=generator)[: _num_entries(len(places))]
    return rows.rounded[places[chosen]]


def _cells(rows: Rows, entries: Tensor, start: int) -> Tensor:
    """`[N - start, CELLS]` int32 nearest entries of the rows from `start` on."""
    several = min(CELLS, len(entries))
    found = [
        top_columns(int8_products(part, entries), several).int()
        for part in rows.rounded[start:].split(QUERIES)
    ]
    return torch.cat(found)


def _with_cells(lists: Tensor, horizon: Tensor, entries: Tensor, cells: Tensor) -> Graph:
    flat = cells.flatten()
    order = flat.argsort(stable=True)
    starts = torch.zeros(len(entries) + 1, dtype=torch.int64)
    starts[1:] = torch.bincount(flat, minlength=len(entries)).cumsum(0)
    return Graph(lists, horizon, entries, cells, (order // cells.shape[1]).int(), starts)
