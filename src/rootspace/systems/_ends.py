"""The largest and the smallest coordinates of embeddings, found once for all orbits of a union."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor


class Ends:
    """Positions of the largest and smallest coordinates, where no two of them are equal.

    `topk` is several times faster than what orders equal coordinates by their position; the few
    rows in which two of the coordinates found are equal are left to the caller.

    Args:
        key: `[N, dim]` embeddings.
        high: how many of the largest are needed.
        low: how many of the smallest; high + low <= dim.
    """

    def __init__(self, key: Tensor, high: int, low: int) -> None:
        self._key = key
        self._high, tied_high = _end(key, high, largest=True)
        self._low, tied_low = _end(key, low, largest=False)
        tied = tied_high | tied_low
        self._tied = tied.nonzero()[:, 0] if bool(tied.any()) else None

    def positions(self, high: int, low: int, tied: Callable[[Tensor], Tensor]) -> Tensor:
        """`[N, high + low]` positions of the largest and the smallest, in descending order.

        Args:
            high: how many of the largest.
            low: how many of the smallest.
            tied: gives these positions for rows `[R, dim]` with equal coordinates.
        """
        found = torch.cat([self._high[:, :high], self._low[:, :low].flip(-1)], dim=-1)
        if self._tied is not None:
            found[self._tied] = tied(self._key[self._tied])
        return found


def _end(key: Tensor, count: int, *, largest: bool) -> tuple[Tensor, Tensor]:
    """Positions `[N, count]`, best first, and `[N]` whether two of the best count + 1 are equal."""
    if not count:
        none = key.new_zeros(len(key), dtype=torch.bool)
        return key.new_empty((len(key), 0), dtype=torch.int64), none
    values, positions = key.topk(min(count + 1, key.shape[1]), dim=-1, largest=largest)
    return positions[:, :count], (values[:, 1:] == values[:, :-1]).any(-1)
