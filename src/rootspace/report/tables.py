"""The comparison of runs, and the paper's Table 9 with the numbers of this run."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

from rootspace.report.run import ShownRun, test_sets
from rootspace.report.text import (
    ABSENT,
    NBSP,
    count,
    data_size,
    listing,
    percent,
    plural,
    quantity,
)

T = TypeVar("T")

METHODS = {"prototypes": "prototypes", "learned": "learned head"}

BYTES_PER_WEIGHT = 16
"""In training, float32: the weight, its gradient and the two moments of AdamW."""

CLASS_COUNTS = (1_000, 100_000, 1_000_000, 10_000_000, 100_000_000)


# --------------------------------------------------------------------------- comparison of runs


@dataclass(frozen=True)
class Row:
    """A row of the comparison, a cell for each run.

    Attributes:
        label: of the row.
        cells: text.
        note: beside the label.
        values: for a row of accuracies: fractions, which are drawn as bars; the best is bold.
    """

    label: str
    cells: Sequence[str]
    note: str = ""
    values: Sequence[float | None] = ()
    best: float | None = field(init=False, default=None)

    def __post_init__(self) -> None:
        present = [value for value in self.values if value is not None]
        if len(present) > 1:
            object.__setattr__(self, "best", max(present))

    @property
    def is_known(self) -> bool:
        """Whether any run has anything to say; scores are shown in any case."""
        return bool(self.values) or any(cell != ABSENT for cell in self.cells)


Groups = dict[str, list[Row]]
"""Title -> rows."""


def comparison_tables(runs: Sequence[ShownRun]) -> list[tuple[str, Groups]]:
    """Runs side by side, ours first: captions and contents of two tables."""
    records = [run.record for run in runs]

    def row(label: str, show: Callable[[T], str], values: Sequence[T | None]) -> Row:
        return Row(label, [ABSENT if value is None else show(value) for value in values])

    accuracy = [_score_row(name, runs) for name in test_sets(runs)]
    accuracy.append(_accuracy_row("training set", "", [r.train.accuracy for r in records]))
    cost = [
        row("training time", _seconds, [r.seconds for r in records]),
        row("per epoch", _seconds, [r.seconds_per_epoch for r in records]),
        row("backbone parameters", count, [r.parameters.backbone for r in records]),
        row("head parameters", count, [r.parameters.head for r in records]),
        row("bytes per class", quantity, [r.bytes_per_class for r in records]),
        row("in training", quantity, [r.training_bytes_per_class for r in records]),
        row("peak memory", _megabytes, [r.peak_memory_mb for r in records]),
    ]
    method = [
        row("method", lambda name: METHODS.get(name, name), [r.method for r in records]),
        row("loss", str, [r.loss for r in records]),
        row("scale", quantity, [r.scale for r in records]),
        row("vector system", str, [r.system for r in records]),
        row("order of classes", str, [r.order for r in records]),
        row("capacity", count, [r.capacity for r in records]),
        row("smallest angle of its vectors", _degrees, [r.min_angle for r in records]),
        row(
            "smallest angle between classes",
            _degrees,
            [r.choice and r.choice.smallest_angle for r in records],
        ),
        row("classes", count, [r.num_classes for r in records]),
        row("dimensions", count, [r.dim for r in records]),
        row("epochs", count, [r.epochs for r in records]),
        row("batch size", count, [r.batch_size for r in records]),
    ]
    whose = "each" if len(runs) > 1 else "the"
    return [
        (f"{' and '.join(groups).capitalize()} of {whose} run", groups)
        for groups in ({"Accuracy": accuracy, "Cost": cost}, {"Method": method})
    ]


def _seconds(seconds: float) -> str:
    return f"{quantity(seconds)}{NBSP}s"


def _degrees(angle: float) -> str:
    return f"{quantity(angle)}°"


def _megabytes(size: float) -> str:
    return f"{quantity(size)}{NBSP}MB"


def _score_row(name: str, runs: Sequence[ShownRun]) -> Row:
    results = [run.record.test.get(name) for run in runs]
    images = sorted({result.images for result in results if result is not None})
    note = f"{listing([count(number) for number in images])} images" if images else ""
    return _accuracy_row(name, note, [None if r is None else r.accuracy for r in results])


def _accuracy_row(label: str, note: str, values: Sequence[float | None]) -> Row:
    return Row(label, [percent(value) for value in values], note, values)


def comparison_notes(runs: Sequence[ShownRun]) -> list[str]:
    """What a reader must know before comparing: equal epochs, and everything that is not equal."""
    if len(runs) == 1:
        return []
    records = [run.record for run in runs]
    epochs = [record.epochs for record in records]
    number = "Both" if len(runs) == 2 else f"All {len(runs)}"
    if len(set(epochs)) == 1:
        notes = [f"{number} runs were trained for {plural(epochs[0], 'epoch')}."]
    else:
        notes = [f"The runs were not trained equally long: {_each(runs, epochs)} epochs."]
    for what, values in {
        "classes": [record.num_classes for record in records],
        "data": [record.data for record in records],
        "models": [record.model for record in records],
        "batch sizes": [record.batch_size for record in records],
        "devices": [record.device for record in records],
    }.items():
        if len(set(values)) > 1:
            notes.append(f"Their {what} differ: {_each(runs, values)}.")
    notes.append("Each column is one run; small differences need several seeds.")
    return notes


def _each(runs: Sequence[ShownRun], values: Sequence[int | str]) -> str:
    shown = [
        f"{count(value) if isinstance(value, int) else value} ({run.name})"
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

    @property
    def is_heavy(self) -> bool:
        """Whether the head is larger than the backbone."""
        return self.head > self.backbone


def memory_rows(run: ShownRun) -> list[MemoryRow]:
    """LSC, then a fully connected layer with cross-entropy, at the same class counts."""
    record, own = run.record, run.record.has_prototypes
    rows = []
    for fixed in (True, False):
        loss = record.loss if own == fixed else "cosine" if fixed else "CE"
        for number in sorted({record.num_classes, *CLASS_COUNTS}):
            head = record.parameters.head if own else 0
            rows.append(
                MemoryRow(
                    method="LSC" if fixed else "classifier (fc + CE)",
                    loss=loss,
                    num_classes=number,
                    backbone=record.parameters.backbone,
                    head=head if fixed else record.dim * number,
                    output=record.dim if fixed else number,
                    measured=own == fixed and number == record.num_classes,
                    fits=not fixed or record.capacity is None or number <= record.capacity,
                )
            )
    return rows


def memory_notes(run: ShownRun, runs: Sequence[ShownRun]) -> list[str]:
    """The reading of the table, and what was measured."""
    record, dim = run.record, run.record.dim
    crossing = record.parameters.backbone // dim + 1
    notes = [
        f"Computed for {dim} dimensions. Head memory is {BYTES_PER_WEIGHT} bytes a weight: the "
        "weight, its gradient and two AdamW moments in float32; the backbone needs "
        f"{data_size(BYTES_PER_WEIGHT * record.parameters.backbone)} by the same count.",
        f"From {count(crossing)} classes on, a classifier's head alone is larger than the backbone "
        "(in red).",
    ]
    if record.capacity is not None and not all(row.fits for row in memory_rows(run)):
        notes.append(
            f"† {record.system or 'The vector system'} has {count(record.capacity)} vectors; for "
            f"more classes take a larger system: in {dim} dimensions the numbers stay as they are."
        )
    if record.has_prototypes:
        stored = f"stores {quantity(record.bytes_per_class)} bytes a class, without gradient"
        how = stored if record.bytes_per_class else "is a formula and stores nothing per class"
        followed = record.training_bytes_per_class - record.bytes_per_class
        host = f"; in training the host kept {quantity(followed)} more" if followed else ""
        notes.append(f"The class map of this run {how}{host}.")
    peaks = [(run.name, run.record.peak_memory_mb) for run in runs]
    measured = [f"{name} {_megabytes(peak)}" for name, peak in peaks if peak is not None]
    notes.append(
        f"Measured peak memory in training: {listing(measured)}."
        if measured
        else "Peak memory in training was not measured."
    )
    return notes
