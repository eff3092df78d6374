"""Rows that lie together, and how far from a center they reach at most."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from ._ranking import fill
from ._rows import Rows, rounded_queries, rounding
from ._scan import QUERIES, int8_products

ANGLES = (0.94, 0.85, 0.7, 0.5)
"""Cosines to the first row of a group from which on others join it; the best is chosen."""

LEAST_ROWS = 8
"""Groups are worth nothing unless they hold so many rows on average."""

SAMPLE = 2**17
"""Rows that the angle is chosen on, at least: of so many more, one in up to `STRIDE`."""

STRIDE = 8

ASKED = 256
"""Rows that are searched for the others, to see how many must be looked at."""

BLOCK = 64
"""Groups of like radius whose bound is that of the largest."""

BATCH = 256
"""Queries searched together: their scores of all groups stay in the cache."""

MANY = 512
"""Rows from which on int8 products are taken first."""

PROBES = 8
"""Groups that a search looks into that need not be exact."""

MORE = 64
"""Groups that a query looks into where the first held too few rows."""

SLACK = 1e-3
"""Added to radii: near zero an angle is only as exact as the root of a float32's rounding."""

FEW = 4
"""A query that must look at more than one of so many rows is scanned instead."""


@dataclass(frozen=True)
class Groups:
    """A partition of the rows, by leader clustering.

    The angle of a query to a row is at least that to the center of its group less the radius.

    Attributes:
        owner: `[N]` int32 group of each row.
        cosine: of `ANGLES`, with which they were made.
        centers: `[C, dim]` means of the groups, unit vectors, by radius ascending.
        radius: `[C]` float64 angles.
        order: `[N]` int32 rows by group.
        starts: `[C + 1]` where each group begins in `order`.
    """

    owner: np.ndarray
    cosine: float
    centers: Rows
    radius: np.ndarray
    order: np.ndarray
    starts: np.ndarray

    def __len__(self) -> int:
        return len(self.owner)

    @property
    def nbytes(self) -> int:
        arrays = (self.owner, self.radius, self.order, self.starts)
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
        sample, best = rows.only(some), (len(places) / FEW, 0.0)
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
            pairs += [(np.full(len(place), start + query), place) for query, place in some]
        if pairs:
            fill(z, rows, pairs, k, best)
        return certified

    def _candidates(
        self, rows: Rows, z: np.ndarray, k: int, keep: np.ndarray | None, exact: bool
    ) -> tuple[list[tuple[int, np.ndarray]], np.ndarray]:
        """Queries and the rows that may be among their k best; and which are certified."""
        margin, scores, rounded, scale, error = rounding(rows.dim), *self._scores(z)
        probed = self._probed(scores, k, keep, exact)
        queries = [_Query(rows, row, rounded[i : i + 1]) for i, row in enumerate(z)]
        first = [
            query.near(self._members(groups, keep), k)
            for query, groups in zip(queries, probed, strict=True)
        ]
        for i, one in enumerate(first):
            if one.floor < -1 and len(probed[i]) < min(MORE, len(scores)):
                probed[i] = scores[:, i].topk(min(MORE, len(scores))).indices.numpy()
                first[i] = queries[i].near(self._members(probed[i], keep), k)
        floor = np.array([one.floor for one in first]) - margin
        wanted = self._wanted(scores, floor, scale, error)
        size = np.diff(self.starts)
        found: list[tuple[int, np.ndarray]] = []
        certified = np.zeros(len(z), bool)
        for i, (groups, one) in enumerate(zip(wanted, first, strict=True)):
            ids, seen = one.ids, len(groups) <= len(probed[i]) and {*groups} <= {*probed[i]}
            if seen:
                certified[i] = True
            elif exact and FEW * size[groups].sum() <= len(self):
                certified[i] = True
                ids = queries[i].near(self._members(groups, keep), k).ids
            elif exact:
                continue
            found.append((i, ids))
        return found, certified

    def _scores(self, z: np.ndarray) -> tuple[Tensor, Tensor, np.ndarray, np.ndarray]:
        """`[C, B]` products with the centers, rounded queries, scale and error `[B]` of these."""
        rounded, step = rounded_queries(z)
        left = 1.001 * np.linalg.norm(z - step * rounded, axis=-1) + 1e-6
        error = left + (1 + left) * self.centers.error + rounding(z.shape[1])
        rounded = torch.from_numpy(rounded)
        products = int8_products(self.centers.rounded, rounded)
        return products, rounded, step[:, 0].astype(np.float64) * self.centers.step, error

    def _probed(
        self, scores: Tensor, k: int, keep: np.ndarray | None, exact: bool
    ) -> list[np.ndarray]:
        """The groups that each query looks into first, so many that they hold k rows."""
        mean = len(self) / max(1, len(self.radius))
        if keep is not None:
            mean *= max(1, keep[: len(self)].sum()) / len(self)
        number = min(len(self.radius), max(1 if exact else PROBES, math.ceil(2 * (k - 1) / mean)))
        if number == 1:
            return [*scores.argmax(dim=0).numpy()[:, None]]
        return [*scores.topk(number, dim=0).indices.T.numpy()]

    def _wanted(
        self, scores: Tensor, floor: np.ndarray, scale: np.ndarray, error: np.ndarray
    ) -> list[np.ndarray]:
        """The groups that may hold a row of a larger cosine than `floor`, for each query."""
        reach = self.radius[BLOCK - 1 :: BLOCK]
        reach = np.append(reach, self.radius[-1]) if len(self.radius) % BLOCK else reach
        angle = np.arccos(floor.clip(-1, 1)) + reach[:, None]
        least = (np.cos(np.minimum(angle, math.pi)) - error) / scale - 1
        least = torch.from_numpy(np.floor(least).clip(-(2**31), 2**31 - 1).astype(np.int32))
        whole = len(scores) // BLOCK * BLOCK
        many = scores[:whole].unflatten(0, (-1, BLOCK)) >= least[: whole // BLOCK, None]
        rest = scores[whole:] >= least[whole // BLOCK :]
        group, query = torch.cat([many.flatten(0, 1), rest]).nonzero(as_tuple=True)
        order = query.argsort(stable=True)
        bounds = np.searchsorted(query[order].numpy(), np.arange(1, len(floor)))
        return np.split(group[order].numpy(), bounds)

    def _members(self, groups: np.ndarray, keep: np.ndarray | None) -> np.ndarray:
        parts = [self.order[self.starts[g] : self.starts[g + 1]] for g in groups.tolist()]
        ids = parts[0] if len(parts) == 1 else np.concatenate(parts) if parts else self.order[:0]
        return ids if keep is None else ids[keep[ids]]

    def _cost(self, rows: Rows, stride: int) -> float:
        """Products for a search of a row like these among `stride` times as many."""
        some = np.linspace(0, len(rows) - 1, min(ASKED, len(rows))).astype(np.int64)
        z = rows.take(some)
        scores, rounded, scale, error = self._scores(z)
        probed = self._probed(scores, 2, None, True)
        floor = [
            _Query(rows, row, rounded[i : i + 1]).near(self._members(groups, None), 2).floor
            for i, (row, groups) in enumerate(zip(z, probed, strict=True))
        ]
        size = np.diff(self.starts)
        wanted = self._wanted(scores, np.array(floor) - rounding(rows.dim), scale, error)
        seen = np.mean([size[groups].sum() for groups in wanted])
        return len(self.radius) + stride * float(seen)


@dataclass(frozen=True)
class _Near:
    """The rows that may be among the k best of some, and the k-th best cosine; -2 for fewer."""

    ids: np.ndarray
    floor: float


@dataclass(frozen=True)
class _Query:
    rows: Rows
    z: np.ndarray
    rounded: Tensor

    def near(self, ids: np.ndarray, k: int) -> _Near:
        if len(ids) < k:
            return _Near(ids, -2.0)
        rows, margin = self.rows, rounding(self.rows.dim)
        if len(ids) > max(MANY, 4 * k):
            products = int8_products(torch.from_numpy(rows.rounded.numpy()[ids]), self.rounded)
            products = products[:, 0].numpy()
            step = np.abs(self.z).max() / np.float32(127)
            left = 1.001 * float(np.linalg.norm(self.z - step * self.rounded.numpy()[0])) + 1e-6
            error = left + (1 + left) * rows.error + margin
            kth = np.partition(products, -k)[-k]
            ids = ids[products >= kth - 2 * error / (float(step) * rows.step) - 1]
        scores = rows.take(ids) @ self.z
        kth = float(scores.max() if k == 1 else np.partition(scores, -k)[-k])
        return _Near(ids[scores >= kth - 2 * margin], kth)


def _level(cosine: float, scale: float) -> int:
    return math.floor(cosine / scale)


def _grouped(rows: Rows, places: Tensor, cosine: float, most: int) -> Groups | None:
    """Groups around some of the rows, None where these would be more than `most`."""
    leaders = _leaders(rows, places, _level(cosine, rows.step**2), most)
    if leaders is None:
        return None
    owner = np.zeros(len(rows), np.int32)
    owner[:] = _nearest(rows, torch.arange(len(rows)), leaders)[0].numpy()
    sums = torch.zeros(len(leaders), rows.dim, dtype=torch.float64)
    for part in places.split(QUERIES):
        vectors = torch.from_numpy(rows.take(part.numpy(), np.float64))
        sums.index_add_(0, torch.from_numpy(owner)[part].long(), vectors)
    norm = torch.linalg.vector_norm(sums, dim=-1, keepdim=True)
    # A leader that has lost its own row to another has none.
    centers = torch.where(norm > 1e-6, sums / norm.clamp_min(1e-6), leaders.double())
    centers = torch.nn.functional.normalize(centers, dim=-1).float()
    return _measured(rows, owner, centers, cosine)


def _leaders(rows: Rows, places: Tensor, level: int, most: int) -> Tensor | None:
    """int8 rows such that each row reaches the level with one of them."""
    found = torch.empty(most + QUERIES, rows.dim, dtype=torch.int8)
    number = 0
    for part in places.split(QUERIES):
        block = rows.rounded[part]
        if number:
            block = block[int8_products(found[:number], block).amax(dim=0) < level]
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
    owner = torch.empty(len(places), dtype=torch.int32)
    score = torch.empty(len(places), dtype=torch.int32)
    for start in range(0, len(places), QUERIES):
        part = places[start : start + QUERIES]
        best = int8_products(centers, rows.rounded[part]).max(dim=0)
        owner[start : start + QUERIES], score[start : start + QUERIES] = best.indices, best.values
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
    by_group = owner.argsort(kind="stable").astype(np.int32)
    kept = Rows.of_vectors(centers[torch.from_numpy(order)])
    return Groups(owner, cosine, kept, radius[order] + SLACK, by_group, starts)
