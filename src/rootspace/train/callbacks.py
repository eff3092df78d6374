"""What happens around the training loop: checkpoints, the record of epochs, the display."""

from __future__ import annotations

import math
import signal
import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path
from types import FrameType
from typing import Any

import lightning as L
import torch
from lightning.pytorch.callbacks import Callback, Checkpoint

from rootspace._files import replacing
from rootspace._terminal import Bar, bar, say
from rootspace.callbacks import ChoosePrototypes
from rootspace.runs import ChoiceRecord, EpochRow

from .module import RunModule

LAST, BEST = "last.ckpt", "best.ckpt"

AGREE_EVERY = 16
"""Batches after which the processes of a distributed run ask each other whether to save or stop."""


class StoppedByUser(Exception):
    """Training stopped on Ctrl-C after its state was saved."""


class Checkpoints(Checkpoint):
    """`last.ckpt` after each epoch, every few minutes and on Ctrl-C; `best.ckpt` beside it.

    Files appear under their names only when complete: a killed run leaves the one before. "Best" is
    the best mean accuracy on the test sets (on the training data where there are none); final
    figures are those of the last epoch, so nothing is chosen by the test sets.

    Lightning's ModelCheckpoint would write `last.ckpt` after the best epochs only, through a folder
    for temporary files that may be on another file system.

    Args:
        folder: for the files.
        minutes: longest time between two checkpoints.
    """

    def __init__(self, folder: Path, minutes: float) -> None:
        super().__init__()
        self.folder = folder
        self.minutes = minutes
        self.best = -math.inf
        self._stop = False
        self._saved_at = 0.0
        self._handlers: dict[int, Any] = {}

    def state_dict(self) -> dict[str, float]:
        return {"best": self.best}

    def load_state_dict(self, state_dict: dict[str, float]) -> None:
        self.best = state_dict["best"]

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self._saved_at = time.monotonic()
        for number in (signal.SIGINT, signal.SIGTERM):
            self._handlers[number] = signal.signal(number, self._ask_to_stop)

    def _ask_to_stop(self, number: int, frame: FrameType | None) -> None:
        # A second signal ends the process at once, as usual.
        self._stop = True
        self._restore_handlers()

    def _restore_handlers(self) -> None:
        for number, handler in self._handlers.items():
            signal.signal(number, handler)
        self._handlers.clear()

    def on_train_batch_end(
        self,
        trainer: L.Trainer,
        pl_module: L.LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
    ) -> None:
        # The last batch of an epoch is saved with the epoch.
        if trainer.is_last_batch:
            return
        if trainer.world_size > 1 and (batch_idx + 1) % AGREE_EVERY:
            return
        late = time.monotonic() - self._saved_at > 60 * self.minutes
        if _any_process(trainer, late or self._stop):
            self._save(trainer, LAST)
            self._raise_if_asked(trainer)

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        assert isinstance(pl_module, RunModule)
        quality = pl_module.quality()
        better = quality > self.best  # which NaN is not
        if better:
            self.best = quality
        self._save(trainer, LAST)
        if better:
            self._save(trainer, BEST)
        if trainer.current_epoch + 1 < (trainer.max_epochs or 0) and not trainer.should_stop:
            self._raise_if_asked(trainer)

    def _raise_if_asked(self, trainer: L.Trainer) -> None:
        if _any_process(trainer, self._stop):
            raise StoppedByUser

    def on_train_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self._restore_handlers()

    def on_exception(
        self, trainer: L.Trainer, pl_module: L.LightningModule, exception: BaseException
    ) -> None:
        self._restore_handlers()

    def _save(self, trainer: L.Trainer, name: str) -> None:
        _check_finite(trainer.lightning_module)
        self.folder.mkdir(parents=True, exist_ok=True)
        if trainer.is_global_zero:
            with replacing(self.folder / name) as temporary:
                trainer.save_checkpoint(temporary)
        else:  # which writes nothing, and is needed for what all processes gather
            trainer.save_checkpoint(self.folder / name)
        self._saved_at = time.monotonic()


def _any_process(trainer: L.Trainer, flag: bool) -> bool:
    """The flag of any process of a distributed run: saving and stopping take all of them."""
    if trainer.world_size == 1:
        return flag
    return trainer.strategy.reduce_boolean_decision(flag, all=False)


def _check_finite(module: L.LightningModule) -> None:
    """Raise a ValueError for weights that a step has ruined, before they replace good ones."""
    for name, weight in module.named_parameters():
        if not bool(torch.isfinite(weight).all()):
            raise ValueError(
                f"Training diverged before step {module.global_step}: the weights {name} are not "
                "finite. Try a smaller train.lr, more train.warmup_steps or train.gradient_clip."
            )


class History(Callback):
    """One row an epoch: `metrics.csv`, and the state that a resumed run continues.

    Decides as well when the test sets are looked at: every few epochs, and after the last.

    Args:
        folder: of the run.
        eval_every: epochs between evaluations.
        choosing: what chooses prototypes, before which there is nothing to evaluate.
        choice: how prototypes fit that were chosen before the first epoch.
    """

    def __init__(
        self,
        folder: Path,
        eval_every: int,
        choosing: Sequence[ChoosePrototypes],
        choice: ChoiceRecord | None = None,
    ) -> None:
        self.folder = folder
        self.eval_every = eval_every
        self.choosing = choosing
        self.choice = choice
        self.rows: list[EpochRow] = []
        self.seconds = 0.0
        self._started = 0.0

    def state_dict(self) -> dict[str, object]:
        rows = [asdict(row) for row in self.rows]
        choice = None if self.choice is None else asdict(self.choice)
        return {"rows": rows, "seconds": self.seconds + self._running(), "choice": choice}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.rows = [EpochRow(**row) for row in state_dict["rows"]]
        self.seconds = state_dict["seconds"]
        choice = state_dict["choice"]
        self.choice = None if choice is None else ChoiceRecord(**choice)

    def _running(self) -> float:
        return time.monotonic() - self._started if self._started else 0.0

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self._started = time.monotonic()
        self._plan(trainer, pl_module)  # Lightning does not start an epoch again within which it is

    def on_train_epoch_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self._plan(trainer, pl_module)

    def _plan(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Say whether the test sets are looked at after this epoch."""
        assert isinstance(pl_module, RunModule)
        total, epoch = trainer.max_epochs or 0, trainer.current_epoch + 1
        ready = pl_module.head.ready or any(c.due(False, epoch, total) for c in self.choosing)
        due = ready and (epoch == total or epoch % self.eval_every == 0)
        trainer.check_val_every_n_epoch = epoch if due else epoch + 1
        pl_module.evaluated = due

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        assert isinstance(pl_module, RunModule)
        loss, accuracy = pl_module.train_means()
        self.rows.append(
            EpochRow(
                epoch=trainer.current_epoch + 1,
                step=trainer.global_step,
                seconds=round(self.seconds + self._running(), 3),
                lr=trainer.optimizers[0].param_groups[0]["lr"],
                loss=loss,
                accuracy=accuracy,
                tests=pl_module.test_accuracies(),
            )
        )
        if trainer.is_global_zero:
            EpochRow.write(self.folder, self.rows)


class Display(Callback):
    """A progress bar within the epoch on a terminal, and a line for each epoch everywhere.

    Args:
        history: whose rows to print.
        title: of the run.
    """

    def __init__(self, history: History, title: str) -> None:
        self.history = history
        self.title = title
        self._shown = ExitStack()
        self._bar = Bar()

    def on_train_epoch_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        if trainer.is_global_zero:
            title = f"{self.title}, epoch {trainer.current_epoch + 1}/{trainer.max_epochs}"
            shown = bar(title, int(trainer.num_training_batches))
            self._bar = self._shown.enter_context(shown)

    def on_train_batch_end(
        self,
        trainer: L.Trainer,
        pl_module: L.LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
    ) -> None:
        if self._bar.is_shown:
            assert isinstance(pl_module, RunModule)
            loss, accuracy = pl_module.train_means(own=True)
            note = "" if math.isnan(accuracy) else f"  accuracy {accuracy:.1%}"
            self._bar.show(batch_idx + 1, f"loss {loss:.4f}{note}")

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self._shown.close()
        if not trainer.is_global_zero:
            return
        row = self.history.rows[-1]
        tests = "".join(
            f"  {name} {value:.1%}" for name, value in row.tests.items() if not math.isnan(value)
        )
        known = not math.isnan(row.accuracy)
        train = f"  train {row.accuracy:.1%}" if known else "  (no prototypes yet)"
        say(
            f"{self.title}  epoch {row.epoch}/{trainer.max_epochs}  {row.seconds:.0f} s  "
            f"loss {row.loss:.4f}{train}{tests}"
        )

    def on_exception(
        self, trainer: L.Trainer, pl_module: L.LightningModule, exception: BaseException
    ) -> None:
        self._shown.close()
