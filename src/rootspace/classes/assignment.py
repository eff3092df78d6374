"""Choosing each class's vector from the data (Sec. 6.6, Fig. 12b of arXiv 2510.04090)."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor
from torch.nn.functional import cosine_similarity

from rootspace.systems import VectorSystem

from ._matching import CHUNK, choose
from .class_map import ClassMap
from .codes import read_codes

MOST_ANGLES = 100_000
"""Classes up to which an `Assignment` knows its smallest angle, which takes O(C^2 * dim) time."""


@dataclass(frozen=True)
class Assignment:
    """The classes and how well they fit.

    Attributes:
        classes: the map.
        mean_cosine: of the class means to their vectors.
        collisions: classes whose nearest vector was another class's.
        method: that chose the vectors: `nearest`, `matching` or `greedy`; see `assign`.
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
        return smallest_angle(self.classes)


def smallest_angle(classes: ClassMap) -> float | None:
    """Between the vectors of two classes, in degrees, exact; None above 100,000 classes.

    180 for a single class. O(C) predictions.
    """
    if classes.num_classes > MOST_ANGLES:
        return None
    if classes.num_classes == 1:
        return 180.0
    labels = torch.arange(classes.num_classes)
    return _angle(
        max(float(_cosine_to_others(classes, part).max()) for part in labels.split(CHUNK))
    )


def assign(
    system: VectorSystem,
    means: Tensor,
    names: Sequence[str] | None = None,
) -> Assignment:
    """Give each class a vector of its own near its mean.

    Where no two classes have one nearest vector, each takes it. Else, for up to 20,000 classes and
    a system that can be numbered, SciPy finds the largest mean cosine: among all vectors where
    classes times vectors are at most 2^22, else among the 16 or 64 nearest of each class. For more
    classes, or without SciPy, a vector goes to the nearest class whose nearest vector it is, and
    the other classes take the best free ones among their neighbors, or, in a system too large to be
    numbered, what small disturbances of their means lead to.

    Args:
        system: of any size that holds the classes.
        means: `[C, dim]` centered class means of any length but zero.
        names: one for each class, or None.

    Returns:
        An `Assignment`.

    Raises:
        ValueError: more classes than vectors, means that are zero or not finite, or names that do
            not fit.
    """
    started = time.perf_counter()
    if names is not None and len(names) != len(means):
        raise ValueError(
            f"Argument 'names' must hold {len(means)} names, one a class, not {len(names)}."
        )
    choice = choose(system, means)
    classes = ClassMap._with_codes(system, read_codes(system, choice.codes), names)
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


def _cosine_to_others(classes: ClassMap, labels: Tensor) -> Tensor:
    """`[N]` classes -> the largest cosine of their vector with another class's."""
    nearest = classes.predict(classes.vectors(labels, dtype=torch.float64), 2)
    # Rounding may put another before the class itself where they are nearly the same.
    itself = (nearest.label[:, 0] == labels).long()[:, None]
    return nearest.cosine.gather(-1, itself)[:, 0]


def _angle(cosine: float) -> float:
    return math.degrees(math.acos(max(-1.0, min(1.0, cosine))))
