"""Class maps in checkpoints and on devices: what is kept, what is copied, what is refused."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor

from rootspace import ClassMap, _host_array
from rootspace.classes import assign, codes
from rootspace.systems import (
    MAX_INDEX,
    Circle,
    Leech,
    Orbit,
    PermutationCode,
    RootA,
    RootD,
    RootE8,
    SignedKHot,
    Sphere,
    Table,
    Union,
    VectorSystem,
)


def some_means(num: int, dim: int) -> Tensor:
    return torch.randn(num, dim, generator=torch.Generator().manual_seed(3))


MAPS = {
    "formula": ClassMap(RootA(384, interpolations=1), 50_000_000, seed=2**63),
    "natural": ClassMap(Orbit(9, {2: 1, 1: 2}, signed=True), 100, "natural"),
    "names": ClassMap(RootA(4), 3, names=["one", "zwei", "三"]),
    "table": ClassMap(Table(some_means(12, 5)), 10, seed=1),
    "float64": ClassMap(Table(some_means(12, 5).double()), 10),
    "sphere": ClassMap(Sphere(4, 20), 10),
    "numbers": ClassMap.assigned(RootA(30), torch.tensor([5, 700, 3]), ["a", "b", "c"]),
    "levels": assign(PermutationCode(64), some_means(50, 64)).classes,
    "unsigned": assign(Orbit(160, {1: 14, 2: 20}), some_means(50, 160)).classes,
    "rows of a table": ClassMap.assigned(Table(some_means(12, 5)), torch.tensor([3, 1])),
}


def assert_same(a: ClassMap, b: ClassMap) -> None:
    labels = torch.arange(min(a.num_classes, 1000))
    assert (a.num_classes, a.order, a.seed, a.names) == (b.num_classes, b.order, b.seed, b.names)
    for dtype in (torch.float32, torch.float64):
        assert torch.equal(a.vectors(labels, dtype=dtype), b.vectors(labels, dtype=dtype))


class TestState:
    @pytest.mark.parametrize("name", MAPS)
    def test_a_checkpoint_carries_it(self, name: str, tmp_path: Path) -> None:
        classes = MAPS[name]
        torch.save({"head": classes.state()}, tmp_path / "last.ckpt")
        state = torch.load(tmp_path / "last.ckpt", weights_only=True)["head"]
        assert_same(ClassMap.from_state(state), classes)

    def test_what_it_is_made_of(self) -> None:
        state = MAPS["numbers"].state()
        numbers = state.pop("codes")
        assert isinstance(numbers, Tensor) and numbers.tolist() == [5, 700, 3]
        assert state == {
            "format": 1,
            "system": "RootA(30)",
            "num_classes": 3,
            "order": "assigned",
            "seed": 0,
            "names": ["a", "b", "c"],
            "table": None,
        }

    def test_a_union_with_a_table_has_none(self) -> None:
        system = Union([Orbit(3, {1: 1}), Table([[1.0, 1, 0], [1, -1, 0]])])
        with pytest.raises(ValueError, match="cannot be saved"):
            ClassMap(system, 4).state()

    @pytest.mark.parametrize("key", ["format", "system", "num_classes", "order", "seed", "names"])
    def test_all_entries_are_needed(self, key: str) -> None:
        state = {k: v for k, v in MAPS["names"].state().items() if k != key}
        with pytest.raises(ValueError, match=f"needs '{key}', which is missing"):
            ClassMap.from_state(state)

    @pytest.mark.parametrize(
        ("name", "changes", "message"),
        [
            ("names", {"format": 2}, "'format' must be 1, .* not 2"),
            ("names", {"seed": "0"}, "'seed' must be of type int, not '0'"),
            ("names", {"num_classes": True}, "'num_classes' must be of type int, not True"),
            ("names", {"names": [1, 2, 3]}, "'names' must be strings"),
            ("names", {"names": ["a"]}, "'names' must hold 3 names"),
            ("names", {"order": "random"}, "'order' must be 'shuffled' or 'natural'"),
            ("names", {"order": "assigned"}, "has 'codes' if its 'order' is 'assigned'"),
            ("numbers", {"order": "natural"}, "has 'codes' if its 'order' is 'assigned'"),
            (
                "numbers",
                {"num_classes": 4},
                r"one for each of the 4 classes, not .* \(3,\)",
            ),
            ("numbers", {"codes": torch.tensor([5, 930, 3])}, r"lie in \[0, 930\), not 930"),
            ("numbers", {"codes": torch.tensor([5, -1, 3])}, r"lie in \[0, 930\), not -1"),
            ("numbers", {"codes": torch.tensor([5, 4, 5])}, "different for each class"),
            ("numbers", {"codes": torch.ones(3)}, "must be numbers, int64 of shape"),
            (
                "numbers",
                {"system": "PermutationCode(64)"},
                r"levels, uint8 of shape \[C, 3, 8\]",
            ),
            ("levels", {"system": "PermutationCode(72)"}, r"uint8 of shape \[C, 3, 9\]"),
            ("levels", {"system": "PermutationCode(64, levels=2)"}, "row 0 is not"),
            ("levels", {"system": "RootA(64)"}, r"must be numbers, int64 of shape \[C\]"),
            (
                "table",
                {"table": some_means(12, 5) + 1},
                "'table' must be the Table.*, not Table",
            ),
            ("table", {"table": torch.full((12, 5), torch.nan)}, "must be finite"),
            ("table", {"table": None}, "Expected a literal|Expected a vector system"),
        ],
    )
    def test_what_is_wrong_is_named(self, name: str, changes: dict, message: str) -> None:
        with pytest.raises(ValueError, match=message):
            ClassMap.from_state({**MAPS[name].state(), **changes})

    @pytest.mark.parametrize("name", ["levels", "unsigned"])
    @pytest.mark.parametrize("row", [0, 37])
    def test_every_bit_of_a_code_is_checked(self, name: str, row: int) -> None:
        state = MAPS[name].state()
        packed = state["codes"]
        assert isinstance(packed, Tensor)
        for byte in range(0, packed[0].numel(), 5):
            wrong = packed.clone()
            wrong[row].view(-1)[byte] ^= 1 << (byte % 8)
            with pytest.raises(ValueError, match=f"those of members of .*; row {row} is not"):
                ClassMap.from_state({**state, "codes": wrong})


class TestCopies:
    @pytest.mark.parametrize("name", MAPS)
    def test_pickle_and_deepcopy(self, name: str) -> None:
        classes = MAPS[name]
        classes.predict(torch.randn(3, classes.dim)) if name != "formula" else None
        for again in (pickle.loads(pickle.dumps(classes)), copy.deepcopy(classes)):
            assert_same(again, classes)

    def test_they_have_no_caches(self) -> None:
        classes = assign(PermutationCode(256), some_means(3000, 256)).classes
        before = len(pickle.dumps(classes))
        classes.predict(torch.randn(2, 256))  # makes a byte a coordinate
        stored = classes._codes
        assert stored is not None
        stored.of(torch.arange(4, device="meta"))
        assert len(pickle.dumps(classes)) == before < 3000 * 96 + 10_000
        again = copy.deepcopy(stored)
        assert stored._codes._copies and not again._codes._copies

    def test_those_of_a_table(self) -> None:
        table = Table(some_means(100, 8))
        before = len(pickle.dumps(table))
        table._vectors(torch.zeros(3, dtype=torch.int64, device="meta"), torch.float32)
        assert table._stored._copies and len(pickle.dumps(table)) == before


class TestDevices:
    """On any device but the host there is no more than a bounded part of the codes."""

    def test_few_codes_are_copied_once(self) -> None:
        stored = _host_array.HostArray(torch.arange(6))
        meta = torch.device("meta")
        assert stored.on(torch.device("cpu")) is stored.rows
        assert stored.on(meta) is not None and stored.on(meta) is stored.on(meta)
        assert stored.take(torch.arange(3, device="meta")).device == meta

    def test_many_codes_are_not(self) -> None:
        rows = torch.zeros(_host_array.ON_DEVICE // 8 + 1, dtype=torch.int64)
        stored = _host_array.HostArray(rows)
        assert stored.on(torch.device("meta")) is None and not stored._copies
        assert _host_array.HostArray(rows[1:]).on(torch.device("meta")) is not None

    @pytest.mark.parametrize("limit", [0, 2**22], ids=["streamed", "copied"])
    @pytest.mark.parametrize(
        "system",
        [PermutationCode(64), Orbit(100, {0.5: 30, 2: 9}, signed=True), RootD(40)],
        ids=repr,
    )
    def test_the_same_as_on_the_host(
        self, system: VectorSystem, limit: int, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """The host stands for another device, so that all ways can be gone without one."""
        classes = assign(system, some_means(500, system.dim)).classes
        z, labels = torch.randn(40, system.dim), torch.randint(500, (30,))
        numbers = torch.randint(3120, (100,))

        def everything() -> list[Tensor]:
            found = [classes.vectors(labels), *classes.predict(z, 3)]
            if system.size <= MAX_INDEX:
                found += [classes.indices(labels), classes.labels(numbers)]
            return found

        expected = everything()
        for module in (codes, _host_array):
            monkeypatch.setattr(module, "HOST", "another")
        monkeypatch.setattr(_host_array, "ON_DEVICE", limit)
        for one, other in zip(everything(), expected, strict=True):
            torch.testing.assert_close(one, other)


class TestInferenceMode:
    """What validation makes and keeps, training uses."""

    @pytest.mark.parametrize(
        "make",
        [
            lambda: ClassMap(RootA(17), 20),
            lambda: ClassMap(RootA(11, interpolations=1), 20),
            lambda: ClassMap(RootD(9), 20),
            lambda: ClassMap(Leech(), 20),
            lambda: ClassMap(PermutationCode(13), 20),
            lambda: ClassMap(RootE8(), 20),
            lambda: ClassMap(Circle(3), 8),
            lambda: ClassMap(Table(some_means(12, 5)), 8),
            lambda: ClassMap(Sphere(6, 30), 8),
            lambda: assign(RootD(21), some_means(40, 21)).classes,
            lambda: assign(PermutationCode(64), some_means(40, 64)).classes,
            lambda: assign(SignedKHot(64, 32), some_means(40, 64)).classes,
            lambda: assign(Orbit(100, {0.5: 30, 2: 9}, signed=True), some_means(40, 100)).classes,
            lambda: ClassMap.from_state(MAPS["levels"].state()),
        ],
    )
    @pytest.mark.parametrize("within", ["use", "making"])
    def test_caches_do_for_training(self, make: Callable[[], ClassMap], within: str) -> None:
        classes = make()
        with torch.inference_mode():
            classes = make() if within == "making" else classes
            labels = torch.arange(classes.num_classes)
            classes.predict(torch.randn(8, classes.dim), 3)
            classes.vectors(labels)
            if classes.capacity <= MAX_INDEX:
                classes.system.nearest(torch.randn(8, classes.dim), 5)
                classes.labels(classes.indices(labels))
        labels = torch.arange(classes.num_classes)
        z = torch.randn(len(labels), classes.dim, requires_grad=True)
        (z * classes.vectors(labels)).sum().backward()
        classes.predict(z, 3).cosine.sum().backward()
        if classes.capacity <= MAX_INDEX:
            classes.system.nearest(z, 5).cosine.sum().backward()
        for kept in vars(classes._codes or classes.system).values():
            assert not isinstance(kept, Tensor) or not kept.is_inference()
            assert not isinstance(kept, _host_array.HostArray) or not kept.rows.is_inference()

    def test_copies_on_a_device(self) -> None:
        with torch.inference_mode():
            stored = _host_array.HostArray(torch.arange(6))
            copy = stored.on(torch.device("meta"))
        assert copy is not None and not copy.is_inference() and not stored.rows.is_inference()
