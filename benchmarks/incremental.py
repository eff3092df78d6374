"""Classes that come a few at a time, from nothing: accuracy, forgetting, memory (Split ...).

    python benchmarks/incremental.py [--quick] [--out runs/incremental] [--only METHOD ...]
        [--data fashion characters] [--seeds 0 1 2] [--rates 0.1 0.3 1] [--avalanche]

Split Fashion-MNIST (five experiences of two classes) and Split Characters (five of twenty, in the
fonts of matplotlib). A test image is read among all classes so far, and nothing says which
experience it is from. Runs with prototypes grow by `rootspace extend`; against them learned heads
whose weight matrix grows by rows on the same batches and the same memory, and with --avalanche
strategies of that library on the same images, network, epochs and size of memory. Learning rates
are relative to that from scratch, which the first experience has. The first seed tries every rate,
the others the one of best average accuracy. Runs that are complete are not trained again.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import shutil
import statistics
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from _common import table
from _learned import extend_learned
from _runs import accuracy_by_name, results_folder, succeed
from PIL import Image
from torch.nn.functional import normalize

from rootspace._files import write_json, write_text
from rootspace.config import ClassSpec
from rootspace.data import (
    Characters,
    Content,
    DataModule,
    FashionMNIST,
    ImageFolder,
    Joined,
    StoredImages,
)
from rootspace.run import load
from rootspace.runs import RunRecord
from rootspace.runs.folder import REPLAY, START, is_finished

Row = dict[str, Any]
Matrix = list[list[float]]
"""Accuracies: after experience i, on the test images of experience j <= i."""


@dataclass
class Size:
    """A protocol, and how much is trained.

    Attributes:
        experiences: how often classes come.
        classes: so many come each time.
        images: for training, at most so many of each class.
        tests: for testing, likewise.
        memory: images that are repeated at most, of all old classes together.
        image_size: height and width in pixels.
        width: of the encoder.
        dim: of the embeddings, but for roots.
        batch_size: images.
        epochs: of each experience.
    """

    experiences: int
    classes: int
    images: int
    tests: int
    memory: int
    image_size: int = 32
    width: int = 8
    dim: int = 256
    batch_size: int = 64
    epochs: int = 5


SIZES = {
    "fashion": Size(5, 2, images=300, tests=200, memory=200, batch_size=64, epochs=5),
    "characters": Size(5, 20, images=10, tests=2, memory=100, batch_size=32, epochs=10),
}
QUICK = {
    "fashion": Size(3, 2, images=40, tests=20, memory=24, width=4, dim=32, batch_size=32, epochs=2),
    "characters": Size(3, 4, 10, 2, memory=16, image_size=16, width=4, dim=32, batch_size=32),
}
RATES = (0.1, 0.3, 1.0)
WARMUP_STEPS = 20
"""Of the learning rate: an experience has a hundred steps or so."""


@dataclass(frozen=True)
class Method:
    """How classes are added.

    Attributes:
        learned: a normalized softmax with a row of weights a class, instead of prototypes.
        chosen: prototypes are chosen from the data, not by a formula.
        memory: whether old images are repeated.
        held: whether their embeddings are held where they were, too.
        joint: not at all: all classes are trained on together, from scratch.
    """

    learned: bool = False
    chosen: bool = True
    memory: bool = True
    held: bool = False
    joint: bool = False

    @property
    def kind(self) -> str:
        """Methods of a kind begin with the same first run."""
        return "learned" if self.learned else "chosen" if self.chosen else "formula"


METHODS = {
    "fine_tuning": Method(learned=True, memory=False),
    "replay": Method(learned=True),
    "replay_held": Method(learned=True, held=True),
    "joint": Method(learned=True, joint=True),
    "prototypes_no_memory": Method(memory=False),
    "prototypes_formula": Method(chosen=False, held=True),
    "prototypes": Method(held=True),
    "prototypes_not_held": Method(),
    "prototypes_joint": Method(joint=True),
}
STRATEGIES = {
    "avalanche_replay": "Replay",
    "avalanche_er_ace": "ER_ACE",
}


# ------------------------------------------------------------------------------ metrics


def metrics(accuracy: Matrix) -> Row:
    """The usual three of class-incremental learning.

    `average`: over the experiences i, of the mean accuracy on all classes so far, which is the mean
    of row i where experiences are equally large. `last`: that of the last row. `forgetting`: over
    the experiences but the last, what the last row lacks to the best that the experience had before
    (arXiv 1801.10112); Avalanche's own takes the first instead of the best, and is `since_first`.

    Args:
        accuracy: row i has i + 1 entries.

    Example:
        >>> metrics([[0.8], [0.9, 0.7], [0.5, 0.6, 1.0]])["forgetting"]
        0.25
    """
    means = [statistics.fmean(row) for row in accuracy]
    last, old = accuracy[-1], range(len(accuracy) - 1)
    best = [max(row[j] for row in accuracy[j:-1]) for j in old]
    return {
        "average": statistics.fmean(means),
        "last": means[-1],
        "forgetting": statistics.fmean(best[j] - last[j] for j in old) if old else 0.0,
        "since_first": statistics.fmean(accuracy[j][j] - last[j] for j in old) if old else 0.0,
    }


# --------------------------------------------------------------------------------- data


def content(name: str, size: Size) -> Content:
    kind = FashionMNIST if name == "fashion" else Characters
    return kind(image_size=size.image_size).read()


def write_experiences(folder: Path, name: str, size: Size, seed: int) -> list[Path]:
    """A folder of images for each experience, and the last for all; classes in an order by seed.

    Files, because these are what `rootspace extend` adds.
    """
    parts = [folder / str(i) for i in range(size.experiences)]
    together = folder / "all"
    if not together.exists():
        shutil.rmtree(folder, ignore_errors=True)  # of a process that was killed here
        data = content(name, size)
        tests = Joined(list(data.tests.values()))
        order = np.random.default_rng(seed).permutation(len(data.class_names))
        for place, label in enumerate(order[: size.experiences * size.classes].tolist()):
            own = f"{place:03d}"
            for split, images, most in (
                ("train", data.train, size.images),
                ("val", tests, size.tests),
            ):
                target = parts[place // size.classes] / split / own
                target.mkdir(parents=True)
                rows = (images.labels == label).nonzero()[:most, 0].tolist()
                for row, image in zip(rows, images.batch(rows)[0], strict=True):
                    Image.fromarray(image[0].numpy()).save(target / f"{row:05d}.png")
        shutil.rmtree(folder / "all.tmp", ignore_errors=True)
        for part in parts:
            shutil.copytree(part, folder / "all.tmp", copy_function=os.link, dirs_exist_ok=True)
        (folder / "all.tmp").rename(together)
    return [*parts, together]


# ----------------------------------------------------------------------------- training


def train_first(folder: Path, images: Path, size: Size, method: Method, seed: int) -> None:
    """A run from scratch."""
    if is_finished(folder):
        return
    shutil.rmtree(folder, ignore_errors=True)  # of a process that was killed here
    kind = {
        "learned": ["--head=NormalizedHead", f"--head.dim={size.dim}"],
        "chosen": [f"--head.dim={size.dim}"],
        # Roots of which the classes to come leave most free.
        "formula": ["--prototypes.source=formula", "--head.system=RootA(32)"],
    }
    succeed(
        *("train", f"--run.dir={folder}", "--data=ImageFolder", f"--data.root={images}"),
        *(f"--data.image_size={size.image_size}", "--data.grayscale=true"),
        *(f"--loader.batch_size={size.batch_size}", f"--model.width={size.width}"),
        *(f"--train.epochs={size.epochs}", f"--train.eval_every={size.epochs}"),
        *(f"--train.seed={seed}", f"--train.warmup_steps={WARMUP_STEPS}", *kind[method.kind]),
    )


def train_next(
    run: Path, folder: Path, images: Path, size: Size, method: Method, rate: float
) -> None:
    """A step of `rootspace extend`, or the same for a learned head."""
    if is_finished(folder):
        return
    shutil.rmtree(folder, ignore_errors=True)  # of a process that was killed here
    memory = size.memory if method.memory else 0
    # A rate of 1 is that of the first run.
    lr = rate * load(run).model.embedder.default_lr
    if method.learned:
        spec = ClassSpec(
            "rootspace.data.ImageFolder",
            {"root": str(images), "image_size": size.image_size, "grayscale": True},
        )
        extend_learned(
            run,
            folder,
            spec,
            epochs=size.epochs,
            lr=lr,
            memory=memory,
            imprinted=False,
            held=method.held,
        )
    else:
        succeed(
            *("extend", str(run), f"--run.dir={folder}"),
            *("--data=ImageFolder", f"--data.root={images}"),
            *(f"--data.image_size={size.image_size}", "--data.grayscale=true"),
            *(f"--memory.size={memory}", f"--train.epochs={size.epochs}", f"--train.lr={lr}"),
            *([] if method.held else ["--memory.distillation=0"]),
        )


def accuracies(run: Path) -> list[float]:
    """On the test images of each experience so far, among all classes so far."""
    return [test.accuracy for test in RunRecord.read(run).test.values()]


@torch.no_grad()
def accuracies_by_means(run: Path, memory: Path, parts: Sequence[DataModule]) -> list[float]:
    """The same by the nearest mean of the embeddings that the memory holds of a class (iCaRL)."""
    trained, images = load(run), StoredImages(memory)
    z = normalize(trained.embed(images.batch(range(len(images)))[0]), dim=-1)
    classes = range(len(images.class_names))
    means = normalize(torch.stack([z[images.labels == c].mean(dim=0) for c in classes]), dim=-1)
    return [
        accuracy_by_name(part, lambda pixels: (trained.embed(pixels) @ means.T).argmax(-1))
        for part in parts
    ]


def loaded(part: Path, size: Size) -> DataModule:
    data = DataModule(ImageFolder(part, size.image_size, grayscale=True))
    data.setup()
    return data


def run_method(
    folder: Path, experiences: Sequence[Path], size: Size, name: str, rate: float, seed: int
) -> tuple[Matrix, Matrix]:
    """All experiences with a method: accuracies by prototypes, and by means of the memory."""
    method = METHODS[name]
    *parts, together = experiences
    if method.joint:
        run = folder / f"{name}_{seed}"
        train_first(run, together, size, method, seed)
        return [accuracies(run)], []
    run = folder / f"first_{method.kind}_{seed}"
    train_first(run, parts[0], size, method, seed)
    accuracy, by_means = [accuracies(run)], []
    data = [loaded(part, size) for part in parts] if method.memory else []
    for i, part in enumerate(parts[1:], 1):
        grown = folder / f"{name}_{rate:g}_{seed}_{i}"
        train_next(run, grown, part, size, method, rate)
        if method.memory:
            memory = grown / START / REPLAY
            by_means.append(accuracies_by_means(run, memory, data[:i]))
        run = grown
        accuracy.append(accuracies(run))
    if method.memory:
        by_means.append(accuracies_by_means(run, run / REPLAY, data))
    return accuracy, by_means


def run_strategy(
    experiences: Sequence[Path], size: Size, name: str, rate: float, seed: int
) -> tuple[Matrix, Matrix]:
    """The same with a strategy of Avalanche."""
    from _avalanche import train_strategy  # noqa: PLC0415 - where it is installed

    data = [loaded(part, size) for part in experiences[:-1]]
    return train_strategy(
        STRATEGIES[name], data, asdict(size) | {"warmup_steps": WARMUP_STEPS}, rate, seed
    ), []


def measure(
    out: Path, data: str, size: Size, name: str, rates: Sequence[float], seed: int
) -> list[Row]:
    """Rows of a method, one a rate; those that are there are read."""
    rows = []
    method = METHODS.get(name)
    for rate in [1.0] if method is not None and method.joint else rates:
        saved = out / data / f"{name}_{rate:g}_{seed}.json"
        if not saved.exists():
            experiences = write_experiences(out / data / f"images_{seed}", data, size, seed)
            if method is None:
                accuracy, by_means = run_strategy(experiences, size, name, rate, seed)
            else:
                accuracy, by_means = run_method(out / data, experiences, size, name, rate, seed)
            row = {"data": data, "method": name, "rate": rate, "seed": seed, "matrix": accuracy}
            row |= {"metrics": metrics(accuracy), "size": asdict(size)}
            if by_means:
                row |= {"matrix_by_means": by_means, "by_means": metrics(by_means)}
            write_json(saved, row)
        rows.append(json.loads(saved.read_text(encoding="utf-8")))
    return rows


# ------------------------------------------------------------------------------ reports


def report(rows: Sequence[Row]) -> str:
    """A table a data set: mean and standard deviation over seeds at the rate of each method, %."""
    parts = []
    for data in dict.fromkeys(row["data"] for row in rows):
        lines = []
        own = [row for row in rows if row["data"] == data]
        for name in dict.fromkeys(row["method"] for row in own):
            rate = best_rate([row for row in own if row["method"] == name])
            kept = [row for row in own if (row["method"], row["rate"]) == (name, rate)]
            joint = len(kept[0]["matrix"]) == 1
            lines.append(
                [
                    name,
                    f"{rate:g}",
                    str(len(kept)),
                    "" if joint else spread(kept, "metrics", "average"),
                    spread(kept, "metrics", "last"),
                    "" if joint else spread(kept, "metrics", "forgetting"),
                    spread(kept, "by_means", "average"),
                    spread(kept, "by_means", "last"),
                ]
            )
        header = ["method", "rate", "seeds", "average", "last", "forgetting"]
        header += ["average by means", "last by means"]
        parts.append(f"{title(data, Size(**own[0]['size']))}\n\n{table(header, lines)}")
    return "\n\n".join(parts)


def title(data: str, size: Size) -> str:
    return (
        f"**Split {data}**: {size.experiences} experiences of {size.classes} classes, at most "
        f"{size.images} training images of each, {size.epochs} epochs, a memory of {size.memory}."
    )


def best_rate(rows: Sequence[Row]) -> float:
    """The rate of best average accuracy with the first seed, which tried them all."""
    first = [row for row in rows if row["seed"] == rows[0]["seed"]]
    return max(first, key=lambda row: row["metrics"]["average"])["rate"]


def spread(rows: Sequence[Row], group: str, metric: str) -> str:
    values = [100 * row[group][metric] for row in rows if group in row]
    if not values:
        return ""
    deviation = f" ± {statistics.stdev(values):.1f}" if len(values) > 1 else ""
    return f"{statistics.fmean(values):.1f}{deviation}"


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    names = [*METHODS, *STRATEGIES]
    parser.add_argument("--out", type=Path, default=Path("runs/incremental"))
    parser.add_argument("--quick", action="store_true", help="every method once, under a minute")
    parser.add_argument("--data", nargs="+", choices=list(SIZES), default=list(SIZES))
    parser.add_argument("--only", nargs="+", choices=names, metavar="METHOD")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--rates", type=float, nargs="+", help="learning rates, 1 as from scratch")
    parser.add_argument("--avalanche", action="store_true", help="its strategies too")
    options = parser.parse_args(arguments)
    names = [name for name in options.only or names if name in METHODS or options.avalanche]
    if options.avalanche and importlib.util.find_spec("avalanche") is None:
        print(
            "Avalanche's strategies are left out: install avalanche-lib to have them.",
            file=sys.stderr,
        )
        names = [name for name in names if name in METHODS]
    rates = options.rates or ([0.3] if options.quick else RATES)
    rows: list[Row] = []
    for data in options.data:
        size = (QUICK if options.quick else SIZES)[data]
        results_folder(options.out / data, size)
        for name in names:
            own = measure(options.out, data, size, name, rates, options.seeds[0])
            for seed in options.seeds[1:]:
                own += measure(options.out, data, size, name, [best_rate(own)], seed)
            rows += own
    write_json(options.out / "incremental.json", rows)
    text = report(rows)
    write_text(options.out / "incremental.md", text + "\n")
    print(text)


if __name__ == "__main__":
    main(sys.argv[1:])
