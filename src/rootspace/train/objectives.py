"""What a run trains towards: class vectors (LSC), or a learned head as the baseline.

All go through one training loop, so that they are compared on equal terms.
"""

from __future__ import annotations

import abc
from collections.abc import Callable
from types import ModuleType

import torch
from torch import Tensor, nn

from rootspace._extras import require
from rootspace.classes import ClassMap, Prediction
from rootspace.losses import (
    ClassLoss,
    CombinedLoss,
    CosineLoss,
    DistanceLoss,
    GaussianLoss,
    InBatchSoftmaxLoss,
    SystemSoftmaxLoss,
)

from .config import WarmupConfig


class Objective(nn.Module, abc.ABC):
    """A loss on embeddings together with the prediction that belongs to it."""

    @abc.abstractmethod
    def forward(self, embeddings: Tensor, labels: Tensor) -> Tensor:
        """`[B, dim]` embeddings and `[B]` labels -> scalar loss."""

    @abc.abstractmethod
    def predict(self, embeddings: Tensor, k: int = 1) -> Prediction:
        """`[B, dim]` -> the k best classes, with cosines to their vectors."""

    @abc.abstractmethod
    def class_vectors(self, labels: Tensor) -> Tensor:
        """`[P]` labels -> `[P, dim]` unit vectors of these classes."""

    @property
    def ready(self) -> bool:
        """Whether classes have vectors, so that `predict` works."""
        return True

    @property
    def quick(self) -> bool:
        """Whether `predict` costs little beside a training step, whatever the number of classes."""
        return True

    lr_factor: float = 1.0
    """Learning rate of the objective's own parameters, relative to the network's."""

    @property
    def scale(self) -> float | None:
        """Inverse temperature, where there is one."""
        return None


class VectorObjective(Objective):
    """LSC: a loss against predefined class vectors, closed-form prediction, no parameters.

    Args:
        loss: any loss of `rootspace.losses`.
    """

    settled: ClassLoss | None

    def __init__(self, loss: ClassLoss) -> None:
        super().__init__()
        self.settled = loss

    @property
    def loss(self) -> ClassLoss:
        if self.settled is None:
            raise RuntimeError("Classes have no vectors before the end of the warm-up.")
        return self.settled

    @property
    def ready(self) -> bool:
        return self.settled is not None

    @property
    def classes(self) -> ClassMap:
        return self.loss.classes

    @property
    def quick(self) -> bool:
        return self.classes.closed_form

    def forward(self, embeddings: Tensor, labels: Tensor, targets: Tensor | None = None) -> Tensor:
        """The loss; `[B, dim]` targets take the place of the class vectors in it."""
        return self.loss(embeddings, labels, targets=targets)

    def predict(self, embeddings: Tensor, k: int = 1) -> Prediction:
        return self.classes.predict(embeddings, k)

    def class_vectors(self, labels: Tensor) -> Tensor:
        return self.classes.vectors(labels)

    @property
    def scale(self) -> float | None:
        return getattr(self.loss, "scale", None)


class AssignedObjective(VectorObjective):
    """LSC with vectors chosen from data before the first epoch.

    Until `settle` no class has a vector, and there is no loss.

    Args:
        make_loss: from the class map to the loss.
    """

    def __init__(self, make_loss: Callable[[ClassMap], ClassLoss]) -> None:
        nn.Module.__init__(self)
        self._make_loss = make_loss
        self.settled = None

    def due(self, done: int, epochs: int) -> bool:
        """Whether classes get vectors, or new ones, after `done` of `epochs` epochs."""
        return self.settled is None

    def settle(self, classes: ClassMap) -> None:
        """The classes have these vectors: training with the loss begins, or goes on with them."""
        self.settled = self._make_loss(classes)


class WarmupObjective(AssignedObjective):
    """LSC with vectors chosen from the data: contrastive first, then also the loss.

    Until `settle` no class has a vector, and only the supervised contrastive loss trains the
    network. Memory does not depend on the number of classes in either stage.

    Args:
        make_loss: from the class map to the loss of the second stage.
        config: of the warm-up.
        epochs: of it.
    """

    def __init__(
        self, make_loss: Callable[[ClassMap], ClassLoss], config: WarmupConfig, epochs: int
    ) -> None:
        super().__init__(make_loss)
        losses = require(
            "pytorch_metric_learning.losses", extra="train", purpose="Assignment 'warmup'"
        )
        self.contrastive = losses.SupConLoss(temperature=config.temperature)
        self.config = config
        self.epochs = epochs

    def due(self, done: int, epochs: int) -> bool:
        if self.settled is None:
            return done >= self.epochs
        reassign = self.config.reassign
        return reassign == "epochs" or (reassign == "end" and done == epochs)

    def forward(self, embeddings: Tensor, labels: Tensor, targets: Tensor | None = None) -> Tensor:
        if self.settled is not None and not self.config.weight:
            return self.settled(embeddings, labels, targets=targets)
        with torch.autocast(embeddings.device.type, enabled=False):
            contrastive = self.contrastive(embeddings.float(), labels)
        if self.settled is None:
            return contrastive
        loss = self.settled(embeddings, labels, targets=targets)
        return loss + self.config.weight * contrastive


class LearnedObjective(Objective):
    """A learned vector for each class: the baselines. Subclasses own `weight`, `[C, dim]`."""

    @property
    @abc.abstractmethod
    def weight(self) -> Tensor:
        """`[num_classes, dim]`."""

    def logits(self, embeddings: Tensor) -> Tensor:
        """`[B, dim]` -> `[B, num_classes]`, in the order of which classes are predicted."""
        return self.cosines(embeddings)

    def cosines(self, embeddings: Tensor) -> Tensor:
        # A half precision network must not round them: leave autocast, as LSC does.
        with torch.autocast(embeddings.device.type, enabled=False):
            unit = nn.functional.normalize(embeddings.float(), dim=-1)
            return unit @ nn.functional.normalize(self.weight, dim=-1).T

    def predict(self, embeddings: Tensor, k: int = 1) -> Prediction:
        label = self.logits(embeddings).topk(k, dim=-1).indices
        return Prediction(label, self.cosines(embeddings).gather(-1, label))

    def class_vectors(self, labels: Tensor) -> Tensor:
        return nn.functional.normalize(self.weight.detach()[labels], dim=-1)


class LinearCE(LearnedObjective):
    """A learned linear layer with cross-entropy: the conventional classifier.

    Args:
        dim: of the embeddings.
        num_classes: rows of the layer.
        lr_factor: learning rate of the layer relative to the network's.
    """

    def __init__(self, dim: int, num_classes: int, lr_factor: float = 1.0) -> None:
        super().__init__()
        self.layer = nn.Linear(dim, num_classes)
        self.lr_factor = lr_factor

    @property
    def weight(self) -> Tensor:
        return self.layer.weight

    def logits(self, embeddings: Tensor) -> Tensor:
        with torch.autocast(embeddings.device.type, enabled=False):
            return self.layer(embeddings.float())

    def forward(self, embeddings: Tensor, labels: Tensor) -> Tensor:
        return nn.functional.cross_entropy(self.logits(embeddings), labels)


class _MetricLearningHead(LearnedObjective):
    """A loss of pytorch-metric-learning that owns a learned vector for each class.

    Args:
        loss: it; its weights are `W`, `[dim, num_classes]`.
        scale: its inverse temperature.
        lr_factor: learning rate of the class vectors relative to the network's; they see few
            images each, and need a larger one.
    """

    def __init__(self, loss: nn.Module, scale: float, lr_factor: float) -> None:
        super().__init__()
        self.loss = loss
        self.lr_factor = lr_factor
        self._scale = scale

    @property
    def weight(self) -> Tensor:
        return self.loss.W.T  # pyright: ignore[reportReturnType, reportCallIssue]

    @property
    def scale(self) -> float | None:
        return self._scale

    def forward(self, embeddings: Tensor, labels: Tensor) -> Tensor:
        with torch.autocast(embeddings.device.type, enabled=False):
            return self.loss(embeddings.float(), labels)


class NormalizedSoftmax(_MetricLearningHead):
    """A learned normalised softmax (pytorch-metric-learning's `NormalizedSoftmaxLoss`).

    Args:
        dim: of the embeddings.
        num_classes: number of learned vectors.
        scale: inverse temperature.
        lr_factor: learning rate of the class vectors relative to the network's.
    """

    def __init__(
        self, dim: int, num_classes: int, scale: float = 10.0, lr_factor: float = 10.0
    ) -> None:
        loss = _losses("normalized_softmax").NormalizedSoftmaxLoss(
            num_classes, dim, temperature=1 / scale
        )
        super().__init__(loss, scale, lr_factor)


class CosFace(_MetricLearningHead):
    """A learned softmax with a margin in cosine (CosFace, arXiv 1801.09414).

    Args:
        dim: of the embeddings.
        num_classes: number of learned vectors.
        scale: inverse temperature.
        margin: taken from the cosine of the own class.
        lr_factor: learning rate of the class vectors relative to the network's.
    """

    def __init__(
        self,
        dim: int,
        num_classes: int,
        scale: float = 16.0,
        margin: float = 0.2,
        lr_factor: float = 10.0,
    ) -> None:
        loss = _losses("cosface").CosFaceLoss(num_classes, dim, margin=margin, scale=scale)
        super().__init__(loss, scale, lr_factor)


class ArcFace(_MetricLearningHead):
    """A learned softmax with a margin in the angle (ArcFace, arXiv 1801.07698).

    Args:
        dim: of the embeddings.
        num_classes: number of learned vectors.
        scale: inverse temperature.
        margin: added to the angle to the own class, in degrees.
        lr_factor: learning rate of the class vectors relative to the network's.
    """

    def __init__(
        self,
        dim: int,
        num_classes: int,
        scale: float = 16.0,
        margin: float = 10.0,
        lr_factor: float = 10.0,
    ) -> None:
        loss = _losses("arcface").ArcFaceLoss(num_classes, dim, margin=margin, scale=scale)
        super().__init__(loss, scale, lr_factor)


def _losses(name: str) -> ModuleType:
    return require("pytorch_metric_learning.losses", extra="train", purpose=f"Loss '{name}'")


VECTOR_LOSSES: dict[str, type[ClassLoss]] = {
    "cosine": CosineLoss,
    "distance": DistanceLoss,
    "combined": CombinedLoss,
    "gaussian": GaussianLoss,
    "system_softmax": SystemSoftmaxLoss,
    "in_batch_softmax": InBatchSoftmaxLoss,
}
"""The losses against predefined vectors, by their name in a config."""

LEARNED_LOSSES: dict[str, type[LearnedObjective]] = {
    "linear_ce": LinearCE,
    "normalized_softmax": NormalizedSoftmax,
    "cosface": CosFace,
    "arcface": ArcFace,
}
"""The baselines with a learned head, by their name in a config."""
