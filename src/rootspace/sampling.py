"""Batches in an order that is a function of (seed, epoch) alone, and a loader that resumes."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
import torch.distributed
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler

from ._checks import integer, wrong_kind
from ._distributed import is_distributed
from .classes import neighborhoods
from .heads import Head

FURTHER = 2**20
"""Epochs after which the numbers of further draws of an input begin."""

AT_ONCE = 2**16
"""Classes whose vectors are compared at once, to bound the memory."""


class BatchSampler(Sampler[list[int]]):
    """Batches of samples whose order a subclass gives, shared among the processes of a run.

    The processes of a distributed run take turns, a batch each, so that what belongs into one batch
    stays together and what has been seen is a beginning of the order: an epoch can be finished by
    another number of processes. Some samples are taken twice to give all processes equally many,
    and `num_own` says how many of this process are not.

    Args:
        batch_size: samples a batch.
        sharded: False gives every process of a distributed run all samples.
        drop_single: leave out a last batch of one sample, on which batch normalization cannot
            train.
    """

    def __init__(self, batch_size: int, *, sharded: bool = True, drop_single: bool = False) -> None:
        self.batch_size = integer("batch_size", batch_size)
        self.sharded = sharded
        self.drop_single = drop_single
        self.epoch = 0
        self.start = 0
        """Samples of the next epoch, over all processes, that are left out: they have been seen."""
        self.num_drawn = 0
        """Samples of an epoch over all processes, those that are drawn again included."""

    def order(self, epoch: int) -> Tensor:
        """`[num_drawn]` int64 samples of an epoch, over all processes."""
        raise NotImplementedError

    @property
    def sampler(self) -> BatchSampler:
        """Itself: Lightning calls `set_epoch` of a batch sampler's `sampler`."""
        return self

    def set_epoch(self, epoch: int) -> None:
        """The next pass is that of this epoch. Without a call each pass is of the next epoch."""
        self.epoch = epoch

    @property
    def num_samples(self) -> int:
        """Samples of an epoch in this process, repeated ones included."""
        rounds, last, _ = self._division(0)
        return rounds * self.batch_size + last

    @property
    def num_own(self) -> int:
        """Samples of this process, those left out that another process has as well."""
        rounds, last, rest = self._division(0)
        rank, _ = self._rank_and_world()
        return rounds * self.batch_size + max(0, min(last, rest - rank * last))

    @property
    def round_size(self) -> int:
        """Samples of a batch of every process."""
        return self.batch_size * self._rank_and_world()[1]

    def num_left(self, start: int) -> int:
        """Batches of this process that come after the first `start` samples of an epoch."""
        rounds, last, _ = self._division(start)
        return rounds + (last > (1 if self.drop_single else 0))

    def _division(self, start: int) -> tuple[int, int, int]:
        """Whole batches of each process, and samples of its last one: of it, and of all."""
        rounds, rest = divmod(self.num_drawn - start, self.round_size)
        return rounds, math.ceil(rest / self._rank_and_world()[1]), rest

    def __len__(self) -> int:
        return self.num_left(0)

    @contextmanager
    def whole_pass(self) -> Iterator[None]:
        """A pass in here is over all samples, and no epoch: the next one is that which was next."""
        epoch, drop_single = self.epoch, self.drop_single
        self.drop_single = False
        try:
            yield
        finally:
            self.epoch, self.drop_single = epoch, drop_single

    def __iter__(self) -> Iterator[list[int]]:
        # A generator: a pass begins with its first batch. Data loaders with workers make two
        # iterators and use one, and Lightning sets the epoch after it has made its iterator.
        epoch, start = self.epoch, self.start
        self.epoch, self.start = epoch + 1, 0
        rank, _ = self._rank_and_world()
        rounds, last, _ = self._division(start)
        order = self.order(epoch)
        for batch in range(self.num_left(start)):
            size = self.batch_size if batch < rounds else last
            place = start + batch * self.round_size + rank * size
            # The last processes begin again where the order ends. A million numbers as Python
            # objects would be five times as large as the tensor.
            yield order[torch.arange(place, place + size) % self.num_drawn].tolist()

    def _rank_and_world(self) -> tuple[int, int]:
        if self.sharded and is_distributed():
            return torch.distributed.get_rank(), torch.distributed.get_world_size()
        return 0, 1


class InOrder(BatchSampler):
    """Batches of samples 0, 1, 2, ...: for evaluation, and for passes over all training data.

    Args:
        num_samples: size of the data set.
        batch_size: samples a batch.
        sharded: False gives every process of a distributed run all samples.
    """

    def __init__(self, num_samples: int, batch_size: int, *, sharded: bool = True) -> None:
        super().__init__(batch_size, sharded=sharded)
        self.num_drawn = num_samples

    def order(self, epoch: int) -> Tensor:
        return torch.arange(self.num_drawn)


class ClassBatchSampler(BatchSampler):
    """Batches with several inputs of a class, similar classes together: for `PrototypeHead`.

    The contrastive stage needs pairs of a class in a batch, and a softmax over the prototypes of
    the batch learns most where these are hard to tell apart. Every sample comes once an epoch, but
    for a last batch of one sample, which is left out: batch normalization cannot train on it. The
    order depends on `(seed, epoch)` and on the prototypes and nothing else: an interrupted run
    repeats it without saving any generator's state. To be given to a `DataLoader` as its
    `batch_sampler`; each pass is the next epoch, and Lightning's `Trainer` calls `set_epoch`
    (`use_distributed_sampler=False`: it divides the samples itself).

    Args:
        labels: `[N]` class numbers of all samples of the data set.
        batch_size: samples a batch, over one process.
        per_class: so many samples of a class follow one another, as far as they go; 1 for a plain
            shuffled order.
        similar: once this head has class vectors, `neighbors` similar classes follow one another.
        neighbors: classes at most in a group of similar ones.
        seed: of the order.
        fill: a group for which a class has too few samples takes them again, so that there are
            pairs where each sample is a class of its own: for data sets that augment at random.
        numbered: sample i of epoch e is number `e * N + i`, and a further draw in the same epoch
            `FURTHER * N` more: for data sets that draw by number.
        sharded: False gives every process of a distributed run all samples.

    Raises:
        TypeError: labels or a head that are none.
        ValueError: no samples, or arguments out of range.

    Example:
        >>> sampler = ClassBatchSampler(torch.arange(4).repeat(2), batch_size=4)
        >>> [len(batch) for batch in sampler], len(sampler)
        ([4, 4], 2)
    """

    def __init__(
        self,
        labels: Tensor | np.ndarray[Any, Any] | Sequence[int],
        batch_size: int,
        *,
        per_class: int = 2,
        similar: Head | None = None,
        neighbors: int = 8,
        seed: int = 0,
        fill: bool = False,
        numbered: bool = False,
        sharded: bool = True,
    ) -> None:
        super().__init__(batch_size, sharded=sharded, drop_single=True)
        try:
            labels = torch.as_tensor(labels).cpu()
        except (TypeError, ValueError, RuntimeError) as error:
            raise wrong_kind("labels", labels, "the class numbers of all samples") from error
        if labels.ndim != 1 or not len(labels):
            raise ValueError(
                f"Argument 'labels' must have shape [N] with N > 0, not {list(labels.shape)}."
            )
        if labels.is_floating_point() or bool((labels < 0).any()):
            raise ValueError(
                "Argument 'labels' must hold class numbers from 0 on, not "
                f"{labels.min().item()} of {labels.dtype}."
            )
        # Not by its class: a compiled head is a module of another, with all that the head has.
        if similar is not None and not hasattr(similar, "vectors"):
            raise wrong_kind("similar", similar, "a head")
        self.labels = labels.long()
        self.per_class = integer("per_class", per_class)
        self.similar = similar
        self.neighbors = integer("neighbors", neighbors)
        self.seed = seed
        self.fill = fill
        self.numbered = numbered
        self.num_drawn = len(labels)
        if fill and self.per_class > 1:
            groups = -(-torch.bincount(self.labels) // self.per_class)
            self.num_drawn = int(groups.sum()) * self.per_class

    def order(self, epoch: int) -> Tensor:
        generator = torch.Generator().manual_seed(self.seed * 1_000_003 + epoch)
        order = torch.randperm(len(self.labels), generator=generator)
        if self.per_class > 1:
            groups = group_by_class(order, self.labels, self.per_class, generator)
            if self.similar is not None and self.similar.ready and self.neighbors > 1:
                groups = self._by_neighborhood(groups, self.similar, generator)
            order = self._filled(groups).flatten() if self.fill else groups[groups >= 0]
        return order + epoch * len(self.labels) if self.numbered else order

    @torch.no_grad()
    def _by_neighborhood(self, groups: Tensor, head: Head, generator: torch.Generator) -> Tensor:
        """The same groups, those of similar classes side by side."""
        # Where classes have equally many inputs, a stretch has each class once.
        stretch = min(int(self.labels.max()) + 1, AT_ONCE)
        return torch.cat(
            [
                part[near]
                for part in groups.split(stretch)
                for near in neighborhoods(
                    head.vectors(self.labels[part[:, 0]]).cpu(), self.neighbors, generator
                )
            ]
        )

    def _filled(self, groups: Tensor) -> Tensor:
        """`[G, per_class]` groups whose gaps are filled with further draws of their samples."""
        place = torch.arange(self.per_class).expand_as(groups)
        there = (groups >= 0).sum(dim=1, keepdim=True)
        again = groups.gather(1, place % there)
        return again + place // there * (FURTHER * len(self.labels)) if self.numbered else again


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


class ResumableLoader(DataLoader[Any]):
    """A data loader that continues in the middle of an epoch, without loading what it skips.

    Its state is the epoch and the number of its samples that all processes have handed out;
    Lightning stores it in checkpoints. The state belongs to that epoch: a pass of another one
    begins at its first batch. Another number of processes may go on from it. An exception that
    comes in the place of a batch, from a worker process, is raised.

    Args:
        dataset: map-style, of the samples.
        batch_sampler: their order.
        **arguments: of `torch.utils.data.DataLoader`.
    """

    def __init__(
        self, dataset: Dataset[Any], *, batch_sampler: BatchSampler, **arguments: Any
    ) -> None:
        super().__init__(dataset, batch_sampler=batch_sampler, **arguments)
        self.batches = batch_sampler
        self._epoch = 0
        self._seen = 0
        self._resume_at = (0, 0)

    def __iter__(self) -> Iterator[Any]:  # pyright: ignore[reportIncompatibleMethodOverride]
        # A generator: nothing happens before the first batch is asked for, by when Lightning has
        # set the epoch and prototypes may have been chosen.
        self._epoch = self.batches.epoch
        epoch, done = self._resume_at
        self._seen = done if epoch == self._epoch else 0
        self._resume_at = (0, 0)
        self.batches.start = self._seen
        for batch in super().__iter__():
            if isinstance(batch, Exception):
                raise batch
            self._seen += self.batches.round_size
            yield batch

    def state_dict(self) -> dict[str, int]:
        """The epoch, and how many of its samples have been handed out over all processes."""
        if self._seen >= self.batches.num_drawn or not self.batches.num_left(self._seen):
            return {"epoch": self._epoch + 1, "seen": 0}
        return {"epoch": self._epoch, "seen": self._seen}

    def load_state_dict(self, state: dict[str, int]) -> None:
        """The next pass is that of this epoch and begins after so many of its samples."""
        # Before the first batch it is the state already: a checkpoint may be written by then.
        self._epoch, self._seen = state["epoch"], state["seen"]
        self._resume_at = self._epoch, self._seen
        self.batches.set_epoch(state["epoch"])
