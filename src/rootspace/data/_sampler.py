"""An order of the samples that is a function of (seed, epoch) alone."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator

import torch
import torch.distributed
from torch import Tensor
from torch.utils.data import Sampler

from rootspace.classes import neighborhoods

FURTHER = 2**20
"""Epochs after which the numbers of further draws of an image begin."""

AT_ONCE = 2**16
"""Classes whose vectors are compared at once, samples handed out at once; bounds the memory."""


class EpochSampler(Sampler[int]):
    """Every sample once an epoch, in an order that depends on `(seed, epoch)` and nothing else.

    That makes an interrupted run repeatable: no generator state needs saving, and `start` begins
    an epoch in the middle. Lightning calls `set_epoch` before each epoch.

    In a distributed run each process takes its part of the order, in one piece: what belongs into
    one batch stays together. Some samples are taken twice to give all processes equally many, and
    `num_own` says how many of this process are not.

    Args:
        num_samples: size of the data set.
        seed: of the run.
        shuffle: False gives 0, 1, 2, ... in every epoch.
        labels: `[num_samples]` int64, for `per_class`.
        sharded: False gives every process of a distributed run all samples.
        per_class: so many images of a class follow one another, as far as they go: contrastive
            losses need pairs within a batch. Needs `labels` and `shuffle`.
        count_on: number the samples on over the epochs, for data sets that draw at random: sample i
            of epoch e is `e * num_samples + i`. With `per_class`, a group for which a class has too
            few images takes further draws of them: pairs exist where every image is a class of its
            own, too (Sec. 6.6 of arXiv 2510.04090), and an epoch has twice as many samples then.
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
        count_on: bool = False,
    ) -> None:
        if num_samples < 1:
            raise ValueError(f"Argument 'num_samples' must be at least 1, not {num_samples}.")
        self.num_samples = num_samples
        self.seed = seed
        self.shuffle = shuffle
        self.sharded = sharded
        self.labels = labels
        self.per_class = per_class
        self.count_on = count_on
        self.epoch = 0
        self.start = 0
        self.num_drawn = num_samples
        """Samples of an epoch over all processes, those that are drawn again included."""
        if labels is not None and per_class > 1 and count_on:
            groups = -(-torch.bincount(labels) // per_class)
            self.num_drawn = int(groups.sum()) * per_class
        self._vectors_of: Callable[[Tensor], Tensor] | None = None
        self._neighbors = 1

    def bring_together(self, vectors_of: Callable[[Tensor], Tensor], neighbors: int) -> None:
        """From the next epoch on, let similar classes follow one another; needs `per_class`.

        Args:
            vectors_of: from `[N]` labels to `[N, dim]` class vectors, on the CPU.
            neighbors: so many classes at most in a group of similar ones.
        """
        self._vectors_of, self._neighbors = vectors_of, neighbors

    def set_epoch(self, epoch: int) -> None:
        self.epoch = epoch

    @property
    def num_own(self) -> int:
        """Samples of this process, repeated ones left out."""
        rank, _ = self._rank_and_world()
        return max(0, min(len(self), self.num_drawn - rank * len(self)))

    def __len__(self) -> int:
        return math.ceil(self.num_drawn / self._rank_and_world()[1])

    def __iter__(self) -> Iterator[int]:
        rank, world = self._rank_and_world()
        if self.shuffle:
            generator = torch.Generator().manual_seed(self.seed * 1_000_003 + self.epoch)
            order = torch.randperm(self.num_samples, generator=generator)
            if self.labels is not None and self.per_class > 1:
                groups = group_by_class(order, self.labels, self.per_class, generator)
                if self._vectors_of is not None:
                    groups = self._by_neighborhood(groups, self.labels, generator)
                order = (
                    self._drawn_again(groups).flatten() if self.count_on else groups[groups >= 0]
                )
        else:
            order = torch.arange(self.num_samples)
        order = torch.cat([order, order[: len(self) * world - self.num_drawn]])
        order = order[rank * len(self) :][: len(self)][self.start :]
        if self.count_on:
            order = order + self.epoch * self.num_samples
        # A million numbers as Python objects would be five times as large as the tensor.
        return (sample for part in order.split(AT_ONCE) for sample in part.tolist())

    def _by_neighborhood(
        self, groups: Tensor, labels: Tensor, generator: torch.Generator
    ) -> Tensor:
        """The same groups, those of similar classes side by side."""
        assert self._vectors_of is not None
        # Where classes have equally many images, a stretch has each class once.
        stretch = min(int(labels.max()) + 1, AT_ONCE)
        return torch.cat(
            [
                part[near]
                for part in groups.split(stretch)
                for near in neighborhoods(
                    self._vectors_of(labels[part[:, 0]]), self._neighbors, generator
                )
            ]
        )

    def _drawn_again(self, groups: Tensor) -> Tensor:
        """`[G, per_class]` groups whose gaps are filled with further draws of their images."""
        place = torch.arange(self.per_class).expand_as(groups)
        there = (groups >= 0).sum(dim=1, keepdim=True)
        return groups.gather(1, place % there) + place // there * (FURTHER * self.num_samples)

    def _rank_and_world(self) -> tuple[int, int]:
        distributed = torch.distributed.is_available() and torch.distributed.is_initialized()
        if self.sharded and distributed:
            return torch.distributed.get_rank(), torch.distributed.get_world_size()
        return 0, 1


def group_by_class(
    order: Tensor, labels: Tensor, per_class: int, generator: torch.Generator
) -> Tensor:
    """The same samples in groups of one class, in random order, those of a class spread evenly.

    Args:
        order: `[N]` of samples.
        labels: of all samples.
        per_class: size of a group.
        generator: of the choices.

    Returns:
        `[G, per_class]` samples; where a class has too few for its last group, -1.
    """
    order = order[labels[order].argsort(stable=True)]
    own = labels[order]
    begin, end = torch.searchsorted(own, own), torch.searchsorted(own, own, right=True)
    place = torch.arange(len(own)) - begin
    heads = (place % per_class == 0).nonzero()[:, 0]
    parts = -((begin - end) // per_class)[heads]  # groups of the class of each
    early = place[heads] // per_class + torch.rand(len(heads), generator=generator)
    heads = heads[(early / parts).argsort()]
    member = heads[:, None] + torch.arange(per_class)
    absent = member >= end[heads, None]
    return order[member.masked_fill(absent, 0)].masked_fill(absent, -1)
