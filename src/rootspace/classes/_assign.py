"""Choosing each class's vector from the data (Sec. 6.6, Fig. 12b of arXiv 2510.04090)."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import cosine_similarity

from rootspace.systems import VectorSystem

from ._class_map import ClassMap
from ._codes import keys, read_codes
from ._matching import CHUNK, DISTURBANCE, GROWTH, Method, choose, disturbed

MOST_ANGLES = 100_000
"""Classes up to which an `Assignment` knows its smallest angle, which takes O(C^2 * dim) time."""

SPREADS = 20
"""Times that classes which are too near to another are moved."""


@dataclass(frozen=True)
class Assignment:
    """The classes and how well they fit.

    Attributes:
        classes: the map.
        mean_cosine: of the class means to their vectors.
        collisions: classes whose nearest vector was another class's.
        method: that was used: `exact`, `auction` or `greedy`.
        seconds: taken.
    """

    classes: ClassMap
    mean_cosine: float
    collisions: int
    method: str
    seconds: float

    @cached_property
    def smallest_angle(self) -> float | None:
        """Between the vectors of two classes, in degrees, exact; None above 100,000 classes.

        180 for a single class. O(C) predictions, made when it is first asked for.
        """
        if self.classes.num_classes > MOST_ANGLES:
            return None
        if self.classes.num_classes == 1:
            return 180.0
        labels = torch.arange(self.classes.num_classes)
        largest = max(
            float(_cosine_to_others(self.classes, part)[0].max()) for part in labels.split(CHUNK)
        )
        return _angle(largest)


def assign(
    system: VectorSystem,
    means: Tensor,
    names: Sequence[str] | None = None,
    *,
    method: Method = "auto",
    min_angle: float | None = None,
) -> Assignment:
    """Give each class a vector of its own near its mean.

    Args:
        system: of any size that holds the classes.
        means: `[C, dim]` centered class means of any length.
        names: one for each class, or None.
        method: `exact` has the largest mean cosine (Hungarian method, needs SciPy; O(C * size)
            memory). `auction` stays within 0.001 of it where neighbors suffice, in O(C) memory,
            for any system that can be numbered. `greedy` gives a vector to the nearest class whose
            nearest vector it is, and the other classes the best free ones among their neighbors,
            or, in a system too large to be numbered, what small disturbances of their means lead
            to. `auto` takes the first of these that can be.
        min_angle: degrees. Classes whose vector is nearer than that to another's are moved by
            growing disturbances of their means, a limited number of times: look at
            `Assignment.smallest_angle` for what was reached. O(C^2 * dim) time.

    Returns:
        An `Assignment`.

    Raises:
        ValueError: more classes than vectors, means that are not finite, a method or an angle that
            cannot be.
        MissingExtraError: method `exact` without SciPy.
    """
    started = time.perf_counter()
    if min_angle is not None and not 0 < min_angle <= 180:
        raise ValueError(f"Argument 'min_angle' must lie in (0, 180] degrees, not {min_angle}.")
    if names is not None and len(names) != len(means):
        raise ValueError(
            f"Argument 'names' must hold {len(means)} names, one a class, not {len(names)}."
        )
    choice = choose(system, means, None, method)
    codes = choice.codes
    if min_angle is not None and len(codes) > 1 and min_angle > system.min_angle:
        codes = _spread(system, means.detach().cpu(), codes, min_angle)
    classes = ClassMap._with_codes(system, read_codes(system, codes), names)
    mean_cosine = _mean_cosine(classes, means)
    seconds = time.perf_counter() - started
    return Assignment(classes, mean_cosine, choice.collisions, choice.method, seconds)


def _mean_cosine(classes: ClassMap, means: Tensor) -> float:
    total = 0.0
    for labels in torch.arange(len(means)).split(CHUNK):
        part = means[labels.to(means.device)].detach().cpu().double()
        vectors = classes.vectors(labels, dtype=torch.float64)
        total += float(cosine_similarity(part, vectors).sum())
    return total / max(1, len(means))


def _spread(system: VectorSystem, means: Tensor, codes: Tensor, min_angle: float) -> Tensor:
    """Move vectors that are nearer than `min_angle` to another, one of each pair."""
    generator = torch.Generator().manual_seed(0)
    size = torch.full((len(codes),), DISTURBANCE)
    codes, looked_at = codes.clone(), torch.arange(len(codes))
    for _ in range(SPREADS):
        classes = ClassMap._with_codes(system, read_codes(system, codes), None)
        found = [_cosine_to_others(classes, part) for part in looked_at.split(CHUNK)]
        cosine, other = (torch.cat(parts) for parts in zip(*found, strict=True))
        near = cosine > math.cos(math.radians(min_angle)) + 1e-9
        looked_at, other = looked_at[near], other[near]
        if not len(looked_at):
            break
        # Of two that are near each other the later one moves; one that is not looked at stays.
        moves = (looked_at > other) | ~torch.isin(other, looked_at)
        rows = looked_at[moves]
        moved = disturbed(system, means[rows], size[rows], generator)
        size[rows] *= GROWTH
        _, first = np.unique(keys(moved), return_index=True)
        won = np.zeros(len(rows), dtype=bool)
        won[first] = True
        won &= ~np.isin(keys(moved), keys(codes))
        codes[rows[won]] = moved[won]
    return codes


def _cosine_to_others(classes: ClassMap, labels: Tensor) -> tuple[Tensor, Tensor]:
    """`[N]` classes -> the largest cosine of their vector with another class's, and which it is."""
    nearest = classes.predict(classes.vectors(labels, dtype=torch.float64), 2)
    # Rounding may put another before the class itself where they are nearly the same.
    itself = (nearest.label[:, 0] == labels).long()[:, None]
    return nearest.cosine.gather(-1, itself)[:, 0], nearest.label.gather(-1, itself)[:, 0]


def _angle(cosine: float) -> float:
    return math.degrees(math.acos(max(-1.0, min(1.0, cosine))))
