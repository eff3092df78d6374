"""What a run trains towards: class vectors (LSC), or a learned head as the baseline.

All go through one training loop, so that they are compared on equal terms.
"""

from __future__ import annotations

import abc

import torch
from torch import Tensor, nn

from rootspace._extras import require
from rootspace.classes import ClassMap, Prediction
from rootspace.losses import (
    ClassLoss,
    CombinedLoss,
    CosineLoss,
    DistanceLoss,
    InBatchSoftmaxLoss,
    SystemSoftmaxLoss,
)


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

    def __init__(self, loss: ClassLoss) -> None:
        super().__init__()
        self.loss = loss

    @property
    def classes(self) -> ClassMap:
        return self.loss.classes

    def forward(self, embeddings: Tensor, labels: Tensor) -> Tensor:
        return self.loss(embeddings, labels)

    def predict(self, embeddings: Tensor, k: int = 1) -> Prediction:
        return self.classes.predict(embeddings, k)

    def class_vectors(self, labels: Tensor) -> Tensor:
        return self.classes.vectors(labels)

    @property
    def scale(self) -> float | None:
        return getattr(self.loss, "scale", None)


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
        return self.layer(embeddings.float())

    def forward(self, embeddings: Tensor, labels: Tensor) -> Tensor:
        return nn.functional.cross_entropy(self.logits(embeddings), labels)


class NormalizedSoftmax(LearnedObjective):
    """A learned normalised softmax (pytorch-metric-learning's `NormalizedSoftmaxLoss`).

    Args:
        dim: of the embeddings.
        num_classes: number of learned vectors.
        scale: inverse temperature.
        lr_factor: learning rate of the class vectors relative to the network's; they see few
            images each, and need a larger one.
    """

    def __init__(
        self, dim: int, num_classes: int, scale: float = 10.0, lr_factor: float = 10.0
    ) -> None:
        super().__init__()
        losses = require(
            "pytorch_metric_learning.losses", extra="train", purpose="Loss 'normalized_softmax'"
        )
        self.loss = losses.NormalizedSoftmaxLoss(num_classes, dim, temperature=1 / scale)
        self.lr_factor = lr_factor
        self._scale = scale

    @property
    def weight(self) -> Tensor:
        return self.loss.W.T

    @property
    def scale(self) -> float | None:
        return self._scale

    def forward(self, embeddings: Tensor, labels: Tensor) -> Tensor:
        with torch.autocast(embeddings.device.type, enabled=False):
            return self.loss(embeddings.float(), labels)


VECTOR_LOSSES: dict[str, type[ClassLoss]] = {
    "cosine": CosineLoss,
    "distance": DistanceLoss,
    "combined": CombinedLoss,
    "system_softmax": SystemSoftmaxLoss,
    "in_batch_softmax": InBatchSoftmaxLoss,
}
"""The losses against predefined vectors, by their name in a config."""

LEARNED_LOSSES: dict[str, type[LearnedObjective]] = {
    "linear_ce": LinearCE,
    "normalized_softmax": NormalizedSoftmax,
}
"""The baselines with a learned head, by their name in a config."""
