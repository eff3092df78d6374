"""Figures as JSON for plotly: what they share, and the training curves (Figs. 5, 8 and 9).

Figures carry no color that depends on light or dark: page.js sets text, grid and hover colors.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rootspace._extras import require
from rootspace.report.run import ShownRun, test_sets
from rootspace.report.text import figure_text

RUN_COLORS = ("#3b82f6", "#d9660a", "#129a74", "#a855f7", "#dc3b75", "#8f7d12", "#737a86")
"""In the order of the runs; each at least 3:1 against the light and the dark page."""
DASHES = {
    "solid": "",
    "dash": "7 4",
    "dot": "2 3",
    "dashdot": "7 3 2 3",
    "longdash": "12 4",
    "longdashdot": "12 3 2 3",
}
"""In the order of the held-out sets: plotly's name and the same in SVG, for the legend."""

_FEW_EPOCHS = 40
_DECADES = 1.3  # a loss that falls further is drawn on a logarithmic axis
_MOST_DECADES = 3
_MINUTES_FROM, _HOURS_FROM = 180, 3 * 3600
_FONT = "system-ui, -apple-system, 'Segoe UI', Roboto, 'Noto Sans', sans-serif"


@dataclass(frozen=True)
class Figure:
    """A plotly figure as JSON, and what it shows in words."""

    label: str
    json: str


def make_figure(label: str, traces: Sequence[Any], layout: dict[str, object]) -> Figure:
    common = {
        "template": "none",
        "autosize": True,
        "showlegend": False,
        "paper_bgcolor": "rgba(0,0,0,0)",
        "plot_bgcolor": "rgba(0,0,0,0)",
        "font": {"family": _FONT, "size": 12, "color": "#7a808a"},
        "uirevision": "keep",
    }
    text = plotly_objects().Figure(list(traces), layout={**common, **layout}).to_json()
    # Inside <script>, "<" could end the element; in a JSON string an escape says the same.
    return Figure(label, text.replace("<", "\\u003c"))


def run_color(position: int) -> str:
    return RUN_COLORS[position % len(RUN_COLORS)]


def set_dash(position: int) -> str:
    return list(DASHES)[position % len(DASHES)]


def plotly_objects() -> ModuleType:
    return require("plotly.graph_objects", extra="train", purpose="rootspace.report")


def plotly_source() -> str:
    """plotly.js itself."""
    offline = require("plotly.offline", extra="train", purpose="rootspace.report")
    return offline.get_plotlyjs()


# ------------------------------------------------------------------------------ training curves


def curve_figures(runs: Sequence[ShownRun], *, wall_time: bool) -> list[tuple[str, Figure]]:
    """Training loss, training accuracy and held-out accuracy, as (title, figure).

    Args:
        runs: our run first; the color follows the position, the dash the held-out set.
        wall_time: against training time instead of epochs.
    """
    unit, divisor = _time_unit(runs) if wall_time else ("epochs", 1.0)
    against = f"wall time, {unit}" if wall_time else "epoch"
    sets = test_sets(runs)
    loss, accuracy, held_out = [], [], []
    for position, run in enumerate(runs):
        if not run.epochs:
            continue
        epochs, seconds = _column(run, "epoch"), _column(run, "seconds")
        style = {"color": run_color(position), "width": 2}
        x = seconds / divisor if wall_time else epochs
        loss.append(_line(x, _column(run, "loss"), unit, run.name, style))
        accuracy.append(_line(x, 100 * _column(run, "accuracy"), unit, run.name, style))
        for name in run.epochs[0].tests:
            values = np.array([row.tests[name] for row in run.epochs])
            dashed = {**style, "dash": set_dash(sets.index(name))}
            held_out.append(_line(x, 100 * values, unit, f"{run.name}, {name}", dashed))
    panels = {"Training loss": loss, "Training accuracy, %": accuracy}
    if held_out:
        panels["Held-out accuracy, %"] = held_out
    xaxis = {} if wall_time else _whole_numbers(runs)
    return [(title, _panel(title, lines, against, xaxis)) for title, lines in panels.items()]


def _column(run: ShownRun, name: str) -> NDArray[np.float64]:
    return np.array([getattr(row, name) for row in run.epochs], dtype=np.float64)


def _line(x: Any, y: NDArray[Any], unit: str, name: str, style: dict[str, object]) -> Any:
    measured = ~(np.isnan(x) | np.isnan(y))
    name = figure_text(name)
    return plotly_objects().Scatter(
        x=[float(f"{value:.6g}") for value in x[measured]],
        y=[float(f"{value:.6g}") for value in y[measured]],
        name=name,
        mode="lines+markers" if len(x) <= _FEW_EPOCHS else "lines",
        line=style,
        marker={"size": 5},
        # Not the name itself, in which a "%{" would be a command.
        hovertemplate="%{fullData.name}<br>"
        f"<b>%{{y:.4~r}}</b> after %{{x:.4~r}} {unit}<extra></extra>",
    )


def _panel(title: str, lines: list[Any], against: str, xaxis: dict[str, object]) -> Figure:
    values = np.array([value for line in lines for value in line.y])
    wide = len(values) > 0 and values.min() > 0 and values.max() / values.min() > 10**_DECADES
    log = bool(wide) and title == "Training loss"
    yaxis = {"type": "log", **_log_ticks(values)} if log else {"nticks": 7}
    names = "; ".join(str(line.name) for line in lines)
    return make_figure(
        f"Line chart: {title}{' (logarithmic)' if log else ''} against {against}. Lines: {names}.",
        lines,
        {
            "margin": {"l": 46, "r": 10, "t": 8, "b": 42},
            "hovermode": "closest",
            "xaxis": {
                "title": {"text": against, "standoff": 8},
                "nticks": 8,
                "showline": True,
                "showgrid": False,
                "zeroline": False,
                "ticks": "outside",
                "ticklen": 4,
                **xaxis,
            },
            "yaxis": {"showline": False, "zeroline": False, **yaxis},
        },
    )


def _log_ticks(values: NDArray[Any]) -> dict[str, object]:
    """1, 2, 5 in every decade, or powers of ten where that would be too many."""
    low, high = np.floor(np.log10([values.min(), values.max()])).astype(int)
    steps = (1, 2, 5) if high - low <= _MOST_DECADES else (1,)
    ticks = [step * 10.0**decade for decade in range(low, high + 1) for step in steps]
    return {"tickvals": ticks, "ticktext": [f"{tick:g}" for tick in ticks]}


def _whole_numbers(runs: Sequence[ShownRun]) -> dict[str, object]:
    longest = max((len(run.epochs) for run in runs), default=0)
    return {"dtick": 1} if longest <= 10 else {"tickformat": "d"}


def _time_unit(runs: Sequence[ShownRun]) -> tuple[str, float]:
    longest = max((row.seconds for run in runs for row in run.epochs), default=0.0)
    if longest < _MINUTES_FROM:
        return "s", 1.0
    return ("min", 60.0) if longest < _HOURS_FROM else ("h", 3600.0)
