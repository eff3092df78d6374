"""Which vector each class takes, so that all are different and near: the assignment problem.

Vectors go by their codes (see `codes`): numbers, or packed levels of a system too large to number.
"""

from __future__ import annotations

import warnings
from types import ModuleType
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import normalize

from rootspace._extras import MissingExtraError, require
from rootspace.systems import MAX_INDEX, VectorSystem

from .codes import encode, keys

CHUNK = 8192
"""Means quantized together."""

MATCHED = 20_000
"""Classes up to which SciPy's matching takes some two seconds; its time grows with their square."""

ALL = 2**22
"""Cosines of all classes with all vectors up to which a class may take any of them."""

NEIGHBORS, ROOMY = 64, 16
"""Neighbors that it may take else, and in a system with four or more vectors a class."""

DISTURBANCE, GROWTH = 0.05, 1.5
"""First length of the noise on a unit mean, and its growth from try to try."""


class Choice(NamedTuple):
    """Vectors for some classes.

    Attributes:
        codes: `[C, ...]` of the vectors, all different.
        collisions: classes whose nearest vector was another's, or taken before.
        method: that chose them: `nearest`, `matching` or `greedy`.
    """

    codes: Tensor
    collisions: int
    method: str


def choose(system: VectorSystem, means: Tensor, taken: Tensor | None = None) -> Choice:
    """A vector of its own for each class, near its mean.

    Args:
        system: of any size that holds the classes.
        means: `[C, dim]` float32 or float64, of any length but zero.
        taken: `[T, ...]` codes of vectors that are not free, or None.

    Raises:
        ValueError: too few vectors, or means that are zero or not finite.
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
    means = means.detach().cpu()
    means = means if means.dtype == torch.float64 else means.float()
    for start, part in zip(range(0, len(means), CHUNK), means.split(CHUNK), strict=True):
        if not bool(torch.isfinite(part).all()):
            row = start + int((~torch.isfinite(part)).any(dim=1).nonzero()[0, 0])
            raise ValueError(f"Argument 'means' must be finite; row {row} holds NaN or infinity.")
        if not bool(part.any(dim=1).all()):
            row = start + int((~part.any(dim=1)).nonzero()[0, 0])
            raise ValueError(
                f"Argument 'means' must not hold zero rows, to which no vector is nearest; row "
                f"{row} is zero."
            )
    codes, cosine = _nearest(system, means)
    key = keys(codes)
    used = used.astype(key.dtype)
    keep = _winners(key, cosine) & ~np.isin(key, used)
    collisions = len(key) - int(keep.sum())
    if not collisions:
        return Choice(codes, 0, "nearest")
    matched = system.size <= MAX_INDEX and len(means) <= MATCHED
    if matched and not _have_scipy():
        warnings.warn(
            "SciPy is not installed, so classes that want one vector are served in the order of "
            "their cosines; with it a matching finds the largest mean cosine: pip install scipy.",
            stacklevel=2,
        )
    elif matched:
        few = len(means) * system.size <= ALL
        match = _match_all if few else _match_neighbors
        return Choice(match(system, means, used), collisions, "matching")
    # The nearest class keeps its vector, the others go on in the order of their cosines.
    order = np.argsort(-cosine, kind="stable")
    rest = order[~keep[order]]
    used = np.concatenate([used, key[keep]])
    settle = _settle_by_neighbors if codes.ndim == 1 else _settle_by_disturbance
    settle(system, means, codes, rest, used)
    return Choice(codes, collisions, "greedy")


def _nearest(system: VectorSystem, means: Tensor) -> tuple[Tensor, np.ndarray]:
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


# ------------------------------------------------------------------------ all classes at once


def _have_scipy() -> bool:
    try:
        _scipy("optimize")
    except MissingExtraError:
        return False
    return True


def _scipy(module: str) -> ModuleType:
    return require(f"scipy.{module}", extra="train", purpose="Matching classes with vectors")


def _match_all(system: VectorSystem, means: Tensor, used: np.ndarray) -> Tensor:
    """The largest sum of cosines: O(C * size) memory, up to O(C^2 * size) time."""
    free = np.setdiff1d(np.arange(system.size), used)
    cosine = normalize(means) @ system.vectors(torch.from_numpy(free), dtype=means.dtype).T
    column = _scipy("optimize").linear_sum_assignment(cosine.numpy(), maximize=True)[1]
    return torch.from_numpy(free[column])


def _match_neighbors(system: VectorSystem, means: Tensor, used: np.ndarray) -> Tensor:
    """The largest sum of cosines to vectors among each class's neighbors.

    A class may also stay without one of them, for the cosine to the last: what it does not list is
    no better. Those that do take the nearest vectors that are free in the end.
    """
    k = min(system.size, ROOMY if system.size >= 4 * len(means) else NEIGHBORS)
    near = [system.nearest(part, k) for part in means.split(CHUNK)]
    cosine = torch.cat([part.cosine for part in near]).double().numpy()
    numbers = torch.cat([part.index for part in near]).numpy()
    listed, place = np.unique(numbers, return_inverse=True)
    place = place.reshape(numbers.shape)  # NumPy 2.0 gives it flat
    wanted, sure = _wanted(place, ~np.isin(numbers, used))
    unsure = np.nonzero(~sure)[0]
    rows = np.concatenate([np.nonzero(wanted)[0], unsure])
    columns = np.concatenate([place[wanted], len(listed) + np.arange(len(unsure))])
    weights = 2 - np.concatenate([cosine[wanted], cosine[unsure, -1]])  # none is zero
    columns, column = np.unique(columns, return_inverse=True)
    graph = _scipy("sparse").csr_array((weights, (rows, column)), shape=(len(means), len(columns)))
    row, column = _scipy("sparse.csgraph").min_weight_full_bipartite_matching(graph)
    taken = np.empty(len(means), dtype=np.int64)
    taken[row] = columns[column]
    settled = taken < len(listed)
    codes = torch.from_numpy(listed[np.where(settled, taken, 0)])
    used = np.concatenate([used, listed[taken[settled]]])
    _settle_by_neighbors(system, means, codes, np.nonzero(~settled)[0], used)
    return codes


def _wanted(place: np.ndarray, free: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Which neighbors a class may need: no worse one than the first that it alone may need.

    Args:
        place: `[C, k]` which vector each neighbor is.
        free: `[C, k]` whether it is free.

    Returns:
        `[C, k]` bool, and `[C]` whether one of them is the class's alone.
    """
    while True:
        alone = free & (np.bincount(place[free], minlength=int(place.max()) + 1)[place] == 1)
        wanted = free & (np.cumsum(alone, axis=1) - alone == 0)
        if np.array_equal(wanted, free):
            return wanted, alone.any(axis=1)
        free = wanted


# ------------------------------------------------------------------------ one class after another


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
            found = _disturbed(system, means[rows], size, generator)
            key = keys(found)
            won = _winners(key, np.zeros(len(key))) & ~np.isin(key, used)
            winners = torch.from_numpy(won)
            codes[rows[won]] = found[winners]
            used = np.concatenate([used, key[won]])
            still.append(rows[~won])
        rest, size = np.concatenate(still), GROWTH * size


def _disturbed(
    system: VectorSystem, means: Tensor, size: float, generator: torch.Generator
) -> Tensor:
    """`[N, dim]` means and the length of the noise on them -> `[N, ...]` codes near them."""
    noise = torch.randn(means.shape, generator=generator, dtype=torch.float32).to(means)
    noise = noise / means.shape[1] ** 0.5
    return encode(system, system.quantize(normalize(means) + size * noise))
