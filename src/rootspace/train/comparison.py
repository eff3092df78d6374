"""Several methods and seeds on the same data: one table, one report."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from rootspace._files import write_json, write_text
from rootspace._terminal import say, table
from rootspace.config import Config
from rootspace.report import write_report
from rootspace.runs import RunRecord
from rootspace.runs.folder import MANIFEST
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


@dataclass(frozen=True)
class FinishedRun:
    """A row of `comparison.json`.

    Attributes:
        method: its name in the recipe.
        seed: of it.
        run: its folder, relative to that of the comparison.
        placed: non-zero coordinates of the prototypes, where they all have equally many.
        record: its final figures.
    """

    method: str
    seed: int
    run: str
    placed: int | None
    record: RunRecord


def compare(planned: Sequence[PlannedRun], out: Path) -> list[FinishedRun]:
    """Train what is not there yet, each run in a process of its own, and write the comparison.

    A finished run is kept if its settings are those planned; an interrupted one is continued.
    `comparison.json` and `comparison.md` are written after every run, the report at the end; they
    hold all finished runs of the folder, those of earlier calls too.

    Args:
        planned: the runs.
        out: folder of the comparison.

    Returns:
        The rows of `comparison.json`, one for each run.

    Raises:
        ValueError: a run of other settings is there,
            or a run failed; those before it are kept.
    """
    rows: list[FinishedRun] = []
    for number, run in enumerate(planned, 1):
        folder = out / RUNS / run.method / f"seed{run.seed}"
        settings = replace(run.config.run, dir=str(folder), class_means=True, baselines=[])
        say(f"[{number}/{len(planned)}] {run.method}, seed {run.seed}")
        train_in_process(replace(run.config, run=settings))
        rows = [_finished_run(some) for some in _finished(out, planned)]
        write_json(out / COMPARISON, [as_json(row) for row in rows])
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
    found = [path.parent for path in (out / RUNS).glob(f"*/seed*/{MANIFEST}")]

    def place(folder: Path) -> tuple[int, str, int]:
        method = folder.parent.name
        known = order.index(method) if method in order else len(order)
        return known, method, int(folder.name.removeprefix("seed"))

    return sorted(found, key=place)


def _finished_run(folder: Path) -> FinishedRun:
    record = RunRecord.read(folder)
    return FinishedRun(
        folder.parent.name,
        int(folder.name.removeprefix("seed")),
        str(folder.relative_to(folder.parents[2])),
        None if record.system is None else _num_placed(record.system),
        record,
    )


def _num_placed(text: str) -> int | None:
    """Non-zero coordinates of the vectors, where they all have equally many."""
    try:
        system = system_from(text)
    except ValueError:  # a table has no name that describes it
        return None
    if not isinstance(system, Orbit):
        return None
    return sum(system.multiplicities.values())


def cells(runs: Sequence[FinishedRun]) -> tuple[list[str], list[list[str]]]:
    """Header and lines of the table: means and spreads over the seeds, one line a method."""
    tests = list(dict.fromkeys(name for run in runs for name in run.record.test))
    header = ["method", "seeds", *tests, *(f"{name}, by means" for name in tests)]
    header += ["s/epoch", "bytes/class", "in training", "peak MB"]
    body = []
    for method in dict.fromkeys(run.method for run in runs):
        own = [run for run in runs if run.method == method]
        records = [run.record for run in own]
        results = [[r.test[name] for r in records if name in r.test] for name in tests]
        body.append(
            [
                method,
                str(len({run.seed for run in own})),
                *(_spread([r.accuracy for r in some]) for some in results),
                *(_spread([r.mean_accuracy for r in some]) for some in results),
                f"{statistics.mean(r.seconds_per_epoch for r in records):.1f}",
                f"{records[0].bytes_per_class:g}",
                f"{records[0].training_bytes_per_class:g}",
                f"{statistics.mean(r.peak_memory_mb or math.nan for r in records):,.0f}",
            ]
        )
    return header, body


def _spread(fractions: Sequence[float | None]) -> str:
    """Mean and standard deviation over the seeds, in percent."""
    values = [100 * value for value in fractions if value is not None]
    if len(values) < 2:
        return "".join(f"{value:.2f}" for value in values)
    return f"{statistics.mean(values):.2f} ± {statistics.stdev(values):.2f}"
