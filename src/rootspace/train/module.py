"""Algorithm 1 of arXiv 2510.04090 as a Lightning module: wiring, nothing more."""

from __future__ import annotations

import json
import math
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from typing import Any, TypeAlias

import lightning as L
import torch
from torch import Tensor, nn
from torchmetrics import MeanMetric

from rootspace.choosing import share_prototypes
from rootspace.config import ClassSpec, Config, TrainConfig
from rootspace.data import DataModule
from rootspace.data.module import Fingerprint
from rootspace.heads import EXTRA, Head, PrototypeHead
from rootspace.models import Embedder
from rootspace.sampling import ResumableLoader

from .forgetting import LessForgetting

CheckpointDict: TypeAlias = dict[str, Any]
"""What Lightning writes, of any library's values."""

SEARCH_EVERY = 16
"""Where prediction is a search over all classes, training accuracy is taken on every n-th batch."""

REMEDY = "Try a smaller train.lr, more train.warmup_steps or train.gradient_clip."

DATA, PLACE, SETTINGS = "rootspace.data", "rootspace.place", "rootspace.settings"
"""Keys of a checkpoint: which data a run sees, where in them it is, and how it is trained."""

SEARCH_COSINES = 2**24
"""Cosines in such a search: of fewer inputs the more classes there are, at least one."""


class RunModule(L.LightningModule):
    """Embeds a batch and asks the head for its loss; nothing here knows the number of classes.

    Args:
        embedder: inputs -> embeddings.
        head: loss and prediction.
        config: of the run.
        data: set up; a checkpoint says which they were.
        loader: of the training data.
        less_forgetting: holds what was learned before, in an extension.
    """

    def __init__(
        self,
        embedder: Embedder,
        head: Head,
        config: Config,
        data: DataModule,
        loader: ResumableLoader,
        less_forgetting: LessForgetting | None = None,
    ) -> None:
        super().__init__()
        self.embedder = embedder
        self.head = head
        self.config = config
        self.data = data
        self.fingerprint = data.fingerprint()
        self.loader = loader
        self.less_forgetting = less_forgetting
        self.test_names = list(data.test_datasets)
        self.evaluated = False
        """Whether the test sets are looked at after this epoch."""
        self.train_loss, self.train_accuracy = _mean(), _mean()
        self.tests = nn.ModuleList(_mean() for _ in self.test_names)

    def forward(self, x: Any) -> Tensor:
        return self.embedder(x)

    # ---------------------------------------------------------------- training

    def on_fit_start(self) -> None:
        if self.less_forgetting is not None:
            self.less_forgetting.to(self.device)
        # Chosen from a teacher or a file, before there were processes to agree with.
        if isinstance(self.head, PrototypeHead) and not self.head.follows:
            share_prototypes(self.head, self.device)

    def on_train_epoch_start(self) -> None:
        # Not called where a run goes on within an epoch, whose first part these have seen.
        self.train_loss.reset()
        self.train_accuracy.reset()

    def on_train_batch_start(self, batch: Any, batch_idx: int) -> None:
        # Dropout then depends on the batch alone, and a resumed run repeats an unbroken one. Each
        # process draws its own; far apart, as the generator of a CPU takes 32 bits of a seed.
        step = self.current_epoch * len(self.loader) + batch_idx
        own = self.config.train.seed * 1_000_003 + self.global_rank * 100_000_007
        torch.manual_seed(own + step)

    def training_step(self, batch: tuple[Any, ...], batch_idx: int) -> Tensor:
        x, labels, *targets = batch  # each input's own ones, where the data have some
        embeddings = self.embedder(x)
        # In float32: the sum of many float16 numbers is infinite though none of them is.
        if not bool(torch.isfinite(embeddings.detach().sum(dtype=torch.float32))):
            raise ValueError(
                f"Training diverged at step {self.global_step}: the embeddings are not finite. "
                f"{REMEDY}"
            )
        loss = self.head(embeddings, labels, targets=targets[0] if targets else None)
        if self.less_forgetting is not None:
            loss = loss + self.less_forgetting.loss(x, labels, embeddings, self.head.transform)
        self.train_loss.update(loss.detach().expand(len(labels)))
        if self.head.ready:
            self._judge(embeddings.detach(), labels, batch_idx)
        return loss

    def _judge(self, embeddings: Tensor, labels: Tensor, batch_idx: int) -> None:
        """Training accuracy: of some inputs of some batches where prediction is a search."""
        cost, count = self.head.search_cost, len(labels)
        if cost:
            if batch_idx % SEARCH_EVERY:
                return
            count = min(count, max(1, SEARCH_COSINES // cost))
        with torch.no_grad():
            right = self.head.predict(embeddings[:count]).label[:, 0] == labels[:count]
        self.train_accuracy.update(right.float())

    def train_means(self, *, own: bool = False) -> tuple[float, float]:
        """Loss and accuracy of the epoch so far, NaN for what nothing is known of.

        Args:
            own: of this process alone, instead of all.
        """
        metrics = self.train_loss, self.train_accuracy
        loss, accuracy = (_own_value(m) if own else _value(m) for m in metrics)
        return loss, accuracy

    def on_train_epoch_end(self) -> None:
        loss, accuracy = self.train_means()
        self.log("train/loss", loss)
        if not math.isnan(accuracy):
            self.log("train/accuracy", accuracy)

    # ---------------------------------------------------------------- evaluation

    def on_validation_epoch_start(self) -> None:
        self.check_finite()
        for metric in self.tests:
            metric.reset()  # pyright: ignore[reportCallIssue]

    def validation_step(
        self, batch: tuple[Any, Tensor], batch_idx: int, dataloader_idx: int = 0
    ) -> None:
        x, labels = batch
        loader: ResumableLoader = self.trainer.val_dataloaders[dataloader_idx]  # pyright: ignore[reportOptionalSubscript]
        # Processes of a distributed run repeat a few inputs to have equally many; count them once.
        batches = loader.batches
        new = max(0, min(len(labels), batches.num_own - batch_idx * batches.batch_size))
        right = self.head.predict(self.embedder(x)).label[:new, 0] == labels[:new]
        self.tests[dataloader_idx].update(right.float())  # pyright: ignore[reportCallIssue]

    def on_validation_epoch_end(self) -> None:
        found = self.test_accuracies()
        for name, accuracy in found.items():
            self.log(f"test/{name}/accuracy", accuracy)
        self.log("test/mean", sum(found.values()) / len(found))

    def test_accuracies(self) -> dict[str, float]:
        """Of the evaluation after this epoch, over all processes; NaN where there is none."""
        return {
            name: _value(metric) if self.evaluated else math.nan  # pyright: ignore[reportArgumentType]
            for name, metric in zip(self.test_names, self.tests, strict=True)
        }

    def quality(self) -> float:
        """The accuracy on the validation set after this epoch; NaN where none was taken."""
        name = self.data.validation
        return math.nan if name is None else self.test_accuracies()[name]

    def check_finite(self) -> None:
        """Look at the weights before they are used, or replace good ones.

        Raises:
            ValueError: a step has ruined them.
        """
        for name, weight in self.named_parameters():
            if not bool(torch.isfinite(weight).all()):
                raise ValueError(
                    f"Training diverged before step {self.global_step}: the weights {name} are not "
                    f"finite. {REMEDY}"
                )

    # ---------------------------------------------------------------- optimization

    def configure_optimizers(self) -> Any:
        config = self.config.train
        optimizer, scheduler = make_optimizer(self.config, self.embedder, self.head)
        if scheduler is not None:
            schedule = {"scheduler": scheduler, "interval": "epoch", "monitor": "train/loss"}
            return {"optimizer": optimizer, "lr_scheduler": schedule}
        steps = config.epochs * self._steps(len(self.loader))
        schedule = torch.optim.lr_scheduler.LambdaLR(
            optimizer, lambda step: learning_rate_factor(step, steps, config)
        )
        return {
            "optimizer": optimizer,
            "lr_scheduler": {"scheduler": schedule, "interval": "step"},
        }

    def _steps(self, batches: int) -> int:
        """Of the optimizer, in so many batches of an epoch."""
        return math.ceil(batches / self.config.train.accumulate_grad_batches)

    # ---------------------------------------------------------------- checkpoints

    def on_save_checkpoint(self, checkpoint: CheckpointDict) -> None:
        checkpoint[DATA] = asdict(self.fingerprint)
        checkpoint[PLACE] = {**self.loader.state_dict(), "batches": len(self.loader)}
        checkpoint[SETTINGS] = settings_of(self.config)

    def on_load_checkpoint(self, checkpoint: CheckpointDict) -> None:
        """Hold the data against those of the checkpoint, and the number of processes.

        Raises:
            ValueError: the run was begun on other data.
        """
        then = Fingerprint(**checkpoint[DATA])
        if then != self.fingerprint:
            names = checkpoint["state_dict"][f"head.{EXTRA}"]["names"]
            raise ValueError(self.data.difference(then, names))
        if checkpoint[PLACE]["batches"] != len(self.loader):
            self._divide_anew(checkpoint)

    def _divide_anew(self, checkpoint: CheckpointDict) -> None:
        """Another number of processes goes on: count the batches that are done as those of today.

        What is left of the epoch is as it was; the schedule of the learning rate goes on at the
        same share of the training.
        """
        epoch, seen, now = checkpoint[PLACE]["epoch"], checkpoint[PLACE]["seen"], len(self.loader)
        done = now - self.loader.batches.num_left(seen)
        if seen:
            progress = checkpoint["loops"]["fit_loop"]["epoch_loop.batch_progress"]["current"]
            # Lightning saves before it has counted the last one as completed.
            progress.update({part: done + n - progress["ready"] for part, n in progress.items()})
        if self.config.scheduler is None:
            state = checkpoint["lr_schedulers"][0]
            state["last_epoch"] = epoch * self._steps(now) + self._steps(done)


def settings_of(config: Config) -> str:
    """Settings that a resumed run must have as it had them, as JSON, to tell runs apart by.

    Those of classes are not among them: a run that Python began says less of them than the command
    that resumes it.
    """
    train, loader = asdict(config.train), asdict(config.loader)
    for name in (
        *("epochs", "accelerator", "devices", "num_nodes", "strategy", "checkpoint_minutes"),
    ):
        del train[name]
    del loader["num_workers"]
    specs = (config.model, config.head, config.data)
    # By name: a parser writes the path of the module that defines a class.
    return json.dumps([train, loader, asdict(config.prototypes), [s.name for s in specs]])


def _mean() -> MeanMetric:
    """A mean over all processes, whose state a checkpoint takes along."""
    # Looking for NaN would make the device wait at every step.
    metric = MeanMetric(nan_strategy="disable")
    metric.persistent(True)
    return metric


def _own_value(metric: MeanMetric) -> float:
    return float(metric.mean_value / metric.weight)  # pyright: ignore[reportOperatorIssue]


def _value(metric: MeanMetric) -> float:
    """Of all processes; NaN where there was nothing to take the mean of."""
    with warnings.catch_warnings():
        # That nothing came since a checkpoint was read, or at all, is no mistake.
        warnings.filterwarnings("ignore", message=".*compute.* was called before.*")
        return float(metric.compute())


def make_optimizer(
    config: Config, embedder: Embedder, head: Head
) -> tuple[torch.optim.Optimizer, torch.optim.lr_scheduler.LRScheduler | None]:
    """What settings name to change the weights, and the schedule of its rate where they name one.

    Raises:
        ValueError: naming the setting that cannot work.
    """
    lr = embedder.default_lr if config.train.lr is None else config.train.lr
    groups = [
        group
        for parameters, factor in embedder.parameter_groups()
        for group in _decayed(list(parameters), lr * factor)
    ]
    own = list(head.parameters())
    if own:
        groups.append({"params": own, "lr": lr * head.lr_factor})
    with _named("optimizer", config.optimizer):
        groups = groups or [{"params": []}]  # `check_network` says what is wrong
        optimizer = config.optimizer.build(torch.optim.Optimizer, "optimizer", groups, lr=lr)
    if config.scheduler is None:
        return optimizer, None
    with _named("scheduler", config.scheduler):
        scheduler = config.scheduler.build(
            torch.optim.lr_scheduler.LRScheduler, "scheduler", optimizer
        )
    return optimizer, scheduler


def _decayed(parameters: list[nn.Parameter], lr: float) -> list[dict[str, Any]]:
    """Groups for an optimizer: biases and the factors of norms are not drawn to zero."""
    weights = [p for p in parameters if p.ndim > 1]
    others = [p for p in parameters if p.ndim <= 1]
    groups = [{"params": weights, "lr": lr}, {"params": others, "lr": lr, "weight_decay": 0.0}]
    return [group for group in groups if group["params"]]


def check_optimizer(config: Config, embedder: Embedder, head: Head) -> None:
    """Show that optimizer and schedule can be made and begin, before anything is written.

    Raises:
        ValueError: naming the setting that cannot work.
    """
    _, scheduler = make_optimizer(config, embedder, head)
    if config.scheduler is None or scheduler is None:
        return
    if isinstance(scheduler, torch.optim.lr_scheduler.ReduceLROnPlateau):
        return  # its step needs a loss
    with _named("scheduler", config.scheduler), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the optimizer has made no step
        scheduler.step()


@contextmanager
def _named(setting: str, spec: ClassSpec) -> Iterator[None]:
    """Errors of a class, as those of the setting that names it."""
    try:
        yield
    except (ValueError, TypeError, ArithmeticError) as error:
        if str(error).startswith("Argument"):
            raise
        raise ValueError(f"Argument '{setting}': {spec.class_path}: {error}.") from error


def learning_rate_factor(step: int, steps: int, config: TrainConfig) -> float:
    """Learning rate of step `step` of `steps`, relative to the peak."""
    warmup = min(config.warmup_steps, steps // 2)  # a short run comes to its peak, too
    if step < warmup:
        return (step + 1) / warmup
    if config.schedule == "constant":
        return 1.0
    done = (step - warmup) / max(1, steps - warmup)
    return 0.5 * (1 + math.cos(math.pi * min(1.0, done)))
