"""Several sets of images as one."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from ._datasets import Batch, LabelledImages


class JoinedImages(LabelledImages):
    """Sets of images one after another, with the labels that they have.

    Args:
        parts: of images of one shape; at least one.
    """

    def __init__(self, parts: Sequence[LabelledImages]) -> None:
        super().__init__(torch.cat([part.labels for part in parts]))
        self.parts = list(parts)
        self._ends = np.cumsum([len(part) for part in parts])

    def __getitems__(self, indices: Sequence[int]) -> Batch:
        places = np.asarray(indices)
        owner = np.searchsorted(self._ends, places, side="right")
        batch: Tensor | None = None
        for number in np.unique(owner).tolist():
            of_part = np.flatnonzero(owner == number)
            rows = places[of_part] - self._begin(number)
            images, _ = self.parts[number].__getitems__(rows.tolist())
            if len(of_part) == len(places):
                batch = images
                break
            if batch is None:
                batch = images.new_empty((len(places), *images.shape[1:]))
            batch[torch.from_numpy(of_part)] = images
        assert batch is not None, "a batch has images"
        return batch, self.labels[torch.from_numpy(places)]

    def original(self, index: int) -> Tensor:
        part, row = self._place(index)
        return part.original(row)

    def name(self, index: int) -> str | None:
        part, row = self._place(index)
        return part.name(row)

    def _place(self, index: int) -> tuple[LabelledImages, int]:
        number = int(np.searchsorted(self._ends, index, side="right"))
        return self.parts[number], index - self._begin(number)

    def _begin(self, number: int) -> int:
        return int(self._ends[number - 1]) if number else 0
