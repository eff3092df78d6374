"""What happens around the training loop: checkpoints, the record of epochs, the display."""

from __future__ import annotations

import math
import os
import signal
import threading
import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path
from types import FrameType
from typing import Any

import lightning as L
from lightning.pytorch.callbacks import Callback, Checkpoint

from rootspace._files import replacing
from rootspace._terminal import Bar, bar, say
from rootspace.callbacks import ChoosePrototypes
from rootspace.runs import ChoiceRecord, EpochRow
from rootspace.runs.folder import BEST, LAST
from rootspace.sampling import ResumableLoader

from .module import RunModule

FIRST_SECONDS, LINE_SECONDS = 10, 60
"""Until the first line within an epoch, and between those after it, without a terminal."""

NEAR_CHANCE = 0.9
"""Share of the contrastive loss by chance above which nothing has been learned."""

AGREE_EVERY = 16
"""Steps after which the processes of a distributed run ask each other whether to save or stop."""


STOPPING = "\nStopping after this step; once more to stop at once, without saving.\n"


class StoppedByUser(Exception):
    """Training stopped on Ctrl-C after its state was saved."""


class Checkpoints(Checkpoint):
    """`last.ckpt` after each epoch, every few minutes and on Ctrl-C; `best.ckpt` beside it.

    Files appear under their names only when complete: a killed run leaves the one before. "Best" is
    the best accuracy on the validation set; where the data have none, nothing is chosen.

    Lightning's ModelCheckpoint would write `last.ckpt` after the best epochs only, through a folder
    for temporary files that may be on another file system.

    Args:
        folder: of the run.
        minutes: longest time between two checkpoints.
        patience: end training after so many evaluations in a row that were not the best; None never
            ends it early.
    """

    def __init__(self, folder: Path, minutes: float, patience: int | None = None) -> None:
        super().__init__()
        self.folder = folder
        self.minutes = minutes
        self.patience = patience
        self.best = -math.inf
        self.worse = 0
        """Evaluations since the best."""
        self.epochs = 0
        """Of the training that has counted them."""
        self._stop = False
        self._saved_at = 0.0
        self._handlers: dict[int, Any] = {}

    def state_dict(self) -> dict[str, float]:
        return {"best": self.best, "worse": self.worse, "epochs": self.epochs}

    def load_state_dict(self, state_dict: dict[str, float]) -> None:
        self.best, self.worse = state_dict["best"], int(state_dict["worse"])
        self.epochs = int(state_dict["epochs"])

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self._saved_at = time.monotonic()
        epochs = trainer.max_epochs or 0
        if epochs > self.epochs:  # a run that had come to its end trains longer
            self.worse = 0
        self.epochs = epochs
        self._end_if_hopeless(trainer)  # of a run that was killed after its early end
        if threading.current_thread() is not threading.main_thread():
            return  # Python lets no other thread take signals
        for number in (signal.SIGINT, signal.SIGTERM):
            self._handlers[number] = signal.signal(number, self._ask_to_stop)

    def _ask_to_stop(self, number: int, frame: FrameType | None) -> None:
        # A second signal ends the process at once, as usual. Not by `say`: the signal may have come
        # in the middle of another line.
        self._stop = True
        os.write(2, STOPPING.encode())
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
        # The last batch of an epoch is saved with the epoch. Between two steps there are gradients,
        # which a checkpoint does not hold.
        agree_every = AGREE_EVERY if trainer.world_size > 1 else 1
        if trainer.is_last_batch or (batch_idx + 1) % (
            agree_every * trainer.accumulate_grad_batches
        ):
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
            self.best, self.worse = quality, 0
        elif not math.isnan(quality):
            self.worse += 1
        self._end_if_hopeless(trainer)
        # In this order: the last state says which epoch is the best.
        if better:
            self._save(trainer, BEST)
        self._save(trainer, LAST)
        if trainer.current_epoch + 1 < (trainer.max_epochs or 0) and not trainer.should_stop:
            self._raise_if_asked(trainer)

    def _end_if_hopeless(self, trainer: L.Trainer) -> None:
        if self.patience is not None and self.worse >= self.patience:
            trainer.should_stop = True
            say(f"Training ends: no better validation accuracy in {self.worse} evaluations.")

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
        module = trainer.lightning_module
        assert isinstance(module, RunModule)
        module.check_finite()
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if trainer.is_global_zero:
            with replacing(path) as temporary:
                trainer.save_checkpoint(temporary)
        else:  # which writes nothing, and is needed for what all processes gather
            trainer.save_checkpoint(path)
        self._saved_at = time.monotonic()


def _any_process(trainer: L.Trainer, flag: bool) -> bool:
    """The flag of any process of a distributed run: saving and stopping take all of them."""
    if trainer.world_size == 1:
        return flag
    return trainer.strategy.reduce_boolean_decision(flag, all=False)


def _chosen_after(history: History) -> int | None:
    """Epochs before the latest choice of prototypes."""
    return next((c.chosen_after for c in history.choosing if c.chosen_after is not None), None)


def _words(seconds: float) -> str:
    """A time that is about to pass."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = seconds / 60
    return f"{minutes:.0f} min" if minutes < 90 else f"{minutes / 60:.1f} h"


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
        self.followed = False
        """Whether prototypes have followed the network."""
        self._started = 0.0

    def state_dict(self) -> dict[str, object]:
        rows = [asdict(row) for row in self.rows]
        choice = None if self.choice is None else asdict(self.choice)
        return {
            "rows": rows,
            "seconds": self.seconds + self._running(),
            "followed": self.followed,
            "choice": choice,
        }

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.rows = [EpochRow(**row) for row in state_dict["rows"]]
        self.seconds = state_dict["seconds"]
        self.followed = state_dict["followed"]
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
        self.followed = self.followed or pl_module.head.follows
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
    """A line for each epoch and for what happens to the prototypes; progress within the epoch.

    Progress is a bar on a terminal, and without one a line a minute.

    Args:
        history: whose rows to print.
        title: of the run.
    """

    def __init__(self, history: History, title: str) -> None:
        self.history = history
        self.title = title
        self._shown = ExitStack()
        self._bar = Bar()
        self._told: int | None = None  # epochs before the choice that was spoken of last
        self._begun = self._line_at = 0.0
        self._batches = 0  # since then

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self._told = _chosen_after(self.history)
        self._begun = self._line_at = time.monotonic()

    def on_train_epoch_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        if trainer.is_global_zero:
            self._tell_choice(trainer)
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
        self._batches += 1
        now = time.monotonic()
        # The first line comes early: it says how long it will take.
        wait = LINE_SECONDS if self._line_at > self._begun else FIRST_SECONDS
        late = now - self._line_at > wait and trainer.is_global_zero
        if not (late or self._bar.is_shown):
            return
        assert isinstance(pl_module, RunModule)
        loss, accuracy = pl_module.train_means(own=True)
        note = "" if math.isnan(accuracy) else f"  accuracy {accuracy:.1%}"
        self._bar.show(batch_idx + 1, f"loss {loss:.4f}{note}")
        if late and (not self._bar.is_shown or wait == FIRST_SECONDS):
            self._line_at = now
            count, epochs = int(trainer.num_training_batches), trainer.max_epochs or 0
            left = (epochs - trainer.current_epoch) * count - batch_idx - 1
            time_left = _words((now - self._begun) / self._batches * left)
            say(
                f"{self.title}  epoch {trainer.current_epoch + 1}/{epochs}  batch {batch_idx + 1:,}"
                f"/{count:,}  loss {loss:.4f}{note}  about {time_left} of training left"
            )

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
        self._tell_choice(trainer)

    def _tell_choice(self, trainer: L.Trainer) -> None:
        """Say that classes have taken their prototypes, and whether the network was ready."""
        after = _chosen_after(self.history)
        if after == self._told:
            return
        (choosing,) = (c for c in self.history.choosing if c.chosen_after == after)
        how = "chose" if self._told is None else "chose again and refined"
        fit = choosing.fit
        if self._told is not None and not choosing.refine:
            how = "chose again"
        cosine = "" if fit is None else f" (mean cosine to the class means {fit.mean_cosine:.3f})"
        say(f"{self.title}  {how} the prototypes after epoch {after}{cosine}")
        first, self._told = self._told is None, after
        rows = self.history.rows
        if not (first and rows):
            return
        # Of embeddings that are all alike, each other input of the batch is as near as any.
        loader = trainer.train_dataloader
        assert isinstance(loader, ResumableLoader)
        together = min(loader.batches.batch_size, loader.batches.num_drawn)
        chance = math.log(max(2, together - 1))
        if rows[-1].loss > NEAR_CHANCE * chance:
            say(
                f"warning: the contrastive loss, {rows[-1].loss:.2f}, is near that of chance, "
                f"{chance:.2f}: the network has learned little to choose prototypes by. Give it "
                "more epochs ('train.epochs', 'prototypes.after'), a milder 'transform' or another "
                "'train.lr'."
            )

    def on_exception(
        self, trainer: L.Trainer, pl_module: L.LightningModule, exception: BaseException
    ) -> None:
        self._shown.close()
