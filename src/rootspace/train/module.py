"""Algorithm 1 of arXiv 2510.04090 as a Lightning module."""

from __future__ import annotations

import math
from dataclasses import asdict
from typing import Any

import lightning as L
import torch
from torch import Tensor

from rootspace.classes import Prediction
from rootspace.data import EpochLoader, ImageData
from rootspace.runs import ChoiceRecord

from .assignment import Assigner, assign_again
from .config import TrainConfig
from .embedder import Embedder
from .objectives import AssignedObjective, Objective, VectorObjective, WarmupObjective

SEARCH_EVERY = 16
"""Where prediction is a search over all classes, training accuracy is taken on every n-th batch."""

SEARCH_COSINES = 2**24
"""Cosines in such a search: of fewer images the more classes there are, at least one."""


class Tally:
    """Running sums of a pass: loss, right answers, images."""

    def __init__(self) -> None:
        self.sums = torch.zeros(2)
        self.count = 0
        self.judged = 0

    def add(self, loss: Tensor, count: int, right: Tensor | None = None) -> None:
        """`loss` is the mean of `count` images, `right` says of those looked at which were."""
        # Summed where they are: reading them back would make the device wait at every step.
        hits = loss.new_zeros(()) if right is None else right.sum()
        self.sums = self.sums.to(loss.device) + torch.stack([loss.detach().float() * count, hits])
        self.count += count
        self.judged += 0 if right is None else len(right)

    def means(self) -> tuple[float, float]:
        """Loss and accuracy so far, of this process; NaN for what nothing is known of."""
        loss, right = self.sums.tolist()
        return _ratio(loss, self.count), _ratio(right, self.judged)

    def total_means(self) -> tuple[float, float]:
        """Loss and accuracy over all processes of a distributed run."""
        if not (torch.distributed.is_available() and torch.distributed.is_initialized()):
            return self.means()
        own = self.sums.new_tensor([self.count, self.judged])
        total = torch.cat([self.sums.double(), own.double()])
        torch.distributed.all_reduce(total)
        loss, right, count, judged = total.tolist()
        return _ratio(loss, count), _ratio(right, judged)


def _ratio(total: float, count: float) -> float:
    return total / count if count else math.nan


class LSCModule(L.LightningModule):
    """Embeds a batch, asks the objective for its loss; nothing here knows the number of classes.

    Args:
        embedder: images -> embeddings.
        objective: loss and prediction.
        config: optimisation.
        data: the data module that it will be trained on, for the names of its test sets.
        assigner: for an `AssignedObjective`, what gives classes their vectors.
    """

    def __init__(
        self,
        embedder: Embedder,
        objective: Objective,
        config: TrainConfig,
        data: ImageData,
        assigner: Assigner | None = None,
    ) -> None:
        super().__init__()
        self.embedder = embedder
        self.objective = objective
        self.config = config
        self.test_names = list(data.test_datasets)
        self.train_tally = Tally()
        self.test_tallies: list[Tally] = []
        self.test_accuracies: dict[str, float] = {}
        self.assigner = assigner
        self.choice: ChoiceRecord | None = None
        self.assigned_after: int | None = None

    def forward(self, images: Tensor) -> Tensor:
        return self.embedder(images)

    def predict_classes(self, images: Tensor, k: int = 1) -> Prediction:
        """uint8 images `[B, C, H, W]` -> the k best classes."""
        return self.objective.predict(self.embedder(images), k)

    # ---------------------------------------------------------------- training

    def on_train_start(self) -> None:
        self._bring_similar_together()  # a resumed run may have its vectors already

    def on_train_epoch_start(self) -> None:
        self.train_tally = Tally()
        self.test_accuracies = {}
        self.assign_if_due(self.current_epoch)

    def on_train_batch_end(self, outputs: Any, batch: Any, batch_idx: int) -> None:
        if self.trainer.is_last_batch:  # and the test sets come next
            self.assign_if_due(self.current_epoch + 1)

    def assign_if_due(self, done: int) -> None:
        """Give the classes their vectors, or new ones, if the objective wants it now.

        Args:
            done: epochs behind us; once for each.
        """
        objective = self.objective
        if not isinstance(objective, AssignedObjective) or self.assigned_after == done:
            return
        if not objective.due(done, self.config.epochs):
            return
        self.assigned_after = done
        data: ImageData = self.trainer.datamodule  # pyright: ignore[reportAttributeAccessIssue]
        with self.trainer.precision_plugin.forward_context():
            if objective.ready:
                rounds = objective.config.refine if isinstance(objective, WarmupObjective) else 0
                found = assign_again(self.embedder, data, objective.classes.system, rounds)
            else:
                assert self.assigner is not None
                found = self.assigner(self.embedder, data, self.trainer.optimizers[0])
        objective.settle(found.classes)
        self._bring_similar_together()
        self.choice = ChoiceRecord(
            mean_cosine=found.mean_cosine,
            collisions=found.collisions,
            method=found.method,
            seconds=round(found.seconds, 3),
            smallest_angle=found.smallest_angle,
        )

    def _bring_similar_together(self) -> None:
        """From now on similar classes come into a batch together, where they are told apart."""
        objective = self.objective
        loader: EpochLoader | None = self.trainer.train_dataloader
        if loader is None or not isinstance(objective, WarmupObjective) or not objective.ready:
            return
        if objective.config.neighbors > 1:
            loader.epoch_sampler.bring_together(
                lambda labels: objective.class_vectors(labels.to(self.device)).cpu(),
                objective.config.neighbors,
            )

    def on_train_batch_start(self, batch: Any, batch_idx: int) -> None:
        # Dropout then depends on the step alone, and a resumed run repeats an unbroken one.
        torch.manual_seed(self.config.seed * 1_000_003 + self.global_step)

    def training_step(self, batch: tuple[Tensor, ...], batch_idx: int) -> Tensor:
        images, labels, *targets = batch  # each image's own ones, where the data have some
        embeddings = self.embedder(images)
        # In float32: the sum of many float16 numbers is infinite though none of them is.
        if not bool(torch.isfinite(embeddings.detach().sum(dtype=torch.float32))):
            raise ValueError(
                f"Training diverged at step {self.global_step}: the embeddings are not finite. "
                "Try a smaller train.lr, train.warmup_steps or train.gradient_clip."
            )
        loss = self.objective(embeddings, labels, *targets)
        right = None
        if self.objective.ready and (self.objective.quick or batch_idx % SEARCH_EVERY == 0):
            some = embeddings[: self._num_judged(len(labels))]
            with torch.no_grad():
                right = self.objective.predict(some.detach()).label[:, 0] == labels[: len(some)]
        self.train_tally.add(loss, len(labels), right)
        return loss

    def _num_judged(self, batch: int) -> int:
        """Images of a batch that training accuracy looks at, so that a search stays small."""
        objective = self.objective
        if objective.quick or not isinstance(objective, VectorObjective):
            return batch
        return min(batch, max(1, SEARCH_COSINES // objective.classes.num_classes))

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        tally = self.train_tally
        checkpoint["train_tally"] = (tally.sums, tally.count, tally.judged)
        if isinstance(self.objective, AssignedObjective) and self.objective.ready:
            classes = self.objective.classes
            choice = None if self.choice is None else asdict(self.choice)
            checkpoint["assignment"] = (choice, self.assigned_after, classes)

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        tally = self.train_tally
        tally.sums, tally.count, tally.judged = checkpoint["train_tally"]
        if "assignment" in checkpoint:
            assert isinstance(self.objective, AssignedObjective)
            choice, self.assigned_after, classes = checkpoint["assignment"]
            self.choice = None if choice is None else ChoiceRecord(**choice)
            self.objective.settle(classes)

    # ---------------------------------------------------------------- evaluation

    def on_validation_epoch_start(self) -> None:
        self.test_tallies = [Tally() for _ in self.test_names]

    def validation_step(
        self, batch: tuple[Tensor, Tensor], batch_idx: int, dataloader_idx: int = 0
    ) -> None:
        images, labels = batch
        tally = self.test_tallies[dataloader_idx]
        loader = self.trainer.val_dataloaders[dataloader_idx]  # pyright: ignore[reportOptionalSubscript]
        # Processes of a distributed run repeat a few images to have equally many; count them once.
        new = max(0, min(len(labels), loader.sampler.num_own - tally.count))
        right = self.objective.predict(self.embedder(images)).label[:new, 0] == labels[:new]
        tally.add(right.new_zeros((), dtype=torch.float32), new, right)

    def on_validation_epoch_end(self) -> None:
        self.test_accuracies = {
            name: tally.total_means()[1]
            for name, tally in zip(self.test_names, self.test_tallies, strict=True)
        }

    # ---------------------------------------------------------------- optimisation

    def configure_optimizers(self) -> Any:
        config = self.config
        lr = self.embedder.network.default_lr if config.lr is None else config.lr
        assert isinstance(lr, float)
        groups: list[dict[str, Any]] = [{"params": list(self.embedder.parameters())}]
        head = list(self.objective.parameters())
        if head:
            groups.append({"params": head, "lr": lr * self.objective.lr_factor})
        optimizer = torch.optim.AdamW(groups, lr=lr, weight_decay=config.weight_decay)
        # Not `estimated_stepping_batches`: that makes the training loader before a resumed run's
        # state is restored, and the epoch would begin anew.
        data = self.trainer.datamodule  # pyright: ignore[reportAttributeAccessIssue]
        steps = config.epochs * len(data.train_dataloader())
        schedule = torch.optim.lr_scheduler.LambdaLR(
            optimizer, lambda step: learning_rate_factor(step, steps, config)
        )
        return {
            "optimizer": optimizer,
            "lr_scheduler": {"scheduler": schedule, "interval": "step"},
        }


def learning_rate_factor(step: int, steps: int, config: TrainConfig) -> float:
    """Learning rate of step `step` of `steps`, relative to the peak."""
    if step < config.warmup_steps:
        return (step + 1) / config.warmup_steps
    if config.schedule == "constant":
        return 1.0
    done = (step - config.warmup_steps) / max(1, steps - config.warmup_steps)
    return 0.5 * (1 + math.cos(math.pi * min(1.0, done)))
