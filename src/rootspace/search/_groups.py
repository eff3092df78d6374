"""Rows that lie together, and how far from a center they reach at most."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise

import numpy as np
import torch
from torch import Tensor

from ._ranking import fill
from ._rows import Rows, rounded_queries, rounding, score_error
from ._scan import QUERIES, int8_products

ANGLES = (0.94, 0.85, 0.7, 0.5)
"""Cosines to the first row of a group from which on others join it; the best is chosen."""

LEAST_ROWS = 8
"""Groups are worth nothing unless they hold so many rows on average."""

SAMPLE = 2**17
"""Rows that the angle is chosen on, at least: of so many more, one in up to `STRIDE`."""

STRIDE = 8

ASKED = 256
"""Queries that are tried, to see how many rows must be looked at."""

AWAY = 0.75
"""Length of what is added to a row in a random direction for such a query: about 37 degrees."""

GATHERED = 4
"""What a look at a row costs, in looks at a center: rows lie here and there in memory."""

BLOCK = 64
"""Groups of like radius: their bound is that of the largest, their best score is kept."""

TILE = 2048
"""Centers scored together: their scores stay in the cache."""

BATCH = 256
"""Queries searched together."""

TOGETHER = 2**15
"""Rows that are scored together."""

PROBES = 8
"""Groups that a search looks into that need not be exact."""

MORE = 64
"""Groups that a query looks into where the first held too few rows."""

GROUP_KEY = 4.0
"""Between the keys of two groups: more than pi."""

SLACK = 1e-3
"""Added to angles: near zero one is only as exact as the root of a float32's rounding."""

FEW = {256: 64, 8: 24, 1: 4}
"""By the number of queries: one that must look at more than one of so many rows is scanned
instead. The scan of many queries together costs less for each of them."""

FAR = 4
"""A query for which more than one of so many groups may hold something is scanned, too."""


@dataclass(frozen=True)
class Groups:
    """A partition of the rows, by leader clustering.

    A query at angle a to the center of a group is at an angle of a - b at least to a row of it that
    is at angle b to that center.

    Attributes:
        owner: `[N]` int32 group of each row.
        cosine: of `ANGLES`, with which they were made.
        centers: `[C, dim]` means of the groups, unit vectors, by radius ascending.
        radius: `[C]` float64, the largest angle in each group.
        order: `[N]` int32 rows by group, the farthest from the center first.
        starts: `[C + 1]` where each group begins in `order`.
        keys: `[N]` float64, in that order: four times the number of the group, and pi less the
            angle to its center; ascending.
    """

    owner: np.ndarray
    cosine: float
    centers: Rows
    radius: np.ndarray
    order: np.ndarray
    starts: np.ndarray
    keys: np.ndarray

    def __len__(self) -> int:
        return len(self.owner)

    @cached_property
    def sizes(self) -> np.ndarray:
        """`[C]` rows of each group."""
        return np.diff(self.starts)

    @property
    def nbytes(self) -> int:
        arrays = (self.owner, self.radius, self.order, self.starts, self.keys)
        return self.centers.nbytes + sum(array.nbytes for array in arrays)

    def arrays(self) -> dict[str, np.ndarray]:
        """What cannot be made again quickly."""
        assert self.centers.exact is not None
        return {
            "owner": self.owner,
            "cosine": np.array(self.cosine),
            "centers": self.centers.exact.numpy(),
        }

    @classmethod
    def from_arrays(cls, arrays: dict[str, np.ndarray], rows: Rows) -> Groups:
        """The groups of some `arrays`; radii are measured, so that other rows harm the speed only.

        Raises:
            KeyError: one is missing.
            ValueError: they do not fit each other or the rows.
        """
        owner, centers = arrays["owner"], arrays["centers"]
        found = [(array.dtype.name, array.ndim) for array in (owner, centers)]
        if found != [("int32", 1), ("float32", 2)]:
            raise ValueError(f"its arrays are {found}")
        length = np.linalg.norm(centers.astype(np.float64), axis=-1)
        if (
            centers.shape[1] != rows.dim
            or len(owner) > len(rows)
            or not 0 <= owner.min(initial=0) <= owner.max(initial=0) < max(1, len(centers))
            or not np.allclose(length, 1, rtol=0, atol=1e-5)
        ):
            raise ValueError("its arrays do not fit each other")
        return _measured(rows, owner, torch.from_numpy(centers), float(arrays["cosine"]))

    @classmethod
    def of(cls, rows: Rows, alive: Tensor) -> Groups | None:
        """Of all rows: about 5 * N * C * dim int8 operations; None where they would be small."""
        places = alive.nonzero()[:, 0]
        stride = max(1, min(STRIDE, len(places) // SAMPLE))
        some = places[::stride]
        sample, best = rows.only(some), (len(places) / FEW[1], 0.0)
        for cosine in ANGLES:
            made = _grouped(sample, torch.arange(len(some)), cosine, len(places) // LEAST_ROWS)
            if made is not None:
                best = min(best, (made._cost(sample, stride), cosine))
        if not best[1]:
            return None
        return _grouped(rows, places, best[1], len(places) // LEAST_ROWS)

    def grown(self, rows: Rows, alive: Tensor) -> Groups | None:
        """With the rows that came since: M * C * dim int8 operations for M new rows."""
        size = len(self)
        assert self.centers.exact is not None
        new = torch.arange(size, len(rows))
        level = _level(self.cosine, rows.step * self.centers.step)
        owner, score = _nearest(rows, new, self.centers.rounded)
        far = score < level
        own, centers = owner.numpy(), self.centers.exact
        if bool(far.any()):
            more = _grouped(
                rows.only(new[far]), torch.arange(int(far.sum())), self.cosine, len(new)
            )
            assert more is not None and more.centers.exact is not None
            own[far.numpy()] = more.owner + len(centers)
            centers = torch.cat([centers, more.centers.exact])
        if LEAST_ROWS * len(centers) > int(alive.sum()):
            return None
        whole = np.concatenate([self.owner, own.astype(np.int32)])
        return _measured(rows, whole, centers, self.cosine)

    def only(self, kept: np.ndarray, rows: Rows) -> Groups:
        """Of the rows at these places, ascending, which are `rows` now."""
        assert self.centers.exact is not None
        return _measured(rows, self.owner[kept], self.centers.exact, self.cosine)

    # ---------------------------------------------------------------- search

    def search(
        self,
        rows: Rows,
        z: np.ndarray,
        k: int,
        keep: Tensor | None,
        best: tuple[np.ndarray, np.ndarray],
        exact: bool,
    ) -> np.ndarray:
        """The k best of the rows, written to `best` where they are certified.

        Args:
            rows: all of them.
            z: `[B, dim]` unit embeddings.
            k: how many, at most as many as are kept.
            keep: `[N]` bool, which rows may be found.
            best: cosines and places `[B, k]`.
            exact: if not, what a few groups hold is written as well.

        Returns:
            `[B]` bool: certified.
        """
        certified = np.zeros(len(z), bool)
        mask = None if keep is None else keep.numpy()
        pairs: list[tuple[np.ndarray, np.ndarray]] = []
        for start in range(0, len(z), BATCH):
            part = slice(start, start + BATCH)
            z32 = z[part].astype(np.float32, copy=False)
            some, certified[part] = self._candidates(rows, z32, k, mask, exact)
            pairs += [(query + start, place) for query, place in some]
        if pairs:
            fill(z, rows, pairs, k, best)
        return certified

    def _candidates(
        self, rows: Rows, z: np.ndarray, k: int, keep: np.ndarray | None, exact: bool
    ) -> tuple[list[tuple[np.ndarray, np.ndarray]], np.ndarray]:
        """Pairs of queries and rows that may be among their k best; which are certified."""
        scores = self._scores(z)
        first = self._first(scores, rows, z, k, keep, exact)
        wanted, far = self._wanted(scores, first)
        number = np.bincount(wanted.query, wanted.count, len(z))
        few = next(share for least, share in FEW.items() if len(z) >= least)
        certified = ~far & (number <= (len(self) / few if exact else 0))
        if not exact:
            return first.pairs, certified
        found = [(query[own], ids[own]) for query, ids in first.pairs for own in [certified[query]]]
        margin = 2 * rounding(rows.dim)
        for part in wanted.only(certified[wanted.query]).parts():
            query, ids = self._members(part, keep)
            near = _cosines(rows, z, query, ids) >= first.floor[query] - margin
            found.append((query[near], ids[near]))
        return found, certified

    def _scores(self, z: np.ndarray) -> _Scores:
        rounded, step = rounded_queries(z)
        error = score_error(z, rounded, step, self.centers)[:, 0]
        blocks = -(-len(self.radius) // BLOCK)
        # What fills up the last block is beyond every bound.
        products = torch.full((blocks, BLOCK, len(z)), -(2**30), dtype=torch.int32)
        flat, asked = products.flatten(0, 1), torch.from_numpy(rounded)
        best = torch.empty(blocks, len(z), dtype=torch.int32)
        for start in range(0, len(self.radius), TILE):
            part = self.centers.rounded[start : start + TILE]
            flat[start : start + len(part)] = int8_products(part, asked)
            some = slice(start // BLOCK, -(-(start + len(part)) // BLOCK))
            best[some] = products[some].amax(dim=1)
        return _Scores(products, best, step[:, 0].astype(np.float64) * self.centers.step, error)

    def _first(
        self,
        scores: _Scores,
        rows: Rows,
        z: np.ndarray,
        k: int,
        keep: np.ndarray | None,
        exact: bool,
    ) -> _First:
        """A look into the nearest groups, so many that they hold k rows most likely."""
        mean = len(self) / len(self.radius)
        if keep is not None:
            mean *= max(1, keep[: len(self)].sum()) / len(self)
        number = min(len(self.radius), max(1 if exact else PROBES, math.ceil(2 * (k - 1) / mean)))
        every = np.arange(len(z))
        group = scores.best_groups(every, number)
        floor, pairs = self._look(rows, z, every, group, k, keep)
        several = min(MORE, len(self.radius))
        short = np.flatnonzero(floor < -1)
        seen = [(np.repeat(every, number), group.ravel())]
        if len(short) and number < several:
            group = scores.best_groups(short, several)
            floor[short], more = self._look(rows, z, short, group, k, keep)
            # Among equal scores the nearest few groups need not be among the nearest many.
            pairs = [_without(short, *pair) for pair in pairs] + more
            seen = [_without(short, *seen[0])]
            seen.append((np.repeat(short, several), group.ravel()))
        query, groups = (np.concatenate(column) for column in zip(*seen, strict=True))
        return _First(pairs, floor - rounding(rows.dim), query * len(self.radius) + groups)

    def _look(
        self,
        rows: Rows,
        z: np.ndarray,
        query: np.ndarray,
        group: np.ndarray,
        k: int,
        keep: np.ndarray | None,
    ) -> tuple[np.ndarray, list[tuple[np.ndarray, np.ndarray]]]:
        """The k-th best cosine in these groups, -2 where there is none, and what equals it or more.

        Args:
            query: `[Q]` numbers of queries, ascending.
            group: `[Q, P]` different groups of each.
        """
        floor = np.full(len(query), -2.0)
        found: list[tuple[np.ndarray, np.ndarray]] = []
        size = self.sizes[group].sum(axis=-1).cumsum()
        bounds = np.searchsorted(size, np.arange(TOGETHER, size[-1] + TOGETHER, TOGETHER))
        for low, high in zip([0, *(bounds + 1)], [*(bounds + 1), len(query)], strict=True):
            some = group[low:high]
            if not len(some):
                continue
            each = np.repeat(np.arange(low, low + len(some)), some.shape[1])
            whole = _Wanted(each, some.ravel(), self.sizes[some.ravel()])
            own, ids = self._members(whole, keep)
            cosine = _cosines(rows, z, query[own], ids)
            order = np.lexsort((-cosine, own))
            own, ids, cosine = own[order], ids[order], cosine[order]
            count = np.bincount(own - low, minlength=len(some))
            last = count.cumsum() - count + k - 1
            enough = np.flatnonzero(count >= k)
            floor[low + enough] = cosine[last[enough]]
            near = cosine >= floor[own] - 2 * rounding(rows.dim)
            found.append((query[own[near]], ids[near]))
        return floor, found

    def _wanted(self, scores: _Scores, first: _First) -> tuple[_Wanted, np.ndarray]:
        """What may hold a row of a larger cosine than the floor, but for what was seen already.

        Returns:
            It, and `[B]` bool: too many groups, which are left out.
        """
        reach = self.radius[BLOCK - 1 :: BLOCK]
        reach = np.append(reach, self.radius[-1]) if len(self.radius) % BLOCK else reach
        own = np.arccos(first.floor.clip(-1, 1)) + SLACK
        angle = np.minimum(own + reach[:, None], math.pi)
        least = np.floor((np.cos(angle) - scores.error) / scores.scale - 1)
        least = torch.from_numpy(least.clip(-(2**29), 2**30).astype(np.int32))
        block, query = (scores.best >= least).nonzero(as_tuple=True)
        product = scores.products[block, :, query]
        row, column = (product >= least[block, query, None]).nonzero(as_tuple=True)
        group, query = (block[row] * BLOCK + column).numpy(), query[row].numpy()
        far = np.bincount(query, minlength=len(own)) > max(BLOCK, len(self.radius) // FAR)
        new = np.flatnonzero(~far[query])
        new = new[~np.isin(query[new] * len(self.radius) + group[new], first.seen)]
        product = product[row[new], column[new]].numpy()
        group, query = group[new], query[new]
        cosine = product * scores.scale[query] + scores.error[query]
        # Rows nearer to the center than that are too far from the query.
        least_angle = np.arccos(cosine.clip(-1, 1)) - own[query] - SLACK
        last = GROUP_KEY * group + math.pi - least_angle.clip(0)
        count = np.searchsorted(self.keys, last, side="right") - self.starts[group]
        some = np.flatnonzero(count > 0)
        some = some[query[some].argsort(kind="stable")]
        return _Wanted(query[some], group[some], count[some]), far

    def _members(self, wanted: _Wanted, keep: np.ndarray | None) -> tuple[np.ndarray, np.ndarray]:
        """The first rows of some groups, with the queries that look at them."""
        end = wanted.count.cumsum()
        total = int(end[-1]) if len(end) else 0
        shift = self.starts[wanted.group] - (end - wanted.count)
        ids = self.order[np.arange(total) + np.repeat(shift, wanted.count)]
        query = np.repeat(wanted.query, wanted.count)
        if keep is None:
            return query, ids
        kept = keep[ids]
        return query[kept], ids[kept]

    def _cost(self, rows: Rows, stride: int) -> float:
        """Looks at centers or rows for a query near a row, among `stride` times as many rows."""
        some = np.linspace(0, len(rows) - 1, min(ASKED, len(rows))).astype(np.int64)
        z = rows.take(some)
        noise = np.random.default_rng(0).standard_normal(z.shape).astype(np.float32)
        z += AWAY * noise / np.linalg.norm(noise, axis=-1, keepdims=True)
        z /= np.linalg.norm(z, axis=-1, keepdims=True)
        scores = self._scores(z)
        first = self._first(scores, rows, z, 1, None, True)
        wanted, far = self._wanted(scores, first)
        seen = wanted.count.sum() + self.sizes[first.seen % len(self.radius)].sum()
        seen += int(far.sum()) * len(rows)  # these are scanned
        return len(self.radius) + GATHERED * stride * float(seen) / len(z)


@dataclass(frozen=True)
class _Scores:
    """Products of queries with the centers.

    Attributes:
        products: `[ceil(C / BLOCK), BLOCK, B]` int32.
        best: `[ceil(C / BLOCK), B]`, the largest of each block.
        scale: `[B]` what makes them cosines.
        error: `[B]` how far these may be from the true ones.
    """

    products: Tensor
    best: Tensor
    scale: np.ndarray
    error: np.ndarray

    def best_groups(self, query: np.ndarray, number: int) -> np.ndarray:
        """`[Q, number]` groups with the largest products."""
        own = torch.from_numpy(query)
        # They are in as many of the best blocks.
        block = self.best[:, own].topk(min(number, len(self.best)), dim=0).indices.T.contiguous()
        near = self.products[block, :, own[:, None]].flatten(1)
        column = near.topk(number, dim=-1).indices
        return (block.gather(1, column // BLOCK) * BLOCK + column % BLOCK).numpy()


@dataclass(frozen=True)
class _First:
    """What a first look has found.

    Attributes:
        pairs: of queries and rows that may be among their k best so far.
        floor: `[B]` a bound from below on the k-th best cosine.
        seen: query * C + group of what was looked into.
    """

    pairs: list[tuple[np.ndarray, np.ndarray]]
    floor: np.ndarray
    seen: np.ndarray


@dataclass(frozen=True)
class _Wanted:
    """The first `count` rows of each group, for a query; by query."""

    query: np.ndarray
    group: np.ndarray
    count: np.ndarray

    def only(self, some: np.ndarray) -> _Wanted:
        return _Wanted(self.query[some], self.group[some], self.count[some])

    def parts(self) -> Iterator[_Wanted]:
        """Of about `TOGETHER` rows each."""
        piece = self.count.cumsum() // TOGETHER
        bounds = [0, *(np.flatnonzero(np.diff(piece)) + 1).tolist(), len(piece)]
        for low, high in pairwise(bounds):
            if low < high:
                yield self.only(np.arange(low, high))


def _without(
    short: np.ndarray, query: np.ndarray, ids: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """The pairs of other queries than those."""
    own = ~np.isin(query, short)
    return query[own], ids[own]


def _cosines(rows: Rows, z: np.ndarray, query: np.ndarray, ids: np.ndarray) -> np.ndarray:
    """`[N]` float32, of pairs; those of a query stand together."""
    found = np.empty(len(ids), np.float32)
    bounds = [0, *(np.flatnonzero(np.diff(query)) + 1).tolist(), len(ids)]
    for low, high in pairwise(bounds):
        if low < high:
            found[low:high] = rows.take(ids[low:high]) @ z[query[low]]
    return found


def _level(cosine: float, scale: float) -> int:
    return math.floor(cosine / scale)


def _grouped(rows: Rows, places: Tensor, cosine: float, most: int) -> Groups | None:
    """Groups around some of the rows, None where these would be more than `most`."""
    leaders = _leaders(rows, places, _level(cosine, rows.step**2), most)
    if leaders is None:
        return None
    owner = _nearest(rows, torch.arange(len(rows)), leaders)[0]
    sums = torch.zeros(len(leaders), rows.dim, dtype=torch.float64)
    for part in places.split(QUERIES):
        vectors = torch.from_numpy(rows.take(part.numpy(), np.float64))
        sums.index_add_(0, owner[part].long(), vectors)
    norm = torch.linalg.vector_norm(sums, dim=-1, keepdim=True)
    # A leader that has lost its own row to another has none.
    centers = torch.where(norm > 1e-6, sums / norm.clamp_min(1e-6), leaders.double())
    centers = torch.nn.functional.normalize(centers, dim=-1).float()
    return _measured(rows, owner.numpy(), centers, cosine)


def _leaders(rows: Rows, places: Tensor, level: int, most: int) -> Tensor | None:
    """int8 rows such that each row reaches the level with one of them."""
    found = torch.empty(most + QUERIES, rows.dim, dtype=torch.int8)
    number = 0
    for part in places.split(QUERIES):
        block = rows.rounded[part]
        for start in range(0, number, TILE):
            leaders = found[start : min(start + TILE, number)]
            block = block[int8_products(leaders, block).amax(dim=0) < level]
            if not len(block):
                break
        if not len(block):
            continue
        near = (int8_products(block, block) >= level).numpy()
        covered, chosen = np.zeros(len(block), bool), list[int]()
        for row in range(len(block)):
            if not covered[row]:
                covered |= near[row]
                chosen.append(row)
        found[number : number + len(chosen)] = block[chosen]
        number += len(chosen)
        if number > most:
            return None
    return found[:number]


def _nearest(rows: Rows, places: Tensor, centers: Tensor) -> tuple[Tensor, Tensor]:
    """`[M]` int32 centers nearest to some rows, and their products."""
    owner = torch.zeros(len(places), dtype=torch.int32)
    score = torch.full((len(places),), -(2**30), dtype=torch.int32)
    for low in range(0, len(places), QUERIES):
        some = slice(low, low + QUERIES)
        block = rows.rounded[places[some]]
        for start in range(0, len(centers), TILE):
            products = int8_products(block, centers[start : start + TILE])
            best, index = products.max(dim=-1)
            better = best > score[some]
            score[some] = torch.where(better, best, score[some])
            owner[some] = torch.where(better, index.int() + start, owner[some])
    return owner, score


def _measured(rows: Rows, owner: np.ndarray, centers: Tensor, cosine: float) -> Groups:
    """Groups with their radii, those that hold no row left out."""
    angle = np.empty(len(owner))
    wide = centers.numpy()
    for start in range(0, len(owner), QUERIES):
        part = np.arange(start, min(start + QUERIES, len(owner)))
        vectors = rows.take(part, np.float64)
        vectors *= wide[owner[part]]
        angle[part] = np.arccos(vectors.sum(axis=-1).clip(-1, 1))
    radius = np.full(len(centers), -1.0)
    np.maximum.at(radius, owner, angle)
    order = radius.argsort(kind="stable")
    order = order[radius[order] >= 0]
    number = np.zeros(len(centers), np.int32)
    number[order] = np.arange(len(order))
    owner = number[owner]
    starts = np.zeros(len(order) + 1, np.int64)
    starts[1:] = np.bincount(owner, minlength=len(order)).cumsum()
    by_group = np.lexsort((-angle, owner)).astype(np.int32)
    kept = Rows.of_vectors(centers[torch.from_numpy(order)])
    keys = GROUP_KEY * owner[by_group] + (math.pi - angle[by_group])
    return Groups(owner, cosine, kept, radius[order] + SLACK, by_group, starts, keys)
