"""The order of the samples: groups of a class, similar classes together, parts of processes."""

from __future__ import annotations

import pytest
import torch
from torch.nn.functional import normalize

from rootspace.classes import neighborhoods
from rootspace.data import EpochSampler


@pytest.mark.parametrize("per_class", [2, 3])
def test_groups_of_a_class(per_class: int):
    labels = torch.arange(10).repeat_interleave(6)[torch.randperm(60)]
    sampler = EpochSampler(60, seed=1, labels=labels, per_class=per_class)
    orders = []
    for epoch in range(2):
        sampler.set_epoch(epoch)
        order = list(sampler)
        assert sorted(order) == list(range(60))
        groups = labels[order].reshape(-1, per_class)
        assert bool((groups == groups[:, :1]).all())
        orders.append(order)
    assert orders[0] != orders[1]
    sampler.set_epoch(0)
    assert list(sampler) == orders[0]


def test_classes_of_many_images_are_spread_over_the_epoch():
    labels = torch.cat([torch.zeros(400, dtype=torch.int64), torch.arange(1, 101)])
    for neighbors in (1, 8):
        sampler = EpochSampler(500, seed=0, labels=labels, per_class=2)
        if neighbors > 1:
            vectors = normalize(torch.randn(101, 16))
            sampler.bring_together(lambda wanted: vectors[wanted], neighbors)  # noqa: B023
        order = list(sampler)
        assert sorted(order) == list(range(500))
        share = [(labels[part] == 0).float().mean() for part in torch.tensor(order).chunk(5)]
        assert min(share) > 0.6  # 0.8 in all


def test_similar_classes_come_together():
    """50 classes on each of 40 directions; a class meets its like far more often than by chance."""
    num_classes, batch = 2000, 64
    kind = torch.arange(num_classes) % 40
    vectors = normalize(normalize(torch.randn(40, 32))[kind] + 0.05 * torch.randn(num_classes, 32))
    labels = torch.arange(num_classes).repeat(4)
    sampler = EpochSampler(len(labels), seed=0, labels=labels, per_class=2)

    def share_of_like() -> float:
        order = torch.tensor(list(sampler))
        assert sorted(order.tolist()) == list(range(len(labels)))
        groups = labels[order].view(-1, 2)
        assert bool((groups[:, 0] == groups[:, 1]).all())
        kinds = kind[groups[:, 0]].view(-1, batch // 2)
        return float((kinds[:, :, None] == kinds[:, None]).float().mean())

    apart = share_of_like()
    sampler.bring_together(lambda wanted: vectors[wanted], 8)
    assert share_of_like() > 4 * apart
    first = list(sampler)
    assert first == list(sampler)
    sampler.set_epoch(1)
    assert first != list(sampler)


@pytest.mark.parametrize("count", [1, 7, 8, 9, 10_000])
def test_neighborhoods_hold_every_vector_once(count: int):
    vectors = normalize(torch.randn(count, 4))
    groups = neighborhoods(vectors, 8, torch.Generator().manual_seed(0))
    assert sorted(torch.cat(groups).tolist()) == list(range(count))
    assert max(len(group) for group in groups) <= 8
    # Groups are tight: no worse than a quarter of the squared distance of vectors drawn at random.
    if count > 1000:
        inner = [vectors[group].var(dim=0, correction=0).sum() for group in groups]
        assert torch.stack(inner).mean() < 0.25 * vectors.var(dim=0).sum()


def test_equal_vectors():
    groups = neighborhoods(torch.ones(5000, 3), 8, torch.Generator().manual_seed(0))
    assert sorted(torch.cat(groups).tolist()) == list(range(5000))


@pytest.mark.parametrize(("num_samples", "world"), [(60, 2), (61, 2), (62, 4), (7, 4)])
def test_processes_share_an_epoch(num_samples: int, world: int, monkeypatch: pytest.MonkeyPatch):
    """All together each sample once, but for repeated ones; pairs stay in one process."""
    labels = torch.arange(num_samples) // 4
    parts, own = [], 0
    for rank in range(world):
        sampler = EpochSampler(num_samples, seed=0, labels=labels, per_class=2)
        monkeypatch.setattr(sampler, "_rank_and_world", lambda rank=rank: (rank, world))
        part = list(sampler)
        assert len(part) == len(sampler) == -(-num_samples // world)
        parts.append(part)
        own += sampler.num_own
    assert own == num_samples
    assert {index for part in parts for index in part} == set(range(num_samples))
    if num_samples == 60:
        for part in parts:
            pairs = labels[part].view(-1, 2)
            assert bool((pairs[:, 0] == pairs[:, 1]).all())


def test_further_draws_fill_the_groups():
    """A class with a single image is paired with itself in another draw, in every epoch anew."""
    labels = torch.tensor([0, 0, 0, 1, 2, 2])
    sampler = EpochSampler(6, seed=0, labels=labels, per_class=2, count_on=True)
    seen: set[int] = set()
    for epoch in range(3):
        sampler.set_epoch(epoch)
        order = list(sampler)
        assert len(order) == len(sampler) == sampler.num_own == 8
        groups = labels[torch.tensor(order) % 6].view(-1, 2)
        assert bool((groups[:, 0] == groups[:, 1]).all())
        assert sorted({index % 6 for index in order}) == list(range(6))
        assert not seen & set(order) and len(set(order)) == 8
        seen |= set(order)
