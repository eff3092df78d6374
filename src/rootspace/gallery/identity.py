"""Classes of a gallery, and what is said of images beside them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .items import Hit, Rejected


@dataclass(frozen=True)
class Identity:
    """A class, as the gallery has it now.

    Attributes:
        label: its number.
        name: of it.
        enrolled: whether it was enrolled here; else it is a class of the run.
        retired: whether it is not recognized.
        images: items that have its name as label.
        automatic: of these, those that the gallery has labeled itself.
    """

    label: int
    name: str
    enrolled: bool
    retired: bool
    images: int
    automatic: int


@dataclass(frozen=True)
class Match:
    """A class that an input may be.

    Attributes:
        label: of it.
        name: of it.
        cosine: to its prototype.
    """

    label: int
    name: str
    cosine: float


@dataclass(frozen=True)
class Nearest:
    """The nearest classes of N inputs, best first.

    Attributes:
        label: `[N, k]`, -1 where there are fewer classes.
        cosine: `[N, k]`, likewise.
        names: of the labels; "" where there is none.
        known: bool `[N]`, whether the run's rejector takes the input for a known one; None where
            the run has none.
    """

    label: np.ndarray
    cosine: np.ndarray
    names: list[list[str]]
    known: np.ndarray | None


@dataclass(frozen=True)
class Enrolled:
    """What became of the images of a class.

    Attributes:
        identity: the class.
        ids: of the items that it was enrolled from, or that were added to it.
        rejected: images that were not taken, with the reason.
        reassigned: ids of other items whose label changed with it.
        change: its number in the history.
    """

    identity: Identity
    ids: tuple[int, ...]
    rejected: tuple[Rejected, ...]
    reassigned: tuple[int, ...]
    change: int


@dataclass(frozen=True)
class Group:
    """Unknown items that may be one new class.

    Attributes:
        ids: of the items, the nearest to their mean first.
        cohesion: mean cosine to their mean.
        nearest: the known class nearest to their mean.
    """

    ids: tuple[int, ...]
    cohesion: float
    nearest: Match


@dataclass(frozen=True)
class Explanation:
    """Why an input is taken for a class.

    Attributes:
        matches: the nearest classes, best first.
        known: whether it is near enough to the first to be one of it.
        margin: cosine to the first less that to the second; None where there is one class.
        neighbors: the nearest items.
        ambiguous: the margin is narrow, or the nearest item that has a label has another one.
    """

    matches: tuple[Match, ...]
    known: bool
    margin: float | None
    neighbors: tuple[Hit, ...]
    ambiguous: bool
