"""The paper's loss for few dimensions, and its combination with the cosine loss."""

from torch import Tensor

from rootspace.classes import ClassMap

from . import functional
from ._base import ClassLoss, positive


class DistanceLoss(ClassLoss):
    """Mean of exp(ReLU(|z - C| - radius)) - 1 with C = norm * vector, eqs. (6) and (7).

    Works in few dimensions; with hundreds of them the paper's Table 5 shows that it does not, and
    `CosineLoss` does. Beyond an excess distance of 20 the exponential is continued by its tangent.

    Args:
        classes: which class owns which vector.
        radius: r_c, the distance from its center within which an embedding costs nothing.
        norm: length of the class vectors, r in Sec. 5.1 (5 there).
    """

    uses_length = True

    def __init__(self, classes: ClassMap, radius: float = 1.0, norm: float = 5.0) -> None:
        super().__init__(classes)
        self.radius = positive("radius", radius)
        self.norm = positive("norm", norm)

    def compute(self, z: Tensor, vectors: Tensor, labels: Tensor) -> Tensor:
        return functional.distance_loss(z, self.norm * vectors, self.radius)

    def extra_repr(self) -> str:
        return f"{self.classes!r}, radius={self.radius}, norm={self.norm}"


class CombinedLoss(DistanceLoss):
    """Distance loss plus cosine loss (experiment 4 of Table 5).

    Args:
        classes: which class owns which vector.
        radius: of `DistanceLoss`.
        norm: of `DistanceLoss`.
        weight: of the cosine term.
    """

    def __init__(
        self, classes: ClassMap, radius: float = 1.0, norm: float = 5.0, weight: float = 1.0
    ) -> None:
        super().__init__(classes, radius, norm)
        self.weight = positive("weight", weight)

    def compute(self, z: Tensor, vectors: Tensor, labels: Tensor) -> Tensor:
        distance = super().compute(z, vectors, labels)
        return distance + self.weight * functional.cosine_loss(z, vectors)

    def extra_repr(self) -> str:
        return f"{super().extra_repr()}, weight={self.weight}"
