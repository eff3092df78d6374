"""For each row its nearest rows, and a bound on the cosines to all others."""

from __future__ import annotations

import torch
from torch import Tensor

from ._rows import Rows, rounding
from ._scan import GROUP, QUERIES, Part, int8_products, parts_of

SAMPLE = 16
"""One of so many parts is looked at to find how near the nearest rows are."""

LEAST = 4
"""Parts that are looked at for that, at least."""


def link(rows: Rows, alive: Tensor, start: int, stop: int, width: int) -> tuple[Tensor, Tensor]:
    """Lists of the rows from `start` to `stop`, with all rows that are alive.

    Args:
        rows: all of them.
        alive: `[N]` bool, which rows may stand in a list.
        start: the first row that gets a list.
        stop: after the last.
        width: how many stand in a list at most.

    Returns:
        `[stop - start, width]` int32 places, nearest first, -1 behind the last; and float32
        horizons: no row that is alive, outside the list and not the row itself has a larger
        cosine. O((stop - start) * N * dim) int8 operations.
    """
    parts = parts_of(0, len(rows), alive)
    # Made first: small results between large ones that go would tear the memory into pieces.
    lists = torch.empty(stop - start, width, dtype=torch.int32)
    horizon = torch.empty(stop - start)
    for low in range(start, stop, QUERIES):
        high = min(low + QUERIES, stop)
        some = slice(low - start, high - start)
        lists[some], horizon[some] = _link(rows, parts, low, high, width)
    return lists, horizon


def _link(
    rows: Rows, parts: list[Part], start: int, stop: int, width: int
) -> tuple[Tensor, Tensor]:
    block = rows.rounded[start:stop]
    threshold = _threshold(block, rows, parts, width)
    pairs = [_pairs(block, rows, part, threshold) for part in parts]
    row, place, score = (torch.cat(column) for column in zip(*pairs, strict=True))
    other = place != row + start
    row, place, score = row[other], place[other], score[other]
    scale = rows.step * rows.step
    # What is not among the pairs has a smaller integer score.
    beyond = (threshold - 1) * scale
    return fold(row, place, score * scale, beyond, width, rows.slack)


def _threshold(block: Tensor, rows: Rows, parts: list[Part], width: int) -> Tensor:
    """`[R]` int32 scores that somewhat more than `width` rows reach."""
    some = parts[:: max(1, min(SAMPLE, len(parts) // LEAST))]
    number, seen = sum(map(len, parts)), sum(map(len, some))
    # Itself and half as many again as are wanted.
    rank = max(3, round((1.5 * width + 2) * seen / number))
    group = max(1, min(GROUP // 4, seen // (8 * rank)))
    maxima = []
    for part in some:
        scores = int8_products(block, part.of(rows.rounded))
        whole = scores.shape[1] // group * group
        maxima.append(scores[:, :whole].unflatten(1, (-1, group)).amax(-1))
        maxima.append(scores[:, whole:])
    best = torch.cat(maxima, dim=-1)
    return best.topk(min(rank, best.shape[1]), dim=-1).values[:, -1]


def _pairs(
    block: Tensor, rows: Rows, part: Part, threshold: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Row in the block, place and score of what reaches the threshold of its row."""
    scores = int8_products(block, part.of(rows.rounded))
    short = -scores.shape[1] % GROUP
    if short:
        least = torch.iinfo(scores.dtype).min
        scores = torch.nn.functional.pad(scores, (0, short), value=least)
    groups = scores.view(len(block), -1, GROUP)
    row, group = (groups.amax(-1) >= threshold[:, None]).nonzero(as_tuple=True)
    near = groups[row, group]
    hot, column = (near >= threshold[row, None]).nonzero(as_tuple=True)
    return row[hot], part.place(group[hot] * GROUP + column), near[hot, column]


def fold(
    row: Tensor, place: Tensor, cosine: Tensor, beyond: Tensor, width: int, slack: float
) -> tuple[Tensor, Tensor]:
    """The `width` nearest of each row's pairs, and the horizon behind them.

    Args:
        row: `[N]` numbers of rows.
        place: `[N]` what they are paired with.
        cosine: `[N]` float32, right to within `slack`.
        beyond: `[R]` bounds on the cosines, as exact as these, of what stands in no pair.
        width: of the lists.
        slack: added to the horizons.
    """
    order = cosine.argsort(descending=True, stable=True)
    order = order[row[order].argsort(stable=True)]
    row, place, cosine = row[order], place[order], cosine[order]
    number = len(beyond)
    first = torch.searchsorted(row, torch.arange(number))
    rank = torch.arange(len(row)) - first[row]
    lists = torch.full((number, width), -1, dtype=torch.int32)
    inside = rank < width
    lists[row[inside], rank[inside]] = place[inside].int()
    horizon = beyond.float().clone()
    next_one = rank == width
    horizon[row[next_one]] = torch.maximum(horizon[row[next_one]], cosine[next_one])
    return lists, (horizon + slack).clamp_(max=1)


def insert(
    rows: Rows, lists: Tensor, horizon: Tensor, alive: Tensor, start: int
) -> tuple[Tensor, Tensor]:
    """The lists of the rows before `start` with the rows from there on that belong into them.

    Args:
        rows: all of them.
        lists: `[start, width]` of the old rows.
        horizon: `[start]` of the old rows.
        alive: `[N]` bool, which rows may stand in a list.
        start: the first new row.

    Returns:
        New lists and horizons of the old rows.
    """
    scale = rows.step * rows.step
    least = ((horizon - rows.slack) / scale).floor().clamp(-(2**30), 2**30).int()
    old, new = [], []
    for low in range(0, start, QUERIES):
        high = min(low + QUERIES, start)
        block = rows.rounded[low:high]
        for part in parts_of(start, len(rows), alive):
            row, place, _ = _pairs(block, rows, part, least[low:high])
            old.append(row + low)
            new.append(place)
    if not old:  # none of the new rows is alive
        return lists, horizon
    row, place = torch.cat(old), torch.cat(new)
    touched, number = row.unique(return_inverse=True)
    before = lists[touched]
    there, column = (before >= 0).nonzero(as_tuple=True)
    number = torch.cat([there, number])
    place = torch.cat([before[there, column].long(), place])
    cosine = torch.empty(len(place))
    for low in range(0, len(place), 2**16):
        some = slice(low, low + 2**16)
        ours, theirs = rows.take(touched[number[some]].numpy()), rows.take(place[some].numpy())
        cosine[some] = torch.from_numpy((ours * theirs).sum(axis=-1))
    width = lists.shape[1]
    near, far = fold(number, place, cosine, horizon[touched], width, 0.0)
    lists, horizon = lists.clone(), horizon.clone()
    lists[touched] = near
    # The old bound holds as it is; what has fallen out was scored in float32.
    dropped = far > horizon[touched]
    horizon[touched] = torch.where(dropped, far + rounding(rows.dim), horizon[touched])
    return lists, horizon.clamp_(max=1)
