"""Orders of samples: what is in a batch, (seed, epoch), processes, and going on in the middle."""

import itertools
import pickle
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, TensorDataset

from rootspace import ClassBatchSampler, ClassMap, PrototypeHead
from rootspace.heads import NormalizedHead
from rootspace.sampling import FURTHER, BatchSampler, InOrder, ResumableLoader, group_by_class
from rootspace.systems import Table

LABELS = torch.tensor([0, 1, 2, 3] * 4 + [0, 1, 1])


def flat(sampler: BatchSampler) -> list[int]:
    return [sample for batch in sampler for sample in batch]


def pairs_of_similar_classes() -> PrototypeHead:
    """Classes 0 and 1 are similar, 2 and 3 are."""
    vectors = torch.tensor([[1.0, 0], [0.8, 0.6], [-1, 0], [-0.8, 0.6]])
    return PrototypeHead.from_map(ClassMap.assigned(Table(vectors), torch.arange(4)))


# -------------------------------------------------------------------- the order

KINDS: dict[str, dict[str, Any]] = {
    "shuffled": {"per_class": 1},
    "pairs": {"per_class": 2},
    "filled": {"per_class": 3, "fill": True, "numbered": True},
    "similar": {"per_class": 2, "neighbors": 2, "similar": pairs_of_similar_classes()},
}

GOLDEN: list[tuple[str, int, int, list[int]]] = [
    ("shuffled", 0, 0, [15, 10, 14, 3, 17, 2, 9, 5, 7, 12, 18, 13, 11, 16, 4, 0, 6, 8, 1]),
    ("shuffled", 7, 3, [18, 15, 16, 9, 13, 0, 8, 1, 7, 11, 2, 17, 5, 14, 4, 3, 12, 6, 10]),
    ("pairs", 0, 0, [12, 16, 10, 14, 17, 9, 4, 0, 5, 18, 15, 3, 7, 11, 2, 6, 8, 13, 1]),
    ("pairs", 7, 3, [2, 14, 18, 9, 15, 7, 16, 0, 13, 1, 8, 4, 17, 5, 12, 11, 3, 6, 10]),
    (
        "filled",
        7,
        3,
        [
            *(72, 64, 68, 59, 71, 63, 73, 57, 65, 75, 66, 70, 58, 74, 62, 67),
            *(19923011, 39845955, 61, 69, 19923005, 60, 19923004, 39845948),
        ],
    ),
    ("similar", 0, 0, [10, 14, 17, 9, 12, 16, 4, 0, 5, 18, 7, 11, 2, 6, 15, 3, 8, 13, 1]),
    ("similar", 7, 3, [15, 7, 2, 14, 16, 0, 18, 9, 13, 1, 17, 5, 12, 8, 4, 6, 10, 11, 3]),
]


@pytest.mark.parametrize(("kind", "seed", "epoch", "order"), GOLDEN)
def test_orders_are_those_of_earlier_runs(
    kind: str, seed: int, epoch: int, order: list[int]
) -> None:
    sampler = ClassBatchSampler(LABELS, 4, seed=seed, **KINDS[kind])
    sampler.set_epoch(epoch)
    assert flat(sampler) == order


@pytest.mark.parametrize("kind", KINDS)
def test_order_is_a_function_of_seed_and_epoch(kind: str) -> None:
    def sampler(seed: int = 1) -> ClassBatchSampler:
        return ClassBatchSampler(LABELS, 4, seed=seed, **KINDS[kind])

    passing, jumping = sampler(), sampler()
    passes = [list(passing) for _ in range(4)]
    torch.manual_seed(99)
    jumping.set_epoch(3)
    assert list(jumping) == passes[3]
    jumping.set_epoch(1)
    assert list(jumping) == passes[1]
    assert list(jumping) == passes[2]
    assert list(pickle.loads(pickle.dumps(sampler()))) == passes[0]
    different = [*passes, list(sampler(2))]
    assert all(a != b for a, b in itertools.combinations(different, 2))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("size", [1, 2, 3, 5, 64])
def test_every_sample_comes_once_an_epoch(kind: str, size: int) -> None:
    sampler = ClassBatchSampler(LABELS, size, **KINDS[kind])
    for _ in range(3):
        epoch = sampler.epoch
        batches = list(sampler)
        assert len(batches) == len(sampler)
        assert {len(batch) for batch in batches[:-1]} <= {size}
        assert len(batches[-1]) > 1 or size == 1
        samples = [sample for batch in batches for sample in batch]
        assert len(samples) == len(set(samples))
        left_out = sampler.num_drawn - len(samples)
        assert left_out == (1 if size > 1 and sampler.num_drawn % size == 1 else 0)
        start = epoch * len(LABELS) if sampler.numbered else 0
        own = {sample - start for sample in samples if sample < FURTHER * len(LABELS)}
        assert own <= set(range(len(LABELS)))
        assert len(own) >= len(LABELS) - left_out


def test_samples_of_a_class_follow_one_another() -> None:
    labels = torch.arange(10).repeat(7)
    for per_class in (2, 3, 7, 20):
        order = ClassBatchSampler(labels, 10, per_class=per_class).order(0)
        generator = torch.Generator().manual_seed(0)
        groups = group_by_class(
            torch.randperm(70, generator=generator), labels, per_class, generator
        )
        assert groups[groups >= 0].equal(order)
        assert len(groups) == 10 * -(-7 // per_class)
        full = groups[(groups >= 0).all(dim=1)]
        assert (labels[full] == labels[full[:, :1]]).all()


def test_labels_of_any_kind() -> None:
    expected = list(ClassBatchSampler(LABELS, 4))
    for labels in (LABELS.tolist(), LABELS.numpy(), LABELS.to(torch.uint8)):
        assert list(ClassBatchSampler(labels, 4)) == expected
    # Classes without samples, and numbers far apart.
    assert sorted(flat(ClassBatchSampler([5, 9, 5, 9, 1000, 1000], 2))) == list(range(6))


# -------------------------------------------------------------------- similar classes


@pytest.mark.parametrize("kind", ["chosen", "learned"])
def test_similar_classes_come_together_once_there_are_prototypes(kind: str) -> None:
    classes, dim = 200, 16
    labels = torch.arange(classes).repeat(4)
    means = torch.randn(20, dim).repeat_interleave(10, 0) + 0.3 * torch.randn(classes, dim)
    head = PrototypeHead(classes, dim) if kind == "chosen" else NormalizedHead(classes, dim)
    sampler = ClassBatchSampler(labels, 32, similar=head)

    def likeness() -> float:
        batches = [batch for batch in sampler if len(batch) == 32]
        vectors = means[labels[torch.tensor(batches)]]
        unit = torch.nn.functional.normalize(vectors, dim=-1)
        return float((unit @ unit.mT).mean())

    if isinstance(head, PrototypeHead):
        before = likeness()
        assert flat(sampler) == flat(_at(ClassBatchSampler(labels, 32), 1))
        head.choose(means)
    else:
        before = likeness()
        with torch.no_grad():
            head.weight.copy_(means)
    after = likeness()
    assert after > before + 0.1
    assert sorted(flat(sampler)) == list(range(len(labels)))
    alone = ClassBatchSampler(labels, 32, similar=head, neighbors=1)
    assert flat(alone) == flat(ClassBatchSampler(labels, 32))


def _at(sampler: ClassBatchSampler, epoch: int) -> ClassBatchSampler:
    sampler.set_epoch(epoch)
    return sampler


def test_more_classes_than_are_compared_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    labels = torch.arange(4).repeat(10)
    monkeypatch.setattr("rootspace.sampling.AT_ONCE", 3)
    sampler = ClassBatchSampler(labels, 8, similar=pairs_of_similar_classes())
    assert sorted(flat(sampler)) == list(range(40))


# -------------------------------------------------------------------- fill, numbered


def test_groups_are_filled_with_further_draws() -> None:
    every = torch.arange(5)  # each sample a class of its own
    sampler = ClassBatchSampler(every, 4, fill=True)
    order = torch.tensor(flat(sampler))
    assert sampler.num_drawn == len(order) == 10
    assert order[::2].equal(order[1::2])
    numbered = ClassBatchSampler(every, 4, fill=True, numbered=True)
    for epoch in range(2):
        order = torch.tensor(flat(numbered))
        assert (order[1::2] - order[::2]).eq(FURTHER * 5).all()
        assert sorted(order[::2].tolist()) == list(range(epoch * 5, epoch * 5 + 5))
    plain = ClassBatchSampler(every, 4, per_class=1, fill=True)
    assert plain.num_drawn == 5


def test_numbers_go_on_over_the_epochs() -> None:
    sampler = ClassBatchSampler(LABELS, 5, numbered=True)
    unnumbered = ClassBatchSampler(LABELS, 5)
    for epoch in range(3):
        own = torch.tensor(flat(unnumbered)) + epoch * len(LABELS)
        assert flat(sampler) == own.tolist()


def test_a_last_batch_of_one_is_left_out() -> None:
    for size, lengths in (
        (5, [5, 5, 5, 4]),
        (6, [6, 6, 6]),
        (9, [9, 9]),
        (18, [18]),
        (1, [1] * 19),
    ):
        sampler = ClassBatchSampler(LABELS, size)
        assert [len(batch) for batch in sampler] == lengths
        assert len(sampler) == len(lengths)
    assert [len(batch) for batch in InOrder(19, 6)] == [6, 6, 6, 1]
    assert flat(InOrder(19, 6)) == list(range(19))
    assert list(InOrder(0, 6)) == []


def test_wrong_arguments() -> None:
    wrong: list[tuple[Callable[[], Any], str]] = [
        (lambda: ClassBatchSampler([], 2), r"'labels' must have shape \[N\] with N > 0"),
        (lambda: ClassBatchSampler(torch.zeros(2, 2), 2), r"not \[2, 2\]"),
        (
            lambda: ClassBatchSampler(torch.tensor([0.5, 1.0]), 2),
            "class numbers from 0 on, not 0.5",
        ),
        (lambda: ClassBatchSampler([-1, 1], 2), "class numbers from 0 on, not -1"),
        (lambda: ClassBatchSampler([0], 0), "'batch_size' must be a positive integer, not 0"),
        (lambda: ClassBatchSampler([0], 4.0), "'batch_size' must be a positive integer, not 4.0"),  # pyright: ignore[reportArgumentType]
        (lambda: ClassBatchSampler([0], 2, per_class=0), "'per_class' must be a positive integer"),
        (lambda: ClassBatchSampler([0], 2, neighbors=0), "'neighbors' must be a positive integer"),
    ]
    for call, message in wrong:
        with pytest.raises(ValueError, match=message):
            call()
    images: Any = TensorDataset(torch.zeros(3, 2), torch.zeros(3))
    for labels, head, message in (
        (images, None, "'labels' must be the class numbers of all samples, not TensorDataset"),
        (["a", "b"], None, "'labels' must be the class numbers of all samples, not list"),
        ([0], True, "'similar' must be a head, not True"),
    ):
        with pytest.raises(TypeError, match=message):
            ClassBatchSampler(labels, 2, similar=head)  # pyright: ignore[reportArgumentType]
    too_few = ClassBatchSampler([0, 9], 2, similar=pairs_of_similar_classes())
    with pytest.raises(IndexError, match=r"'labels' must lie in \[0, 4\)"):
        list(too_few)


# -------------------------------------------------------------------- processes


def _as_rank(monkeypatch: pytest.MonkeyPatch, rank: int, world: int) -> None:
    monkeypatch.setattr(torch.distributed, "is_initialized", lambda: True)
    monkeypatch.setattr(torch.distributed, "get_rank", lambda: rank)
    monkeypatch.setattr(torch.distributed, "get_world_size", lambda: world)


@pytest.mark.parametrize("world", [1, 2, 3, 8, 50])
@pytest.mark.parametrize("kind", [*KINDS, "in order"])
def test_processes_share_the_samples(
    monkeypatch: pytest.MonkeyPatch, world: int, kind: str
) -> None:
    def sampler(**more: Any) -> BatchSampler:
        if kind == "in order":
            return InOrder(len(LABELS), 4, **more)
        return ClassBatchSampler(LABELS, 4, **KINDS[kind], **more)

    whole = sampler().order(0).tolist()
    own: list[int] = []
    counts: set[int] = set()
    parts: list[list[list[int]]] = []
    for rank in range(world):
        _as_rank(monkeypatch, rank, world)
        part = sampler()
        batches = list(part)
        assert len(batches) == len(part)
        assert all(batches)
        samples = [sample for batch in batches for sample in batch]
        assert len(samples) in (part.num_samples, part.num_samples - 1)
        counts.add(len(samples))
        own += samples[: part.num_own]
        parts.append(batches)
        everything = sampler(sharded=False)
        assert everything.num_own == len(whole)
        assert len(flat(everything)) >= len(whole) - 1
    assert len(counts) == 1  # or processes would wait for one another
    in_turn = [sample for batches in zip(*parts, strict=True) for b in batches for sample in b]
    end = min(len(whole), len(in_turn))  # a last batch of one sample may be left out
    assert in_turn[:end] == whole[:end]
    assert end > len(whole) - world - 1
    assert sorted(own) == sorted(whole[:end])


@pytest.mark.parametrize(("first", "then"), [(1, 2), (2, 1), (2, 3), (4, 1), (3, 3)])
@pytest.mark.parametrize("done", [1, 2, 3])
def test_other_processes_go_on(
    monkeypatch: pytest.MonkeyPatch, first: int, then: int, done: int
) -> None:
    whole = ClassBatchSampler(LABELS, 2, seed=5).order(0).tolist()
    seen: list[int] = []
    states: list[dict[str, int]] = []
    none = torch.empty(0, dtype=torch.int64)
    for rank in range(first):
        _as_rank(monkeypatch, rank, first)
        loader = _loader(size=2)
        ran = iter(loader)
        seen += [sample for _ in range(done) for sample in next(ran, none).tolist()]
        states.append(loader.state_dict())
    assert all(state == states[0] for state in states)
    if states[0]["epoch"]:  # it is over
        assert len(whole) - len(seen) <= first  # each of them would be alone
        return
    rest: list[int] = []
    lengths: set[int] = set()
    for rank in range(then):
        _as_rank(monkeypatch, rank, then)
        loader = _loader(size=2)
        loader.load_state_dict(states[0])
        left = loader.batches.num_left(states[0]["seen"])
        batches = [batch.tolist() for batch in loader]
        assert len(batches) == left
        lengths.add(left)
        rest += [sample for batch in batches for sample in batch]
    assert len(lengths) == 1
    # Some are taken again to give all equally many, or left out where one would be alone.
    assert len(seen) == len({*seen})
    assert len({*whole} - {*seen} - {*rest}) <= then
    assert len({*rest} - {*seen}) > len(rest) - then


# -------------------------------------------------------------------- going on in the middle


class _Squares(Dataset[Tensor]):
    def __init__(self) -> None:
        self.asked: list[int] = []

    def __getitem__(self, index: int) -> Tensor:
        self.asked.append(index)
        return torch.tensor(index)

    def __len__(self) -> int:
        return len(LABELS)


def _loader(workers: int = 0, size: int = 4) -> ResumableLoader:
    sampler = ClassBatchSampler(LABELS, size, seed=5)
    return ResumableLoader(_Squares(), batch_sampler=sampler, num_workers=workers)


@pytest.mark.parametrize("workers", [0, 2])
def test_loader_goes_on_with_the_very_same_batches(workers: int) -> None:
    sampler = ClassBatchSampler(LABELS, 4, seed=5)
    passes = [list(sampler) for _ in range(3)]
    loader = _loader(workers)
    assert [[batch.tolist() for batch in loader] for _ in range(3)] == passes
    for epoch, done in ((0, 0), (0, 2), (1, 4), (1, 5)):
        first = _loader(workers)
        for _ in range(epoch):
            list(first)
        ran = iter(first)
        seen = [next(ran).tolist() for _ in range(done)]
        assert seen == passes[epoch][:done]
        state = first.state_dict()
        again = _loader(workers)
        again.load_state_dict(state)
        assert again.state_dict() == state
        rest = [batch.tolist() for batch in again]
        if done < len(passes[epoch]):
            assert rest == passes[epoch][done:]
            assert [batch.tolist() for batch in again] == passes[epoch + 1]
        else:
            assert rest == passes[epoch + 1]
        if done and not workers:
            dataset = again.dataset
            assert isinstance(dataset, _Squares)
            assert len(dataset.asked) <= 2 * len(LABELS) - 4 * done % 20


def test_state_belongs_to_its_epoch() -> None:
    loader = _loader()
    passes = [[batch.tolist() for batch in loader] for _ in range(3)]
    loader = _loader()
    next(iter(loader))
    state = loader.state_dict()
    assert state == {"epoch": 0, "seen": 4}
    # An epoch that ended early is not gone on with.
    again = _loader()
    again.load_state_dict(state)
    again.batches.set_epoch(1)
    assert [batch.tolist() for batch in again] == passes[1]
    # Where an epoch ended, the next one begins.
    list(loader)
    assert loader.state_dict() == {"epoch": 2, "seen": 0}
    again = _loader()
    again.load_state_dict(loader.state_dict())
    assert [batch.tolist() for batch in again] == passes[2]
    assert _loader().state_dict() == {"epoch": 0, "seen": 0}


def test_order_is_made_when_the_first_batch_is_asked_for() -> None:
    # Lightning makes the iterator before it sets the epoch.
    loader = _loader()
    ran = iter(loader)
    loader.batches.set_epoch(2)
    expected = _loader()
    expected.batches.set_epoch(2)
    assert next(ran).equal(next(iter(expected)))


@pytest.mark.parametrize("workers", [0, 2])
def test_plain_loader_gives_the_same_batches(workers: int) -> None:
    loader = _loader(size=6)
    assert len(loader) == len(list(_loader(size=6))) == 3
    sampler = ClassBatchSampler(LABELS, 6, seed=5)
    plain = DataLoader(_Squares(), batch_sampler=sampler, num_workers=workers)
    for _ in range(2):
        for ours, theirs in zip(loader, plain, strict=True):
            assert ours.equal(theirs)
