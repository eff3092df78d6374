"""What the benchmarks share: cells in processes of their own, results that grow, tables and plots.

A benchmark is a list of cells. Each is measured in a new process under a limit of time and memory
and prints its rows as they come; they are appended to a CSV file at once, so that a run which was
stopped goes on where it was. Tables and plots are made from that file.
"""

from __future__ import annotations

import argparse
import contextlib
import csv
import ctypes
import fnmatch
import json
import os
import platform
import re
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import torch

from rootspace import _memory
from rootspace._terminal import table as text_table

Row = dict[str, Any]
"""Values of a line of the results, by column; None where there is none."""

ROOT = Path(__file__).parents[1]
SLOW = 10.0
"""A call that takes more seconds than this is not repeated."""


CPU = torch.device("cpu")

NOT_RUN = "not run"
"""Status of a cell that is left out unless the run is told otherwise."""


@dataclass(frozen=True)
class Cell:
    """What one process measures.

    Attributes:
        name: unique; what `--only` patterns are matched with.
        columns: values of the columns that all its rows share.
        skip: the status to note instead of running it, or None.
    """

    name: str
    columns: Row
    skip: str | None = None


@dataclass(frozen=True)
class Settings:
    """Settings of a run that its cells need too.

    Attributes:
        threads: of torch and of the peers' libraries.
        seconds: measuring time of one figure.
        memory: bytes that a process may allocate.
        limit: seconds that a process may take.
        quick: a small form, to see that everything runs.
    """

    threads: int
    seconds: float
    memory: int
    limit: float
    quick: bool


# ------------------------------------------------------------------------- command line


def make_parser(description: str, *, limit: float) -> argparse.ArgumentParser:
    """The options that all benchmarks have."""
    threads = int(os.environ.get("OMP_NUM_THREADS") or os.cpu_count() or 1)
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--quick", action="store_true", help="small settings: under a minute")
    parser.add_argument("--only", nargs="+", metavar="PATTERN", help="cells whose names match")
    parser.add_argument("--list", action="store_true", help="print the names of the cells and stop")
    parser.add_argument("--fresh", action="store_true", help="replace earlier results")
    parser.add_argument("--out", type=Path, help="folder, runs/benchmarks by default")
    parser.add_argument("--seconds", type=float, default=2.0, help="measuring time of a figure")
    parser.add_argument("--limit", type=float, default=limit, help="seconds for a cell, at most")
    parser.add_argument(
        "--memory", type=float, default=0.9 * memory, help="GB that a cell may allocate"
    )
    parser.add_argument("--threads", type=int, default=threads, help="of torch and all libraries")
    parser.add_argument("--cell", help=argparse.SUPPRESS)
    return parser


def settings_of(options: argparse.Namespace) -> Settings:
    return Settings(
        options.threads,
        min(options.seconds, 0.05) if options.quick else options.seconds,
        int(1e9 * options.memory),
        options.limit,
        options.quick,
    )


def folder_of(options: argparse.Namespace) -> Path:
    """Quick figures stay apart from real ones."""
    folder = options.out or ROOT / "runs" / "benchmarks"
    return folder / "quick" if options.quick and options.out is None else folder


def chosen(cells: Iterable[Cell], patterns: Sequence[str] | None) -> list[Cell]:
    """The cells whose names contain a match of a pattern; all if there are no patterns.

    Raises:
        SystemExit: a pattern matches no cell.
    """
    cells = list(cells)
    if patterns is None:
        return cells
    for pattern in patterns:
        if not any(_matches(cell, pattern) for cell in cells):
            raise SystemExit(f"Argument '--only' matches no cell: {pattern!r}. See --list.")
    return [cell for cell in cells if any(_matches(cell, pattern) for pattern in patterns)]


def _matches(cell: Cell, pattern: str) -> bool:
    return fnmatch.fnmatchcase(cell.name, f"*{pattern}*")


def machine(threads: int) -> str:
    """Processor, cores, threads and torch: figures of different ones must not be mixed."""
    model = platform.processor() or platform.machine()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        match = re.search(r"model name\s*: (.+)", cpuinfo.read_text())
        model = match[1].strip() if match else model
    cores = os.cpu_count()
    return f"{model} ({platform.machine()}), {cores} cores, {threads} threads, {_versions()}"


def _versions() -> str:
    return f"torch {torch.__version__}, Python {platform.python_version()}"


# ------------------------------------------------------------------------- results


@dataclass
class Results:
    """A CSV file of rows that grows a cell at a time.

    Args:
        path: of the file, which may not exist yet.
        columns: its header; the first is the name of the cell.
        machine: written into each row.
        fresh: forget what is there.

    Raises:
        SystemExit: the file has other columns, or rows of another machine.
    """

    path: Path
    columns: Sequence[str]
    machine: str
    fresh: bool = False
    rows: list[Row] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.columns = ["cell", *self.columns, "machine"]
        self.path.parent.mkdir(parents=True, exist_ok=True)
        if self.path.exists() and not self.fresh:
            self._read()
            return
        self._write([], "w")

    def _write(self, rows: Sequence[Row], mode: Literal["w", "a"]) -> None:
        with self.path.open(mode, newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, self.columns)
            if mode == "w":
                writer.writeheader()
            writer.writerows(rows)

    def _read(self) -> None:
        with self.path.open(newline="", encoding="utf-8") as file:
            reader = csv.DictReader(file)
            if list(reader.fieldnames or ()) != self.columns:
                self._refuse(f"has the columns {reader.fieldnames}, not {self.columns}")
            self.rows = [{key: _value(text) for key, text in row.items()} for row in reader]
        for row in self.rows:
            if row["machine"] != self.machine:
                self._refuse(f"was measured on {row['machine']!r}, not on {self.machine!r}")

    def _refuse(self, why: str) -> None:
        raise SystemExit(f"{self.path} {why}: pass --fresh to replace it, or another --out.")

    def add(self, cell: Cell, rows: Sequence[Row]) -> None:
        """Append the rows of a cell, in place of a note that it was not run."""
        if any(row["cell"] == cell.name for row in self.rows):
            self.rows = [row for row in self.rows if row["cell"] != cell.name]
            self._write(self.rows, "w")
        full = [{"cell": cell.name, **cell.columns, **row, "machine": self.machine} for row in rows]
        self._write(full, "a")
        self.rows += [{column: row.get(column) for column in self.columns} for row in full]

    def is_done(self, cell: Cell) -> bool:
        rows = [row for row in self.rows if row["cell"] == cell.name]
        return bool(rows) and (cell.skip is not None or rows[-1]["status"] != NOT_RUN)

    def find(self, **wanted: Any) -> Row | None:
        """The first row with these values."""
        return next(iter(self.find_all(**wanted)), None)

    def find_all(self, **wanted: Any) -> Iterator[Row]:
        """The rows with these values, in the order of measuring."""
        for row in self.rows:
            if all(row[key] == value for key, value in wanted.items()):
                yield row


def _value(text: str) -> str | int | float | None:
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            pass
    return text or None


# ------------------------------------------------------------------------- running cells


def run(script: str, cells: Sequence[Cell], results: Results, settings: Settings) -> bool:
    """Measure the cells that are not done yet; whether all went well.

    A cell that breaks for another reason than time or memory is shown and left open.
    """
    well = True
    for number, cell in enumerate(cells, 1):
        if results.is_done(cell):
            continue
        started = time.perf_counter()
        rows = [{"status": cell.skip}] if cell.skip else _run_cell(script, cell, settings)
        took = f"{time.perf_counter() - started:.1f} s"
        if rows is None:
            well = False
            print(f"[{number}/{len(cells)}] {cell.name}: failed, {took}", file=sys.stderr)
            continue
        results.add(cell, rows)
        print(f"[{number}/{len(cells)}] {cell.name}: {rows[-1]['status']}, {took}", file=sys.stderr)
    return well


def _run_cell(script: str, cell: Cell, settings: Settings) -> list[Row] | None:
    """The rows of a cell, measured in a new process; None if it breaks."""
    text = json.dumps({"name": cell.name, "columns": cell.columns, "settings": vars(settings)})
    threads = {f"{name}_NUM_THREADS": str(settings.threads) for name in ("OMP", "OPENBLAS", "MKL")}
    try:
        done = subprocess.run(
            [sys.executable, script, "--cell", text],
            capture_output=True,
            text=True,
            check=False,
            env={**os.environ, **threads},
            timeout=settings.limit,
        )
        output, errors, code = done.stdout, done.stderr, done.returncode
    except subprocess.TimeoutExpired as expired:
        output = (expired.stdout or b"").decode()  # bytes, whatever text=True says
        errors, code = "", None
    rows = [json.loads(line) for line in output.splitlines(keepends=True) if line.endswith("}\n")]
    if code is None:
        return [*rows, {"status": f"over {settings.limit:.0f} s"}]
    if code and (code == -9 or "bad_alloc" in errors):
        # Killed by the system, or a library that ends the process where memory does.
        return [*rows, {"status": "out of memory"}]
    if code or not rows:
        print(errors, file=sys.stderr)
        return None
    return rows


def run_in_cell(text: str, measure: Callable[[Row, Settings], Iterator[Row]]) -> None:
    """The other side: measure a cell in this process and print its rows, a line of JSON each."""
    given = json.loads(text)
    settings = Settings(**given["settings"])
    torch.set_num_threads(settings.threads)
    _, most = resource.getrlimit(resource.RLIMIT_DATA)
    memory = settings.memory if most == resource.RLIM_INFINITY else min(settings.memory, most)
    resource.setrlimit(resource.RLIMIT_DATA, (memory, most))
    torch.manual_seed(0)
    try:
        for row in measure(given["columns"], settings):
            print(json.dumps({"status": "ok", **row}), flush=True)
    except (MemoryError, RuntimeError) as error:
        if not re.search(r"memory|bad_alloc", f"{type(error).__name__} {error}", re.IGNORECASE):
            raise
        print(json.dumps({"status": "out of memory"}), flush=True)


def median_ms(call: Callable[[], object], seconds: float) -> float:
    """Median milliseconds of a call that is repeated for about that many seconds.

    The first call warms up, and counts only where it is too slow to repeat.
    """
    times: list[float] = []
    while len(times) < 4 or (sum(times) < seconds and len(times) < 1000):
        start = time.perf_counter()
        call()
        times.append(time.perf_counter() - start)
        if sum(times) > SLOW:
            break
    return 1e3 * statistics.median(times[1:] or times)


def median_ms_in_turn(calls: Sequence[Callable[[], object]], seconds: float) -> list[float]:
    """`median_ms` of several calls that take turns.

    Processes, and the same process at different times, differ by more than such calls do.
    """
    times: list[list[float]] = [[] for _ in calls]
    started = time.perf_counter()
    while len(times[0]) < 5 or time.perf_counter() - started < seconds * len(calls):
        for call, own in zip(calls, times, strict=True):
            start = time.perf_counter()
            call()
            own.append(time.perf_counter() - start)
    return [1e3 * statistics.median(own[2:]) for own in times]


def reset_peak() -> float:
    """Start measuring the peak of memory; megabytes held now.

    Memory that was freed before is given back first, where the C library can: else it is counted
    as held.
    """
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).malloc_trim(0)
    _memory.reset_peak(CPU)
    return peak_megabytes()


def peak_megabytes() -> float:
    """Largest resident memory since `reset_peak`."""
    return _memory.peak_megabytes(CPU)


# ------------------------------------------------------------------------- reports


def number(value: float | None, missing: str = "") -> str:
    """Three significant digits, thousands set apart."""
    if value is None:
        return missing
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def figure(row: Row | None, column: str) -> str:
    """A value of a row; its status where it could not be measured."""
    if row is None:
        return ""
    return number(row[column]) if row["status"] == "ok" else row["status"]


def table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A Markdown table."""
    return text_table(header, list(rows), markdown=True)


def flatness(results: Results) -> str:
    """How far the time of each method that was measured in turn depends on the classes."""
    lines: dict[str, list[Row]] = {}
    for row in results.find_all(part="in turn", status="ok"):
        lines.setdefault(f"{row['method']}, {row['system']}, batch {row['batch']}", []).append(row)
    body = []
    for name, rows in lines.items():
        times = [row["ms"] for row in rows]
        counts = [row["classes"] for row in rows]
        body.append(
            [
                name,
                f"{min(counts):,} to {max(counts):,}",
                f"{number(min(times))} to {number(max(times))}",
                f"{max(times) / min(times):.3f}",
            ]
        )
    return table(["ours, in turn in one process", "classes", "ms", "largest / smallest"], body)


@dataclass(frozen=True)
class Panel:
    """One pair of axes of a plot.

    Attributes:
        label: of the y axis.
        lines: name -> points (classes, value); names that start with "rootspace" are drawn bold.
        levels: name -> value of a dashed horizontal line.
    """

    label: str
    lines: dict[str, list[tuple[float, float]]]
    levels: dict[str, float] = field(default_factory=dict)


def plot(path: Path, title: str, panels: Sequence[Panel]) -> None:
    """Values against the number of classes, both logarithmic."""
    import matplotlib  # noqa: PLC0415 - not in the process of each cell

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt  # noqa: PLC0415

    names = list(dict.fromkeys(name for panel in panels for name in panel.lines))
    palette = plt.get_cmap("tab20")
    colors = {name: palette(number) for number, name in enumerate(names)}
    figure, axes = plt.subplots(1, len(panels), figsize=(11, 5), layout="constrained")
    for axis, panel in zip(axes, panels, strict=True):
        for name, points in panel.lines.items():
            style = {"linewidth": 2.5} if name.startswith("rootspace") else {"linewidth": 1.2}
            x, y = zip(*sorted(points), strict=True) if points else ((), ())
            axis.loglog(x, y, marker="o", markersize=4, label=name, color=colors[name], **style)
        for name, level in panel.levels.items():
            axis.axhline(level, linestyle="--", color="gray", label=name)
        axis.set(xlabel="classes", ylabel=panel.label)
        axis.grid(alpha=0.3)
    handles = {}
    for axis in axes:
        handles.update(dict(zip(*reversed(axis.get_legend_handles_labels()), strict=True)))
    figure.legend(handles.values(), handles, loc="outside lower center", ncols=3, fontsize="small")
    figure.suptitle(title, fontsize="medium")
    figure.savefig(path, dpi=110)
    plt.close(figure)
