"""Algorithm 1 of arXiv 2510.04090 as a Lightning module."""

from __future__ import annotations

import math
from typing import Any

import lightning as L
import torch
from torch import Tensor, nn

from rootspace.classes import Prediction
from rootspace.data import ImageData

from .config import TrainConfig
from .objectives import Objective


class Embedder(nn.Module):
    """A network with the normalisation of its inputs: uint8 images -> embeddings.

    Args:
        network: float images `[B, C, H, W]` -> `[B, dim]`.
        mean: of each channel, for pixels in [0, 1].
        std: of each channel.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, network: nn.Module, mean: tuple[float, ...], std: tuple[float, ...]) -> None:
        super().__init__()
        # Convolutions are about 1.5 times as fast with channels last, on CPUs and GPUs.
        self.network = network.to(memory_format=torch.channels_last)
        self.register_buffer("mean", torch.tensor(mean)[:, None, None])
        self.register_buffer("std", torch.tensor(std)[:, None, None])

    def forward(self, images: Tensor) -> Tensor:
        pixels = (images.float() / 255 - self.mean) / self.std
        return self.network(pixels.contiguous(memory_format=torch.channels_last))


class Tally:
    """Running sums of a pass: loss, right answers, images."""

    def __init__(self) -> None:
        self.sums = torch.zeros(2)
        self.count = 0

    def add(self, loss: Tensor, right: Tensor, count: int) -> None:
        """`loss` is the mean of a batch of `count` images, `right` how many were right."""
        # Summed where they are: reading them back would make the device wait at every step.
        self.sums = self.sums.to(loss.device) + torch.stack([loss.detach().float() * count, right])
        self.count += count

    def means(self) -> tuple[float, float]:
        """Loss and accuracy so far, of this process."""
        loss, right = self.sums.tolist()
        return loss / max(self.count, 1), right / max(self.count, 1)

    def total_means(self) -> tuple[float, float]:
        """Loss and accuracy over all processes of a distributed run."""
        if not (torch.distributed.is_available() and torch.distributed.is_initialized()):
            return self.means()
        total = torch.cat([self.sums.double(), self.sums.new_tensor([self.count]).double()])
        torch.distributed.all_reduce(total)
        loss, right, count = total.tolist()
        return loss / max(count, 1), right / max(count, 1)


class LSCModule(L.LightningModule):
    """Embeds a batch, asks the objective for its loss; nothing here knows the number of classes.

    Args:
        embedder: images -> embeddings.
        objective: loss and prediction.
        config: optimisation.
        data: the data module that it will be trained on, for the sizes of the test sets.
    """

    def __init__(
        self, embedder: Embedder, objective: Objective, config: TrainConfig, data: ImageData
    ) -> None:
        super().__init__()
        self.embedder = embedder
        self.objective = objective
        self.config = config
        self.test_names = list(data.test_datasets)
        self.train_tally = Tally()
        self.test_tallies: list[Tally] = []
        self.test_accuracies: dict[str, float] = {}

    def forward(self, images: Tensor) -> Tensor:
        return self.embedder(images)

    def predict_classes(self, images: Tensor, k: int = 1) -> Prediction:
        """uint8 images `[B, C, H, W]` -> the k best classes."""
        return self.objective.predict(self.embedder(images), k)

    # ---------------------------------------------------------------- training

    def on_train_epoch_start(self) -> None:
        self.train_tally = Tally()
        self.test_accuracies = {}

    def on_train_batch_start(self, batch: Any, batch_idx: int) -> None:
        # Dropout then depends on the step alone, and a resumed run repeats an unbroken one.
        torch.manual_seed(self.config.seed * 1_000_003 + self.global_step)

    def training_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> Tensor:
        images, labels = batch
        embeddings = self.embedder(images)
        if not bool(torch.isfinite(embeddings.detach().sum())):
            raise ValueError(
                f"Training diverged at step {self.global_step}: the embeddings are not finite. "
                "Try a smaller train.lr, train.warmup_steps or train.gradient_clip."
            )
        loss = self.objective(embeddings, labels)
        with torch.no_grad():
            right = (self.objective.predict(embeddings.detach()).label[:, 0] == labels).sum()
        self.train_tally.add(loss, right, len(labels))
        return loss

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        checkpoint["train_tally"] = (self.train_tally.sums, self.train_tally.count)

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        self.train_tally.sums, self.train_tally.count = checkpoint["train_tally"]

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
        tally.add(right.new_zeros((), dtype=torch.float32), right.sum(), new)

    def on_validation_epoch_end(self) -> None:
        self.test_accuracies = {
            name: tally.total_means()[1]
            for name, tally in zip(self.test_names, self.test_tallies, strict=True)
        }

    # ---------------------------------------------------------------- optimisation

    def configure_optimizers(self) -> Any:
        config = self.config
        groups: list[dict[str, Any]] = [{"params": list(self.embedder.parameters())}]
        head = list(self.objective.parameters())
        if head:
            groups.append({"params": head, "lr": config.lr * self.objective.lr_factor})
        optimizer = torch.optim.AdamW(groups, lr=config.lr, weight_decay=config.weight_decay)
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
