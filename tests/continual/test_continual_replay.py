"""Which images a replay memory keeps, against plain implementations of each policy."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from rootspace.config import MemoryConfig
from rootspace.data import ArrayImages, StoredImages
from rootspace.extend.replay import carry, herding, herding_ranks, ranks, remember, shares

SHAPE = (1, 2, 2)


def numbered(labels: list[int], first: int = 0) -> ArrayImages:
    """Images that carry their number in their pixels."""
    numbers = torch.arange(first, first + len(labels))
    pixels = torch.stack([numbers // 256, numbers % 256, numbers * 0, numbers * 0], dim=1)
    return ArrayImages(pixels.byte().reshape(-1, *SHAPE), torch.tensor(labels, dtype=torch.int64))


def numbers_of(stored: StoredImages) -> list[int]:
    if not len(stored):
        return []
    pixels = stored.batch(range(len(stored)))[0].long().flatten(1)
    return (256 * pixels[:, 0] + pixels[:, 1]).tolist()


def by_label(stored: StoredImages) -> dict[int, list[int]]:
    found: dict[int, list[int]] = {}
    for number, label in zip(numbers_of(stored), stored.labels.tolist(), strict=True):
        found.setdefault(label, []).append(number)
    return found


def no_network(images: torch.Tensor) -> torch.Tensor:
    raise AssertionError("this policy embeds nothing")


def keep(
    folder: Path,
    old: StoredImages | None,
    new: ArrayImages | None,
    size: int,
    policy: str,
    seed: tuple[int, int] = (0, 0),
    embed=no_network,
    num_classes: int = 8,
) -> StoredImages:
    config = MemoryConfig(size, policy)  # type: ignore[arg-type]
    names = [str(i) for i in range(num_classes)]
    remember(folder, old, new, names, SHAPE, config, seed, embed)
    stored = StoredImages(folder)
    assert len(stored) <= size and stored.class_names == names
    assert stored.labels.tolist() == sorted(stored.labels.tolist())
    return stored


def herding_distances(embeddings: np.ndarray, chosen: list[int]) -> np.ndarray:
    """Alg. 4 of arXiv 1611.07725, line 4: how far each image would leave the mean; inf if taken."""
    features = embeddings / np.linalg.norm(embeddings, axis=1, keepdims=True)
    before = features[chosen].sum(axis=0)
    distance = np.linalg.norm(features.mean(0) - (before + features) / (len(chosen) + 1), axis=1)
    distance[chosen] = np.inf
    return distance


def plain_herding(embeddings: np.ndarray, number: int) -> list[int]:
    chosen: list[int] = []
    for _ in range(number):
        chosen.append(int(np.argmin(herding_distances(embeddings, chosen))))
    return chosen


@given(st.integers(1, 30), st.integers(1, 6), st.integers(0, 10**6), st.data())
def test_herding_is_the_published_algorithm(count: int, dim: int, seed: int, data):
    number = data.draw(st.integers(0, count))
    z = np.random.default_rng(seed).normal(size=(count, dim))
    chosen = herding(torch.from_numpy(z), number).tolist()
    assert len(set(chosen)) == number
    for k, row in enumerate(chosen):  # equally good but for rounding: two images always are
        distance = herding_distances(z, chosen[:k])
        assert distance[row] <= distance.min() + 1e-9


def test_of_equally_good_images_the_first_is_taken():
    assert herding(torch.ones(5, 3), 3).tolist() == [0, 1, 2]


def test_a_beginning_of_herding_is_herding():
    z = torch.randn(40, 5)
    whole = herding(z, 40)
    assert sorted(whole.tolist()) == list(range(40))
    assert torch.equal(herding(z, 7), whole[:7])
    near = (
        torch.nn.functional.normalize(z, dim=1)[whole[:7]].mean(0)
        - torch.nn.functional.normalize(z, dim=1).mean(0)
    ).norm()
    far = (
        torch.nn.functional.normalize(z, dim=1)[:7].mean(0)
        - torch.nn.functional.normalize(z, dim=1).mean(0)
    ).norm()
    assert near < far
    with pytest.raises(ValueError, match=r"'number' must lie in \[0, 40\].* not 41"):
        herding(z, 41)


def plain_shares(counts: np.ndarray, size: int, priority: np.ndarray) -> np.ndarray:
    """One image to each class in turn."""
    given_out = np.zeros_like(counts)
    while given_out.sum() < min(size, counts.sum()):
        for label in np.argsort(priority, kind="stable"):
            if given_out.sum() < size and given_out[label] < counts[label]:
                given_out[label] += 1
    return given_out


@given(st.lists(st.integers(0, 6), min_size=1, max_size=8), st.integers(0, 40), st.integers(0, 99))
def test_shares_are_dealt_out_in_turn(counts: list[int], size: int, seed: int):
    priority = np.random.default_rng(seed).random(len(counts))
    found = shares(np.array(counts), size, priority)
    assert found.tolist() == plain_shares(np.array(counts), size, priority).tolist()


def test_ranks():
    labels, values = np.array([1, 0, 1, 1, 0]), np.array([0.3, 0.2, 0.1, 0.2, 0.5])
    assert ranks(labels, values).tolist() == [2, 0, 0, 1, 1]


def test_balanced(tmp_path: Path):
    labels = [0] * 9 + [1] * 2 + [2] * 9 + [3] * 9
    stored = keep(tmp_path / "a", None, numbered(labels), 20, "balanced")
    keys = np.random.default_rng((0, 0)).random(len(labels))
    expected = np.array([6, 2, 6, 6])
    assert Counter(stored.labels.tolist()) == dict(enumerate(expected))
    # Of each class those with the smallest keys, smallest first.
    for label, found in by_label(stored).items():
        rows = np.flatnonzero(np.array(labels) == label)
        assert found == rows[np.argsort(keys[rows])][: expected[label]].tolist()


def test_a_balanced_memory_grows_and_shrinks(tmp_path: Path):
    first = keep(tmp_path / "a", None, numbered([0] * 10 + [1] * 10), 12, "balanced")
    more = numbered([2] * 10 + [0] * 3, 100)
    second = keep(tmp_path / "b", first, more, 12, "balanced", (0, 1))
    assert Counter(second.labels.tolist()) == {0: 4, 1: 4, 2: 4}
    # Class 1 got nothing new: its beginning stays. Class 0 chooses among old and new by key.
    assert by_label(second)[1] == by_label(first)[1][:4]
    third = keep(tmp_path / "c", second, None, 5, "balanced")
    assert sorted(Counter(third.labels.tolist()).values()) == [1, 2, 2]
    assert set(numbers_of(third)) <= set(numbers_of(second))


def test_fewer_images_than_classes(tmp_path: Path):
    stored = keep(tmp_path / "a", None, numbered(list(range(8)) * 3), 5, "balanced")
    assert sorted(Counter(stored.labels.tolist()).values()) == [1] * 5


@pytest.mark.parametrize("policy", ["balanced", "herding", "reservoir"])
def test_nothing_to_remember(tmp_path: Path, policy: str):
    assert len(keep(tmp_path / "a", None, numbered([0, 1]), 0, policy)) == 0
    empty = keep(tmp_path / "b", None, None, 10, policy)
    assert len(empty) == 0
    full = keep(
        tmp_path / "c",
        empty,
        numbered([0, 1]),
        10,
        policy,
        embed=torch.Tensor.float
        if policy != "herding"
        else lambda images: images.float().flatten(1) + 1,
    )
    assert sorted(numbers_of(full)) == [0, 1]


def test_herding_memory_is_the_plain_one(tmp_path: Path):
    labels = np.random.default_rng(1).integers(0, 6, 700).tolist()
    images, z = numbered(labels), torch.randn(1000, 5)

    def embed(some: torch.Tensor) -> torch.Tensor:
        pixels = some.long().flatten(1)
        return z[256 * pixels[:, 0] + pixels[:, 1]]

    first = keep(tmp_path / "a", None, images, 60, "herding", embed=embed)
    assert Counter(first.labels.tolist()) == dict.fromkeys(range(6), 10)
    expected = []
    for label in range(6):
        rows = np.flatnonzero(np.array(labels) == label)
        expected += rows[plain_herding(z[rows].double().numpy(), 10)].tolist()
    assert numbers_of(first) == expected
    # New classes: old ones keep a beginning. More images of class 0: chosen anew among all.
    second = keep(
        tmp_path / "b",
        first,
        numbered([6] * 9 + [7] * 9 + [0] * 5, 800),
        48,
        "herding",
        (0, 1),
        embed,
    )
    found = by_label(second)
    for label in range(1, 6):
        assert found[label] == expected[10 * label : 10 * label + 6]
    candidates = np.array(expected[:10] + list(range(818, 823)))
    best = plain_herding(z[candidates].double().numpy(), 6)
    assert found[0] == candidates[best].tolist()


def test_herding_embeds_only_the_classes_that_come(tmp_path: Path):
    old = keep(tmp_path / "a", None, numbered([0] * 5 + [1] * 5), 10, "balanced")
    seen = []

    def embed(images: torch.Tensor) -> torch.Tensor:
        seen.append(len(images))
        return torch.randn(len(images), 3)

    keep(tmp_path / "b", old, numbered([2] * 7, 50), 12, "herding", (0, 1), embed)
    assert sum(seen) == 7
    assert len(herding_ranks(numbered([0, 0]), 2, np.array([2]), embed)) == 2 and sum(seen) == 7


def test_reservoir_is_uniform_over_all_that_came(tmp_path: Path):
    """Three parts in turn, as three extensions bring them: every image stays equally often."""
    parts = [numbered([0] * 30), numbered([1] * 20, 30), numbered([2] * 10, 50)]
    kept, tries, size = np.zeros(60), 400, 12
    for seed in range(tries):
        memory = None
        for step, part in enumerate(parts):
            folder = tmp_path / f"{seed}-{step}"
            memory = keep(folder, memory, part, size, "reservoir", (seed, step))
            assert len(memory) == size
        kept[numbers_of(memory)] += 1  # type: ignore[arg-type]
    assert kept.sum() == tries * size
    expected = tries * size / 60
    deviation = np.sqrt(expected * (1 - size / 60))
    assert np.abs(kept - expected).max() < 4 * deviation
    for rows, share in ((slice(0, 30), 30), (slice(30, 50), 20), (slice(50, 60), 10)):
        assert abs(kept[rows].sum() / (expected * share) - 1) < 0.1


def test_the_same_seed_gives_the_same_memory(tmp_path: Path):
    images = numbered([0, 1, 2, 3] * 10)
    for policy in ("balanced", "reservoir"):
        one, two, other = (
            numbers_of(keep(tmp_path / f"{policy}{i}", None, images, 8, policy, seed))
            for i, seed in enumerate([(0, 0), (0, 0), (1, 0)])
        )
        assert one == two != other


def test_carried_memory_is_the_same(tmp_path: Path):
    memory = keep(tmp_path / "a", None, numbered([0, 1, 2]), 3, "balanced")
    carry(tmp_path / "b", memory)
    copy = StoredImages(tmp_path / "b")
    assert numbers_of(copy) == numbers_of(memory) and copy.keys.tolist() == memory.keys.tolist()


def test_bad_settings():
    with pytest.raises(ValueError, match=r"'memory.size' must be at least 0, not -1"):
        MemoryConfig(-1)
    with pytest.raises(ValueError, match=r"'memory.policy' must be one of .*, not 'newest'"):
        MemoryConfig(1, "newest")  # type: ignore[arg-type]
