"""The page: sections in reading order, one file, nothing fetched."""

from __future__ import annotations

import json
from collections.abc import Sequence
from importlib import resources
from pathlib import Path

from rootspace._files import write_text
from rootspace.report._curves import curve_figures
from rootspace.report._document import document
from rootspace.report._figures import (
    DASHES,
    Figure,
    plotly_source,
    run_colour,
    set_dash,
)
from rootspace.report._pictures import picture
from rootspace.report._space import space_views
from rootspace.report._tables import (
    METHODS,
    comparison_notes,
    comparison_tables,
    memory_notes,
    memory_table,
)
from rootspace.report._text import (
    class_name,
    count,
    duration,
    escape,
    listing,
    percent,
    plural,
)
from rootspace.report.run import ShownRun, distinct, test_sets
from rootspace.runs import Confusion

_CARDS_AT_FIRST = 24
_CARDS = 96


def write_report(
    run_dir: Path | str, out: Path | str | None = None, others: Sequence[Path] = ()
) -> Path:
    """Write a run folder as one self-contained HTML file.

    The file opens offline and makes no network request. Runs in `run_dir/baselines/<name>/` are
    compared with the run, and so are `others`.

    Args:
        run_dir: a run folder: `metrics.json`, and as far as present `metrics.csv`,
            `evaluation.npz` and `config.yaml`.
        out: the file to write; `run_dir/report.html` unless given.
        others: more run folders to compare with.

    Returns:
        The path of the file. It is replaced only when the new one is complete.

    Raises:
        FileNotFoundError: a folder is not a run folder.
        ValueError: a file of a run folder does not hold what it should.
    """
    run_dir = Path(run_dir)
    out = run_dir / "report.html" if out is None else Path(out)
    run = ShownRun.read(run_dir)
    baselines = sorted(path for path in run_dir.glob("baselines/*") if path.is_dir())
    finished = [path for path in baselines if (path / "metrics.json").is_file()]
    left_out = [path.name for path in baselines if path not in finished]
    runs = distinct([run, *(ShownRun.read(Path(path)) for path in [*finished, *others])])
    out.parent.mkdir(parents=True, exist_ok=True)
    write_text(out, _page(runs, left_out))
    return out


# ------------------------------------------------------------------------------------- sections


def _page(runs: Sequence[ShownRun], left_out: Sequence[str]) -> str:
    run = runs[0]
    sections = {
        "results": ("Results", _results(runs, left_out)),
        "curves": ("Training curves", _curves(runs)),
        "space": ("Latent space", _space(runs)),
        "confusions": ("Nearest confusions", _confusions(run)),
        "memory": ("Memory and parameters", _memory(runs)),
        "setup": ("Configuration and environment", _setup(run)),
    }
    script = resources.files("rootspace.report").joinpath("page.js").read_text("utf-8")
    return document(
        title=run.name,
        kicker=f"rootspace {run.record.version}" if run.record.version else "rootspace",
        summary=_summary(runs),
        sections=sections,
        scripts=[plotly_source(), f"\n{script}"],
    )


def _summary(runs: Sequence[ShownRun]) -> str:
    record = runs[0].record
    method = METHODS.get(record.method, record.method)
    where = f" on {record.system}" if record.system else ""
    what = (
        f"{method} ({record.loss.replace('_', ' ')}){where}: "
        f"{plural(record.num_classes, 'class', 'classes')} in {plural(record.dim, 'dimension')}, "
        f"{plural(record.epochs, 'epoch')} in {duration(record.seconds)}."
    )
    scores = [
        f"<b>{percent(score.accuracy)}</b> of <bdi>{escape(name)}</bdi>"
        for name, score in record.test.items()
    ]
    reached = (
        f"It reads {listing(scores)} correctly"
        if scores
        else f"No held-out set was tested; it reads <b>{percent(record.train.accuracy)}</b> of the "
        "training set correctly"
    )
    for other in runs[1:]:
        common = [
            percent(other.record.test[name].accuracy)
            for name in record.test
            if name in other.record.test
        ]
        if common:
            reached += f"; <bdi>{escape(other.name)}</bdi> reads {listing(common)}"
    return f"{escape(what)} {reached}."


def _results(runs: Sequence[ShownRun], left_out: Sequence[str]) -> str:
    notes = comparison_notes(runs)
    if left_out:
        names = listing([f"baselines/{name}" for name in left_out])
        notes.append(f"Left out, because metrics.json is missing: {names}.")
    data = runs[0].record.data
    if data:
        notes.insert(0, f"Data: {data.rstrip('.')}.")
    return comparison_tables(runs) + _note(" ".join(notes))


def _curves(runs: Sequence[ShownRun]) -> str:
    without = [run.name for run in runs if not run.epochs]
    absent = f"There is no metrics.csv for {listing(without)}." if without else ""
    if len(without) == len(runs):
        return _note(absent)
    panels = {
        title: '<div class="panels">'
        + "".join(
            f"<figure><figcaption>{name}</figcaption>{_figure(figure, 'curve')}</figure>"
            for name, figure in curve_figures(runs, wall_time=wall_time)
        )
        + "</div>"
        for title, wall_time in (("epochs", False), ("wall time", True))
    }
    notes = [absent] if absent else []
    if len({run.record.loss for run in runs if run.epochs}) > 1:
        notes.append("Different losses have different scales: compare their shapes, not heights.")
    return _curve_legend(runs) + _tabs("Horizontal axis", panels) + _note(" ".join(notes))


def _curve_legend(runs: Sequence[ShownRun]) -> str:
    items = "".join(
        f'<li><span class="swatch" style="background:{run_colour(i)}"></span>'
        f"<bdi>{escape(run.name)}</bdi></li>"
        for i, run in enumerate(runs)
        if run.epochs
    )
    sets = test_sets(runs)
    if len(sets) > 1:
        items += "".join(
            '<li><svg width="30" height="8" aria-hidden="true"><line x1="1" x2="29" y1="4" y2="4" '
            f'stroke="currentColor" stroke-width="2" stroke-dasharray="{DASHES[set_dash(i)]}"/>'
            f"</svg><bdi>{escape(name)}</bdi></li>"
            for i, name in enumerate(sets)
        )
    return f'<ul class="legend">{items}</ul>'


def _space(runs: Sequence[ShownRun]) -> str:
    views = {view.title: view for view in space_views(runs[0])}
    for other in runs[1:]:
        views |= {f"{other.name}: {view.title}": view for view in space_views(other)[:1]}
    absent = _absent(runs[0], "the picture of the latent space")
    panels = {
        title: f"<figure>{_figure(view.figure, 'space')}{_class_legend(view.legend)}"
        f"<figcaption>{escape(view.caption)}</figcaption></figure>"
        for title, view in views.items()
    }
    return _note(absent) + (_tabs("What is shown", panels) if panels else "")


def _class_legend(legend: Sequence[tuple[str, str]]) -> str:
    items = "".join(
        f'<li><span class="swatch dot" style="background:{colour}"></span>'
        f"<bdi>{escape(name)}</bdi></li>"
        for colour, name in legend
    )
    return f'<ul class="legend classes">{items}</ul>' if items else ""


def _confusions(run: ShownRun) -> str:
    if run.evaluation is None:
        return _note(_absent(run, "the list of confusions"))
    confusions = run.evaluation.confusions
    if not confusions:
        return _note("No held-out image was misread: there is nothing to show.")
    cards = [_card(confusion, run.evaluation.names) for confusion in confusions[:_CARDS]]
    first, rest = cards[:_CARDS_AT_FIRST], cards[_CARDS_AT_FIRST:]
    intro = (
        "Held-out images that were read as another class, closest first: the cosine is between "
        "the embedding and the vector of the class it was read as. Beside each image: a training "
        "image of its class and one of the class it was read as."
    )
    if len(confusions) > _CARDS:
        intro += f" The first {_CARDS} of {count(len(confusions))} are shown."
    more = (
        f"<details><summary>Show {len(rest)} more</summary>"
        f'<div class="cards">{"".join(rest)}</div></details>'
        if rest
        else ""
    )
    return f'{_note(intro)}<div class="cards">{"".join(first)}</div>{more}'


def _card(confusion: Confusion, names: Sequence[str]) -> str:
    def line(role: str, label: int, sample: str) -> str:
        name = class_name(names, label)
        code = f"<code>{name.code}</code>" if name.code else ""
        return (
            f'<div class="reading">{sample}<div><span class="role">{role}</span>'
            f'<bdi class="name" title="{escape(name.title)}">{escape(name.text)}</bdi>{code}</div>'
            "</div>"
        )

    true, predicted = (class_name(names, x) for x in (confusion.true, confusion.predicted))
    image = picture(
        confusion.image, f"held-out image of {true.title}, read as {predicted.title}", 128
    )
    samples = [
        picture(sample, f"training image of {name.title}", 64)
        for sample, name in (
            (confusion.true_sample, true),
            (confusion.predicted_sample, predicted),
        )
    ]
    return (
        f'<article class="card"><div class="misread">{image}</div><div class="readings">'
        f"{line('is', confusion.true, samples[0])}"
        f"{line('read as', confusion.predicted, samples[1])}</div>"
        f'<p class="foot"><bdi>{escape(confusion.test_set)}</bdi>'
        f"<span>cosine {confusion.cosine:.4f}</span></p></article>"
    )


def _memory(runs: Sequence[ShownRun]) -> str:
    return memory_table(runs[0]) + "".join(map(_note, memory_notes(runs[0], runs)))


def _setup(run: ShownRun) -> str:
    environment = {
        key: getattr(run.record, key) for key in ("version", "finished", "device", "model", "data")
    }
    facts = "".join(
        f"<dt>{key}</dt><dd>{escape(value)}</dd>"
        for key, value in environment.items()
        if value is not None
    )
    config = (
        "<p>There is no config.yaml in this run folder.</p>"
        if run.config is None
        else f"<pre>{escape(run.config)}</pre>"
    )
    metrics = escape(json.dumps(run.record.as_json(), indent=2, ensure_ascii=False))
    return (
        f"<details><summary>config.yaml</summary>{config}</details>"
        f"<details><summary>Environment</summary><dl>{facts}</dl></details>"
        f"<details><summary>metrics.json</summary><pre>{metrics}</pre></details>"
    )


# ---------------------------------------------------------------------------------------- parts


def _absent(run: ShownRun, what: str) -> str:
    if run.evaluation is not None:
        return ""
    return f"There is no evaluation.npz in this run folder, so {what} is left out."


def _note(text: str) -> str:
    return f'<p class="note">{escape(text)}</p>' if text else ""


def _figure(figure: Figure, kind: str) -> str:
    return (
        f'<div class="plot {kind}" role="img" aria-label="{escape(figure.label)}">'
        f'<script type="application/json">{figure.json}</script></div>'
    )


def _tabs(label: str, panels: dict[str, str]) -> str:
    """Panels of which one is shown; a single panel needs no tabs."""
    if len(panels) == 1:
        return next(iter(panels.values()))
    group = label.lower().replace(" ", "-")
    buttons = "".join(
        f'<button role="tab" id="{group}-{i}" aria-controls="{group}-{i}-panel" '
        f'aria-selected="{str(i == 0).lower()}" tabindex="{0 if i == 0 else -1}">'
        f"<bdi>{escape(title)}</bdi></button>"
        for i, title in enumerate(panels)
    )
    bodies = "".join(
        f'<div role="tabpanel" id="{group}-{i}-panel" aria-labelledby="{group}-{i}"'
        f"{' hidden' if i else ''}>{content}</div>"
        for i, content in enumerate(panels.values())
    )
    return f'<div class="tabs" role="tablist" aria-label="{label}">{buttons}</div>{bodies}'
