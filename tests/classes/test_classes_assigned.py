"""Class vectors chosen from data: packing, exact prediction, files, and the assignment itself."""

from __future__ import annotations

from itertools import permutations
from pathlib import Path

import pytest
import torch
from torch.nn.functional import cosine_similarity, normalize

from rootspace import ClassMap
from rootspace.classes import ClassMeans, assign
from rootspace.classes._packing import bits_for, pack, unpack
from rootspace.systems import (
    Hypercube,
    PermutationCode,
    PermutationSystem,
    RootA,
    RootD,
    SignedKHot,
    VectorSystem,
)

SYSTEMS = [
    PermutationCode(128),
    PermutationCode(12),
    SignedKHot(128, 64),
    SignedKHot(16, 2),
    Hypercube(100),
    PermutationSystem(40, 2, 1),
    RootA(40),
    RootA(8, interpolations=1),
    RootD(40),
]


@pytest.mark.parametrize("dim", [1, 7, 8, 65])
@pytest.mark.parametrize("levels", [2, 3, 4, 7])
def test_packing_round_trip(dim: int, levels: int):
    numbers = torch.randint(levels, (9, dim))
    packed = pack(numbers, bits_for(levels))
    assert packed.shape == (9, bits_for(levels), -(-dim // 8)) and packed.dtype == torch.uint8
    assert torch.equal(unpack(packed, dim), numbers.to(torch.uint8))


@pytest.mark.parametrize(
    ("system", "expected"),
    [
        (SignedKHot(128, 64), 128 / 4),
        (PermutationCode(128), 3 * 128 / 8),
        (Hypercube(128), 128 / 8),
        (RootA(384), 8),
        (SignedKHot(16, 2), 8),
    ],
)
def test_bytes_per_class(system: VectorSystem, expected: float):
    assert assign(system, torch.randn(50, system.dim)).classes.bytes_per_class == expected


@pytest.mark.parametrize("system", SYSTEMS, ids=repr)
def test_assignment(system: VectorSystem, tmp_path: Path):
    means = torch.randn(300, system.dim)
    means[:20] = means[20:40]  # certain collisions
    found = assign(system, means, names=[str(i) for i in range(300)])
    classes, labels = found.classes, torch.arange(300)
    vectors = classes.vectors(labels)
    assert len(torch.unique(vectors, dim=0)) == 300, "each class has a vector of its own"
    torch.testing.assert_close(system.quantize(vectors), vectors)
    assert found.collisions >= 20
    cosine = cosine_similarity(means, vectors)
    assert found.mean_cosine == pytest.approx(float(cosine.mean()), abs=1e-6)
    # No class could do better by moving to a vector that nobody has.
    nearest = system.quantize(means)
    moved = cosine < cosine_similarity(means, nearest) - 1e-6
    assert int(moved.sum()) <= found.collisions

    prediction = classes.predict(vectors)
    assert torch.equal(prediction.label[:, 0], labels)
    z = torch.randn(100, system.dim, dtype=torch.float64)
    dense = normalize(z) @ classes.vectors(labels, dtype=torch.float64).T
    torch.testing.assert_close(classes.predict(z, 3).cosine, dense.topk(3).values)

    classes.save(tmp_path / "classes.json")
    again = ClassMap.load(tmp_path / "classes.json")
    assert torch.equal(again.vectors(labels), vectors) and again.names == classes.names


@pytest.mark.parametrize("system", [RootA(20), PermutationCode(12)], ids=repr)
def test_from_numbers(system: VectorSystem):
    numbers = torch.randperm(system.size if system.size < 1000 else 1000)[:100]
    classes = ClassMap.assigned(system, numbers)
    labels = torch.arange(100)
    assert torch.equal(classes.indices(labels), numbers)
    assert torch.equal(classes.labels(numbers), labels)
    assert classes.labels(torch.tensor([system.size - 1])).item() == -1
    assert classes.vectors(labels.reshape(4, 25)).shape == (4, 25, system.dim)


def test_best_assignment_of_a_few_classes_is_near_the_optimum():
    """Greedy against the exact assignment, by brute force over a small system."""
    system = RootA(2)
    vectors = system.vectors(torch.arange(6), dtype=torch.float64)
    gaps = []
    for _ in range(20):
        means = torch.randn(4, 2, dtype=torch.float64)
        cosine = normalize(means) @ vectors.T
        best = max(float(cosine[range(4), list(p)].mean()) for p in permutations(range(6), 4))
        gaps.append(best - assign(system, means).mean_cosine)
    assert min(gaps) > -1e-6 and sum(gaps) / len(gaps) < 0.1


def test_class_means():
    z, labels = torch.randn(60, 5), torch.arange(60) % 7
    means = ClassMeans(7, 5)
    for part in range(0, 60, 16):
        means.add(z[part : part + 16], labels[part : part + 16])
    expected = torch.stack([z[labels == c].mean(0) for c in range(7)])
    torch.testing.assert_close(means.means(), expected)
    torch.testing.assert_close(means.center(), z.mean(0))
    empty = ClassMeans(8, 5)
    empty.add(z, labels)
    with pytest.raises(ValueError, match="Class 7 has no embedding"):
        empty.means()


def test_errors():
    system = RootA(5)
    with pytest.raises(ValueError, match="row 1 is not one of them"):
        ClassMap.assigned(system, torch.stack([system.vectors(torch.tensor(3)), torch.ones(5)]))
    with pytest.raises(ValueError, match="row 0 is not one of them"):
        ClassMap.assigned(PermutationCode(128), torch.randn(3, 128))
    with pytest.raises(ValueError, match="a different vector for each class"):
        ClassMap.assigned(system, torch.tensor([4, 4]))
    with pytest.raises(IndexError, match=r"numbers in \[0, 30\), not 30"):
        ClassMap.assigned(system, torch.tensor([4, 30]))
    with pytest.raises(ValueError, match="at most 30 rows"):
        assign(system, torch.randn(31, 5))
    with pytest.raises(ValueError, match="grows by vectors"):
        ClassMap.assigned(system, torch.tensor([4, 5])).extend(3)
    with pytest.raises(ValueError, match="have no numbers"):
        assign(PermutationCode(128), torch.randn(3, 128)).classes.labels(torch.tensor([1]))
