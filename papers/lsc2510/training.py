"""A part that is a training run, and what such a run leaves.

The only module here that knows how the library trains, configures and keeps runs.
"""

from __future__ import annotations

import math
import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor, nn

from rootspace.building import acting
from rootspace.config import ClassSpec, Config
from rootspace.data import make_data
from rootspace.heads import LinearHead
from rootspace.run import TRUST_CODE, load
from rootspace.runs import EpochRow, RunRecord
from rootspace.runs.folder import CHECKPOINTS
from rootspace.runs.process import train_in_process

from .experiment import Job, NotRun, Outcome, Part, Scale, Settings

After = Callable[[Job], Outcome]
"""Measures a finished run further."""


def training(
    name: str,
    make: Callable[[Scale], Settings | NotRun],
    *,
    minutes: float,
    needs: Sequence[str] = (),
    after: Sequence[After] = (),
) -> Part:
    """A part that trains, with accuracies, times and curves as its figures.

    Its values are `train_accuracy`, `test_accuracy/NAME` and, for the last of the test sets (which
    is CIFAR-10 for CINIC-10), `test_accuracy`, all in percent, `train_loss`, `seconds`,
    `epochs`, `parameters` and `peak_memory_mb`; its curves `seconds`, `train_loss`,
    `train_accuracy`, `test_accuracy/NAME` and `test_accuracy`. Training accuracy is that of the
    last epoch, over the batches as they were trained on.

    Args:
        name: of the part.
        make: settings for a scale, as `rootspace train --config` takes them.
        minutes: expected at desk scale.
        needs: parts whose files the settings name.
        after: further measures, taken once the run is finished.
    """

    def run(job: Job) -> Outcome:
        train(job)
        outcome = read_outcome(job)
        for measure in after:
            outcome = outcome.joined(measure(job))
        # A finished run is never resumed, and checkpoints are most of what it takes.
        shutil.rmtree(job.folder / CHECKPOINTS, ignore_errors=True)
        return outcome

    both: dict[Scale, Settings | NotRun] = {"desk": make("desk"), "paper": make("paper")}
    return Part(name, both, run, minutes, tuple(needs))


def train(job: Job) -> RunRecord:
    """Train in a process of its own, or go on with what a former call began.

    Raises:
        ValueError: another run is there, or training failed.
        KeyboardInterrupt: it was stopped, after its state was saved.
    """
    config = config_of(job)
    job.folder.parent.mkdir(parents=True, exist_ok=True)
    return train_in_process(
        config,
        log=job.folder.with_name(f"{job.folder.name}.log"),
        on_epochs=lambda done: job.progress(min(1.0, done / config.train.epochs)),
        # A run that begins with another's network may find one of these experiments.
        environment={TRUST_CODE: "1"},
    )


def config_of(job: Job) -> Config:
    """The settings of a job with its folder and seed, where this acts."""
    config = Config.from_dict(job.settings)
    return acting(
        replace(
            config,
            run=replace(config.run, dir=str(job.folder)),
            train=replace(config.train, seed=job.seed),
            prototypes=replace(config.prototypes, seed=job.seed),
            head=_seeded(config, job.seed),
        )
    )


def _seeded(config: Config, seed: int) -> ClassSpec:
    """The head with the seed of its rotation, which comes before prototypes that are chosen."""
    if config.prototypes.source == "formula":
        return config.head
    return replace(config.head, init_args={**config.head.init_args, "seed": seed})


def read_outcome(job: Job) -> Outcome:
    """The figures that every run folder holds."""
    record = RunRecord.read(job.folder)
    values: dict[str, float | None] = {
        "train_loss": record.train.loss,
        "seconds": record.seconds,
        "epochs": record.epochs,
        "parameters": record.parameters.total,
        "head_parameters": record.parameters.head,
        "peak_memory_mb": record.peak_memory_mb,
        "train_accuracy": _percent(record.train.accuracy),
    }
    for name, test in record.test.items():
        values[f"test_accuracy/{name}"] = values["test_accuracy"] = _percent(test.accuracy)
    known = {name: float(value) for name, value in values.items() if value is not None}
    return Outcome(known, _curves(job))


def _curves(job: Job) -> dict[str, list[float | None]]:
    rows = EpochRow.read(job.folder)
    curves: dict[str, list[float | None]] = {
        "seconds": [row.seconds for row in rows],
        "train_loss": [row.loss for row in rows],
        "train_accuracy": [_percent(row.accuracy) for row in rows],
    }
    for test in rows[0].tests:
        curves[f"test_accuracy/{test}"] = [_percent(row.tests[test]) for row in rows]
        curves["test_accuracy"] = curves[f"test_accuracy/{test}"]
    return curves


class FinishedRun:
    """The network of a run in evaluation mode, with the images that it was trained on.

    Args:
        folder: of the run.

    Attributes:
        num_classes: of the data.
        dim: of an embedding.
    """

    def __init__(self, folder: Path) -> None:
        device = "cuda" if torch.cuda.is_available() else "cpu"
        self._run = load(folder, device, trust_code=True)
        self._data = make_data(self._run.config)
        self._data.setup()
        self.num_classes = self._data.num_classes
        self.dim = self._run.model.head.dim

    def batches(self) -> Iterator[tuple[Tensor, Tensor]]:
        """The training images, uint8 `[B, C, H, W]`, each once, with their labels `[B]`."""
        yield from self._data.in_order()

    def embed(self, images: Tensor) -> Tensor:
        """Images of `batches` -> `[B, dim]`, float32 on the CPU."""
        return self._run.embed_batch(images).cpu()

    def predict(self, images: Tensor) -> Tensor:
        """Images of `batches` -> `[B]` the class of each, on the CPU."""
        z = self._run.embed_batch(images)
        return self._run.model.head.search(z).label[:, 0].cpu()

    def class_vectors(self) -> Tensor:
        """`[num_classes, dim]` unit vectors that the classes were trained towards, on the CPU."""
        labels = torch.arange(self.num_classes, device=self._run.device)
        return self._run.model.head.vectors(labels).cpu()


def linear_classifier(dim: int, num_classes: int) -> nn.Module:
    """A classifier layer with cross-entropy: `[B, dim]` embeddings and `[B]` labels -> loss."""
    return LinearHead(num_classes, dim)


def _percent(fraction: float | None) -> float | None:
    return None if fraction is None or math.isnan(fraction) else 100 * fraction
