"""What may be wrong with labeled images: duplicates, leaks between sets, wrong labels, hard ones.

Pictures are compared by what they look like, 16 x 16 gray values, and not by the network, which is
trained to make images of a class alike.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import adaptive_avg_pool2d

from rootspace._extras import require
from rootspace._terminal import Bar
from rootspace.search import CertifiedIndex

from .lance import unit

LOOK = 16
"""Side of the pictures that are compared."""

NEIGHBORS = 8
"""Most alike pictures that are looked at of each."""

ALIKE = 0.98
"""Correlation of two pictures from which on they count as the same."""

PART = 1024


@dataclass(frozen=True)
class Sample:
    """An image that is looked at.

    Attributes:
        name: path, or what its data call it.
        set: training set or test set that it is in.
        label: name of its class, None where it is not known.
        id: of its item, where it is in a gallery.
    """

    name: str
    set: str
    label: str | None
    id: int | None = None


@dataclass(frozen=True)
class Pair:
    """Two images that look the same.

    Attributes:
        first: number of one.
        second: number of the other.
        correlation: between the two pictures; 1 for the same, up to brightness and contrast.
    """

    first: int
    second: int
    correlation: float


@dataclass(frozen=True)
class Doubt:
    """An image, its class, and the nearest other class.

    Attributes:
        sample: its number.
        cosine: to its class: to the nearest of the prototypes that speak for it.
        other: name of the nearest other class.
        other_cosine: to the prototype of that.
    """

    sample: int
    cosine: float
    other: str
    other_cosine: float

    @property
    def margin(self) -> float:
        """How much nearer its own class is; negative where the other one is nearer."""
        return self.cosine - self.other_cosine


@dataclass(frozen=True)
class Inspection:
    """What was found, the worst first.

    Attributes:
        duplicates: pairs within a set.
        leaks: pairs across sets.
        mistakes: images nearer to another class than to their own.
        hardest: the others, by their margin.
    """

    duplicates: tuple[Pair, ...]
    leaks: tuple[Pair, ...]
    mistakes: tuple[Doubt, ...]
    hardest: tuple[Doubt, ...]


def looks(images: Tensor) -> np.ndarray:
    """uint8 `[B, C, H, W]` -> float32 `[B, 256]`, unit vectors; zero for pictures of one color."""
    gray = images.float().mean(dim=1, keepdim=True)
    small = adaptive_avg_pool2d(gray, LOOK).flatten(1).numpy()
    centered = small - small.mean(axis=1, keepdims=True)
    # Rounding is not a picture.
    flat = np.abs(centered).max(axis=1, initial=0) < 1e-3
    centered[flat] = 0
    return unit(centered)


def look_of_file(content: bytes) -> np.ndarray:
    """The same of the content of an image file, float32 `[256]`."""
    module = require("PIL.Image", extra="data", purpose="Reading image files")
    with module.open(io.BytesIO(content)) as image:
        pixels = np.array(image.convert("L"))
    return looks(torch.from_numpy(pixels)[None, None])[0]


def same_pictures(
    pictures: np.ndarray, *, least: float = ALIKE, bar: Bar | None = None
) -> list[Pair]:
    """Pairs of pictures that look the same, the most alike first.

    Of each picture the eight most alike are looked at: of many copies not all pairs are named.

    Args:
        pictures: float32 `[N, 256]` of `looks`.
        least: correlation.
        bar: to be told how many are done.
    """
    found: dict[tuple[int, int], float] = {}
    comparable = torch.from_numpy(np.flatnonzero(pictures.any(axis=-1)))
    index = CertifiedIndex.of_unit(torch.from_numpy(pictures)[comparable])
    for rows in comparable.split(PART):
        part = index.search_unit(torch.from_numpy(pictures)[rows].double(), NEIGHBORS + 1)
        near = part.cosine >= least
        pairs = zip(
            rows[near.nonzero()[:, 0]].tolist(),
            comparable[part.index[near]].tolist(),
            part.cosine[near].tolist(),
            strict=True,
        )
        for row, other, cosine in pairs:
            if other != row:
                found[min(row, other), max(row, other)] = cosine
        if bar is not None:
            bar.advance(len(rows))
    pairs = [Pair(*pair, cosine) for pair, cosine in found.items()]
    return sorted(pairs, key=lambda pair: (-pair.correlation, pair.first, pair.second))


Nearest = Callable[[np.ndarray, int], tuple[np.ndarray, np.ndarray]]
"""From unit vectors `[N, dim]` and k to labels and cosines `[N, k]`, best first, -1 for none."""


def doubts(
    z: np.ndarray,
    own: np.ndarray,
    nearest: Nearest,
    own_cosine: Callable[[np.ndarray, np.ndarray], np.ndarray],
    names: Sequence[str],
) -> list[Doubt]:
    """How labeled images stand to their class and to the nearest other one, the worst first.

    Args:
        z: float32 `[N, dim]` unit vectors.
        own: int64 `[N]` labels, -1 for images without one, which are left out.
        nearest: finds classes.
        own_cosine: from unit vectors and labels to the cosine of each to its class.
        names: label -> name.
    """
    rows = np.flatnonzero(own >= 0)
    if not len(rows):
        return []
    label, cosine = nearest(z[rows], 2)
    mine = own_cosine(z[rows], own[rows])
    place = (label[:, 0] == own[rows]).astype(np.int64)
    other = np.take_along_axis(label, place[:, None], axis=1)[:, 0]
    other_cosine = np.take_along_axis(cosine, place[:, None], axis=1)[:, 0]
    found = [
        Doubt(row, one, str(names[label]), two)
        for row, one, label, two in zip(
            rows.tolist(), mine.tolist(), other.tolist(), other_cosine.tolist(), strict=True
        )
        if label >= 0
    ]
    return sorted(found, key=lambda one: (one.margin, one.sample))


def inspect(
    samples: Sequence[Sample],
    pictures: np.ndarray,
    found: Sequence[Doubt],
    *,
    least: float = ALIKE,
    bar: Bar | None = None,
) -> Inspection:
    """What may be wrong with images.

    Args:
        samples: the images.
        pictures: float32 `[N, 256]` of `looks`; zero for those that cannot be compared.
        found: of `doubts`.
        least: correlation from which on pictures count as the same.
        bar: to be told how many pictures are compared.
    """
    pairs = same_pictures(pictures, least=least, bar=bar)

    def across(pair: Pair) -> bool:
        return samples[pair.first].set != samples[pair.second].set

    return Inspection(
        tuple(pair for pair in pairs if not across(pair)),
        tuple(pair for pair in pairs if across(pair)),
        tuple(one for one in found if one.margin < 0),
        tuple(one for one in found if one.margin >= 0),
    )
