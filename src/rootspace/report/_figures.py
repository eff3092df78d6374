"""What all figures share: colours, layout, and the way to JSON.

Figures carry no colour that depends on light or dark: page.js sets text, grid and hover colours.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from types import ModuleType
from typing import Any

from rootspace._extras import require

RUN_COLOURS = ("#3b82f6", "#d9660a", "#129a74", "#a855f7", "#dc3b75", "#8f7d12", "#737a86")
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

_FONT = "system-ui, -apple-system, 'Segoe UI', Roboto, 'Noto Sans', sans-serif"


@dataclass(frozen=True)
class Figure:
    """A plotly figure as JSON, and what it shows in words."""

    label: str
    json: str


def make_figure(label: str, traces: Sequence[Any], layout: dict[str, Any]) -> Figure:
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


def run_colour(position: int) -> str:
    return RUN_COLOURS[position % len(RUN_COLOURS)]


def set_dash(position: int) -> str:
    return list(DASHES)[position % len(DASHES)]


def plotly_objects() -> ModuleType:
    return require("plotly.graph_objects", extra="train", purpose="rootspace.report")


def plotly_source() -> str:
    """plotly.js itself."""
    offline = require("plotly.offline", extra="train", purpose="rootspace.report")
    return offline.get_plotlyjs()
