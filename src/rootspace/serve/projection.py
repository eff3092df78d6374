"""All class vectors in a plane, and embeddings beside them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from .model import Floats, Ints

CHUNK = 2**14
"""Class vectors that are projected together."""

FITTED = 100_000
"""The axes are those of at most so many class vectors, evenly spread."""


@dataclass(frozen=True)
class Projection:
    """Onto the two principal axes of some unit vectors.

    Attributes:
        mean: `[dim]` of them.
        axes: `[2, dim]`, orthonormal; the largest coordinate of each is positive.
        share: of their variance along each axis.
    """

    mean: Floats
    axes: Floats
    share: tuple[float, float]

    def place(self, z: Floats) -> Floats:
        """`[N, dim]` of any length but zero -> `[N, 2]` of their directions."""
        unit = z / np.linalg.norm(z, axis=1, keepdims=True)
        return ((unit - self.mean) @ self.axes.T).astype(np.float32)


def fit(vectors: Callable[[Ints], Floats], count: int) -> Projection:
    """The projection of some class vectors.

    Args:
        vectors: `[N]` labels -> `[N, dim]` unit vectors.
        count: number of classes.
    """
    labels = np.arange(min(count, FITTED)) * count // min(count, FITTED)
    parts = [labels[start : start + CHUNK] for start in range(0, len(labels), CHUNK)]
    total: np.ndarray = sum((vectors(part).sum(axis=0, dtype=np.float64) for part in parts), 0.0)  # pyright: ignore[reportAssignmentType, reportCallIssue, reportArgumentType]
    mean = total / len(labels)
    spread = np.zeros((len(mean), len(mean)))
    for part in parts:
        offset = vectors(part) - mean
        spread += offset.T @ offset
    values, columns = np.linalg.eigh(spread)  # ascending
    axes = np.zeros((2, len(mean)))
    axes[: min(2, len(mean))] = columns[:, ::-1][:, :2].T
    largest = np.take_along_axis(axes, np.abs(axes).argmax(axis=1)[:, None], axis=1)
    share = np.maximum(values[::-1], 0.0) / max(float(values.sum()), np.finfo(np.float64).tiny)
    first, second = [*share[:2].tolist(), 0.0][:2]
    return Projection(
        mean.astype(np.float32),
        (axes * np.where(largest < 0, -1.0, 1.0)).astype(np.float32),
        (first, second),
    )


def place_classes(
    projection: Projection, vectors: Callable[[Ints], Floats], count: int, most: int
) -> tuple[Floats, int]:
    """Where classes are: `[N, 2]`, and the step between their labels.

    Args:
        projection: onto the plane.
        vectors: of classes, as of `fit`.
        count: number of classes.
        most: how many points there may be.
    """
    step = -(-count // most)
    labels = np.arange(0, count, step)
    points = np.empty((len(labels), 2), np.float32)
    for start in range(0, len(labels), CHUNK):
        part = labels[start : start + CHUNK]
        points[start : start + CHUNK] = projection.place(vectors(part))
    return points, step
