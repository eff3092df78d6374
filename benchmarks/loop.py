"""What `rootspace train` costs beside a loop written by hand: the same network, batches and loss.

Both train in turn in one process, round by round; the ratio of their times a step is the median
over the rounds. Setting up, evaluation and files are not counted.

    python benchmarks/loop.py
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import lightning as L
import torch

from rootspace.config import ClassSpec, Config, LoaderConfig, RunConfig, TrainConfig
from rootspace.data import DataModule, make_data
from rootspace.train.training import build, fit

SKIPPED = 3
"""First steps of a round, which are not counted."""


class Stopwatch(L.Callback):
    """Seconds a step of the latest epoch."""

    seconds: list[float] = []  # noqa: RUF012 - settings make the callback, this is how it reports

    def on_train_batch_start(
        self, trainer: L.Trainer, pl_module: L.LightningModule, batch: object, batch_idx: int
    ) -> None:
        if batch_idx == SKIPPED:
            self._begun = time.perf_counter()
            self._steps = 0

    def on_train_batch_end(
        self,
        trainer: L.Trainer,
        pl_module: L.LightningModule,
        outputs: object,
        batch: object,
        batch_idx: int,
    ) -> None:
        # After the last batch prototypes are chosen, which is no part of a step.
        if batch_idx >= SKIPPED and not trainer.is_last_batch:
            self._steps += 1
            self._ended = time.perf_counter()

    def on_train_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self.seconds.append((self._ended - self._begun) / self._steps)


def by_hand(config: Config, data: DataModule) -> float:
    """Seconds a step of a loop that does nothing else."""
    model = build(config, data)
    head, embedder = model.head, model.embedder.train()
    loader = data.train_loader(head, config.train.seed)
    optimizer = torch.optim.AdamW(embedder.parameters(), lr=embedder.default_lr, weight_decay=1e-5)
    steps = len(loader)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    begun = 0.0
    for step, (x, y) in enumerate(loader):
        if step == SKIPPED:
            begun = time.perf_counter()
        loss = head(embedder(x), y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
    return (time.perf_counter() - begun) / (steps - SKIPPED)


def trained(config: Config, data: DataModule, folder: Path) -> float:
    """Seconds a step of `rootspace train`."""
    folder.mkdir()
    config = replace(config, run=RunConfig(dir=str(folder)))
    fit(config, folder, data, build(config, data))
    return Stopwatch.seconds.pop()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--classes", type=int, default=1000)
    parser.add_argument("--width", type=int, default=16)
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    # Both are in the contrastive stage.
    config = Config(
        data=ClassSpec(
            "rootspace.data.Characters", {"num_classes": options.classes, "test_fonts": []}
        ),
        model=ClassSpec("rootspace.models.Encoder", {"width": options.width}),
        loader=LoaderConfig(batch_size=256),
        train=TrainConfig(epochs=1, accelerator="cpu"),
        callbacks=[ClassSpec(f"{Stopwatch.__module__}.{Stopwatch.__qualname__}")],
    )
    data = make_data(config)
    data.setup()
    ratios = []
    with tempfile.TemporaryDirectory() as folder:
        for number in range(options.rounds):
            hand = by_hand(config, data)
            ours = trained(config, data, Path(folder, str(number)))
            ratios.append(ours / hand)
            print(f"by hand {1000 * hand:.1f} ms, rootspace train {1000 * ours:.1f} ms a step")
    print(f"ratio {statistics.median(ratios):.3f} ({min(ratios):.3f} to {max(ratios):.3f})")


if __name__ == "__main__":
    main()
