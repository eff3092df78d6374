"""The page: sections in reading order, one file, nothing fetched.

What is said is put together here and set in HTML by the templates, which escape all of it.
"""

from __future__ import annotations

import base64
import io
import json
from collections.abc import Mapping, Sequence
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rootspace._extras import require
from rootspace._files import write_text
from rootspace.report import tables, text
from rootspace.report.figures import (
    DASHES,
    curve_figures,
    plotly_source,
    run_color,
    set_dash,
)
from rootspace.report.run import ShownRun, distinct, test_sets
from rootspace.report.space import space_views
from rootspace.runs import Confusion
from rootspace.runs.folder import BASELINES, is_finished

CARDS_AT_FIRST, CARDS = 24, 96
LARGEST = 128
"""Images with a longer side are reduced to this many pixels; smaller ones are kept exactly."""


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
    baselines = sorted(path for path in run_dir.glob(f"{BASELINES}/*") if path.is_dir())
    finished = [path for path in baselines if is_finished(path)]
    left_out = [path.name for path in baselines if path not in finished]
    runs = distinct([run, *(ShownRun.read(Path(path)) for path in [*finished, *others])])
    out.parent.mkdir(parents=True, exist_ok=True)
    write_text(out, _page(runs, left_out))
    return out


def document(
    *,
    title: str,
    kicker: str,
    summary: str,
    sections: Mapping[str, tuple[str, str]],
    scripts: Sequence[str] = (),
) -> str:
    """A self-contained HTML page with a line of links to its sections.

    Args:
        title: of the page, as text.
        kicker: the line above it, as text.
        summary: the paragraph below it, as HTML.
        sections: id -> (title as text, content as HTML).
        scripts: JavaScript to run at the end.
    """
    frame = _templates().get_template("document.html.j2")
    return frame.render(
        title=title,
        kicker=kicker,
        summary=summary,
        sections=sections,
        scripts=scripts,
        style=_resource("page.css"),
    )


@cache
def _templates() -> Any:
    """The Jinja environment: everything is escaped, and what no page may hold is made visible."""
    jinja2 = require("jinja2", extra="train", purpose="rootspace.report")
    markup = require("markupsafe", extra="train", purpose="rootspace.report").Markup

    def shown(value: Any) -> Any:
        return text.visible(value) if type(value) is str else value

    def breakable(cell: str) -> Any:
        """Words, also those_joined_like_this and Like(this), may go on a new line."""
        return markup(text.escape(cell).replace("_", "_<wbr>").replace("(", "<wbr>("))

    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("rootspace.report"),
        autoescape=True,
        finalize=shown,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
    environment.filters |= {
        "breakable": breakable,
        "bytes": text.data_size,
        "color": run_color,
        "count": text.count,
        "percent": text.percent,
    }
    return environment


def _resource(name: str) -> str:
    return resources.files("rootspace.report").joinpath(name).read_text("utf-8")


# ------------------------------------------------------------------------------------- sections


def _page(runs: Sequence[ShownRun], left_out: Sequence[str]) -> str:
    run, parts = runs[0], _templates().get_template("parts.html.j2").module
    rows = tables.memory_rows(run)
    sections = {
        "results": (
            "Results",
            parts.results(
                names=[run.name for run in runs],
                tables=tables.comparison_tables(runs),
                note=_results_note(runs, left_out),
            ),
        ),
        "curves": ("Training curves", _curves(parts, runs)),
        "space": ("Latent space", _space(parts, runs)),
        "confusions": ("Nearest confusions", _confusions(parts, run)),
        "memory": (
            "Memory and parameters",
            parts.memory(
                groups=[[row for row in rows if row.method == rows[i].method] for i in (0, -1)],
                dim=run.record.dim,
                batch=run.record.batch_size,
                notes=tables.memory_notes(run, runs),
            ),
        ),
        "setup": ("Configuration and environment", _setup(parts, run)),
    }
    return document(
        title=run.name,
        kicker=f"rootspace {run.record.version}",
        summary=_summary(parts, runs),
        sections=sections,
        scripts=[plotly_source(), f"\n{_resource('page.js')}"],
    )


def _summary(parts: Any, runs: Sequence[ShownRun]) -> str:
    record = runs[0].record
    method = tables.METHODS.get(record.method, record.method)
    where = f" on {record.system}" if record.system else ""
    what = (
        f"{method} ({record.loss.replace('_', ' ')}){where}: "
        f"{text.plural(record.num_classes, 'class', 'classes')} in "
        f"{text.plural(record.dim, 'dimension')}, {text.plural(record.epochs, 'epoch')} in "
        f"{text.duration(record.seconds)}."
    )
    others = {}
    for other in runs[1:]:
        tests = other.record.test
        common = [text.percent(tests[name].accuracy) for name in record.test if name in tests]
        if common:
            others[other.name] = text.listing(common)
    return parts.summary(what=what, test=record.test, train=record.train.accuracy, others=others)


def _results_note(runs: Sequence[ShownRun], left_out: Sequence[str]) -> str:
    notes = [f"Data: {runs[0].record.data.rstrip('.')}.", *tables.comparison_notes(runs)]
    if left_out:
        names = text.listing([f"{BASELINES}/{name}" for name in left_out])
        notes.append(f"Left out, because they are not finished: {names}.")
    return " ".join(notes)


def _curves(parts: Any, runs: Sequence[ShownRun]) -> str:
    without = [run.name for run in runs if not run.epochs]
    notes = [f"There is no metrics.csv for {text.listing(without)}."] if without else []
    if len(without) == len(runs):
        return parts.note(notes[0])
    if len({run.record.loss for run in runs if run.epochs}) > 1:
        notes.append("Different losses have different scales: compare their shapes, not heights.")
    sets = test_sets(runs)
    return parts.curves(
        runs={position: run.name for position, run in enumerate(runs) if run.epochs},
        dashes={name: DASHES[set_dash(i)] for i, name in enumerate(sets) if len(sets) > 1},
        panels={
            "epochs": curve_figures(runs, wall_time=False),
            "wall time": curve_figures(runs, wall_time=True),
        },
        note=" ".join(notes),
    )


def _space(parts: Any, runs: Sequence[ShownRun]) -> str:
    views = {view.title: view for view in space_views(runs[0])}
    for other in runs[1:]:
        views |= {f"{other.name}: {view.title}": view for view in space_views(other)[:1]}
    absent = _absent(runs[0], "the picture of the latent space")
    return parts.space(note=absent, views=views)


def _confusions(parts: Any, run: ShownRun) -> str:
    if run.evaluation is None:
        return parts.note(_absent(run, "the list of confusions"))
    confusions = run.evaluation.confusions
    if not confusions:
        return parts.note("No held-out image was misread: there is nothing to show.")
    intro = (
        "Held-out images that were read as another class, closest first: the cosine is between "
        "the embedding and the vector of the class it was read as. Beside each image: a training "
        "image of its class and one of the class it was read as."
    )
    if len(confusions) > CARDS:
        intro += f" The first {CARDS} of {text.count(len(confusions))} are shown."
    cards = [_card(confusion, run.evaluation.names) for confusion in confusions[:CARDS]]
    return parts.confusions(note=intro, first=cards[:CARDS_AT_FIRST], more=cards[CARDS_AT_FIRST:])


def _card(confusion: Confusion, names: Mapping[int, str]) -> dict[str, object]:
    true, predicted = (
        text.class_name(names, label) for label in (confusion.true, confusion.predicted)
    )
    return {
        "test_set": confusion.test_set,
        "cosine": f"{confusion.cosine:.4f}",
        "image": _picture(confusion.image, 128),
        "readings": [
            ("is", true, _picture(confusion.true_sample, 64)),
            ("read as", predicted, _picture(confusion.predicted_sample, 64)),
        ],
        "alt": f"held-out image of {true.title}, read as {predicted.title}",
    }


def _setup(parts: Any, run: ShownRun) -> str:
    record = run.record
    return parts.setup(
        config=run.config,
        environment={
            name: getattr(record, name)
            for name in ("version", "finished", "device", "model", "data")
        },
        metrics=json.dumps(record.as_json(), indent=2, ensure_ascii=False),
    )


def _absent(run: ShownRun, what: str) -> str:
    if run.evaluation is not None:
        return ""
    return f"There is no evaluation.npz in this run folder, so {what} is left out."


# --------------------------------------------------------------------------------------- images


def _picture(image: NDArray[np.uint8], target: int) -> dict[str, object]:
    """Attributes of an image about `target` pixels large; small images grow by a whole factor."""
    _, height, width = image.shape
    longest = max(height, width)
    factor = target // longest if longest <= target else target / longest
    return {
        "src": data_uri(image),
        "width": round(width * factor),
        "height": round(height * factor),
        "rendering": "pixelated" if longest <= target else "auto",
    }


def data_uri(image: NDArray[np.uint8]) -> str:
    """An image `[C, H, W]`, C = 1 or 3, as a PNG data URI."""
    pil = require("PIL.Image", extra="train", purpose="rootspace.report")
    channels, height, width = image.shape
    pixels = image[0] if channels == 1 else np.moveaxis(image, 0, -1)
    picture = pil.fromarray(np.ascontiguousarray(pixels))
    longest = max(height, width)
    if longest > LARGEST:
        size = (max(1, width * LARGEST // longest), max(1, height * LARGEST // longest))
        picture = picture.resize(size, pil.Resampling.LANCZOS)
    buffer = io.BytesIO()
    picture.save(buffer, format="PNG", optimize=True)
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode("ascii")
