"""Class maps at their edges: memory, shapes, numbers that are no vectors, properties."""

import tracemalloc
from typing import Any

import pytest
import torch

from rootspace import ClassMap
from rootspace.systems import Orbit, RootA, RootD, Table
from rootspace.testing import LargestTensor


def test_fifty_million_classes_make_no_tensor() -> None:
    with LargestTensor():
        ClassMap(RootA(20, interpolations=1), 10)  # torch imports more of itself at first
    tracemalloc.start()
    try:
        with LargestTensor() as largest:
            ClassMap(RootA(384, interpolations=1), 50_000_000)
        assert tracemalloc.get_traced_memory()[1] < 2**20
    finally:
        tracemalloc.stop()
    assert 8 * largest.elements < 2**20


@pytest.mark.parametrize("order", ["natural", "shuffled"])
def test_dtypes_and_shapes_follow(order: Any) -> None:
    classes = ClassMap(RootA(6), 42, order)
    labels = torch.tensor([[1, 2, 3]], dtype=torch.int32)
    assert classes.vectors(labels).shape == (1, 3, 6)
    assert classes.vectors(labels).dtype == torch.float32
    assert classes.vectors(labels, dtype=torch.bfloat16).dtype == torch.bfloat16
    assert classes.vectors(torch.tensor(7)).shape == (6,)
    assert classes.vectors(labels[:, :0]).shape == (1, 0, 6)
    assert torch.equal(classes.labels(classes.indices(labels)), labels)


def test_properties() -> None:
    classes = ClassMap(RootA(9), 80, seed=2)
    assert (classes.dim, classes.capacity, classes.num_classes) == (9, 90, 80)
    assert classes.bytes_per_class == 0
    assert ClassMap(Table(torch.eye(9)), 9).bytes_per_class == 36
    assert repr(classes) == "ClassMap(RootA(9), 80, 'shuffled', seed=2)"
    assert classes.names is None


def test_bytes_of_a_table_in_float64() -> None:
    assert ClassMap(Table(torch.eye(9).double()), 9).bytes_per_class == 72


@pytest.mark.parametrize(
    ("new", "message"),
    [
        (11, "must be at most 12"),
        (-1, "'new' must be a number of classes or names, not -1"),
        (True, "'new' must be a number of classes or names, not True"),
        (2.0, "'new' must be a number of classes or names, not 2.0"),
        ({"c"}, "'new' must be a number of classes or names, not {'c'}"),
        (["c"], "have no names"),
    ],
)
def test_extending_wrongly(new: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        ClassMap(RootA(3), 2).extend(new)
    if isinstance(new, int) and new > 2:
        with pytest.raises(ValueError, match="have names"):
            ClassMap(RootA(3), 2, names=["a", "b"]).extend(new)


def test_a_system_without_numbers() -> None:
    with pytest.raises(ValueError, match=r"at most 2\*\*63 - 1 vectors"):
        ClassMap(Orbit(200, {1: 90}), 5)


@pytest.mark.parametrize(
    ("order", "index"), [("natural", -5), ("shuffled", -5), ("shuffled", 20), ("shuffled", 25)]
)
def test_numbers_that_are_no_vectors_are_refused(order: Any, index: int) -> None:
    classes = ClassMap(RootA(4), 20, order)
    with pytest.raises(IndexError, match="'index' must lie in"):
        classes.labels(torch.tensor(index))


def test_assigned_maps_of_small_orbits_reject_vectors_without_a_class() -> None:
    system = RootD(8)
    classes = ClassMap.assigned(system, system.vectors(torch.tensor([3, 50])))
    found = classes.predict(system.vectors(torch.arange(5)), reject_unassigned=True)
    assert found.label[:, 0].tolist() == [-1, -1, -1, 0, -1]
