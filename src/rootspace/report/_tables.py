"""The comparison of runs, and the paper's Table 9 with the numbers of this run."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

from rootspace.report._figures import run_colour
from rootspace.report._text import (
    ABSENT,
    NBSP,
    count,
    data_size,
    escape,
    listing,
    percent,
    plural,
    quantity,
)
from rootspace.report.run import ShownRun, test_sets

T = TypeVar("T")

METHODS = {"prototypes": "prototypes", "learned": "learned head"}

BYTES_PER_WEIGHT = 16
"""In training, float32: the weight, its gradient and the two moments of AdamW."""

CLASS_COUNTS = (1_000, 100_000, 1_000_000, 10_000_000, 100_000_000)


# --------------------------------------------------------------------------- comparison of runs


def _or_absent(value: T | None, show: Callable[[T], str]) -> str:
    return ABSENT if value is None else show(value)


def comparison_tables(runs: Sequence[ShownRun]) -> str:
    """Runs side by side, ours first; the best accuracy of a row is bold."""
    accuracy = [_score_row(name, runs) for name in test_sets(runs)]
    accuracy.append(_accuracy_row("training set", "", [run.record.train.accuracy for run in runs]))
    cost = [
        _row("training time", [f"{quantity(run.record.seconds)}{NBSP}s" for run in runs]),
        _row("per epoch", [f"{quantity(run.record.seconds_per_epoch)}{NBSP}s" for run in runs]),
        _row("backbone parameters", [count(run.record.parameters.backbone) for run in runs]),
        _row("head parameters", [count(run.record.parameters.head) for run in runs]),
        _row("bytes per class", [_or_absent(run.record.bytes_per_class, quantity) for run in runs]),
        _row("peak memory", [_or_absent(run.record.peak_memory_mb, _megabytes) for run in runs]),
    ]
    method = [
        _row("method", [METHODS.get(run.record.method, run.record.method) for run in runs]),
        _row("loss", [run.record.loss for run in runs]),
        _row("scale", [_or_absent(run.record.scale, quantity) for run in runs]),
        _row("vector system", [run.record.system or ABSENT for run in runs]),
        _row("order of classes", [run.record.order or ABSENT for run in runs]),
        _row("capacity", [_or_absent(run.record.capacity, count) for run in runs]),
        _row("smallest angle", [_or_absent(run.record.min_angle, _degrees) for run in runs]),
        _row("classes", [count(run.record.num_classes) for run in runs]),
        _row("dimensions", [count(run.record.dim) for run in runs]),
        _row("epochs", [count(run.record.epochs) for run in runs]),
        _row("batch size", [_or_absent(run.record.batch_size, count) for run in runs]),
    ]
    left = _table(runs, {"Accuracy": accuracy, "Cost": cost})
    right = _table(runs, {"Method": method})
    return f'<div class="results" style="--runs:{len(runs)}">{left}{right}</div>'


def _table(runs: Sequence[ShownRun], groups: dict[str, list[str]]) -> str:
    heads = "".join(
        f'<th scope="col" title="{escape(run.name)}"><span class="swatch" '
        f'style="background:{run_colour(i)}"></span><bdi>{escape(run.name)}</bdi></th>'
        for i, run in enumerate(runs)
    )
    first = next(iter(groups))  # its title stands in the corner
    bodies = ""
    for title, rows in groups.items():
        group = f'<th colspan="{len(runs) + 1}" scope="rowgroup">{title}</th>'
        group = "" if title == first else f'<tr class="group">{group}</tr>'
        bodies += f"<tbody>{group}{''.join(rows)}</tbody>"
    caption = f"{' and '.join(groups).capitalize()} of {'each' if len(runs) > 1 else 'the'} run"
    return (
        f'<div class="scroll" tabindex="0" role="region" aria-label="{caption}">'
        f'<table class="runs"><caption class="hidden">{caption}</caption>'
        f'<thead><tr><th scope="col">{first}</th>{heads}</tr></thead>{bodies}</table></div>'
    )


def _degrees(angle: float) -> str:
    return f"{quantity(angle)}°"


def _megabytes(size: float) -> str:
    return f"{quantity(size)}{NBSP}MB"


def _row(label: str, cells: Sequence[str]) -> str:
    """Left out where no run has anything to say."""
    if all(cell == ABSENT for cell in cells):
        return ""
    columns = "".join(f"<td>{_breakable(cell)}</td>" for cell in cells)
    return f'<tr><th scope="row">{label}</th>{columns}</tr>'


def _breakable(text: str) -> str:
    """A cell whose words, also those_joined_like_this and Like(this), may go on a new line."""
    return f"<bdi>{escape(text).replace('_', '_<wbr>').replace('(', '<wbr>(')}</bdi>"


def _score_row(name: str, runs: Sequence[ShownRun]) -> str:
    images = {run.record.test[name].images for run in runs if name in run.record.test}
    known = sorted(number for number in images if number is not None)
    note = f"{listing([count(number) for number in known])} images" if known else ""
    values = [run.record.test[name].accuracy if name in run.record.test else None for run in runs]
    return _accuracy_row(name, note, values)


def _accuracy_row(label: str, note: str, values: Sequence[float | None]) -> str:
    present = [value for value in values if value is not None]
    best = max(present, default=None) if len(present) > 1 else None
    cells = ""
    for i, value in enumerate(values):
        if value is None:
            cells += f"<td>{ABSENT}</td>"
            continue
        text = f"<b>{percent(value)}</b>" if value == best else percent(value)
        width = f"{100 * min(max(value, 0.0), 1.0):.2f}%"
        cells += (
            f'<td>{text}<span class="bar" aria-hidden="true">'
            f'<span style="width:{width};background:{run_colour(i)}"></span></span></td>'
        )
    small = f" <small>{note}</small>" if note else ""
    return f'<tr class="score"><th scope="row"><bdi>{escape(label)}</bdi>{small}</th>{cells}</tr>'


def comparison_notes(runs: Sequence[ShownRun]) -> list[str]:
    """What a reader must know before comparing: equal epochs, and everything that is not equal."""
    if len(runs) == 1:
        return []
    epochs = [run.record.epochs for run in runs]
    number = "Both" if len(runs) == 2 else f"All {len(runs)}"
    if len(set(epochs)) == 1:
        notes = [f"{number} runs were trained for {plural(epochs[0], 'epoch')}."]
    else:
        notes = [f"The runs were not trained equally long: {_each(runs, epochs)} epochs."]
    for what, values in {
        "classes": [run.record.num_classes for run in runs],
        "data": [run.record.data for run in runs],
        "models": [run.record.model for run in runs],
        "batch sizes": [run.record.batch_size for run in runs],
        "devices": [run.record.device for run in runs],
    }.items():
        if len(set(values)) > 1:
            notes.append(f"Their {what} differ: {_each(runs, values)}.")
    notes.append("Each column is one run; small differences need several seeds.")
    return notes


def _each(runs: Sequence[ShownRun], values: Sequence[object]) -> str:
    shown = [
        f"{count(value) if isinstance(value, int) else value or 'not recorded'} ({run.name})"
        for run, value in zip(runs, values, strict=True)
    ]
    return listing(shown)


# ------------------------------------------------------------------------ memory and parameters


@dataclass(frozen=True)
class MemoryRow:
    """One row of Table 9. `fits` is False where the run's vector system has too few vectors."""

    method: str
    loss: str
    num_classes: int
    backbone: int
    head: int
    output: int
    measured: bool
    fits: bool = True

    @property
    def head_bytes(self) -> int:
        return BYTES_PER_WEIGHT * self.head


def memory_rows(run: ShownRun) -> list[MemoryRow]:
    """LSC, then a fully connected layer with cross-entropy, at the same class counts."""
    numbers = sorted({run.record.num_classes, *CLASS_COUNTS})
    rows = []
    for lsc in (True, False):
        for number in numbers:
            measured = run.record.is_lsc == lsc and number == run.record.num_classes
            rows.append(
                MemoryRow(
                    method="LSC" if lsc else "classifier (fc + CE)",
                    loss=run.record.loss if lsc == run.record.is_lsc else "cosine" if lsc else "CE",
                    num_classes=number,
                    backbone=run.record.parameters.backbone,
                    head=(run.record.parameters.head if run.record.is_lsc else 0)
                    if lsc
                    else run.record.dim * number,
                    output=run.record.dim if lsc else number,
                    measured=measured,
                    fits=not lsc or run.record.capacity is None or number <= run.record.capacity,
                )
            )
    return rows


def memory_table(run: ShownRun) -> str:
    rows, record, dim = memory_rows(run), run.record, run.record.dim
    batch = "bs" if record.batch_size is None else count(record.batch_size)
    backbone_bytes = BYTES_PER_WEIGHT * record.parameters.backbone
    heads = ("loss", "classes", "backbone parameters", "head parameters", "head memory in training",
             "embedding", "output")  # fmt: skip
    head = "".join(f'<th scope="col">{name}</th>' for name in heads)
    bodies = ""
    for method in dict.fromkeys(row.method for row in rows):
        body = ""
        for row in (row for row in rows if row.method == method):
            mark = "" if row.fits else '<sup aria-label="see note">†</sup>'
            heavy = ' class="heavy"' if row.head_bytes > backbone_bytes else ""
            note = " <small>this run</small>" if row.measured else ""
            current = ' class="this"' if row.measured else ""
            body += (
                f'<tr{current}><th scope="row">{row.method}{note}</th><td>{escape(row.loss)}</td>'
                f"<td>{count(row.num_classes)}{mark}</td><td>{count(row.backbone)}</td>"
                f"<td>{count(row.head)}</td><td{heavy}>{data_size(row.head_bytes)}</td>"
                f"<td>[{batch}, {count(dim)}]</td><td>[{batch}, {count(row.output)}]</td></tr>"
            )
        bodies += f"<tbody>{body}</tbody>"
    return (
        '<div class="scroll" tabindex="0" role="region" aria-label="Parameters and memory">'
        '<table class="memory"><caption class="hidden">Parameters and memory by number of classes'
        f'</caption><thead><tr><th scope="col">method</th>{head}</tr></thead>{bodies}</table></div>'
    )


def memory_notes(run: ShownRun, runs: Sequence[ShownRun]) -> list[str]:
    """The reading of the table, and what was measured."""
    rows, record, dim = memory_rows(run), run.record, run.record.dim
    notes = [
        f"Computed for {dim} dimensions. Head memory is {BYTES_PER_WEIGHT} bytes a weight: the "
        "weight, its gradient and two AdamW moments in float32; the backbone needs "
        f"{data_size(BYTES_PER_WEIGHT * record.parameters.backbone)} by the same count."
    ]
    crossing = record.parameters.backbone // record.dim + 1
    notes.append(
        f"From {count(crossing)} classes on, a classifier's head alone is larger than the backbone "
        "(in red)."
    )
    if not all(row.fits for row in rows) and record.capacity is not None:
        notes.append(
            f"† {record.system or 'The vector system'} has {count(record.capacity)} vectors; for "
            f"more classes take a larger system: in {dim} dimensions the numbers stay as they are."
        )
    if record.is_lsc and record.bytes_per_class is not None:
        stored = f"stores {quantity(record.bytes_per_class)} bytes a class, without gradient"
        how = stored if record.bytes_per_class else "is a formula and stores nothing per class"
        notes.append(f"The class map of this run {how}.")
    measured = [
        f"{run.name} {_megabytes(run.record.peak_memory_mb)}"
        for run in runs
        if run.record.peak_memory_mb is not None
    ]
    notes.append(
        f"Measured peak memory in training: {listing(measured)}."
        if measured
        else "Peak memory in training was not measured."
    )
    return notes
