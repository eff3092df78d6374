"""Training images with a target of their own each, beside their label."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from ._datasets import LabelledImages

AimedBatch = tuple[Tensor, Tensor, Tensor]
"""Images, labels, and float32 targets [B, dim]."""


class AimedImages(LabelledImages):
    """Images of another data set, each with its row of an array.

    A batch reads its rows only, so the array may be mapped from a file of any size.

    Args:
        images: the other data set; samples beyond its length are further draws of its images, as
            those of `AugmentedImages`.
        targets: float `[N, dim]`.
    """

    def __init__(self, images: LabelledImages, targets: np.ndarray) -> None:
        super().__init__(images.labels)
        self.images = images
        self.targets = targets

    def __getitems__(self, indices: Sequence[int]) -> AimedBatch:  # pyright: ignore[reportIncompatibleMethodOverride]
        images, labels = self.images.__getitems__(indices)
        rows = np.asarray(indices) % len(self)
        return images, labels, torch.from_numpy(np.asarray(self.targets[rows], np.float32))

    def original(self, index: int) -> Tensor:
        return self.images.original(index)

    def name(self, index: int) -> str | None:
        return self.images.name(index)
