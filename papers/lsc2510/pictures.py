"""Pictures as PNG files, drawn with matplotlib."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray
from PIL import Image

Array = NDArray[Any]

DPI = 110
MOST_NAMED = 12
"""Classes that a picture has a legend for, at most."""


def draw_space(
    path: Path, points: Array, labels: Array, num_classes: int, large: bool = False
) -> Path:
    """Points of classes in the plane or in space.

    Args:
        path: of the PNG file.
        points: `[N, 2]` or `[N, 3]`.
        labels: `[N]` class numbers.
        num_classes: of the colors.
        large: draw large dots with lines to the origin, as of vectors.
    """
    figure, axes = _figure(points.shape[1])
    colors = matplotlib.colormaps["tab10" if num_classes <= 10 else "hsv"]
    color = colors(labels if num_classes <= 10 else labels / num_classes)
    if large:
        for point, own in zip(points, color, strict=True):
            line = np.stack([np.zeros_like(point), point])
            axes.plot(*line.T, color=own, linewidth=0.8)
    axes.scatter(*points.T, c=color, s=40 if large else 4)
    if 1 < num_classes <= MOST_NAMED:
        for label in np.unique(labels):
            axes.scatter(*[[]] * points.shape[1], color=colors(int(label)), label=str(label))
        axes.legend(loc="upper left", bbox_to_anchor=(1.02, 1), frameon=False, fontsize=8)
    axes.set_aspect("equal")
    return _save(figure, path)


def draw_vectors(path: Path, vectors: Array, title: str) -> Path:
    """Vectors `[N, 2]` or `[N, 3]` as arrows from the origin."""
    figure, axes = _figure(vectors.shape[1])
    start = np.zeros_like(vectors)
    if vectors.shape[1] == 2:
        axes.quiver(*start.T, *vectors.T, angles="xy", scale_units="xy", scale=1, color="#3b82f6")
    else:
        axes.quiver(*start.T, *vectors.T, color="#3b82f6", arrow_length_ratio=0.12)
    limit = 1.05 * float(np.abs(vectors).max())
    for name in "xyz"[: vectors.shape[1]]:
        getattr(axes, f"set_{name}lim")(-limit, limit)
    axes.set_aspect("equal")
    axes.set_title(title, fontsize=10)
    return _save(figure, path)


def draw_curves(path: Path, curves: Mapping[str, Mapping[int, float]], column: str) -> Path:
    """One line for each curve, over epochs.

    Args:
        path: of the PNG file.
        curves: label -> epoch -> value.
        column: what the values are.
    """
    figure, axes = _figure(2, size=(6.4, 3.6))
    for label, values in curves.items():
        axes.plot(list(values), list(values.values()), label=label, linewidth=1.6)
    axes.set_xlabel("epoch")
    axes.set_ylabel(column)
    axes.legend(frameon=False, fontsize=8)
    axes.grid(alpha=0.25)
    return _save(figure, path)


def draw_bars(path: Path, bars: Mapping[str, float], column: str) -> Path:
    """One bar for each label, with its value.

    Args:
        path: of the PNG file.
        bars: label -> value.
        column: what the values are.
    """
    figure, axes = _figure(2, size=(6.4, 0.8 + 0.45 * len(bars)))
    drawn = axes.barh(list(bars), list(bars.values()), color="#3b82f6", height=0.6)
    axes.bar_label(drawn, fmt="%.1f", padding=3, fontsize=8)
    axes.invert_yaxis()
    axes.set_xlabel(column)
    axes.margins(x=0.12)
    return _save(figure, path)


def join(path: Path, pictures: Sequence[Path]) -> Path:
    """Pictures of one height side by side, in one PNG file."""
    images = [Image.open(picture).convert("RGB") for picture in pictures]
    joined = Image.new("RGB", (sum(i.width for i in images), max(i.height for i in images)), "#fff")
    left = 0
    for image in images:
        joined.paste(image, (left, 0))
        left += image.width
    joined.save(path, optimize=True)
    return path


def _figure(dim: int, size: tuple[float, float] = (4.8, 4.0)) -> tuple[Figure, Any]:
    """A figure without a window, and its axes in 2 or 3 dimensions."""
    figure = Figure(figsize=size, layout="constrained")
    return figure, figure.add_subplot(projection="3d" if dim == 3 else None)


def _save(figure: Figure, path: Path) -> Path:
    figure.savefig(path, dpi=DPI)
    return path
