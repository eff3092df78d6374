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
        numbers = np.unique(owner).tolist()
        found = []
        for number in numbers:
            rows = places[owner == number] - self._begin(number)
            found.append(self.parts[number].__getitems__(rows.tolist())[0])
        images = found[0]
        if len(found) > 1:  # sorted by part: put them back into their order
            place = np.argsort(np.argsort(owner, kind="stable"))
            images = torch.cat(found)[torch.from_numpy(place)]
        return images, self.labels[torch.from_numpy(places)]

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
