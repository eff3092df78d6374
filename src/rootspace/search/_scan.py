"""Search by a look at all rows: int8 products first, then what may be among the best."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from rootspace._cpu import has_int8

from ._ranking import best_pairs
from ._rows import Rows, rounded_queries, rounding, score_error

STEP = 4096
"""Rows scored together: their scores stay in the cache for a batch of a few hundred."""

GROUP = 256
"""Rows whose best score is kept; they are scored again together."""

QUERIES = 512
"""Queries scored together, so that their int32 scores of `STEP` rows stay in the cache."""

SCORES = 2**24
"""Scores of a plain search that are held together."""


@dataclass(frozen=True)
class Part:
    """Up to `STEP` rows that are searched.

    Attributes:
        start: place of the first.
        stop: place after the last.
        places: `[M]` of those that may be found, or None for all between.
    """

    start: int
    stop: int
    places: Tensor | None

    def __len__(self) -> int:
        return self.stop - self.start if self.places is None else len(self.places)

    def of(self, array: Tensor) -> Tensor:
        """The rows of this part."""
        if self.places is None:
            return array[self.start : self.stop]
        return array.index_select(0, self.places)

    def place(self, number: Tensor) -> Tensor:
        """Numbers within the part -> places."""
        return number + self.start if self.places is None else self.places[number]

    def places_of(self, first: int, last: int) -> Tensor:
        """The places from one number within the part to another."""
        if self.places is not None:
            return self.places[first:last]
        return torch.arange(self.start + first, min(self.start + last, self.stop))


def parts_of(start: int, stop: int, allowed: Tensor | None) -> list[Part]:
    """The rows from `start` to `stop`, those alone that are allowed."""
    found: list[Part] = []
    for low in range(start, stop, STEP):
        high = min(low + STEP, stop)
        some = None if allowed is None else allowed[low:high]
        if some is None or bool(some.all()):
            found.append(Part(low, high, None))
        elif bool(some.any()):
            found.append(Part(low, high, some.nonzero()[:, 0] + low))
    return found


def scan(z: Tensor, rows: Rows, parts: list[Part], k: int) -> tuple[Tensor, Tensor]:
    """The k best of the rows of some parts for each embedding.

    Args:
        z: `[B, dim]` unit embeddings, float32 or float64.
        rows: what is searched.
        parts: of the rows, with k of them at least.
        k: how many are wanted.

    Returns:
        Cosines, float64, and places `[B, k]`, best first, equal ones by smaller place.
        O(B * N * dim) operations, of int8 where there are many rows.
    """
    number = sum(len(part) for part in parts)
    many = number >= 4 * k * GROUP
    some = QUERIES if many else max(1, SCORES // max(1, number))
    candidates = _by_groups if many else _plain
    found: list[tuple[np.ndarray, np.ndarray]] = []
    for piece in z.split(some):
        query, place = candidates(piece.float(), rows, parts, k)
        found.append(best_pairs(piece.numpy(), rows, query.numpy(), place.numpy(), k))
    cosine, place = (torch.from_numpy(np.concatenate(part)) for part in zip(*found, strict=True))
    return cosine, place


def scan_levels(z: Tensor, levels: Tensor, norm: float, k: int) -> tuple[Tensor, Tensor]:
    """The k best of integer vectors of one length, by a look at all of them.

    Args:
        z: `[B, dim]` unit embeddings, float32 or float64.
        levels: `[N, dim]` int8.
        norm: the length of all of them.
        k: how many are wanted, at most N.

    Returns:
        Cosines of the dtype of `z`, and places `[B, k]`, as of `scan`.
    """
    parts = parts_of(0, len(levels), None)
    cosine, place = scan(z.detach(), Rows.of_levels(levels, norm), parts, k)
    return cosine.to(z.dtype), place


def _plain(z: Tensor, rows: Rows, parts: list[Part], k: int) -> tuple[Tensor, Tensor]:
    """Pairs of embeddings and of rows that may be among the k best."""
    places, scores = [], []
    for part in parts:
        place = part.places_of(0, len(part))
        places.append(place)
        scores.append(_float_scores(z, rows, place))
    place, score = torch.cat(places), torch.cat(scores, dim=-1)
    floor = score.topk(k, dim=-1).values[:, -1:] - 2 * rounding(rows.dim)
    query, column = (score >= floor).nonzero(as_tuple=True)
    return query, place[column]


def _by_groups(z: Tensor, rows: Rows, parts: list[Part], k: int) -> tuple[Tensor, Tensor]:
    """`_plain` by way of rounded embeddings and rows: the best score of each group of rows.

    The scores are right to within the length of what rounding left over (Cauchy-Schwarz). Groups
    that may hold one of the k best, usually a few of them, are scored again in float32.
    """
    arrays = rounded_queries(z.numpy())
    error = torch.from_numpy(score_error(z.numpy(), *arrays, rows))
    rounded, step = map(torch.from_numpy, arrays)
    best = torch.cat([_group_maxima(rounded, part.of(rows.rounded)) for part in parts], dim=-1)
    coarse = best.float() * (step * rows.step)
    # The k-th largest of the groups' maxima bounds the k-th best cosine from below.
    floor = coarse.topk(k, dim=-1).values[:, -1:] - error
    wanted = coarse >= floor - error
    owner = [part for part in parts for _ in range(0, len(part), GROUP)]
    first = [start for part in parts for start in range(0, len(part), GROUP)]
    queries, places = [], []
    for group in wanted.any(dim=0).nonzero()[:, 0].tolist():
        query, part = wanted[:, group].nonzero()[:, 0], owner[group]
        place = part.places_of(first[group], first[group] + GROUP)
        scores = _float_scores(z[query], rows, place)
        row, column = (scores >= floor[query] - rounding(rows.dim)).nonzero(as_tuple=True)
        queries.append(query[row])
        places.append(place[column])
    return torch.cat(queries), torch.cat(places)


def _group_maxima(rounded: Tensor, rows: Tensor) -> Tensor:
    """`[B, dim]` and `[C, dim]` int8 -> `[B, ceil(C / GROUP)]` best product in each group."""
    # This way round the rows need not be packed, which for a few embeddings costs more than scores.
    scores = int8_products(rows, rounded)
    whole = len(rows) // GROUP * GROUP
    best = scores[:whole].view(-1, GROUP, len(rounded)).amax(dim=1)
    if whole < len(rows):
        best = torch.cat([best, scores[whole:].amax(dim=0, keepdim=True)])
    return best.T


def int8_products(a: Tensor, b: Tensor) -> Tensor:
    """`[A, dim]` and `[B, dim]` int8, or made `ready` -> `[A, B]` whole numbers, int32 or float."""
    if has_int8():
        return torch._int_mm(a, b.T)  # pyright: ignore[reportPrivateImportUsage]
    dtype = _whole(a.shape[1])
    x, y = a.numpy().astype(dtype, copy=False), b.numpy().astype(dtype, copy=False)
    return torch.from_numpy(x @ y.T)


def ready(rows: Tensor) -> Tensor:
    """`[A, dim]` int8 as `int8_products` multiplies them: it need not convert them each time."""
    return rows if has_int8() else torch.from_numpy(rows.numpy().astype(_whole(rows.shape[1])))


def _whole(dim: int) -> type[np.floating]:
    """A dtype that holds the sums: of up to 2**10 products they are whole numbers of float32."""
    return np.float32 if dim <= 2**10 else np.float64


def _float_scores(z: Tensor, rows: Rows, place: Tensor) -> Tensor:
    """`[B, dim]` and `[C]` -> `[B, C]`, in float32 whatever torch is set to."""
    return torch.from_numpy(z.numpy() @ rows.take(place.numpy()).T)
