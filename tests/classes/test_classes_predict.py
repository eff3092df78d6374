"""Prediction is exact: equal to scoring all class vectors, on every path."""

from typing import Any
from unittest import mock

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from rootspace import ClassMap
from rootspace.classes import class_map as module
from rootspace.classes import codes, search
from rootspace.systems import (
    Circle,
    Orbit,
    Ordered,
    PermutationCode,
    RootA,
    SignedKHot,
    Table,
    VectorSystem,
)

SYSTEMS: list[VectorSystem] = [
    RootA(7),
    RootA(5, interpolations=1),
    RootA(7, projection="isometric", positive=True),
    Orbit(6, {1: 2}, signed=True),
    Ordered(9, (2, -1, 1)),
    Circle(4),
    Table(torch.randn(70, 8, generator=torch.Generator().manual_seed(0))),
]


def dense(classes: ClassMap, z: torch.Tensor, k: int) -> torch.Tensor:
    """The k best cosines over all class vectors, by brute force in float64."""
    table = classes.vectors(torch.arange(classes.num_classes), dtype=torch.float64)
    cosines = torch.nn.functional.normalize(z.double(), dim=-1) @ table.T
    return cosines.topk(k, dim=-1).values


def assert_exact(classes: ClassMap, z: torch.Tensor, k: int) -> None:
    """By score, since ties may be broken either way."""
    found = classes.predict(z, k)
    tolerance = 32 * torch.finfo(z.dtype).eps
    best = dense(classes, z, k)
    assert found.label.shape == found.cosine.shape == (len(z), k)
    assert bool(((found.label >= 0) & (found.label < classes.num_classes)).all())
    assert all(len(set(row)) == k for row in found.label.tolist())
    vectors = classes.vectors(found.label, dtype=torch.float64)
    score = torch.einsum("nkd,nd->nk", vectors, torch.nn.functional.normalize(z.double(), dim=-1))
    assert torch.allclose(score, best, rtol=0, atol=tolerance)
    assert torch.allclose(found.cosine.double(), best, rtol=0, atol=tolerance)


@pytest.mark.parametrize("order", ["natural", "shuffled"])
@pytest.mark.parametrize("system", SYSTEMS, ids=repr)
class TestExact:
    @pytest.mark.parametrize("share", [0.0, 0.05, 0.3, 0.7, 0.98, 1.0])
    def test_any_share_of_the_system(self, system: VectorSystem, order: Any, share: float) -> None:
        classes = ClassMap(system, max(1, round(share * system.size)), order)
        z = torch.randn(60, system.dim)
        for k in {1, min(3, classes.num_classes), min(20, classes.num_classes)}:
            assert_exact(classes, z, k)

    def test_class_vectors_are_recognized(self, system: VectorSystem, order: Any) -> None:
        for num_classes in (1, system.size // 2, system.size):
            classes = ClassMap(system, num_classes, order)
            labels = torch.arange(num_classes)
            found = classes.predict(3 * classes.vectors(labels))
            assert torch.equal(found.label[:, 0], labels)
            assert torch.allclose(found.cosine, torch.ones(()))

    def test_all_classes_in_order(self, system: VectorSystem, order: Any) -> None:
        classes = ClassMap(system, min(system.size, 30), order)
        assert_exact(classes, torch.randn(5, system.dim), classes.num_classes)


@given(st.integers(1, 56), st.integers(1, 56), st.integers(0, 5))
def test_exact_for_any_number_of_classes(num_classes: int, k: int, seed: int) -> None:
    classes = ClassMap(RootA(7), num_classes, seed=seed)
    z = torch.randn(10, 7, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    assert_exact(classes, z, min(k, num_classes))


class TestPaths:
    """What is computed, and what is not."""

    @staticmethod
    def calls(classes: ClassMap, z: torch.Tensor, k: int = 1) -> tuple[list[int], list[int]]:
        """Numbers of neighbors asked of the system, and of rows scored with all classes."""
        system, scored = classes.system, classes._search
        with (
            mock.patch.object(system, "nearest", wraps=system.nearest) as nearest,
            mock.patch.object(classes, "_search", wraps=scored) as dense_search,
        ):
            classes.predict(z, k)
        return (
            [call.args[1] for call in nearest.call_args_list],
            [len(call.args[0]) for call in dense_search.call_args_list],
        )

    def test_all_assigned_needs_one_search(self) -> None:
        assert self.calls(ClassMap(RootA(20), 420), torch.randn(50, 20), 3) == ([3], [])

    def test_embeddings_near_their_vectors_need_one_neighbor(self) -> None:
        classes = ClassMap(RootA(20), 40)
        assert self.calls(classes, classes.vectors(torch.arange(40))) == ([1], [])

    def test_nearly_all_assigned_walks(self) -> None:
        walked, rows = self.calls(ClassMap(RootA(20), 400), torch.randn(200, 20))
        assert walked[:2] == [1, 4] and rows == []

    def test_few_assigned_are_scored(self) -> None:
        classes, z = ClassMap(RootA(60), 3), torch.randn(50, 60)
        assert self.calls(classes, z) == ([1], [50])

    def test_what_the_walk_does_not_find_is_scored(self) -> None:
        # In natural order the classes share few coordinates, so some rows have none nearby.
        walked, (rows,) = self.calls(ClassMap(RootA(60), 120, "natural"), torch.randn(200, 60))
        assert walked == [1, 61, 244, 256]
        assert 0 < rows < 200

    @pytest.mark.parametrize("share", [0.1, 0.5, 0.9])
    @pytest.mark.parametrize("k", [1, 4])
    @pytest.mark.parametrize("system", SYSTEMS, ids=repr)
    def test_walk_and_dense_agree(
        self, system: VectorSystem, k: int, share: float, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        classes, z = ClassMap(system, max(k, int(share * system.size))), torch.randn(50, system.dim)
        answers = []
        for walking in (True, False):
            monkeypatch.setattr(module, "LONGEST_WALK", system.size if walking else 0)
            answers.append(classes.predict(z, k))
        assert torch.equal(answers[0].label, answers[1].label)
        assert torch.allclose(answers[0].cosine, answers[1].cosine, atol=1e-6)

    @pytest.mark.parametrize("system", [RootA(20), RootA(70, interpolations=1)], ids=repr)
    def test_chunks_do_not_change_the_result(
        self, system: VectorSystem, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        classes, z = ClassMap(system, 40), torch.randn(30, system.dim)
        whole = classes._search(z, 5)
        monkeypatch.setattr(search, "SCORES", 70 * 7)
        parts = classes._search(z, 5)
        assert torch.equal(whole[1], parts[1])

    def test_vectors_of_few_coordinates_are_not_written_out(self) -> None:
        classes, z = ClassMap(RootA(200, interpolations=1), 300), torch.randn(30, 200)
        with mock.patch.object(classes.system, "vectors") as vectors:
            cosine, label = classes._search(torch.nn.functional.normalize(z, dim=-1), 3)
        assert not vectors.called
        assert_exact(classes, z, 3)
        assert torch.equal(label, classes.predict(z, 3).label)
        assert torch.allclose(cosine, classes.predict(z, 3).cosine)


class TestStoredCodes:
    """Search in int8 finds what float64 over all codes finds."""

    @pytest.mark.parametrize(
        "system", [PermutationCode(61), SignedKHot(64, 32), Orbit(70, {0.5: 30, 2: 9}, signed=True)]
    )
    @pytest.mark.parametrize("k", [1, 2, 7])
    @pytest.mark.parametrize("rows", [1, 5, 40])
    def test_exact(self, system: Orbit, k: int, rows: int) -> None:
        vectors = system.quantize(torch.randn(9000, system.dim))
        classes = ClassMap.assigned(system, vectors)
        assert_exact(classes, torch.randn(rows, system.dim), k)
        assert_exact(classes, vectors[:rows] + 0.05 * torch.randn(rows, system.dim), k)

    def test_the_int8_path_is_taken(self) -> None:
        system = SignedKHot(64, 32)
        classes = ClassMap.assigned(system, system.quantize(torch.randn(3000, 64)))
        with mock.patch.object(codes, "scan_levels", wraps=codes.scan_levels) as fast:
            classes.predict(torch.randn(5, 64))
        assert fast.called

    def test_nearly_equal_codes_are_told_apart(self) -> None:
        # Codes that differ in two coordinates only: rounding to int8 alone would mix them up.
        system = SignedKHot(256, 128)
        base = system.quantize(torch.randn(1, 256))
        zeros, ones = (base[0] == 0).nonzero()[:, 0], base[0].nonzero()[:, 0]
        vectors = base.repeat(3000, 1)
        pairs = torch.cartesian_prod(zeros[:60], ones[:60])[:2999]
        row = torch.arange(1, 3000)
        vectors[row, pairs[:, 0]], vectors[row, pairs[:, 1]] = vectors[row, pairs[:, 1]], 0.0
        classes = ClassMap.assigned(system, vectors)
        noisy = vectors[:200] + 0.002 * torch.randn(200, 256)
        assert_exact(classes, noisy, 1)
        assert torch.equal(classes.predict(vectors[:500]).label[:, 0], torch.arange(500))


class TestProbability:
    @pytest.mark.parametrize("scale", [None, 3.0, 40.0])
    def test_softmax_over_the_whole_system(self, scale: float | None) -> None:
        classes, z = ClassMap(RootA(8), 50), torch.randn(20, 8)
        found = classes.probability(z, classes.predict(z, 3).label, scale)
        table = classes.system.vectors(torch.arange(72))
        scale = classes.system.scale_for(0.9) if scale is None else scale
        every = (scale * torch.nn.functional.normalize(z, dim=-1) @ table.T).softmax(-1)
        own = classes.indices(classes.predict(z, 3).label)
        assert torch.allclose(found, every.gather(-1, own), atol=1e-6)

    def test_unknown_has_none(self) -> None:
        classes = ClassMap(RootA(8), 50)
        labels = torch.tensor([[3, -1]])
        assert classes.probability(torch.randn(1, 8), labels)[0, 1] == 0


class TestRejection:
    def test_min_cosine(self) -> None:
        classes = ClassMap(RootA(8), 72)
        z = torch.cat([classes.vectors(torch.tensor([5])), torch.ones(1, 8)])
        found = classes.predict(z, min_cosine=0.9)
        assert found.label.tolist() == [[5], [-1]]
        assert classes.predict(z).label[1, 0] >= 0
        assert torch.equal(found.cosine, classes.predict(z).cosine)

    def test_min_cosine_of_each_place(self) -> None:
        classes = ClassMap(RootA(8, projection="isometric"), 72)
        found = classes.predict(classes.vectors(torch.tensor([5])), 3, min_cosine=0.9)
        assert found.label.tolist() == [[5, -1, -1]]

    def test_reject_unassigned(self) -> None:
        classes = ClassMap(RootA(8), 36)
        every = RootA(8).vectors(torch.arange(72))
        found = classes.predict(every, 2, reject_unassigned=True)
        assert torch.equal(found.label[:, 0], classes.labels(torch.arange(72)))
        assert bool((found.label[:, 1] >= 0).all())

    def test_nothing_is_rejected_where_all_are_assigned(self) -> None:
        classes, z = ClassMap(RootA(8), 72), torch.randn(20, 8)
        found = classes.predict(z, reject_unassigned=True)
        assert torch.equal(found.label, classes.predict(z).label)


class TestArguments:
    @pytest.mark.parametrize("shape", [(8,), (2, 3, 8), (0, 8), (2, 0, 8)], ids=str)
    @pytest.mark.parametrize("num_classes", [10, 60, 72])
    def test_shapes(self, shape: tuple[int, ...], num_classes: int) -> None:
        found = ClassMap(RootA(8), num_classes).predict(torch.randn(shape), 2)
        assert found.label.shape == found.cosine.shape == (*shape[:-1], 2)

    @pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16, torch.float16])
    @pytest.mark.parametrize("num_classes", [10, 60, 72])
    def test_dtypes(self, dtype: torch.dtype, num_classes: int) -> None:
        classes, z = ClassMap(RootA(8), num_classes), torch.randn(9, 8).to(dtype)
        found = classes.predict(z)
        assert found.cosine.dtype == dtype and found.label.dtype == torch.int64
        assert torch.equal(found.label, classes.predict(z.double()).label)

    def test_length_does_not_matter(self) -> None:
        classes, z = ClassMap(RootA(8), 50), torch.randn(20, 8)
        for factor in (1e-30, 1e-5, 1e30):
            assert torch.equal(classes.predict(factor * z).label, classes.predict(z).label)

    @pytest.mark.parametrize(
        ("z", "k", "message"),
        [
            (torch.ones(2, 7), 1, r"last dimension 8, not shape \(2, 7\)"),
            (torch.ones(2, 8), 0, r"'k' must be an integer in \[1, 50\], not 0"),
            (torch.ones(2, 8), 51, r"'k' must be an integer in \[1, 50\], not 51"),
            (torch.eye(8)[:2] - torch.eye(8)[:1], 1, "zero embeddings.*row 0 is zero"),
            (torch.full((2, 8), torch.nan), 1, "must be finite; row 0 holds NaN"),
            (torch.full((2, 8), torch.inf), 1, "must be finite; row 0 holds NaN"),
        ],
        ids=["dim", "k=0", "k>classes", "zero", "nan", "inf"],
    )
    def test_wrong(self, z: torch.Tensor, k: int, message: str) -> None:
        with pytest.raises(ValueError, match=message):
            ClassMap(RootA(8), 50).predict(z, k)

    def test_autocast_does_not_round(self) -> None:
        classes, z = ClassMap(RootA(32), 40), torch.randn(500, 32)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            found = classes.predict(z)
        assert torch.equal(found.label, classes.predict(z).label)


def test_vectors_without_a_class_are_rejected_among_fifty_million() -> None:
    classes = ClassMap(RootA(384, interpolations=1), 50_000_000)
    index = torch.randint(classes.capacity, (2000,))
    found = classes.predict(classes.system.vectors(index), reject_unassigned=True).label[:, 0]
    assert torch.equal(found, classes.labels(index))
    assert bool((found == -1).any())


@pytest.mark.parametrize("count", [100_000, pytest.param(1_000_000, marks=pytest.mark.slow)])
def test_classes_among_fifty_million_are_recognized(count: int) -> None:
    classes = ClassMap(RootA(384, interpolations=1), 50_000_000)
    labels = torch.randint(50_000_000, (count,))
    labels[:3] = torch.tensor([0, 1, 49_999_999])
    for some in labels.split(10_000):
        assert torch.equal(classes.predict(classes.vectors(some)).label[:, 0], some)
