"""A share of the inputs of a data set, set aside for a test set."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

LEAST_LEFT = 2
"""Inputs of a class that are never set aside: to choose its prototype training contrasts two."""

_EXACT = 1e-9
"""Products of a fraction and a count are this near to what they would be without rounding."""


def set_aside(labels: Tensor, names: Sequence[str], fraction: float, seed: int) -> Tensor:
    """`[N]` bool: a share of the inputs, spread over the classes.

    Each class gives its share rounded down. What is missing for the fraction of all comes one by
    one from classes that are drawn at random, a large remainder being drawn sooner, so that a tenth
    of 100 classes of 3 are 30 inputs of 30 classes. Classes of fewer than three inputs keep theirs,
    and do not count. Which inputs of a class are chosen depends on its name, its number of inputs
    and the seed; adding a class changes the others by a few remainders at most.

    Args:
        labels: int64 [N].
        names: of the classes.
        fraction: in [0, 1).
        seed: of the choice.
    """
    order = np.argsort(labels.numpy(), kind="stable")
    counts = np.bincount(labels.numpy(), minlength=len(names))
    wanted = np.where(counts > LEAST_LEFT, fraction * counts, 0.0)
    most = np.maximum(counts - LEAST_LEFT, 0)
    taken = np.minimum(np.floor(wanted + _EXACT).astype(np.int64), most)
    rest = np.where(taken < most, np.maximum(wanted - taken, 0.0), 0.0)
    rest[rest < _EXACT] = 0.0
    generators = [
        np.random.default_rng([seed, *name.encode(errors="surrogateescape")]) for name in names
    ]
    shuffled = [
        generator.permutation(rows)
        for generator, rows in zip(generators, np.split(order, np.cumsum(counts)[:-1]), strict=True)
    ]
    missing = max(round(wanted.sum()), wanted.any()) - taken.sum()
    if missing > 0:
        # The smallest of exponential times with these rates: the first classes of a weighted draw.
        times = np.array([generator.exponential() for generator in generators])
        times = np.divide(times, rest, out=np.full(len(names), np.inf), where=rest > 0)
        first = np.argsort(times, kind="stable")[:missing]
        taken[first] += rest[first] > 0
    chosen = np.zeros(len(labels), dtype=bool)
    for rows, count in zip(shuffled, taken, strict=True):
        chosen[rows[:count]] = True
    return torch.from_numpy(chosen)
