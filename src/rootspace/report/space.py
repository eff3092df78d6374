"""The latent space in two or three dimensions, as in the paper's Figs. 1-4 and 6."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rootspace.report.figures import Figure, make_figure, plotly_objects
from rootspace.report.run import ShownRun
from rootspace.report.text import class_name, figure_text, plural
from rootspace.runs import Evaluation

Array = NDArray[Any]

_CLASS_COLORS = (
    "#3b82f6", "#e8710a", "#129a74", "#dc3b75", "#a855f7",
    "#b58900", "#0e9bb5", "#8c6d54", "#5f9e1f", "#e0569f",
)  # fmt: skip
_OKLAB_TO_LMS = np.array(
    [
        [1.0, 0.3963377774, 0.2158037573],
        [1.0, -0.1055613458, -0.0638541728],
        [1.0, -0.0894841775, -1.2914855480],
    ]
)
_LMS_TO_RGB = np.array(
    [
        [4.0767416621, -3.3077115913, 0.2309699292],
        [-1.2684380046, 2.6097574011, -0.3413193965],
        [-0.0041960863, -0.7034186147, 1.7076147010],
    ]
)
_GRAY = "#8b919b"
_FEW_VECTORS = 48
_MOST_NAMED = 40
_AXES = 3


@dataclass(frozen=True)
class SpaceView:
    """One picture of the latent space."""

    title: str
    figure: Figure
    caption: str
    legend: tuple[tuple[str, str], ...]  # (color, class name); empty when there are too many


def space_views(run: ShownRun) -> list[SpaceView]:
    """Pictures of the latent space: the classes that have embeddings, then all class vectors.

    One picture where these are the same, or where the picture has all coordinates anyway.
    """
    evaluation = run.evaluation
    if evaluation is None or len(evaluation.class_vectors) + len(evaluation.embeddings) == 0:
        return []
    seen = np.isin(evaluation.class_vector_labels, evaluation.embedding_labels)
    everything = np.ones(len(seen), dtype=bool)
    if run.record.dim <= _AXES or seen.all() or not seen.any():
        return [_view(run, evaluation, everything, "class vectors")]
    classes = len(np.unique(evaluation.embedding_labels))
    return [
        _view(run, evaluation, seen, plural(classes, "class", "classes")),
        _view(run, evaluation, everything, f"all {plural(len(seen), 'class vector')}"),
    ]


def principal_axes(points: Array, num: int) -> tuple[Array, Array, Array]:
    """Principal component analysis.

    Args:
        points: `[N, dim]`.
        num: how many axes, at most dim.

    Returns:
        The mean `[dim]`, the axes `[num, dim]` (orthonormal, the largest coordinate of each
        positive) and the share of the variance along each of them `[num]`.
    """
    mean = points.mean(axis=0)
    centered = points - mean
    values, vectors = np.linalg.eigh(centered.T @ centered)  # ascending
    axes = vectors[:, ::-1][:, :num].T
    largest = np.take_along_axis(axes, np.abs(axes).argmax(axis=1)[:, None], axis=1)
    variance = np.maximum(values[::-1], 0.0)
    share = variance[:num] / max(variance.sum(), np.finfo(np.float64).tiny)
    return mean, axes * np.where(largest < 0, -1.0, 1.0), share


# --------------------------------------------------------------------------------- one picture


@dataclass(frozen=True)
class _Scene:
    """The points of one picture in the coordinates of the page: two or three columns."""

    vectors: Array
    vector_labels: list[int]
    samples: Array
    sample_labels: list[int]
    origin: Array
    share: Array  # of the variance along each axis; empty when coordinates are shown directly
    colors: dict[int, str]  # of the classes that have embeddings

    @property
    def flat(self) -> bool:
        return len(self.origin) < _AXES

    @property
    def direct(self) -> bool:
        return len(self.share) == 0

    @property
    def colored(self) -> Array:
        return np.array([label in self.colors for label in self.vector_labels], dtype=bool)

    @property
    def joined(self) -> Array:
        """The vectors that get a line from the origin: all if few, else the colored if few."""
        if len(self.vectors) <= _FEW_VECTORS:
            return np.ones(len(self.vectors), dtype=bool)
        return self.colored & (self.colored.sum() <= _FEW_VECTORS)


def _view(run: ShownRun, evaluation: Evaluation, shown: Array, title: str) -> SpaceView:
    scene = _scene(run, evaluation, shown)
    names = evaluation.names
    caption = _caption(run, scene)
    legend = [(color, class_name(names, label).text) for label, color in scene.colors.items()]
    return SpaceView(
        title,
        make_figure("Scatter plot. " + caption, _traces(scene, names), _layout(scene)),
        caption,
        tuple(legend) if len(legend) <= _MOST_NAMED else (),
    )


def _scene(run: ShownRun, evaluation: Evaluation, shown: Array) -> _Scene:
    vectors = evaluation.class_vectors[shown].astype(np.float64)
    embeddings = evaluation.embeddings.astype(np.float64)
    length = np.linalg.norm(embeddings, axis=1, keepdims=True)
    points = np.concatenate([vectors, embeddings / np.maximum(length, 1e-12)])
    origin, share = np.zeros(run.record.dim), np.zeros(0)
    if run.record.dim > _AXES:
        mean, axes, share = principal_axes(points, _AXES)
        points, origin = (points - mean) @ axes.T, -mean @ axes.T
    missing = max(0, 2 - run.record.dim)  # one dimension is drawn in two
    points, origin = np.pad(points, [(0, 0), (0, missing)]), np.pad(origin, (0, missing))
    classes = np.unique(evaluation.embedding_labels).tolist()
    return _Scene(
        vectors=points[: len(vectors)],
        vector_labels=evaluation.class_vector_labels[shown].tolist(),
        samples=points[len(vectors) :],
        sample_labels=evaluation.embedding_labels.tolist(),
        origin=origin,
        share=share,
        colors=dict(zip(classes, _class_colors(len(classes)), strict=True)),
    )


def _class_colors(num: int) -> list[str]:
    if num <= len(_CLASS_COLORS):
        return list(_CLASS_COLORS[:num])
    # Equal steps around the color circle of OKLab; neighbors differ in lightness as well.
    lightness = np.where(np.arange(num) % 2, 0.58, 0.71)
    hue = 2 * np.pi * np.arange(num) / num
    lab = np.stack([lightness, 0.14 * np.cos(hue), 0.14 * np.sin(hue)], axis=1)
    linear = np.clip((lab @ _OKLAB_TO_LMS.T) ** 3 @ _LMS_TO_RGB.T, 0.0031308, 1.0)
    rgb = np.round(255 * (1.055 * linear ** (1 / 2.4) - 0.055)).astype(int)
    return [f"#{red:02x}{green:02x}{blue:02x}" for red, green, blue in rgb.tolist()]


def _traces(scene: _Scene, names: Mapping[int, str]) -> list[Any]:
    """From back to front: guides, lines, other class vectors, embeddings, colored vectors."""
    flat = scene.flat
    hover = [_hover(names, label) for label in scene.vector_labels]
    colored = np.flatnonzero(scene.colored)
    gray = np.flatnonzero(~scene.colored)
    traces = _guides(flat) if scene.direct else []
    ends = scene.vectors[scene.joined]
    if len(ends):
        gap = np.full_like(ends, np.nan)
        path = np.stack([np.broadcast_to(scene.origin, ends.shape), ends, gap], axis=1)
        line = {"color": _GRAY, "width": 1.5 if flat else 2}
        traces.append(_trace(path.reshape(-1, ends.shape[1]), mode="lines", line=line))
    if len(gray):
        marker = {"color": _GRAY, "symbol": "diamond", "size": 6 if flat else 2}
        text = [hover[i] for i in gray]
        traces.append(_markers(scene.vectors[gray], text, "class vector", marker))
    if len(scene.samples):
        colors = [scene.colors[label] for label in scene.sample_labels]
        marker = {"color": colors, "size": 6 if flat else 3, "opacity": 0.8}
        text = [_hover(names, label) for label in scene.sample_labels]
        traces.append(_markers(scene.samples, text, "test image", marker))
    if len(colored):
        marker = {
            "color": [scene.colors[scene.vector_labels[i]] for i in colored],
            "symbol": "diamond",
            "size": 13 if flat else 7,
            "line": {"color": "rgba(255,255,255,0.9)", "width": 1},
        }
        text = [hover[i] for i in colored]
        traces.append(_markers(scene.vectors[colored], text, "class vector", marker))
    return traces


def _hover(names: Mapping[int, str], label: int) -> str:
    name = class_name(names, label)
    return figure_text(f"{name.text}  {name.code}".rstrip())


def _guides(flat: bool) -> list[Any]:
    """The unit circle, or some meridians and parallels of the unit sphere."""
    turn = np.linspace(0, 2 * np.pi, 73)
    x, y, zero = np.cos(turn), np.sin(turn), np.zeros_like(turn)
    if flat:
        rings = [(x, y)]
    else:
        tilt = np.sqrt(0.5)
        rings = [(x, y, zero), (x, zero, y), (zero, x, y)]
        rings += [(tilt * x, tilt * y, zero + height) for height in (-tilt, tilt)]
    gap = np.full((1, len(rings[0])), np.nan)
    path = np.concatenate([part for ring in rings for part in (np.stack(ring, axis=1), gap)])
    return [_trace(path, mode="lines", opacity=0.4, line={"color": _GRAY, "width": 1.5})]


def _markers(points: Array, text: list[str], kind: str, marker: dict[str, object]) -> Any:
    template = f"%{{text}}<extra>{kind}</extra>"
    return _trace(points, mode="markers", text=text, marker=marker, hovertemplate=template)


def _trace(points: Array, **options: Any) -> Any:
    go = plotly_objects()
    columns = [
        [None if np.isnan(value) else value for value in np.round(column, 4).tolist()]
        for column in points.T
    ]
    if options["mode"] == "lines":
        options["hoverinfo"] = "skip"
    kind = go.Scatter if len(columns) == 2 else go.Scatter3d
    return kind(**dict(zip("xyz", columns, strict=False)), **options)


def _layout(scene: _Scene) -> dict[str, object]:
    if scene.flat:
        axis = {"zeroline": True, "range": [-1.15, 1.15], "nticks": 5, "constrain": "domain"}
        return {
            "margin": {"l": 36, "r": 8, "t": 8, "b": 32},
            "hovermode": "closest",
            "xaxis": axis,
            "yaxis": {**axis, "scaleanchor": "x"},
        }
    titles = ["x", "y", "z"]
    if not scene.direct:
        titles = [f"axis {i + 1} ({100 * share:.0f} %)" for i, share in enumerate(scene.share)]
    axes = {
        f"{letter}axis": {
            "title": {"text": title},
            "showbackground": False,
            "showspikes": False,
            "showticklabels": False,
        }
        for letter, title in zip("xyz", titles, strict=True)
    }
    camera = {"eye": {"x": 1.2, "y": 1.0, "z": 0.6}, "center": {"x": 0, "y": 0, "z": -0.12}}
    return {
        "margin": {"l": 0, "r": 0, "t": 0, "b": 0},
        "scene": {**axes, "aspectmode": "data", "camera": camera},
    }


# ------------------------------------------------------------------------------------- caption


def _caption(run: ShownRun, scene: _Scene) -> str:
    """What exactly is shown."""
    kind = "class vector" if run.record.has_prototypes else "learned class weight"
    colored = int(scene.colored.sum())
    gray = len(scene.vectors) - colored
    parts = []
    if len(scene.samples):
        images, classes = len(scene.samples), len(scene.colors)
        parts.append(
            f"Each dot is the embedding of one of {plural(images, 'test image')} of "
            f"{plural(classes, 'class', 'classes')}, scaled to length 1 and colored by class."
        )
    if colored:
        these = "these" if colored >= len(scene.colors) else f"{colored} of these"
        parts.append(f"Large diamonds are the {kind}s of {these} classes.")
    if gray:
        which = plural(gray, f"other {kind}" if colored else kind)
        classes = plural(run.record.num_classes, "class", "classes")
        parts.append(f"Small gray diamonds: {which}, out of {classes} in all.")
    joined = int(scene.joined.sum())
    if joined:
        which = f"all {kind}s" if joined == len(scene.vectors) else "the large diamonds"
        parts.append(f"Lines join the origin to {which}.")
    if scene.direct:
        parts.append(f"Nothing is projected: space has {plural(run.record.dim, 'dimension')}.")
    else:
        shares = " + ".join(f"{100 * share:.1f}" for share in scene.share)
        parts.append(
            f"{run.record.dim} dimensions are seen along the three principal axes of exactly these "
            f"points, which hold {100 * scene.share.sum():.1f} % of their variance ({shares}); "
            "distances can only look shorter than they are."
        )
    return " ".join(parts)
