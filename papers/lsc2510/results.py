"""From figures to rows with verdicts, and to the three files of results."""

from __future__ import annotations

import base64
import inspect
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import rootspace
from rootspace._files import write_json, write_text
from rootspace._terminal import table
from rootspace.report import document, escape

from .experiment import Chart, Experiment, Figures, MissingFigure, Outcome, Row, Scale
from .pictures import draw_curves

HOLDS, FAILS, NOT_RUN = "trend holds", "does not hold", "not run"
JSON, MARKDOWN, PAGE = "reproduction.json", "REPRODUCIBILITY.md", "reproduction.html"
HEADER = ("setting", "figure", "the paper", "where", "ours", "spread", "seeds", "verdict")
SCALE_NOTES: dict[Scale, str] = {
    "desk": "Desk scale: small data that need no download and a small encoder stand for the "
    "paper's, so figures are to be compared among themselves, not with the paper's.",
    "paper": "Paper scale: the paper's data and models.",
}


@dataclass(frozen=True)
class Result:
    """A row with our figures.

    Attributes:
        experiment: its name.
        row: what the paper says.
        by_seed: seed -> our value; empty where there is none.
        verdict: "trend holds", "does not hold", or "not run: " and why.
    """

    experiment: str
    row: Row
    by_seed: Mapping[int, float]
    verdict: str

    @property
    def mean(self) -> float | None:
        return statistics.mean(self.by_seed.values()) if self.by_seed else None

    @property
    def spread(self) -> float | None:
        """Standard deviation over the seeds, from two on."""
        return statistics.stdev(self.by_seed.values()) if len(self.by_seed) > 1 else None

    def cells(self) -> list[str]:
        """As text: setting, column, paper, where, mean, spread, number of seeds, verdict."""
        row = self.row

        def number(value: float | None) -> str:
            return "" if value is None else f"{value:,.{row.digits}f}"

        return [
            row.setting,
            row.column,
            row.paper if isinstance(row.paper, str) else f"{row.paper:,.10g}",
            row.where,
            number(self.mean),
            number(self.spread),
            str(len(self.by_seed) or ""),
            self.verdict,
        ]


def judge(
    experiments: Mapping[str, Experiment],
    outcomes: Mapping[tuple[str, str], Mapping[int, Outcome]],
    reasons: Mapping[tuple[str, str], str],
) -> list[Result]:
    """All rows of all experiments.

    Args:
        experiments: by name.
        outcomes: (experiment, part) -> seed -> what the part found out.
        reasons: (experiment, part) -> why there is none.
    """
    results = []
    for name, experiment in experiments.items():
        figures = Figures(name, outcomes, reasons)
        for row in experiment.rows:
            by_seed: Mapping[int, float] = {}
            try:
                by_seed = figures.by_seed(row.part, row.measure)
                verdict = HOLDS if row.criterion.holds(figures) else FAILS
            except MissingFigure as missing:
                verdict = f"{NOT_RUN}: {missing}"
            results.append(Result(name, row, by_seed, verdict))
    return results


def write_results(
    out: Path,
    scale: Scale,
    experiments: Mapping[str, Experiment],
    results: Sequence[Result],
    outcomes: Mapping[tuple[str, str], Mapping[int, Outcome]],
) -> None:
    """Write the three files, each all or nothing.

    Args:
        out: folder of the reproduction.
        scale: of the figures.
        experiments: by name.
        results: of `judge`.
        outcomes: for pictures and curves.
    """
    write_json(out / JSON, [_json_row(result, scale) for result in results])
    write_text(out / MARKDOWN, _markdown(scale, experiments, results))
    write_text(out / PAGE, _page(out, scale, experiments, results, outcomes))


def _json_row(result: Result, scale: Scale) -> dict[str, Any]:
    row = result.row
    return {
        "experiment": result.experiment,
        "scale": scale,
        "setting": row.setting,
        "column": row.column,
        "paper": row.paper,
        "where": row.where,
        "by_seed": {str(seed): value for seed, value in result.by_seed.items()},
        "mean": result.mean,
        "spread": result.spread,
        "verdict": result.verdict,
        "criterion": row.criterion.statement,
    }


def count_verdicts(results: Sequence[Result]) -> str:
    """ "12 rows hold, 3 do not hold, 4 were not run"."""
    holds = sum(result.verdict == HOLDS for result in results)
    fails = sum(result.verdict == FAILS for result in results)
    return f"{holds} rows hold, {fails} do not hold, {len(results) - holds - fails} were not run"


def _criteria(results: Sequence[Result]) -> list[str]:
    return list(dict.fromkeys(result.row.criterion.statement for result in results))


def _markdown(
    scale: Scale, experiments: Mapping[str, Experiment], results: Sequence[Result]
) -> str:
    lines = [
        "# Reproduction of arXiv 2510.04090",
        "",
        f"rootspace {rootspace.__version__}. {SCALE_NOTES[scale]} {count_verdicts(results)}.",
    ]
    for name, experiment in experiments.items():
        own = [result for result in results if result.experiment == name]
        lines += ["", f"## {experiment.title}", "", experiment.claim, ""]
        lines += [table(HEADER, [result.cells() for result in own], markdown=True)]
        lines += ["", "When a row holds:", ""]
        lines += [f"- {statement}" for statement in _criteria(own)]
    return "\n".join(lines) + "\n"


def _page(
    out: Path,
    scale: Scale,
    experiments: Mapping[str, Experiment],
    results: Sequence[Result],
    outcomes: Mapping[tuple[str, str], Mapping[int, Outcome]],
) -> str:
    sections = {}
    for name, experiment in experiments.items():
        own = [result for result in results if result.experiment == name]
        criteria = "".join(f"<li>{escape(statement)}</li>" for statement in _criteria(own))
        sections[name] = (
            experiment.title,
            f"{_paragraphs(experiment.claim)}{_table(own)}"
            f'<p class="note">When a row holds:</p><ul class="note">{criteria}</ul>'
            f"{_pictures(out, experiment, outcomes)}",
        )
    return document(
        title="Reproduction of arXiv 2510.04090",
        kicker=f"rootspace {rootspace.__version__}",
        summary=escape(f"{SCALE_NOTES[scale]} {count_verdicts(results)}."),
        sections=sections,
    )


def _paragraphs(text: str) -> str:
    """Markdown without markup, but code set as such."""
    parts = []
    for paragraph in text.split("\n\n"):
        code = paragraph.startswith("    ")
        content = escape(inspect.cleandoc(paragraph) if code else paragraph)
        parts.append(f"<pre>{content}</pre>" if code else f'<p class="note">{content}</p>')
    return "".join(parts)


def _table(results: Sequence[Result]) -> str:
    head = "".join(f"<th>{escape(title)}</th>" for title in HEADER)
    body = "".join(
        f"<tr><th>{escape(first)}</th>{''.join(f'<td>{escape(cell)}</td>' for cell in rest)}</tr>"
        for first, *rest in (result.cells() for result in results)
    )
    return (
        f'<div class="scroll"><table class="runs"><thead><tr>{head}</tr></thead>'
        f"<tbody>{body}</tbody></table></div>"
    )


def _pictures(
    out: Path,
    experiment: Experiment,
    outcomes: Mapping[tuple[str, str], Mapping[int, Outcome]],
) -> str:
    """Those of the first seed of each part, then the charts."""
    shown = {}
    for part in experiment.parts:
        by_seed = outcomes.get((experiment.name, part.name), {})
        for seed in sorted(by_seed)[:1]:
            for picture in by_seed[seed].pictures:
                shown[f"{part.name}, seed {seed}"] = out / picture
    for number, chart in enumerate(experiment.charts):
        path = _draw(out, experiment, chart, number, outcomes)
        if path is not None:
            shown[chart.title] = path
    figures = "".join(
        f'<figure><img src="{_data_uri(path)}" alt="{escape(caption)}" style="max-width: 100%">'
        f"<figcaption>{escape(caption)}</figcaption></figure>"
        for caption, path in shown.items()
        if path.is_file()
    )
    return f'<div class="panels">{figures}</div>' if figures else ""


def _draw(
    out: Path,
    experiment: Experiment,
    chart: Chart,
    number: int,
    outcomes: Mapping[tuple[str, str], Mapping[int, Outcome]],
) -> Path | None:
    figures = Figures(experiment.name, outcomes, {})
    curves = {}
    for part, label in chart.parts.items():
        try:
            curves[label] = figures.curve(part, chart.column)
        except MissingFigure:
            continue  # the rows say why
    if not curves:
        return None
    path = out / "pictures" / f"{experiment.name}-chart{number}.png"
    path.parent.mkdir(parents=True, exist_ok=True)
    return draw_curves(path, curves, chart.column.replace("_", " "))


def _data_uri(path: Path) -> str:
    return "data:image/png;base64," + base64.b64encode(path.read_bytes()).decode("ascii")
