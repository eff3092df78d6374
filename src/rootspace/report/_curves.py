"""Training curves in the manner of the paper's Figs. 5, 8 and 9."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rootspace.report._figures import (
    Figure,
    make_figure,
    plotly_objects,
    run_colour,
    set_dash,
)
from rootspace.report._text import figure_text
from rootspace.report.run import ShownRun, test_sets

_FEW_EPOCHS = 40
_DECADES = 1.3  # a loss that falls further is drawn on a logarithmic axis
_MOST_DECADES = 3
_MINUTES_FROM, _HOURS_FROM = 180, 3 * 3600


def curve_figures(runs: Sequence[ShownRun], *, wall_time: bool) -> list[tuple[str, Figure]]:
    """Training loss, training accuracy and held-out accuracy, as (title, figure).

    Args:
        runs: our run first; the colour follows the position, the dash the held-out set.
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
        style = {"color": run_colour(position), "width": 2}
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


def _line(x: Any, y: NDArray[Any], unit: str, name: str, style: dict[str, Any]) -> Any:
    measured = ~(np.isnan(x) | np.isnan(y))
    name = figure_text(name)
    return plotly_objects().Scatter(
        x=[float(f"{value:.6g}") for value in x[measured]],
        y=[float(f"{value:.6g}") for value in y[measured]],
        name=name,
        mode="lines+markers" if len(x) <= _FEW_EPOCHS else "lines",
        line=style,
        marker={"size": 5},
        hovertemplate=f"{name}<br><b>%{{y:.4~r}}</b> after %{{x:.4~r}} {unit}<extra></extra>",
    )


def _panel(title: str, lines: list[Any], against: str, xaxis: dict[str, Any]) -> Figure:
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


def _log_ticks(values: NDArray[Any]) -> dict[str, Any]:
    """1, 2, 5 in every decade, or powers of ten where that would be too many."""
    low, high = np.floor(np.log10([values.min(), values.max()])).astype(int)
    steps = (1, 2, 5) if high - low <= _MOST_DECADES else (1,)
    ticks = [step * 10.0**decade for decade in range(low, high + 1) for step in steps]
    return {"tickvals": ticks, "ticktext": [f"{tick:g}" for tick in ticks]}


def _whole_numbers(runs: Sequence[ShownRun]) -> dict[str, Any]:
    longest = max((len(run.epochs) for run in runs), default=0)
    return {"dtick": 1} if longest <= 10 else {"tickformat": "d"}


def _time_unit(runs: Sequence[ShownRun]) -> tuple[str, float]:
    longest = max((row.seconds for run in runs for row in run.epochs), default=0.0)
    if longest < _MINUTES_FROM:
        return "s", 1.0
    return ("min", 60.0) if longest < _HOURS_FROM else ("h", 3600.0)
