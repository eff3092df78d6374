"""Which vector each class takes, so that all are different and near: the assignment problem.

Vectors go by their codes (see `_codes`): numbers, or packed levels of a system too large to number.
"""

from __future__ import annotations

from types import ModuleType
from typing import Literal, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import normalize

from rootspace._extras import MissingExtraError, require
from rootspace.systems import MAX_INDEX, VectorSystem

from ._codes import encode, keys

Method = Literal["auto", "exact", "auction", "greedy"]

CHUNK = 8192
"""Means quantized together."""

EXACT = 2**22
"""Cosines of all classes with all vectors up to which the exact method takes about a second."""

LISTED = 2**24
"""Neighbors that an auction lists for all classes together, to bound its memory."""

NEIGHBORS, ROOMY = 64, 16
"""Neighbors that it lists for a class, and in a system with 16 or more vectors a class."""

BID = 1e-3
"""Least bid, and how far the mean cosine of an auction can stay below the best."""

ROUNDS = 5_000
"""Of an auction; the classes without a vector then take the nearest free one."""

DISTURBANCE, GROWTH = 0.05, 1.5
"""First length of the noise on a unit mean, and its growth from try to try."""


class Choice(NamedTuple):
    """Vectors for some classes.

    Attributes:
        codes: `[C, ...]` of the vectors, all different.
        collisions: classes whose nearest vector was another's, or taken before.
        method: that chose them.
    """

    codes: Tensor
    collisions: int
    method: str


def choose(
    system: VectorSystem, means: Tensor, taken: Tensor | None = None, method: Method = "auto"
) -> Choice:
    """A vector of its own for each class, near its mean.

    Args:
        system: of any size that holds the classes.
        means: `[C, dim]` float32 or float64, of any length.
        taken: `[T, ...]` codes of vectors that are not free, or None.
        method: as in `assign`.

    Raises:
        ValueError: too few vectors, means that are not finite, a method that needs numbers.
    """
    system.check_shape(means, "means")
    used = np.empty(0, np.int64) if taken is None else keys(taken)
    if means.ndim != 2 or not len(means):
        raise ValueError(
            f"Argument 'means' must be of shape [C, {system.dim}], not {tuple(means.shape)}."
        )
    if len(means) > system.size - len(used):
        raise ValueError(
            f"Argument 'means' must have at most {system.size - len(used)} rows, the number of "
            f"free vectors of {system!r}, not {len(means)}."
        )
    if method not in ("auto", "exact", "auction", "greedy"):
        raise ValueError(
            f"Argument 'method' must be 'auto', 'exact', 'auction' or 'greedy', not {method!r}."
        )
    means = means.detach().cpu()
    means = means if means.dtype == torch.float64 else means.float()
    for start, part in zip(range(0, len(means), CHUNK), means.split(CHUNK), strict=True):
        if not bool(torch.isfinite(part).all()):
            row = start + int((~torch.isfinite(part)).any(dim=1).nonzero()[0, 0])
            raise ValueError(f"Argument 'means' must be finite; row {row} holds NaN or infinity.")
    if system.size > MAX_INDEX:
        if method not in ("auto", "greedy"):
            raise ValueError(
                f"Argument 'method' must be 'greedy' for {system!r}, whose vectors have no "
                f"numbers, not {method!r}."
            )
        return _greedy(system, means, used)
    if method == "auto":
        small = len(means) * system.size <= EXACT and _solver(needed=False) is not None
        method = "exact" if small else "auction"
    if method == "greedy":
        return _greedy(system, means, used)
    nearest, _ = _first_choices(system, means)
    collisions = len(nearest) - len(np.setdiff1d(keys(nearest), used))
    if not collisions:
        return Choice(nearest, 0, method)
    solve = _exact if method == "exact" else _auction
    return Choice(solve(system, means, used), collisions, method)


def _solver(needed: bool = True) -> ModuleType | None:
    try:
        return require("scipy.optimize", extra="train", purpose="Argument 'method' = 'exact'")
    except MissingExtraError:
        if needed:
            raise
        return None


def _exact(system: VectorSystem, means: Tensor, used: np.ndarray) -> Tensor:
    """The largest sum of cosines: O(C * size) memory, up to O(C^2 * size) time."""
    solver = _solver()
    assert solver is not None
    free = np.setdiff1d(np.arange(system.size), used)
    cosine = normalize(means) @ system.vectors(torch.from_numpy(free), dtype=means.dtype).T
    column = solver.linear_sum_assignment(cosine.numpy(), maximize=True)[1]
    return torch.from_numpy(free[column])


def _auction(system: VectorSystem, means: Tensor, used: np.ndarray) -> Tensor:
    """Bertsekas' auction among the nearest vectors of each class; all classes bid at once.

    A class bids for the vector with the best cosine minus price, as much as it is better than the
    second best. What is not among its neighbors is no better than the last of them; a class that
    finds nothing better for its price leaves, and takes the nearest vector that is free in the end.
    (D. P. Bertsekas, Annals of Operations Research 14, 1988.)
    """
    wanted = ROOMY if system.size >= ROOMY * len(means) else NEIGHBORS
    k = min(system.size, wanted, max(ROOMY, LISTED // len(means)))
    near = [system.nearest(part, k) for part in means.split(max(1, 2**20 // k))]
    cosine = torch.cat([part.cosine for part in near]).float()
    numbers = np.concatenate([part.index.numpy() for part in near])
    del near
    floor = cosine[:, -1].clone()
    cosine[torch.from_numpy(np.isin(numbers, used))] = -torch.inf
    listed, place = np.unique(numbers, return_inverse=True)
    del numbers
    item = torch.from_numpy(place.reshape(len(cosine), k))
    price, owner = torch.zeros(len(listed)), torch.full((len(listed),), -1)
    held = torch.full((len(cosine),), -1)
    bidding, rounds = torch.arange(len(cosine)), 0
    while len(bidding) and rounds < ROUNDS:
        rounds += 1
        value = cosine[bidding] - price[item[bidding]]
        best, where = value.topk(min(2, k), dim=-1)
        stay = best[:, 0] >= floor[bidding]
        rise = best[stay, 0] - torch.maximum(best[stay, -1], floor[bidding[stay]])
        bidding = bidding[stay]
        target = item[bidding, where[stay, 0]]
        bid = price[target] + rise + BID
        won = torch.from_numpy(_winners(target.numpy(), bid.numpy()))
        loser = owner[target[won]]
        loser = loser[loser >= 0]
        held[loser] = -1
        held[bidding[won]] = target[won]
        owner[target[won]], price[target[won]] = bidding[won], bid[won]
        bidding = torch.cat([bidding[~won], loser])
    settled = held >= 0
    codes = torch.from_numpy(listed)[held]
    rest = (~settled).nonzero()[:, 0].numpy()
    used = np.concatenate([used, codes[settled].numpy()])
    _settle_by_neighbors(system, means, codes, rest, used)
    return codes


def _greedy(system: VectorSystem, means: Tensor, used: np.ndarray) -> Choice:
    """The nearest vector; where several meet the nearest class keeps it, the others go on."""
    codes, cosine = _first_choices(system, means)
    key = keys(codes)
    used = used.astype(key.dtype)
    keep = _winners(key, cosine) & ~np.isin(key, used)
    collisions = len(key) - int(keep.sum())
    order = np.argsort(-cosine, kind="stable")
    rest = order[~keep[order]]
    used = np.concatenate([used, key[keep]])
    settle = _settle_by_neighbors if codes.ndim == 1 else _settle_by_disturbance
    settle(system, means, codes, rest, used)
    return Choice(codes, collisions, "greedy")


def _first_choices(system: VectorSystem, means: Tensor) -> tuple[Tensor, np.ndarray]:
    """Codes of the nearest vectors, and the cosines to them."""
    codes, cosine = [], []
    for part in means.split(CHUNK):
        vectors = system.quantize(part)
        codes.append(encode(system, vectors))
        cosine.append(torch.nn.functional.cosine_similarity(part, vectors).numpy())
    return torch.cat(codes), np.concatenate(cosine)


def _winners(wanted: np.ndarray, offer: np.ndarray) -> np.ndarray:
    """`[N]` what each wants and what it offers -> `[N]` bool: the best offer, one for each thing.

    Of equal offers the first wins.
    """
    order = np.argsort(-offer, kind="stable")
    won = np.zeros(len(wanted), dtype=bool)
    won[order[np.unique(wanted[order], return_index=True)[1]]] = True
    return won


def _settle_by_neighbors(
    system: VectorSystem, means: Tensor, codes: Tensor, rest: np.ndarray, used: np.ndarray
) -> None:
    """Give the classes `rest` the nearest free vectors, in blocks in their order; fills `codes`."""
    k = 8
    while len(rest):
        k = min(k, system.size)
        still = []
        for start in range(0, len(rest), max(1, 2**20 // k)):
            rows = rest[start : start + max(1, 2**20 // k)]
            near = system.nearest(means[rows], k)
            numbers, cosine = near.index.numpy(), near.cosine.numpy()
            free = ~np.isin(numbers, used)
            looking, settled = np.arange(len(rows)), np.zeros(len(rows), dtype=bool)
            while len(looking := looking[free[looking].any(axis=1)]):
                first = free[looking].argmax(axis=1)
                wanted = numbers[looking, first]
                won = _winners(wanted, cosine[looking, first])
                settled[looking[won]] = True
                codes[rows[looking[won]]] = torch.from_numpy(wanted[won])
                used = np.concatenate([used, wanted[won]])
                looking = looking[~won]
                free[looking] &= ~np.isin(numbers[looking], wanted[won])
            still.append(rows[~settled])
        rest, k = np.concatenate(still), 4 * k


def _settle_by_disturbance(
    system: VectorSystem, means: Tensor, codes: Tensor, rest: np.ndarray, used: np.ndarray
) -> None:
    """Give the classes `rest` free vectors that disturbances of their means lead to."""
    generator = torch.Generator().manual_seed(0)
    size = DISTURBANCE
    while len(rest):
        still = []
        for start in range(0, len(rest), CHUNK):
            rows = rest[start : start + CHUNK]
            found = disturbed(system, means[rows], torch.full((len(rows),), size), generator)
            key = keys(found)
            won = _winners(key, np.zeros(len(key))) & ~np.isin(key, used)
            winners = torch.from_numpy(won)
            codes[rows[won]] = found[winners]
            used = np.concatenate([used, key[won]])
            still.append(rows[~won])
        rest, size = np.concatenate(still), GROWTH * size


def disturbed(
    system: VectorSystem, means: Tensor, size: Tensor, generator: torch.Generator
) -> Tensor:
    """`[N, dim]` means and the `[N]` lengths of the noise on them -> `[N, ...]` codes near them."""
    noise = torch.randn(means.shape, generator=generator, dtype=torch.float32).to(means)
    noise = noise / means.shape[1] ** 0.5
    return encode(system, system.quantize(normalize(means) + size[:, None].to(means) * noise))
