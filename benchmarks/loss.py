"""Forward and backward of the losses against the number of classes: time and peak memory.

    python benchmarks/loss.py [--quick] [--out benchmarks/results]

`SystemSoftmaxLoss` and `CosineLoss` over A_384 with one interpolation (56,770,560 vectors) against
a learned linear layer with cross-entropy, for 1e3 to 5e7 classes; batch 256, dimension 384,
float32. Memory is the growth of the resident set of a process for each cell; the times of our
losses are taken in turn in one process. The linear layer has no optimiser state here; AdamW would
add twice its weights. It stops where memory ends.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import platform
import resource
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import matplotlib
import matplotlib.pyplot as plt
import torch

from rootspace import ClassMap
from rootspace.losses import CosineLoss, SystemSoftmaxLoss
from rootspace.systems import RootA
from rootspace.train.memory import peak_megabytes, reset_peak

matplotlib.use("Agg")

BATCH, DIM = 256, 384
METHODS = ("linear + cross-entropy", "CosineLoss", "SystemSoftmaxLoss")
COUNTS = (1_000, 10_000, 100_000, 1_000_000, 10_000_000, 50_000_000)


class LinearCE(torch.nn.Module):
    def __init__(self, num_classes: int) -> None:
        super().__init__()
        self.layer = torch.nn.Linear(DIM, num_classes)

    def forward(self, z: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        return torch.nn.functional.cross_entropy(self.layer(z), labels)


def make(method: str, num_classes: int) -> torch.nn.Module:
    if method == METHODS[0]:
        return LinearCE(num_classes)
    classes = ClassMap(RootA(DIM, interpolations=1), num_classes)
    return CosineLoss(classes) if method == METHODS[1] else SystemSoftmaxLoss(classes)


def measure(method: str, num_classes: int, seconds: float) -> dict[str, float]:
    """One cell, in this process: median milliseconds of a step, megabytes."""
    torch.set_num_threads(os.cpu_count() or 1)
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    resource.setrlimit(resource.RLIMIT_DATA, (int(0.9 * memory),) * 2)
    torch.manual_seed(0)
    z = torch.randn(BATCH, DIM, requires_grad=True)
    torch.nn.functional.normalize(z).sum().backward()  # start the threads
    cpu = torch.device("cpu")
    reset_peak(cpu)
    before = peak_megabytes(cpu)
    loss = make(method, num_classes)
    times: list[float] = []
    while len(times) < 3 or (sum(times) < seconds and len(times) < 200):
        labels = torch.randint(num_classes, (BATCH,))
        start = time.perf_counter()
        loss(z, labels).backward()
        times.append(time.perf_counter() - start)
    return {"ms": 1e3 * statistics.median(times[1:]), "mb": peak_megabytes(cpu) - before}


def measure_in_turn(method: str, counts: list[int], seconds: float) -> list[float]:
    """Median milliseconds of a step for each number of classes, all in this process, in turn.

    Processes differ from one another by more than the numbers of classes do.
    """
    torch.set_num_threads(os.cpu_count() or 1)
    losses = [make(method, count) for count in counts]
    z = torch.randn(BATCH, DIM, requires_grad=True)
    times: list[list[float]] = [[] for _ in counts]
    started = time.perf_counter()
    while len(times[0]) < 5 or time.perf_counter() - started < seconds * len(counts):
        for loss, count, own in zip(losses, counts, times, strict=True):
            labels = torch.randint(count, (BATCH,))
            start = time.perf_counter()
            loss(z, labels).backward()
            own.append(time.perf_counter() - start)
    return [1e3 * statistics.median(own[2:]) for own in times]


def cell(method: str, num_classes: int, seconds: float) -> dict[str, float] | None:
    """One cell in a new process; None where memory ends."""
    done = run_again("--cell", method, str(num_classes), "--seconds", str(seconds))
    if done.returncode:
        if "memory" in done.stderr or done.returncode == -9:
            return None
        raise RuntimeError(done.stderr)
    return json.loads(done.stdout)


def run_again(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, __file__, *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def markdown(rows: list[dict[str, Any]], counts: tuple[int, ...]) -> str:
    """A line for each number of classes, time and memory for each method."""
    found = {(row["method"], row["classes"]): row for row in rows}
    lines = [
        "| classes | " + " | ".join(f"{m}: ms | MB" for m in METHODS) + " | CE / system softmax |",
        "|---" * (2 * len(METHODS) + 2) + "|",
    ]
    for count in counts:
        cells = []
        for method in METHODS:
            row = found[method, count]
            fits = row["ms"] is not None
            cells += [f"{row['ms']:.1f}", f"{row['mb']:,.0f}"] if fits else ["out of memory", ""]
        ce, ours = found[METHODS[0], count]["ms"], found[METHODS[2], count]["ms"]
        ratio = f"{ce / ours:.2g}" if ce is not None else ""
        lines.append(f"| {count:,} | " + " | ".join(cells) + f" | {ratio} |")
    return "\n".join(lines)


def plot(rows: list[dict[str, Any]], path: Path) -> None:
    """Time and memory against the number of classes, both logarithmic."""
    figure, axes = plt.subplots(1, 2, figsize=(9, 3.2), layout="constrained")
    for axis, key, label in zip(axes, ("ms", "mb"), ("ms a step", "peak memory, MB"), strict=True):
        for method in METHODS:
            cells = [r for r in rows if r["method"] == method and r[key] is not None]
            x, y = [r["classes"] for r in cells], [max(float(str(r[key])), 0.1) for r in cells]
            axis.loglog(x, y, marker="o", label=method)
        axis.set(xlabel="classes", ylabel=label)
        axis.grid(alpha=0.3)
    axes[0].legend(frameon=False, fontsize="small")
    figure.suptitle(f"loss forward + backward, batch {BATCH}, dim {DIM}", fontsize="medium")
    figure.savefig(path, dpi=110)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="up to 100,000 classes, in seconds")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results")
    parser.add_argument("--seconds", type=float, default=3.0, help="measuring time of a cell")
    parser.add_argument("--cell", nargs=2, help=argparse.SUPPRESS)
    parser.add_argument("--in_turn", nargs="+", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.in_turn:
        counts_given = [int(count) for count in options.in_turn[1:]]
        print(json.dumps(measure_in_turn(options.in_turn[0], counts_given, options.seconds)))
        return
    if options.cell:
        print(json.dumps(measure(options.cell[0], int(options.cell[1]), options.seconds)))
        return
    counts = COUNTS[:3] if options.quick else COUNTS
    seconds = 0.3 if options.quick else options.seconds
    rows: list[dict[str, Any]] = []
    for count in counts:
        for method in METHODS:
            result = cell(method, count, seconds) or {"ms": None, "mb": None}
            rows.append({"method": method, "classes": count, **result})
            print(rows[-1], file=sys.stderr)
    for method in METHODS[1:]:
        done = run_again("--seconds", str(seconds), "--in_turn", method, *map(str, counts))
        done.check_returncode()
        for row, ms in zip(
            [r for r in rows if r["method"] == method], json.loads(done.stdout), strict=True
        ):
            row["ms"] = ms
    machine = f"{os.cpu_count()} cores ({platform.machine()}), torch {torch.__version__}"
    table = markdown(rows, counts)
    options.out.mkdir(parents=True, exist_ok=True)
    with (options.out / "loss.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, fieldnames=list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    plot(rows, options.out / "loss.png")
    text = f"batch {BATCH}, dim {DIM}, float32, {machine}\n\n{table}\n"
    (options.out / "loss.md").write_text(text)
    print(text)


if __name__ == "__main__":
    main()
