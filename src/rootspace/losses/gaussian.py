"""Cosine loss with a target distribution within classes (Sec. 6.4 of arXiv 2510.04090)."""

from typing import Literal, get_args

from torch import Tensor

from rootspace.classes import ClassMap

from . import functional
from .base import ClassLoss, positive

Match = Literal["moments", "kld"]


class GaussianLoss(ClassLoss):
    """Cosine loss plus the distance of each class's embeddings from a Gaussian around its vector.

    The images of a class in the batch, scaled to unit length, are taken as a Gaussian with one
    standard deviation a coordinate, and compared with N(class vector, std^2): by the squares of the
    differences of means and standard deviations, or by the Kullback-Leibler divergence. The paper
    tried both and saw no tangible improvement. Classes with one image in the batch add nothing to
    the term.

    Args:
        classes: which class owns which vector.
        std: target standard deviation of a coordinate of the unit embeddings.
        match: `moments` or `kld`.
        weight: of the term.

    Complexity: O(B^2 * dim) time.
    """

    def __init__(
        self,
        classes: ClassMap,
        std: float = 0.05,
        match: Match = "moments",
        weight: float = 1.0,
    ) -> None:
        super().__init__(classes)
        self.std = positive("std", std)
        self.weight = positive("weight", weight)
        if match not in get_args(Match):
            raise ValueError(
                f"Argument 'match' must be one of {', '.join(get_args(Match))}, not {match!r}."
            )
        self.match = match

    def compute(self, z: Tensor, vectors: Tensor, labels: Tensor) -> Tensor:
        term = functional.moments_loss if self.match == "moments" else functional.kld_loss
        within = term(z, vectors, labels, self.std)
        return functional.cosine_loss(z, vectors) + self.weight * within

    def extra_repr(self) -> str:
        return f"{self.classes!r}, std={self.std}, match={self.match!r}, weight={self.weight}"
