"""Classes added in steps to twice the number: what becomes of the old ones (Fig. 7, Fig. 10b).

    python benchmarks/growing.py [--quick] [--out runs/growing] [--only METHOD ...] [--seeds 0 1 2]

Characters in the fonts of matplotlib: a run on the first classes, then steps of `rootspace extend`
that bring a quarter of their number each. Against it learned heads whose weight matrix grows by
rows, on the same data, batches, epochs and, with the policy `balanced`, the very same memory, with
and without what `rootspace extend` does by default to hold the embeddings of old classes (`_held`);
and training without a memory. Each method is trained at several learning rates, relative to that
from scratch. Old classes are those from before a step; they are read among all classes after every
epoch, and before the first. Runs that are complete are not trained again.
"""

from __future__ import annotations

import argparse
import json
import math
import shutil
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from _common import table
from _learned import extend_learned
from _runs import results_folder, succeed

from rootspace.config import ClassSpec
from rootspace.data import Characters, make_data
from rootspace.run import load
from rootspace.runs import EpochRow, RunRecord, TestResult
from rootspace.runs.folder import START, is_finished, read_config
from rootspace.runs.record import as_json
from rootspace.train.evaluation import accuracies

Row = dict[str, Any]
STEPS = 4
CHARACTERS = "rootspace.data.Characters"


@dataclass
class Method:
    """How a run is extended.

    Attributes:
        learned: a normalized softmax with a row of weights a class, instead of prototypes.
        imprinted: new rows are the mean embeddings of their classes (arXiv 1712.07136), not random.
        memory: whether old images are repeated.
        held: whether embeddings of old classes are held (`memory.distillation`).
    """

    learned: bool = False
    imprinted: bool = False
    memory: bool = True
    held: bool = False


METHODS = {
    "prototypes": Method(held=True),
    "prototypes_not_held": Method(),
    "learned_imprinted": Method(learned=True, imprinted=True),
    "learned_imprinted_held": Method(learned=True, imprinted=True, held=True),
    "learned": Method(learned=True),
    "learned_held": Method(learned=True, held=True),
    "prototypes_no_memory": Method(memory=False),
    "learned_no_memory": Method(learned=True, memory=False),
}


@dataclass
class Size:
    """How much is trained."""

    classes: int = 1000
    memory: int = 2000
    image_size: int = 32
    width: int = 16
    batch_size: int = 256
    epochs: int = 7
    step_epochs: int = 4
    rates: tuple[float, ...] = (0.03, 0.1, 0.3)


QUICK = Size(40, 60, 16, 4, 64, 3, 1, (0.1,))


def characters_of_steps(size: Size, seed: int) -> list[str]:
    """Disjoint ranges for the first run and each step, of characters that all look different."""
    content = Characters(image_size=size.image_size).read()
    number = size.classes // STEPS
    names = np.random.default_rng(seed).permutation(list(content.class_names))
    names = names[: size.classes + STEPS * number]
    parts = np.split(names, range(size.classes, len(names), number))
    return [",".join(f"U+{ord(name):04X}" for name in part) for part in parts]


def train_first(folder: Path, size: Size, characters: str, learned: bool, seed: int) -> None:
    head = ["--head=NormalizedHead", "--head.dim=256"] if learned else []
    succeed(
        "train",
        f"--run.dir={folder}",
        "--data=Characters",
        f"--data.ranges={characters}",
        f"--data.image_size={size.image_size}",
        f"--loader.batch_size={size.batch_size}",
        f"--model.width={size.width}",
        f"--train.epochs={size.epochs}",
        f"--train.seed={seed}",
        *head,
    )


def extend_prototypes(
    run: Path, folder: Path, size: Size, characters: str, memory: int, lr: float, held: bool
) -> dict[str, TestResult]:
    """A step of `rootspace extend`; accuracies before its training."""
    not_held = [] if held else ["--memory.distillation=0"]
    succeed(
        *("extend", str(run), f"--run.dir={folder}"),
        *("--data=Characters", f"--data.ranges={characters}"),
        f"--data.image_size={size.image_size}",
        *(f"--memory.size={memory}", f"--train.epochs={size.step_epochs}", f"--train.lr={lr}"),
        *not_held,
    )
    data = make_data(read_config(folder))
    data.setup()
    return accuracies(load(folder / START).model, data)


def rows_of(folder: Path, before: Row | None, step: int) -> Iterator[Row]:
    """Accuracy of the classes of the first run, of all old ones, new ones and all, by epoch."""
    images = {name: test.images for name, test in RunRecord.read(folder).test.items()}
    epochs = [] if before is None else [{name: test["accuracy"] for name, test in before.items()}]
    for row in EpochRow.read(folder):
        epochs.append({name: value for name, value in row.tests.items() if not math.isnan(value)})
    for epoch, accuracy in enumerate(epochs, 0 if before else 1):
        if not accuracy:  # no prototypes yet
            continue
        groups = {
            "first": [name for name in images if step_of(name) == 0],
            "old": [name for name in images if step_of(name) < step],
            "new": [name for name in images if step_of(name) == step],
            "all": list(images),
        }
        yield {"step": step, "epoch": epoch} | {
            group: sum(accuracy[n] * images[n] for n in names) / sum(images[n] for n in names)
            for group, names in groups.items()
            if names
        }


def step_of(test: str) -> int:
    """A test set's step, by the folder in its name."""
    _, at, folder = test.rpartition("@")
    return int(folder.rpartition("_")[2]) if at else 0


def grow(out: Path, name: str, size: Size, rate: float, seed: int) -> list[Row]:
    """All steps of a method at a learning rate."""
    method, characters = METHODS[name], characters_of_steps(size, seed)
    kind = "learned" if method.learned else "prototypes"
    run = out / f"first_{kind}_{seed}"
    if not is_finished(run):
        train_first(run, size, characters[0], method.learned, seed)
    found = list(rows_of(run, None, 0))[-1:]
    lr = rate * load(run).model.embedder.default_lr
    for step, some in enumerate(characters[1:], 1):
        folder = out / f"{name}_{rate}_{seed}_{step}"
        saved = out / f"{folder.name}.json"
        if not saved.exists():
            shutil.rmtree(folder, ignore_errors=True)  # of a process that was killed here
            memory = size.memory if method.memory else 0
            if method.learned:
                before = extend_learned(
                    run,
                    folder,
                    ClassSpec(CHARACTERS, {"ranges": some, "image_size": size.image_size}),
                    epochs=size.step_epochs,
                    lr=lr,
                    memory=memory,
                    imprinted=method.imprinted,
                    held=method.held,
                    scored=True,
                )
            else:
                before = extend_prototypes(run, folder, size, some, memory, lr, method.held)
            assert before is not None
            saved.write_text(json.dumps(as_json(before)), encoding="utf-8")
        before = json.loads(saved.read_text(encoding="utf-8"))
        found += rows_of(folder, before, step)
        run = folder
    return [{"method": name, "rate": rate, "seed": seed, **row} for row in found]


def report(rows: Sequence[Row]) -> str:
    """A line a method and rate: old classes after each step and at their lowest, the end; %."""
    last = max(row["step"] for row in rows)
    header = ["method", "rate", "before", *(f"step {s}" for s in range(1, last + 1))]
    header += ["lowest", "first classes", "all classes"]
    lines = []
    for key in dict.fromkeys((row["method"], row["rate"]) for row in rows):
        own = [row for row in rows if (row["method"], row["rate"]) == key]
        ends = [final(own, step) for step in range(last + 1)]
        olds = [[row["old"] for row in end] for end in ends[1:]]
        lowest = [
            min(row["old"] for row in own if row["seed"] == seed and row["step"])
            for seed in {row["seed"] for row in own}
        ]
        values = [[row["all"] for row in ends[0]], *olds, lowest]
        values += [[row[group] for row in ends[-1]] for group in ("first", "all")]
        lines.append([key[0], f"{key[1]:g}", *(f"{100 * np.mean(v):.1f}" for v in values)])
    return table(header, lines)


def final(rows: Sequence[Row], step: int) -> list[Row]:
    """The last epoch of a step, for each seed."""
    return list({row["seed"]: row for row in rows if row["step"] == step}.values())


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path("runs/growing"))
    parser.add_argument("--quick", action="store_true", help="every method once, under a minute")
    parser.add_argument("--only", nargs="+", choices=list(METHODS), metavar="METHOD")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--rates", type=float, nargs="+", help="learning rates, 1 as from scratch")
    parser.add_argument("--memory", type=int, help="images of old classes to repeat")
    options = parser.parse_args(arguments)
    size = QUICK if options.quick else Size()
    size.memory = size.memory if options.memory is None else options.memory
    results_folder(options.out, size)
    rows: list[Row] = []
    for seed in options.seeds:
        for name in options.only or METHODS:
            for rate in options.rates or size.rates:
                rows += grow(options.out, name, size, rate, seed)
    (options.out / "growing.json").write_text(json.dumps(rows, indent=1), encoding="utf-8")
    text = report(rows)
    (options.out / "growing.md").write_text(text + "\n", encoding="utf-8")
    print(text)


if __name__ == "__main__":
    main(sys.argv[1:])
