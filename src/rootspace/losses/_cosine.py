"""The paper's main loss."""

from torch import Tensor

from . import functional
from ._base import ClassLoss


class CosineLoss(ClassLoss):
    """Mean cosine distance to the class vectors, eq. (11) of arXiv 2510.04090.

    Args:
        classes: which class owns which vector.

    Example:
        >>> loss = CosineLoss(ClassMap(RootA(9), 90))
        >>> labels = torch.tensor([3, 80])
        >>> bool(loss(loss.classes.vectors(labels), labels).abs() < 1e-6)
        True
    """

    def compute(self, z: Tensor, vectors: Tensor, labels: Tensor) -> Tensor:
        return functional.cosine_loss(z, vectors)
