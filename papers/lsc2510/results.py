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

from .experiment import (
    Bars,
    Chart,
    Experiment,
    Figures,
    MissingFigure,
    Outcome,
    Picture,
    Row,
    Scale,
    reference,
)
from .pictures import draw_bars, draw_curves, join

HOLDS, FAILS, NOT_RUN = "trend holds", "does not hold", "not run"
JSON, MARKDOWN, PAGE = "reproduction.json", "REPRODUCIBILITY.md", "reproduction.html"
PICTURES = "pictures"
HEADER = ("where", "setting", "figure", "the paper", "ours", "from the data", "verdict")
SCALE_NOTES: dict[Scale, str] = {
    "desk": "Desk scale: small data that need no download and small networks stand for the "
    "paper's.",
    "paper": "Paper scale: the paper's data and models.",
}
READING = (
    "Each table has the paper's figure, ours, and where there is one that of the same work with "
    "prototypes chosen from the data, the library's own way, which has no part in the verdict. "
    "Where there are several seeds: the mean and the standard deviation."
)


@dataclass(frozen=True)
class Result:
    """A row with our figures.

    Attributes:
        experiment: its name.
        row: what the paper says.
        by_seed: seed -> our value; empty where there is none.
        verdict: "trend holds", "does not hold", or "not run: " and why.
        chosen: seed -> the value with prototypes chosen from the data; empty where there is none.
    """

    experiment: str
    row: Row
    by_seed: Mapping[int, float]
    verdict: str
    chosen: Mapping[int, float]

    @property
    def mean(self) -> float | None:
        return statistics.mean(self.by_seed.values()) if self.by_seed else None

    @property
    def spread(self) -> float | None:
        """Standard deviation over the seeds, from two on."""
        return statistics.stdev(self.by_seed.values()) if len(self.by_seed) > 1 else None

    def cells(self) -> list[str]:
        """As text, in the order of `HEADER`."""
        row = self.row
        return [
            row.where,
            row.setting,
            row.column,
            row.paper if isinstance(row.paper, str) else f"{row.paper:,.10g}",
            _number(self.by_seed, row.digits),
            _number(self.chosen, row.digits),
            self.verdict,
        ]


def _number(by_seed: Mapping[int, float], digits: int) -> str:
    """The mean and, from two seeds on, the standard deviation."""
    if not by_seed:
        return ""
    values = list(by_seed.values())
    mean = f"{statistics.mean(values):,.{digits}f}"
    if len(values) == 1:
        return mean
    return f"{mean} ± {statistics.stdev(values):,.{digits}f}"


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
            results.append(Result(name, row, by_seed, verdict, _chosen(figures, row)))
    return results


def _chosen(figures: Figures, row: Row) -> Mapping[int, float]:
    try:
        return figures.by_seed(row.chosen, row.measure) if row.chosen else {}
    except MissingFigure:
        return {}


def write_results(
    out: Path,
    scale: Scale,
    experiments: Mapping[str, Experiment],
    results: Sequence[Result],
    outcomes: Mapping[tuple[str, str], Mapping[int, Outcome]],
    seconds: Mapping[str, float],
) -> None:
    """Write the three files, each all or nothing, and a picture for each of the paper's figures.

    Args:
        out: folder of the reproduction.
        scale: of the figures.
        experiments: by name.
        results: of `judge`.
        outcomes: for pictures and curves.
        seconds: experiment -> what its finished parts took.
    """
    sections = [
        _Section(
            experiment,
            [result for result in results if result.experiment == name],
            seconds.get(name, 0.0),
            _pictures(out, experiment, outcomes),
        )
        for name, experiment in experiments.items()
    ]
    write_json(out / JSON, [_json_row(result, scale) for result in results])
    write_text(out / MARKDOWN, _markdown(out, scale, sections, results))
    write_text(out / PAGE, _page(scale, sections, results))


@dataclass(frozen=True)
class _Section:
    """What the page has of an experiment.

    Attributes:
        experiment: which.
        results: its rows.
        seconds: that its finished parts took.
        pictures: title -> file.
    """

    experiment: Experiment
    results: Sequence[Result]
    seconds: float
    pictures: Mapping[str, Path]

    @property
    def criteria(self) -> list[str]:
        return list(dict.fromkeys(result.row.criterion.statement for result in self.results))

    def overview(self) -> list[str]:
        """As text, in the order of `OVERVIEW`."""
        holds = sum(result.verdict == HOLDS for result in self.results)
        minutes = f"{self.seconds / 60:.1f}" if self.seconds else ""
        return [self.experiment.title, f"{holds} of {len(self.results)}", minutes]


OVERVIEW = ("experiment", "rows that hold", "minutes")


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
        "from_data": {str(seed): value for seed, value in result.chosen.items()},
        "verdict": result.verdict,
        "criterion": row.criterion.statement,
    }


def count_verdicts(results: Sequence[Result]) -> str:
    """ "12 rows hold, 3 do not hold, 4 were not run"."""
    holds = sum(result.verdict == HOLDS for result in results)
    fails = sum(result.verdict == FAILS for result in results)
    return f"{holds} rows hold, {fails} do not hold, {len(results) - holds - fails} were not run"


def _markdown(
    out: Path, scale: Scale, sections: Sequence[_Section], results: Sequence[Result]
) -> str:
    lines = [
        "# Reproduction of arXiv 2510.04090",
        "",
        f"rootspace {rootspace.__version__}. {SCALE_NOTES[scale]} {count_verdicts(results)}. "
        f"{READING}",
        "",
        table(OVERVIEW, [section.overview() for section in sections], markdown=True),
    ]
    for section in sections:
        experiment = section.experiment
        lines += ["", f"## {experiment.title}", "", experiment.claim, ""]
        lines += [table(HEADER, [result.cells() for result in section.results], markdown=True)]
        for title, path in section.pictures.items():
            lines += ["", f"{title}:", "", f"![{title}]({path.relative_to(out).as_posix()})"]
        lines += ["", "<details><summary>How, and when a row holds</summary>", ""]
        lines += [experiment.notes, ""] if experiment.notes else []
        lines += [*(f"- {statement}" for statement in section.criteria), "", "</details>"]
    return "\n".join(lines) + "\n"


def _page(scale: Scale, sections: Sequence[_Section], results: Sequence[Result]) -> str:
    contents = {"overview": ("Overview", _html_table(OVERVIEW, [s.overview() for s in sections]))}
    for section in sections:
        experiment = section.experiment
        criteria = "".join(f"<li>{escape(statement)}</li>" for statement in section.criteria)
        contents[experiment.name] = (
            experiment.title,
            f"{_paragraphs(experiment.claim)}"
            f"{_html_table(HEADER, [result.cells() for result in section.results])}"
            f"{_html_pictures(section.pictures)}"
            "<details><summary>How, and when a row holds</summary>"
            f'{_paragraphs(experiment.notes)}<ul class="note">{criteria}</ul></details>',
        )
    return document(
        title="Reproduction of arXiv 2510.04090",
        kicker=f"rootspace {rootspace.__version__}",
        summary=escape(f"{SCALE_NOTES[scale]} {count_verdicts(results)}. {READING}"),
        sections=contents,
    )


def _paragraphs(text: str) -> str:
    """Markdown without markup, but code set as such."""
    parts = []
    for paragraph in text.split("\n\n"):
        code = paragraph.startswith("    ")
        content = escape(inspect.cleandoc(paragraph) if code else paragraph)
        parts.append(f"<pre>{content}</pre>" if code else f'<p class="note">{content}</p>')
    return "".join(parts)


def _html_table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    head = "".join(f"<th>{escape(title)}</th>" for title in header)
    body = "".join(
        f"<tr><th>{escape(first)}</th>{''.join(f'<td>{escape(cell)}</td>' for cell in rest)}</tr>"
        for first, *rest in rows
    )
    return (
        f'<div class="scroll"><table class="runs"><thead><tr>{head}</tr></thead>'
        f"<tbody>{body}</tbody></table></div>"
    )


def _html_pictures(pictures: Mapping[str, Path]) -> str:
    return "".join(
        f'<figure><img src="{_data_uri(path)}" alt="{escape(title)}" style="max-width: 100%">'
        f"<figcaption>{escape(title)}</figcaption></figure>"
        for title, path in pictures.items()
    )


def _pictures(
    out: Path,
    experiment: Experiment,
    outcomes: Mapping[tuple[str, str], Mapping[int, Outcome]],
) -> dict[str, Path]:
    """A picture for each figure of an experiment of which something is there: title -> file."""
    figures = Figures(experiment.name, outcomes, {})
    shown = {}
    for number, figure in enumerate(experiment.figures):
        path = out / PICTURES / f"{experiment.name}-figure{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        match figure:
            case Picture():
                drawn = _join(out, path, experiment.name, figure, outcomes)
            case Chart():
                drawn = _draw(path, figure, figures)
            case Bars():
                drawn = _draw_bars(path, figure, figures)
        if drawn is not None:
            shown[figure.title] = drawn
    return shown


def _join(
    out: Path,
    path: Path,
    name: str,
    figure: Picture,
    outcomes: Mapping[tuple[str, str], Mapping[int, Outcome]],
) -> Path | None:
    files = []
    for part in figure.parts:
        by_seed = outcomes.get(reference(name, part), {})
        for seed in sorted(by_seed)[:1]:
            files += [out / picture for picture in by_seed[seed].pictures]
    files = [file for file in files if file.is_file()]
    return join(path, files) if files else None


def _draw(path: Path, chart: Chart, figures: Figures) -> Path | None:
    curves = {}
    for part, label in chart.parts.items():
        try:
            curves[label] = figures.points(part, chart.column)
        except MissingFigure:
            continue  # the rows say why
    return draw_curves(path, curves, chart.column.replace("_", " ")) if curves else None


def _draw_bars(path: Path, figure: Bars, figures: Figures) -> Path | None:
    bars = {}
    for label, (part, measure) in figure.bars.items():
        try:
            bars[label] = figures.mean(part, measure)
        except MissingFigure:
            continue
    return draw_bars(path, bars, figure.column) if bars else None


def _data_uri(path: Path) -> str:
    return "data:image/png;base64," + base64.b64encode(path.read_bytes()).decode("ascii")
