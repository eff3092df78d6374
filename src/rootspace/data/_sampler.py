"""An order of the training samples that is a function of (seed, epoch) alone."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch.utils.data import Sampler


class EpochSampler(Sampler[int]):
    """Every sample once an epoch, in an order that depends on `(seed, epoch)` and nothing else.

    That makes an interrupted run repeatable: no generator state needs saving, and `skip` starts
    an epoch in the middle. Lightning calls `set_epoch` before each epoch.

    Args:
        num_samples: size of the data set.
        seed: of the run.
        shuffle: False gives 0, 1, 2, ... in every epoch.
    """

    def __init__(self, num_samples: int, seed: int, *, shuffle: bool = True) -> None:
        if num_samples < 1:
            raise ValueError(f"Argument 'num_samples' must be at least 1, not {num_samples}.")
        self.num_samples = num_samples
        self.seed = seed
        self.shuffle = shuffle
        self.epoch = 0
        self._skip: tuple[int, int] | None = None

    def set_epoch(self, epoch: int) -> None:
        self.epoch = epoch

    def skip(self, epoch: int, num_samples: int) -> None:
        """Leave out the first `num_samples` of epoch `epoch`: they were seen before a resume."""
        self._skip = (epoch, num_samples)

    def __len__(self) -> int:
        return self.num_samples

    def __iter__(self) -> Iterator[int]:
        start = self._skip[1] if self._skip and self._skip[0] == self.epoch else 0
        if not self.shuffle:
            return iter(range(start, self.num_samples))
        generator = torch.Generator().manual_seed(self.seed * 1_000_003 + self.epoch)
        order = torch.randperm(self.num_samples, generator=generator)
        return iter(order[start:].tolist())
