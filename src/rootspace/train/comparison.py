"""Several methods and seeds on the same data: one table, one report."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from rootspace._files import write_json, write_text
from rootspace._terminal import say, table
from rootspace.config import Config
from rootspace.report import write_report
from rootspace.runs import RunRecord
from rootspace.runs.folder import METRICS
from rootspace.runs.process import train_in_process
from rootspace.runs.record import as_json
from rootspace.systems import Orbit, system_from

COMPARISON, TABLE, REPORT, RUNS = "comparison.json", "comparison.md", "comparison.html", "runs"


@dataclass(frozen=True)
class PlannedRun:
    """One run of a comparison.

    Attributes:
        method: its name in the recipe.
        seed: of weights, order and rotation.
        config: all settings.
    """

    method: str
    seed: int
    config: Config


def compare(planned: Sequence[PlannedRun], out: Path) -> list[dict[str, Any]]:
    """Train what is not there yet, each run in a process of its own, and write the comparison.

    A finished run is kept if its settings are those planned; an interrupted one is continued.
    `comparison.json` and `comparison.md` are written after every run, the report at the end; they
    hold all finished runs of the folder, those of earlier calls too.

    Args:
        planned: the runs.
        out: folder of the comparison.

    Returns:
        The rows of `comparison.json`: one for each run and test set.

    Raises:
        ValueError: a run of other settings is there,
            or a run failed; those before it are kept.
    """
    rows: list[dict[str, Any]] = []
    for number, run in enumerate(planned, 1):
        folder = out / RUNS / run.method / f"seed{run.seed}"
        settings = replace(run.config.run, dir=str(folder), class_means=True, baselines=[])
        say(f"[{number}/{len(planned)}] {run.method}, seed {run.seed}")
        train_in_process(replace(run.config, run=settings))
        rows = [row for some in _finished(out, planned) for row in _rows(some)]
        write_json(out / COMPARISON, rows)
        write_text(out / TABLE, table(*cells(rows), markdown=True) + "\n")
    # The report shows one run of each method.
    shown: dict[Path, Path] = {}
    for folder in _finished(out, planned):
        shown.setdefault(folder.parent, folder)
    first, *others = shown.values()
    write_report(first, out / REPORT, others)
    return rows


def _finished(out: Path, planned: Sequence[PlannedRun]) -> list[Path]:
    """Folders of the finished runs: methods in the order planned, then others; by seed."""
    order = list(dict.fromkeys(run.method for run in planned))
    found = [path.parent for path in (out / RUNS).glob(f"*/seed*/{METRICS}")]

    def place(folder: Path) -> tuple[int, str, int]:
        method = folder.parent.name
        known = order.index(method) if method in order else len(order)
        return known, method, int(folder.name.removeprefix("seed"))

    return sorted(found, key=place)


def _rows(folder: Path) -> list[dict[str, Any]]:
    """One row for each test set of a finished run."""
    record = RunRecord.read(folder)
    learned = not record.has_prototypes
    common = {
        "method": folder.parent.name,
        "loss": record.loss,
        "system": record.system,
        "k": None if record.system is None else _num_placed(record.system),
        "dim": record.dim,
        "num_classes": record.num_classes,
        "seed": int(folder.name.removeprefix("seed")),
        "epochs": record.epochs,
        "seconds": record.seconds,
        "seconds_per_epoch": record.seconds_per_epoch,
        "bytes_per_class": record.bytes_per_class,
        # With gradient and the two moments of AdamW; class vectors of LSC have none of them.
        "bytes_per_class_in_training": record.bytes_per_class * (4 if learned else 1),
        "peak_memory_mb": record.peak_memory_mb,
        "choice": None if record.choice is None else as_json(record.choice),
        "train_accuracy": record.train.accuracy,
        "run": str(folder.relative_to(folder.parents[2])),
    }
    return [
        {
            **common,
            "test_set": name,
            "accuracy": test.accuracy,
            "mean_accuracy": test.mean_accuracy,
        }
        for name, test in record.test.items()
    ]


def _num_placed(text: str) -> int | None:
    """Non-zero coordinates of the vectors, where they all have equally many."""
    try:
        system = system_from(text)
    except ValueError:  # a table has no name that describes it
        return None
    if not isinstance(system, Orbit):
        return None
    return sum(system.multiplicities.values())


def cells(rows: Sequence[Mapping[str, Any]]) -> tuple[list[str], list[list[str]]]:
    """Header and lines of the table: means and spreads over the seeds, one line a method."""
    tests = list(dict.fromkeys(row["test_set"] for row in rows))
    header = ["method", "seeds", *tests, *(f"{name}, by means" for name in tests)]
    header += ["s/epoch", "bytes/class", "in training", "peak MB"]
    body = []
    for method in dict.fromkeys(row["method"] for row in rows):
        own = [row for row in rows if row["method"] == method]
        seeds = len({row["seed"] for row in own})
        line = [method, str(seeds)]
        for key in ("accuracy", "mean_accuracy"):
            for name in tests:
                line.append(_spread([100 * r[key] for r in own if r["test_set"] == name]))
        line += [
            f"{statistics.mean(row['seconds_per_epoch'] for row in own):.1f}",
            f"{own[0]['bytes_per_class']:g}",
            f"{own[0]['bytes_per_class_in_training']:g}",
            f"{statistics.mean(row['peak_memory_mb'] for row in own):,.0f}",
        ]
        body.append(line)
    return header, body


def _spread(values: Sequence[float]) -> str:
    """Mean and standard deviation over the seeds."""
    if len(values) < 2:
        return "".join(f"{value:.2f}" for value in values)
    return f"{statistics.mean(values):.2f} ± {statistics.stdev(values):.2f}"
