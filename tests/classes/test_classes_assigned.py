"""Class vectors chosen from data: packing, exact prediction, files, and the assignment itself."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable
from itertools import permutations
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.optimize import linear_sum_assignment
from torch.nn.functional import cosine_similarity, normalize

from rootspace import ClassMap
from rootspace._extras import MissingExtraError
from rootspace.classes import ClassMeans, RefinedMeans, _matching, assign
from rootspace.classes import means as means_module
from rootspace.classes.codes import bits_for, encode, keys, pack, unpack
from rootspace.systems import (
    Circle,
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
def test_assignment(system: VectorSystem, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
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
    nearest = system.quantize(means)
    assert found.collisions == 300 - len(torch.unique(nearest, dim=0))
    # One after another: the nearest class keeps its vector, the others move once.
    monkeypatch.setattr(_matching, "MATCHED", 0)
    greedy = assign(system, means)
    assert greedy.method == "greedy"
    moved = (greedy.classes.vectors(labels) - nearest).abs().amax(-1) > 1e-6
    assert int(moved.sum()) == greedy.collisions == found.collisions
    assert found.mean_cosine >= greedy.mean_cosine - 1e-3
    gram = vectors.double() @ vectors.double().T
    largest = float(gram.fill_diagonal_(-1).max().clamp(max=1).acos().rad2deg())
    assert found.smallest_angle == pytest.approx(largest, abs=0.01)

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


def test_numbers_are_copied_and_nothing_else_is_taken_for_them():
    numbers = torch.tensor([1, 2, 3])
    classes = ClassMap.assigned(RootA(4), numbers)
    numbers[0] = 7
    assert classes.indices(torch.arange(3)).tolist() == [1, 2, 3]
    for wrong in (torch.ones(2, 4, dtype=torch.int64), torch.ones(3, dtype=torch.bool)):
        with pytest.raises(TypeError, match=r"'vectors' must be floating point of shape \[C, 4\]"):
            ClassMap.assigned(RootA(4), wrong)


def test_matching_against_brute_force():
    system = RootA(2)
    vectors = system.vectors(torch.arange(6), dtype=torch.float64)
    for _ in range(20):
        means = torch.randn(4, 2, dtype=torch.float64)
        cosine = normalize(means) @ vectors.T
        best = max(float(cosine[range(4), list(p)].mean()) for p in permutations(range(6), 4))
        found = assign(system, means)
        assert found.method == ("matching" if found.collisions else "nearest")
        assert found.mean_cosine == pytest.approx(best)


def best_cosine(system: VectorSystem, means: torch.Tensor, free: torch.Tensor) -> float:
    """Largest mean cosine that different vectors among the free ones can have."""
    cosine = normalize(means.double()) @ system.vectors(free, dtype=torch.float64).T
    rows, columns = linear_sum_assignment(cosine.numpy(), maximize=True)
    return float(cosine[rows, columns].mean())


@pytest.mark.parametrize("neighbors", [None, 64, 2], ids=["all", "64", "2"])
@pytest.mark.parametrize(
    ("system", "num_classes"),
    [(RootD(12), 264), (RootA(20), 400), (PermutationSystem(12, 2, 1), 300), (Circle(6), 256)],
    ids=repr,
)
def test_matching_against_the_hungarian_method(
    system: VectorSystem,
    num_classes: int,
    neighbors: int | None,
    monkeypatch: pytest.MonkeyPatch,
):
    """Also where every vector is wanted, and where many classes have one mean."""
    means = torch.randn(num_classes, system.dim)
    means[:30] = means[0]
    if neighbors is not None:
        monkeypatch.setattr(_matching, "ALL", 0)
        monkeypatch.setattr(_matching, "NEIGHBORS", neighbors)
        monkeypatch.setattr(_matching, "ROOMY", neighbors)
    found = assign(system, means)
    assert found.method == "matching"
    assert len(torch.unique(found.classes.indices(torch.arange(num_classes)))) == num_classes
    best = best_cosine(system, means, torch.arange(system.size))
    below = {None: 1e-6, 64: 0.03, 2: 0.2}[neighbors]
    assert best - below < found.mean_cosine < best + 1e-6


def test_neighbors_that_nobody_else_lists_end_a_list(monkeypatch: pytest.MonkeyPatch):
    """What a class may need is cut off, and the best stays the best."""
    monkeypatch.setattr(_matching, "ALL", 0)
    system, means = PermutationSystem(20, 2, 1), torch.randn(400, 20)
    found = assign(system, means)
    best = best_cosine(system, means, torch.arange(system.size))
    assert found.mean_cosine == pytest.approx(best, abs=1e-6)
    near = system.nearest(means, 16)
    place = np.unique(near.index.numpy(), return_inverse=True)[1].reshape(400, 16)
    wanted, sure = _matching._wanted(place, np.ones((400, 16), dtype=bool))
    assert wanted.sum() < 1000 and sure.all()


def test_matching_leaves_taken_vectors(monkeypatch: pytest.MonkeyPatch):
    system, means = RootD(12), torch.randn(60, 12)
    taken = torch.randperm(264)[:150]
    free = torch.from_numpy(np.setdiff1d(np.arange(264), taken))
    for limit in (_matching.ALL, 0):
        monkeypatch.setattr(_matching, "ALL", limit)
        grown = ClassMap.assigned(system, taken).extend_assigned(means)
        new = grown.vectors(torch.arange(150, 210))
        assert len(torch.unique(grown.indices(torch.arange(210)))) == 210
        mean = float(cosine_similarity(new, means).mean())
        assert mean == pytest.approx(best_cosine(system, means, free), abs=1e-3)


def test_without_scipy(monkeypatch: pytest.MonkeyPatch):
    def absent(module: str, extra: str, purpose: str):
        raise MissingExtraError(f"{purpose} needs scipy")

    monkeypatch.setattr(_matching, "require", absent)
    with pytest.warns(UserWarning, match="SciPy is not installed"):
        found = assign(RootA(5), torch.randn(1, 5).expand(8, 5))
    assert found.method == "greedy" and found.collisions == 7


def test_one_class():
    found = assign(PermutationCode(64), torch.randn(1, 64))
    assert found.smallest_angle == 180 and found.classes.num_classes == 1


def test_a_table_that_the_disk_has_no_room_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And not a process that ends without a word, at the first write into the mapping."""

    def full(file: int, start: int, size: int) -> None:
        assert size == 1000 * 256 * 4
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "posix_fallocate", full)
    ClassMeans(1000, 256, tmp_path)  # in memory
    monkeypatch.setattr(means_module, "IN_MEMORY", 0)
    with pytest.raises(
        OSError, match=r"1,000 rows needs 1 MB in .*: No space left.*TMPDIR"
    ) as error:
        ClassMeans(1000, 256, tmp_path)
    assert error.value.errno == 28 and str(tmp_path) in str(error.value)


@pytest.mark.parametrize("system", SYSTEMS, ids=repr)
def test_growth(system: VectorSystem):
    """Old classes keep their vectors bit for bit, new ones take the nearest free vectors."""
    means = torch.randn(260, system.dim)
    old = assign(system, means[:200], names=[f"a{i}" for i in range(200)]).classes
    means[200:210] = old.vectors(torch.arange(10))  # taken
    grown = old.extend_assigned(means[200:], [f"b{i}" for i in range(60)])
    assert grown.names is not None and grown._codes is not None and old._codes is not None
    assert grown.num_classes == 260 and grown.names[198:202] == ["a198", "a199", "b0", "b1"]
    first = torch.arange(200)
    assert torch.equal(grown._codes.array[:200], old._codes.array)
    assert torch.equal(grown.vectors(first), old.vectors(first))
    assert len(np.unique(keys(grown._codes.array))) == 260
    new = grown.vectors(torch.arange(200, 260))
    if system.size > 10_000:  # free vectors that are nearest are taken
        torch.testing.assert_close(new[10:], system.quantize(means[210:]))
    assert torch.equal(grown.predict(new).label[:, 0], torch.arange(200, 260))
    assert old.num_classes == 200, "a map does not change"

    # Members of the system that are free are kept.
    free = system.quantize(torch.randn(400, system.dim))
    free = torch.unique(free, dim=0)
    free = free[~np.isin(keys(encode(system, free)), keys(old._codes.array))][:5]
    kept = old.extend_assigned(free, list("vwxyz")).vectors(torch.arange(200, 205))
    torch.testing.assert_close(kept, free)


def test_growth_errors():
    system = RootA(5)
    classes = ClassMap.assigned(system, torch.arange(28))
    assert sorted(
        classes.extend_assigned(torch.randn(2, 5)).indices(torch.arange(30)).tolist()
    ) == [*range(30)]
    with pytest.raises(ValueError, match="at most 2 rows, the number of free vectors"):
        classes.extend_assigned(torch.randn(3, 5))
    with pytest.raises(ValueError, match="'names' must fit the classes so far, which have no"):
        classes.extend_assigned(torch.randn(1, 5), ["one"])
    with pytest.raises(ValueError, match="'names' must hold 1 names"):
        classes.extend_assigned(torch.randn(1, 5), ["one", "two"])
    with pytest.raises(ValueError, match="grows by 'extend'"):
        ClassMap(system, 20).extend_assigned(torch.randn(1, 5))


def test_class_means(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    z, labels = torch.randn(60, 5), torch.arange(60) % 7
    means = ClassMeans(7, 5)
    for part in range(0, 60, 16):
        means.add(z[part : part + 16], labels[part : part + 16])
    expected = torch.stack([z[labels == c].mean(0) for c in range(7)])
    torch.testing.assert_close(means.means(), expected)
    torch.testing.assert_close(means.center(), z.mean(0))
    rotation = torch.randn(3, 5)
    turned = (expected - z.mean(0)) @ rotation.T
    torch.testing.assert_close(means.means(means.center(), rotation), turned)
    # The same in a file, and in several blocks.
    monkeypatch.setattr(means_module, "IN_MEMORY", 0)
    monkeypatch.setattr(means_module, "BLOCK", 10)
    files, original = [], tempfile.TemporaryFile
    monkeypatch.setattr(
        tempfile, "TemporaryFile", lambda dir: files.append(dir) or original(dir=dir)
    )
    mapped = ClassMeans(7, 5, directory=tmp_path)
    assert files == [tmp_path] and not list(tmp_path.iterdir()), "a file without a name"
    for part in range(0, 60, 16):
        mapped.add(z[part : part + 16], labels[part : part + 16])
    assert torch.equal(mapped.means(), means.means())
    torch.testing.assert_close(mapped.directions(), normalize(expected, dim=-1))
    center = means.center()
    torch.testing.assert_close(mapped.center(), center)
    assert torch.equal(mapped.means(center), means.means(center))
    found = assign(RootA(5), mapped.means(center))
    again = assign(RootA(5), means.means(center))
    assert torch.equal(
        found.classes.indices(torch.arange(7)), again.classes.indices(torch.arange(7))
    )
    empty = ClassMeans(8, 5)
    empty.add(z, labels)
    with pytest.raises(ValueError, match="Class 7 has no embedding"):
        empty.means()


@pytest.mark.parametrize("make", [lambda: ClassMeans(5, 4), lambda: RefinedMeans(5, 4, 10)])
def test_embeddings_and_labels_are_checked(make: Callable[[], ClassMeans]):
    means, z = make(), torch.randn(6, 4)
    for label in (5, -1):
        with pytest.raises(IndexError, match=rf"'labels' must lie in \[0, 5\), not {label}"):
            means.add(z[:2], torch.tensor([0, label]))
    with pytest.raises(ValueError, match=r"'embeddings' must be of shape \[B, 4\], not \(6, 3\)"):
        means.add(z[:, :3], torch.arange(6) % 5)
    with pytest.raises(ValueError, match=r"'labels' must be of shape \[6\].*not \(5,\)"):
        means.add(z, torch.arange(5))
    z[3, 2] = torch.nan
    with pytest.raises(ValueError, match="'embeddings' must be finite; row 3, of class 3, holds"):
        means.add(z, torch.arange(6) % 5)
    z[3, 2] = 0.0
    means.add(z, torch.arange(6) % 5)
    assert bool(torch.isfinite(means.means()).all()), "what was refused has left nothing"


def test_more_embeddings_than_announced():
    means = RefinedMeans(2, 4, 3)
    with pytest.raises(ValueError, match="at most num_images = 3 in all, not 4"):
        means.add(torch.randn(4, 4), torch.arange(4) % 2)


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
    with pytest.raises(ValueError, match="row 1 holds NaN"):
        assign(system, torch.tensor([[1.0], [torch.nan]]).expand(2, 5))
    with pytest.raises(ValueError, match=r"shape \[C, 5\], not \(5,\)"):
        assign(system, torch.randn(5))
    with pytest.raises(ValueError, match="'names' must hold 3 names"):
        assign(system, torch.randn(3, 5), names=["a"])
    with pytest.raises(ValueError, match="grows by vectors"):
        ClassMap.assigned(system, torch.tensor([4, 5])).extend(3)
    with pytest.raises(ValueError, match="have no numbers"):
        assign(PermutationCode(128), torch.randn(3, 128)).classes.labels(torch.tensor([1]))
