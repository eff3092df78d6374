"""A part that is a training run, and what such a run leaves.

The only module here that knows how the library trains, configures and keeps runs.
"""

from __future__ import annotations

import math
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
import yaml
from torch import Tensor, nn

from rootspace._files import write_text
from rootspace.runs import EpochRow, RunRecord
from rootspace.runs.folder import CHECKPOINTS, CONFIG, HISTORY, METRICS
from rootspace.train import LinearCE, read_run
from rootspace.train.run_folder import make_data

from .experiment import Job, NotRun, Outcome, Part, Scale, Settings

After = Callable[[Job], Outcome]
"""Measures a finished run further."""

INTERRUPTED = 130
"""Exit code of a run that was stopped with Ctrl-C and saved its state."""

POLL_SECONDS = 1.0


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
    `train_accuracy` and `test_accuracy/NAME`. Training accuracy is that of the last epoch, over
    the batches as they were trained on.

    Args:
        name: of the part.
        make: settings for a scale, as `rootspace train --config` takes them.
        minutes: expected at desk scale.
        needs: parts whose files the settings name.
        after: further measures, taken once the run is finished.
    """

    def run(job: Job) -> Outcome:
        train_in_process(job)
        outcome = read_outcome(job)
        for measure in after:
            outcome = outcome.joined(measure(job))
        # A finished run is never resumed, and checkpoints are most of what it takes.
        shutil.rmtree(job.folder / CHECKPOINTS, ignore_errors=True)
        return outcome

    both: dict[Scale, Settings | NotRun] = {"desk": make("desk"), "paper": make("paper")}
    return Part(name, both, run, minutes, tuple(needs))


def train_in_process(job: Job) -> None:
    """Train, or go on with what a former call began.

    Raises:
        ValueError: another run is there, or training failed.
        KeyboardInterrupt: it was stopped, after its state was saved.
    """
    wanted = job.folder.with_name(f"{job.folder.name}.yaml")
    text = yaml.safe_dump(run_settings(job), sort_keys=False, allow_unicode=True)
    begun = (job.folder / CONFIG).is_file()
    if begun and (not wanted.is_file() or wanted.read_text(encoding="utf-8") != text):
        raise ValueError(
            f"{job.folder} holds a run with other settings. Name another folder with --out, or "
            "remove that run."
        )
    if (job.folder / METRICS).is_file():
        return
    if not begun:
        shutil.rmtree(job.folder, ignore_errors=True)  # killed before it had written anything
        wanted.parent.mkdir(parents=True, exist_ok=True)
        write_text(wanted, text)
    command = [sys.executable, "-m", "rootspace", "train"]
    command += ["--resume", "--run.dir", str(job.folder)] if begun else ["--config", str(wanted)]
    log = job.folder.with_name(f"{job.folder.name}.log")
    with log.open("a", encoding="utf-8") as output:
        process = subprocess.Popen(command, stdout=output, stderr=output)
        code = _wait(process, job)
    if code == INTERRUPTED:
        raise KeyboardInterrupt
    if code:
        lines = log.read_text(encoding="utf-8").strip().splitlines() or [f"exit code {code}"]
        raise ValueError(f"training failed: {lines[-1]}")


def _wait(process: subprocess.Popen[bytes], job: Job) -> int:
    """Exit code of the run, once it has ended; meanwhile its finished epochs are told."""
    epochs = job.settings["train"]["epochs"]
    while True:
        try:
            return process.wait(POLL_SECONDS)
        except subprocess.TimeoutExpired:
            history = job.folder / HISTORY
            if history.is_file():
                rows = history.read_text(encoding="utf-8").count("\n") - 1
                job.progress(min(1.0, rows / epochs))
        except KeyboardInterrupt:
            # The terminal has told the run as well: it saves its state and ends.
            process.wait()
            raise


def run_settings(job: Job) -> dict[str, Any]:
    """The settings of a job with its folder and seed."""
    sections = {name: dict(content) for name, content in job.settings.items()}
    sections["run"] = {**sections.get("run", {}), "dir": str(job.folder)}
    for section in ("train", "classes"):
        sections[section] = {**sections.get(section, {}), "seed": job.seed}
    return sections


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
    return curves


def _column(rows: Sequence[Mapping[str, str]], name: str, factor: float) -> list[float | None]:
    return [factor * float(row[name]) if row[name] else None for row in rows]


class FinishedRun:
    """The network of a run in evaluation mode, with the images that it was trained on.

    Args:
        folder: of the run.

    Attributes:
        num_classes: of the data.
        dim: of an embedding.
    """

    def __init__(self, folder: Path) -> None:
        self._trained = read_run(folder, "cuda" if torch.cuda.is_available() else "cpu")
        self._data = make_data(self._trained.config["data"])
        self._data.setup()
        self.num_classes = self._data.num_classes
        self.dim = int(self._trained.embedder.network.dim)  # pyright: ignore[reportArgumentType]

    def batches(self) -> Iterator[tuple[Tensor, Tensor]]:
        """The training images, uint8 `[B, C, H, W]`, each once, with their labels `[B]`."""
        yield from self._data.means_dataloader()

    def embed(self, images: Tensor) -> Tensor:
        """Images of `batches` -> `[B, dim]`, float32 on the CPU."""
        return self._trained.embed(images).float().cpu()

    def predict(self, images: Tensor) -> Tensor:
        """Images of `batches` -> `[B]` the class of each, on the CPU."""
        return self._trained.predict(images).label[:, 0].cpu()

    def class_vectors(self) -> Tensor:
        """`[num_classes, dim]` unit vectors that the classes were trained towards, on the CPU."""
        return self._trained.objective.class_vectors(torch.arange(self.num_classes)).cpu()


def linear_classifier(dim: int, num_classes: int) -> nn.Module:
    """A classifier layer with cross-entropy: `[B, dim]` embeddings and `[B]` labels -> loss."""
    return LinearCE(dim, num_classes)


def _percent(fraction: float | None) -> float | None:
    return None if fraction is None or math.isnan(fraction) else 100 * fraction
