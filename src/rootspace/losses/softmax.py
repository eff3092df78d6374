"""Softmax losses: over the whole vector system, or over the classes of the batch."""

import torch
from torch import Tensor

from rootspace._checks import integer
from rootspace.classes import ClassMap
from rootspace.systems import Orbit

from . import functional
from .base import ClassLoss, not_negative, positive

MOST_STATES = 2**14
"""Of a partition function, beyond which a step of training takes many seconds."""


class SystemSoftmaxLoss(ClassLoss):
    """Cross-entropy over ALL vectors of the system, in closed form.

    -scale * cos(z, v) + log_partition(z): a true softmax over 1e5 to 1e10 classes at about the
    price of the cosine loss. Vectors that no class owns compete too, as the pre-allocated
    classifiers of arXiv 2010.08657 do, so classes added later change nothing.

    Args:
        classes: which class owns which vector.
        scale: inverse temperature; None for the one at which an embedding on its vector gets
            probability 0.9, `system.scale_for(0.9)`.
        margin: subtracted from the cosine of the own class (CosFace), 0 for none.

    Raises:
        ValueError: the system's partition function has too many states, as that of a dense code.
    """

    takes_targets = False

    def __init__(self, classes: ClassMap, scale: float | None = None, margin: float = 0.0) -> None:
        super().__init__(classes)
        system = classes.system
        if isinstance(system, Orbit) and system.num_states > MOST_STATES:
            raise ValueError(
                f"Argument 'classes': the softmax over all of {system!r} has {system.num_states:,} "
                f"states, more than {MOST_STATES:,}; take InBatchSoftmaxLoss or CosineLoss."
            )
        self.scale = system.scale_for(0.9) if scale is None else positive("scale", scale)
        self.margin = not_negative("margin", margin)
        # Beside a margin the rounding of the vectors shows: see the function.
        self.exact_vectors = margin > 0

    def compute(self, z: Tensor, vectors: Tensor, labels: Tensor) -> Tensor:
        return functional.system_softmax_loss(
            z, vectors, self.classes.system, self.scale, self.margin
        )

    def extra_repr(self) -> str:
        return f"{self.classes!r}, scale={self.scale:.4g}, margin={self.margin}"


class InBatchSoftmaxLoss(ClassLoss):
    """Cross-entropy in which the other class vectors of the batch are the negatives.

    Args:
        classes: which class owns which vector.
        scale: inverse temperature.
        margin: subtracted from the cosine of the own class (CosFace), 0 for none.
        negatives: so many further classes compete, drawn at random in each step by torch's global
            generator on the CPU; all of them where there are no more, which is a softmax over all
            classes. O(negatives * dim) memory, whatever the number of classes.

    While prototypes follow the network, `PrototypeHead` takes its place by `MovingPrototypes`, with
    this scale and margin: all classes compete up to 4,096, and so many of more. A subclass is
    called as it is, and its prototypes stay.
    """

    def __init__(
        self, classes: ClassMap, scale: float = 16.0, margin: float = 0.0, negatives: int = 0
    ) -> None:
        super().__init__(classes)
        self.negatives = integer("negatives", negatives, 0)
        self.scale = positive("scale", scale)
        self.margin = not_negative("margin", margin)

    def compute(self, z: Tensor, vectors: Tensor, labels: Tensor) -> Tensor:
        others = None
        if self.negatives:
            drawn = self._draw().to(labels.device)
            others = self.classes.vectors(drawn, dtype=z.dtype), drawn
        return functional.in_batch_softmax_loss(z, vectors, labels, self.scale, self.margin, others)

    def _draw(self) -> Tensor:
        """Numbers of different classes, on the CPU."""
        count = self.classes.num_classes
        if count <= self.negatives:
            return torch.arange(count)
        return torch.randint(count, (self.negatives,)).unique()

    def extra_repr(self) -> str:
        return (
            f"{self.classes!r}, scale={self.scale:.4g}, margin={self.margin}, "
            f"negatives={self.negatives}"
        )
