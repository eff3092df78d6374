"""For each row its nearest rows, and a bound on the cosines to all others."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ._rows import Rows, rounding
from ._scan import GROUP, QUERIES, STEP, Part, int8_products, parts_of

Progress = Callable[[float], None]
"""Of what takes long: called with the share that is done."""

TOGETHER = 64
"""Times that pairs are put to others before they are joined with them."""

LOWEST = -(2**31)
"""Of int32."""

SAMPLE = 16
"""One of so many parts is looked at to find how near the nearest rows are."""

LEAST = 4
"""Parts that are looked at for that, at least."""


@dataclass(frozen=True)
class Pairs:
    """Rows, and what is near enough to stand in their lists.

    Attributes:
        row: `[P]` int32 places of the rows.
        other: `[P]` int32 places of what is near to them.
        score: `[P]` int8 products.
    """

    row: Tensor
    other: Tensor
    score: Tensor

    @classmethod
    def joined(cls, pairs: Sequence[Pairs]) -> Pairs:
        """All of these, one at least."""
        columns = [(some.row, some.other, some.score) for some in pairs]
        return cls(*(torch.cat(column) for column in zip(*columns, strict=True)))

    def only(self, wanted: Tensor) -> Pairs:
        """Those of a `[P]` mask."""
        return Pairs(self.row[wanted], self.other[wanted], self.score[wanted])


_NONE = Pairs(*(torch.empty(0, dtype=torch.int32) for _ in range(3)))


def link(
    rows: Rows, alive: Tensor, start: int, width: int, progress: Progress = lambda share: None
) -> tuple[Tensor, Tensor]:
    """Lists of the rows from `start` on, with all rows that are alive.

    Args:
        rows: all of them, N.
        alive: `[N]` bool, which rows may stand in a list.
        start: the first row that gets a list, not behind the last.
        width: how many stand in a list at most.
        progress: called with the share that is done, now and then.

    Returns:
        `[M, width]` int32 places for the M rows from `start` on, nearest first, -1 behind the last;
        and float32 horizons: no row that is alive, outside the list and not the row itself has a
        larger cosine. O(M * (N - M / 2) * dim) int8 operations: the product of two of the M rows
        serves both. Pairs that wait for the second one take up to 200 bytes for each of the M.
    """
    size = len(rows)
    # Made first: small results between large ones that go would tear the memory into pieces.
    lists = torch.empty(size - start, width, dtype=torch.int32)
    horizon = torch.empty(size - start)
    parts, before = parts_of(0, size, alive), parts_of(0, start, alive)
    starts = range(start, size, QUERIES)
    blocks = [rows.rounded[low : low + QUERIES] for low in starts]

    def products(number: int) -> float:
        """Of the last rows, with those before them and with each other."""
        return number * (start + number / 2)

    total = products(size - start) + (size - start) * size / SAMPLE
    thresholds: list[Tensor] = []
    for low, block in zip(starts, blocks, strict=True):
        thresholds.append(_threshold(block, rows, parts, width))
        progress((low + len(block) - start) * size / SAMPLE / total)
    least = torch.cat(thresholds)
    waiting = [[_NONE] for _ in range(start, size, STEP)]
    for low, block in zip(starts, blocks, strict=True):
        high, own = low + len(block), (low - start) // STEP
        threshold = least[low - start : high - start]
        kept = Pairs.joined(waiting[own])
        waiting[own] = [kept.only(kept.row >= high)]
        pairs = [kept.only(kept.row < high)]
        pairs += [_pairs(block, rows, part, threshold, low) for part in before]
        for number in range(own, len(waiting)):
            first = max(low, start + number * STEP)
            others = rows.rounded[first : start + (number + 1) * STEP]
            scores = int8_products(block, others)
            row, column, score = _by_row(scores, threshold)
            pairs.append(_placed(row + low, column + first, score))
            # Of the block itself both directions have been seen.
            behind = max(high, first)
            later = least[behind - start : first + len(others) - start]
            column, row, score = _by_column(scores[:, behind - first :], later)
            wait = _placed(column + behind, row + low, score)
            waiting[number].append(wait.only(alive[wait.other.long()]))
            if len(waiting[number]) > TOGETHER:
                waiting[number] = [Pairs.joined(waiting[number])]
        found = Pairs.joined(pairs)
        found = found.only(alive[found.other.long()] & (found.other != found.row))
        scale = rows.step * rows.step
        some = slice(low - start, high - start)
        # What is not among the pairs has a smaller integer score.
        lists[some], horizon[some] = fold(
            found.row.long() - low,
            found.other,
            (found.score * scale).float(),
            (threshold - 1) * scale,
            width,
            rows.slack,
        )
        progress(1 - products(size - high) / total)
    return lists, horizon


def _threshold(block: Tensor, rows: Rows, parts: list[Part], width: int) -> Tensor:
    """`[R]` scores that somewhat more than `width` rows reach."""
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


def _pairs(block: Tensor, rows: Rows, part: Part, threshold: Tensor, low: int) -> Pairs:
    """The rows of a block that begins at `low`, and those of a part that reach their threshold."""
    row, column, score = _by_row(int8_products(block, part.of(rows.rounded)), threshold)
    return _placed(row + low, part.place(column), score)


def _placed(row: Tensor, other: Tensor, score: Tensor) -> Pairs:
    return Pairs(row.int(), other.int(), score)


def _by_row(scores: Tensor, threshold: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Row, column and score where `[R, C]` scores reach the `[R]` threshold of the row."""
    short = -scores.shape[1] % GROUP
    if short:
        scores = torch.nn.functional.pad(scores, (0, short), value=LOWEST)
    groups = scores.view(len(scores), -1, GROUP)
    row, group = (groups.amax(-1) >= threshold[:, None]).nonzero(as_tuple=True)
    near = groups[row, group]
    hot, column = (near >= threshold[row, None]).nonzero(as_tuple=True)
    return row[hot], group[hot] * GROUP + column, near[hot, column]


def _by_column(scores: Tensor, threshold: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Column, row and score where `[R, C]` scores reach the `[C]` threshold of the column."""
    # numpy's maximum over rows is several times as fast as torch's.
    hot = torch.from_numpy(scores.numpy().max(axis=0, initial=LOWEST)) >= threshold
    column = hot.nonzero()[:, 0]
    near = scores[:, column]
    row, number = (near >= threshold[column]).nonzero(as_tuple=True)
    return column[number], row, near[row, number]


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
            pairs = _pairs(block, rows, part, least[low:high], low)
            old.append(pairs.row.long())
            new.append(pairs.other.long())
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
