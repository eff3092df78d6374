"""An order of the samples that is a function of (seed, epoch) alone."""

from __future__ import annotations

import math
from collections.abc import Iterator

import torch
import torch.distributed
from torch import Tensor
from torch.utils.data import Sampler


class EpochSampler(Sampler[int]):
    """Every sample once an epoch, in an order that depends on `(seed, epoch)` and nothing else.

    That makes an interrupted run repeatable: no generator state needs saving, and `start` begins
    an epoch in the middle. Lightning calls `set_epoch` before each epoch.

    In a distributed run each process takes every world-size-th sample; some are taken twice to
    give all processes equally many, and `num_own` says how many of this process are not.

    Args:
        num_samples: size of the data set.
        seed: of the run.
        shuffle: False gives 0, 1, 2, ... in every epoch.
        labels: `[num_samples]` int64, for `per_class`.
        sharded: False gives every process of a distributed run all samples.
        per_class: so many images of a class follow one another, as far as they go: contrastive
            losses need pairs within a batch. Needs `labels` and `shuffle`.
    """

    def __init__(
        self,
        num_samples: int,
        seed: int,
        *,
        shuffle: bool = True,
        sharded: bool = True,
        labels: Tensor | None = None,
        per_class: int = 1,
    ) -> None:
        if num_samples < 1:
            raise ValueError(f"Argument 'num_samples' must be at least 1, not {num_samples}.")
        self.num_samples = num_samples
        self.seed = seed
        self.shuffle = shuffle
        self.sharded = sharded
        self.labels = labels
        self.per_class = per_class
        self.epoch = 0
        self.start = 0

    def set_epoch(self, epoch: int) -> None:
        self.epoch = epoch

    @property
    def num_own(self) -> int:
        """Samples of this process, repeated ones left out."""
        rank, world = self._rank_and_world()
        return len(range(rank, self.num_samples, world))

    def __len__(self) -> int:
        return math.ceil(self.num_samples / self._rank_and_world()[1])

    def __iter__(self) -> Iterator[int]:
        rank, world = self._rank_and_world()
        if self.shuffle:
            generator = torch.Generator().manual_seed(self.seed * 1_000_003 + self.epoch)
            order = torch.randperm(self.num_samples, generator=generator)
            if self.labels is not None and self.per_class > 1:
                order = group_by_class(order, self.labels, self.per_class, generator)
        else:
            order = torch.arange(self.num_samples)
        order = torch.cat([order, order[: len(self) * world - self.num_samples]])
        return iter(order[rank::world][self.start :].tolist())

    def _rank_and_world(self) -> tuple[int, int]:
        distributed = torch.distributed.is_available() and torch.distributed.is_initialized()
        if self.sharded and distributed:
            return torch.distributed.get_rank(), torch.distributed.get_world_size()
        return 0, 1


def group_by_class(
    order: Tensor, labels: Tensor, per_class: int, generator: torch.Generator
) -> Tensor:
    """The same samples in groups of `per_class` of one class, the groups in random order."""
    order = order[labels[order].argsort(stable=True)]
    own = labels[order]
    starts = torch.searchsorted(own, own)
    group = own * (len(own) + 1) + (torch.arange(len(own)) - starts) // per_class
    _, group = torch.unique(group, return_inverse=True)
    place = torch.randperm(int(group.max()) + 1, generator=generator)
    return order[place[group].argsort(stable=True)]
