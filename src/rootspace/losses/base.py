"""What all losses share: they know the classes, and check what they are given."""

from __future__ import annotations

import abc
import math

import torch
from torch import Tensor, nn

from rootspace._checks import check_kind, wrong_kind
from rootspace.classes import ClassMap
from rootspace.systems import directed_rows


class ClassLoss(nn.Module, abc.ABC):
    """A loss between embeddings and the vectors of their classes.

    Called as `loss(embeddings, labels) -> scalar`, like the losses of pytorch-metric-learning. It
    has no parameters, and asks the class map for the vectors of the labels in the batch and for
    nothing else: O(batch * dim) memory, whatever the number of classes.

    A subclass writes `compute`.

    Args:
        classes: which class owns which vector.

    Raises:
        TypeError: no class map.
    """

    uses_length = False
    """Whether the length of an embedding matters, and not only its direction."""

    exact_vectors = False
    """Whether `compute` wants the vectors in float64."""

    takes_targets = True
    """Whether vectors that are not those of the classes may take their place."""

    def __init__(self, classes: ClassMap) -> None:
        super().__init__()
        check_kind("classes", classes, ClassMap, "a ClassMap")
        self.classes = classes

    @abc.abstractmethod
    def compute(self, z: Tensor, vectors: Tensor, labels: Tensor) -> Tensor:
        """The loss.

        Args:
            z: `[B, dim]` embeddings in at least float32, finite and not zero.
            vectors: `[B, dim]` unit vectors of their classes, in the dtype of z or in float64.
            labels: `[B]` int64.

        Returns:
            A scalar.
        """

    def forward(
        self,
        embeddings: Tensor,
        labels: Tensor,
        indices_tuple: None = None,
        *,
        targets: Tensor | None = None,
    ) -> Tensor:
        """The loss of a batch, a scalar in at least float32.

        Args:
            embeddings: `[B, dim]` of any float dtype.
            labels: `[B]` integers in [0, num_classes).
            indices_tuple: there for trainers that pass one; must be None, as no pairs are formed.
            targets: `[B, dim]` of any length but zero, to take the place of the class vectors:
                what a teacher made of each image. Not where `takes_targets` is False.

        Raises:
            ValueError: wrong shapes, zero, NaN or infinite embeddings, pairs from a miner.
            IndexError: a label is out of range.
        """
        if indices_tuple is not None:
            raise ValueError(
                "Argument 'indices_tuple' must be None: a loss against class vectors forms no "
                "pairs. Remove the miner."
            )
        self.classes.system.check_shape(embeddings, "embeddings")
        check_batch(embeddings, labels)
        if targets is not None and not self.takes_targets:
            raise ValueError(
                f"Argument 'targets' must be left out: {type(self).__name__} is a softmax over the "
                "vectors of the system, which these are not. Take InBatchSoftmaxLoss or CosineLoss."
            )
        if targets is not None and targets.shape != embeddings.shape:
            raise ValueError(
                f"Argument 'targets' must have shape {tuple(embeddings.shape)}, not "
                f"{tuple(targets.shape)}."
            )
        z, _ = directed_rows(embeddings, "embeddings")
        if self.uses_length:
            z = embeddings.to(z.dtype)  # as long as they are, however long that is
        # A half precision network must not round the loss: leave autocast for it.
        exact = self.exact_vectors and z.device.type != "mps"
        with torch.autocast(z.device.type, enabled=False):
            dtype = torch.float64 if exact else z.dtype
            if targets is None:
                vectors = self.classes.vectors(labels, dtype=dtype)
            else:
                vectors = torch.nn.functional.normalize(targets.to(dtype), dim=-1)
            return self.compute(z, vectors, labels)

    def extra_repr(self) -> str:
        return repr(self.classes)


def check_batch(embeddings: Tensor, labels: Tensor) -> None:
    """Raise unless these are `[B, dim]` and `[B]`, and B is not 0.

    Raises:
        ValueError: other shapes.
        TypeError: labels that are no integers.
    """
    if not isinstance(labels, Tensor):
        raise wrong_kind("labels", labels, "an integer tensor")
    if embeddings.ndim != 2 or labels.shape != embeddings.shape[:1] or not len(labels):
        raise ValueError(
            "Arguments 'embeddings' and 'labels' must have shapes [B, dim] and [B] with B > 0, "
            f"not {tuple(embeddings.shape)} and {tuple(labels.shape)}."
        )
    if labels.is_floating_point() or labels.is_complex() or labels.dtype == torch.bool:
        raise TypeError(f"Argument 'labels' must be an integer tensor, not {labels.dtype}.")


def positive(name: str, value: float) -> float:
    """The value of a setting that must be positive and finite."""
    if not 0 < value < math.inf:
        raise ValueError(f"Argument '{name}' must be positive and finite, not {value!r}.")
    return value


def not_negative(name: str, value: float) -> float:
    """The value of a setting that must not be negative, and be finite."""
    if not 0 <= value < math.inf:
        raise ValueError(f"Argument '{name}' must not be negative, and be finite, not {value!r}.")
    return value
