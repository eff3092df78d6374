"""A small network that learns from a large one: by its logits, or by its embeddings (Sec. 6.5).

    python benchmarks/distillation.py [--quick] [--out runs/distillation] [--only METHOD ...]
        [--seeds 0 1 2]

Characters in the fonts of matplotlib. Two teachers of the same network, a learned normalized
softmax and prototypes with their defaults; a student of a quarter of their width, trained by
itself, by the logits of the first teacher (Hinton et al., arXiv 1503.02531), and with each kind of
target of `rootspace distill`. Loader, batches, epochs and precision are the same for all; each run
has a process of its own, for its peak of memory. At the end a step of each method is timed in turn
with the others on the same batches, as other work on the machine disturbs whole runs. Runs that are
complete are not trained again.
"""

from __future__ import annotations

import argparse
import json
import math
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from _common import median_ms_in_turn, table
from _runs import results_folder, succeed
from torch import Tensor, nn

from rootspace._cpu import has_bfloat16
from rootspace.data import DataModule, make_data
from rootspace.distill.targets import IMAGES
from rootspace.heads import LearnedHead, LinearHead
from rootspace.model_file import Model
from rootspace.models import Embedder, Encoder
from rootspace.run import load
from rootspace.runs import EpochRow, RunRecord
from rootspace.runs.folder import TARGETS, is_finished, read_config
from rootspace.train.training import fit

Row = dict[str, Any]
DIM = 256
REFERENCE = "ce"
TEACHER = "teacher/"


@dataclass
class Size:
    """How much is trained."""

    data: list[str] = field(default_factory=list)
    width: int = 32
    student: int = 8
    epochs: int = 7
    precision: str = "bf16" if has_bfloat16() else "32"
    seconds: float = 20.0


QUICK = Size(
    ["--data.num_classes=40", "--data.image_size=16", "--loader.batch_size=64"], 8, 4, 1, "32", 0.1
)

TEACHERS = {
    "learned": ["--head=NormalizedHead", f"--head.dim={DIM}"],
    "prototypes": [],
}


@dataclass
class Method:
    """How a student is trained.

    Attributes:
        options: of `rootspace train`, or of `rootspace distill` with a teacher.
        teacher: one of `TEACHERS`, None for none.
        temperature: of logit distillation, None for another method.
    """

    options: list[str] = field(default_factory=list)
    teacher: str | None = None
    temperature: float | None = None


# The learning rate of a linear layer is the best of docs/comparison.md.
LINEAR = ["--head=LinearHead", f"--head.dim={DIM}", "--train.lr=3e-3"]
METHODS = {
    REFERENCE: Method(LINEAR),
    "normalized_softmax": Method(["--head=NormalizedHead", f"--head.dim={DIM}"]),
    "prototypes": Method(),
    "logits, T=2": Method(LINEAR, "learned", 2.0),
    "logits, T=4": Method(LINEAR, "learned", 4.0),
    "codes": Method(["--teacher.targets=codes"], "learned"),
    "means": Method(["--teacher.targets=means"], "learned"),
    "images": Method(["--teacher.targets=images"], "learned"),
    "own": Method(["--teacher.targets=own"], "prototypes"),
}


class Remembering(Embedder):
    """Keeps the images of the last batch, which a teacher wants to see too."""

    def forward(self, x: Tensor) -> Tensor:
        self.images = x
        return super().forward(x)


class LogitDistillation(LinearHead):
    """The logits of a teacher as soft targets, beside the labels (arXiv 1503.02531).

    Args:
        teacher: with a learned head; embeds each batch anew.
        embedder: of the student.
        temperature: of both softmaxes; the loss of the soft targets is multiplied by its square.
        weight: of the soft targets, the rest is that of the labels.
    """

    def __init__(
        self, teacher: Model, embedder: Remembering, temperature: float, weight: float = 0.9
    ) -> None:
        super().__init__(teacher.head.num_classes, DIM, names=teacher.head.names)
        self.temperature, self.soft = temperature, weight
        self._frozen = (teacher, embedder)  # no modules of this one: not trained, not saved

    def forward(
        self, embeddings: Tensor, labels: Tensor, *, targets: Tensor | None = None
    ) -> Tensor:
        teacher, embedder = self._frozen
        assert isinstance(teacher.head, LearnedHead)
        with torch.no_grad():
            logits = teacher.head.logits(teacher.embedder(embedder.images).float())
            wanted = (logits.float() / self.temperature).log_softmax(dim=-1)
        own = self.logits(embeddings.float())
        found = (own / self.temperature).log_softmax(dim=-1)
        soft = nn.functional.kl_div(found, wanted, reduction="batchmean", log_target=True)
        hard = nn.functional.cross_entropy(own, labels)
        return self.soft * self.temperature**2 * soft + (1 - self.soft) * hard


def arguments_of(size: Size, width: int, seed: int, folder: Path) -> list[str]:
    return [
        *("--data=Characters", *size.data, f"--model.width={width}"),
        *(f"--train.epochs={size.epochs}", f"--train.precision={size.precision}"),
        *(f"--train.seed={seed}", f"--run.dir={folder}"),
    ]


def train(out: Path, name: str, size: Size, seed: int) -> None:
    """Train a teacher, named "teacher/NAME", or a student."""
    folder = folder_of(out, name, seed)
    if name.startswith(TEACHER):
        options = TEACHERS[name.removeprefix(TEACHER)]
        succeed("train", *options, *arguments_of(size, size.width, seed, folder))
        return
    method = METHODS[name]
    given = [*method.options, *arguments_of(size, size.student, seed, folder)]
    if method.teacher is None:
        succeed("train", *given)
    elif method.temperature is None:
        teacher = folder_of(out, f"{TEACHER}{method.teacher}", 0)
        succeed("distill", f"--teacher.run={teacher}", *given)
    else:
        by_logits(out, method, size, seed, folder)


def by_logits(out: Path, method: Method, size: Size, seed: int, folder: Path) -> None:
    """The baseline: the loop of `rootspace train` with a teacher in it."""
    config = read_config(folder_of(out, REFERENCE, seed))
    config = replace(config, run=replace(config.run, dir=str(folder)))
    data = make_data(config)
    data.setup()
    torch.manual_seed(seed)
    model = logit_model(out, method, size, data)
    folder.mkdir(parents=True)
    fit(config, folder, data, model)


def logit_model(out: Path, method: Method, size: Size, data: DataModule) -> Model:
    shape = data.preprocessing
    assert shape is not None and method.temperature is not None
    embedder = Remembering(Encoder(DIM, shape.channels, size.student), shape.mean, shape.std)
    teacher = load(folder_of(out, f"{TEACHER}{method.teacher}", 0)).model
    return Model(embedder, LogitDistillation(teacher, embedder, method.temperature), shape)


def folder_of(out: Path, name: str, seed: int) -> Path:
    return out / f"{name.replace(', T=', '_t').replace('/', '_')}_{seed}"


def in_a_process(out: Path, name: str, seed: int, quick: bool) -> None:
    """Train what is not there yet."""
    if is_finished(folder_of(out, name, seed)):
        return
    command = [sys.executable, __file__, f"--out={out}", "--cell", name, "--seeds", str(seed)]
    subprocess.run(
        [*command, *(["--quick"] if quick else [])], check=True, stdout=subprocess.DEVNULL
    )


# ------------------------------------------------------------------------- a step of each


def make_step(
    out: Path, name: str, seed: int, size: Size, data: DataModule, images: Tensor, labels: Tensor
) -> Callable[[], None]:
    """A training step: the network, its loss, AdamW; of prototypes once they are chosen."""
    method, folder = METHODS[name], folder_of(out, name, seed)
    if method.temperature is None:
        model = load(folder).model
    else:
        model = logit_model(out, method, size, data)
    whole = nn.ModuleList([model.embedder, model.head]).train()
    optimizer = torch.optim.AdamW(whole.parameters(), lr=1e-5)
    path = folder / TARGETS / IMAGES
    targets = np.load(path, mmap_mode="r") if path.exists() else None
    rows = np.random.default_rng(0).integers(len(data.train_dataset), size=len(labels))

    def step() -> None:
        own = None if targets is None else torch.from_numpy(targets[rows])
        with torch.autocast("cpu", torch.bfloat16, enabled=size.precision == "bf16"):
            loss = model.head(model.embedder(images), labels, targets=own)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

    return step


def times(out: Path, names: Sequence[str], size: Size, seed: int) -> dict[str, float]:
    """Milliseconds of a step of each method, in turn on the same batch."""
    first = load(folder_of(out, names[0], seed))
    data = make_data(first.config)
    data.setup()
    images, labels, *_ = next(iter(data.train_loader(first.model.head, seed)))
    steps = [make_step(out, name, seed, size, data, images, labels) for name in names]
    return dict(zip(names, median_ms_in_turn(steps, size.seconds), strict=True))


# ------------------------------------------------------------------------- report


def row_of(out: Path, name: str, seed: int) -> Row:
    record = RunRecord.read(folder_of(out, name, seed))
    accuracy = {test: result.accuracy for test, result in record.test.items()}
    curve = []
    for row in EpochRow.read(folder_of(out, name, seed)):
        tests = [row.tests[test] for test in accuracy]
        if not any(map(math.isnan, tests)):
            curve.append((row.seconds, *tests))
    return {
        "method": name,
        "seed": seed,
        "accuracy": accuracy,
        "seconds": record.seconds,
        "peak_mb": record.peak_memory_mb,
        "bytes_per_class": record.bytes_per_class,
        "curve": curve,
    }


def report(rows: Sequence[Row], step_ms: dict[str, float]) -> str:
    """A line a method: accuracy on each test set, time, memory; the best within equal seconds."""
    tests = list(rows[0]["accuracy"])
    budget = min(row["seconds"] for row in rows if not row["method"].startswith(TEACHER))
    header = ["method", "seeds", *tests, f"at {budget:.0f} s", "step", "s/epoch", "peak MB"]
    lines = []
    for name in dict.fromkeys(row["method"] for row in rows):
        own = [row for row in rows if row["method"] == name]
        scores = [100 * np.array([row["accuracy"][test] for row in own]) for test in tests]
        early = [
            max(
                (float(np.mean(tests)) for seconds, *tests in row["curve"] if seconds <= budget),
                default=0.0,
            )
            for row in own
        ]
        epochs = len(own[0]["curve"])
        lines.append(
            [
                name,
                str(len(own)),
                *(
                    f"{s.mean():.1f}" + (f" ± {s.std(ddof=1):.1f}" if len(s) > 1 else "")
                    for s in scores
                ),
                f"{100 * np.mean(early):.1f}",
                f"{step_ms[name] / step_ms[REFERENCE]:.2f}x" if name in step_ms else "",
                f"{np.mean([row['seconds'] for row in own]) / max(1, epochs):.1f}",
                f"{np.mean([row['peak_mb'] for row in own]):.0f}",
            ]
        )
    return table(header, lines)


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path("runs/distillation"))
    parser.add_argument("--quick", action="store_true", help="every method once, about a minute")
    parser.add_argument("--only", nargs="+", choices=list(METHODS), metavar="METHOD")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0], help="of the students")
    parser.add_argument("--cell", help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    size = QUICK if options.quick else Size()
    if options.cell:
        train(options.out, options.cell, size, options.seeds[0])
        return
    results_folder(options.out, size)
    names = list(dict.fromkeys([REFERENCE, *(options.only or METHODS)]))
    teachers = {METHODS[name].teacher: None for name in names}
    runs = [(TEACHER + name, 0) for name in teachers if name]
    runs += [(name, seed) for seed in options.seeds for name in names]
    for name, seed in runs:
        in_a_process(options.out, name, seed, options.quick)
    rows = [row_of(options.out, name, seed) for name, seed in runs]
    step_ms = times(options.out, names, size, options.seeds[0])
    found = {"rows": rows, "step_ms": step_ms}
    (options.out / "distillation.json").write_text(json.dumps(found, indent=1), encoding="utf-8")
    text = report(rows, step_ms)
    (options.out / "distillation.md").write_text(text + "\n", encoding="utf-8")
    print(text)


if __name__ == "__main__":
    main(sys.argv[1:])
