"""Search through lists of coordinates against a look at all vectors."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable

import pytest
import torch
from torch import Tensor
from torch.nn.functional import normalize

from rootspace.classes import ClassMap
from rootspace.classes.coordinate_lists import CoordinateLists
from rootspace.systems import Hypercube, Orbit, RootA, RootD, SignedKHot, Union, VectorSystem

CASES: list[tuple[VectorSystem, int]] = [
    (RootA(40), 300),
    (RootA(40, interpolations=1), 1000),
    (RootD(30), 500),
    (SignedKHot(60, 3), 2000),
    (SignedKHot(9, 1), 18),
]


def embeddings(classes: ClassMap, count: int = 40) -> Tensor:
    """From far from every class vector to on one, and some with equal and zero coordinates."""
    generator = torch.Generator().manual_seed(0)
    labels = torch.randint(classes.num_classes, (count,), generator=generator)
    near = torch.linspace(0, 1, count)[:, None]
    noise = normalize(torch.randn(count, classes.dim, generator=generator), dim=-1)
    z = near * classes.vectors(labels, dtype=torch.float32) + (1 - near) * noise
    z[1] = 1
    z[2] = 0
    z[2, 0] = 1
    return normalize(z, dim=-1)


def lists(classes: ClassMap) -> CoordinateLists:
    def placements(labels: Tensor) -> tuple[Tensor, Tensor]:
        placed = classes.system.placements(classes.indices(labels), torch.float64)
        assert placed is not None
        return placed

    return CoordinateLists(placements, classes.num_classes)


def test_vectors_of_fewer_coordinates_where_all_are_far() -> None:
    """Of a sum of negative parts, that of fewer parts is larger."""
    system = Union([Orbit(40, {1: 1}), Orbit(40, {1: 3})])
    classes = ClassMap(system, system.size)
    z = normalize(-torch.rand(20, 40), dim=-1)
    cosine, _ = lists(classes).search(z, 3)
    scores = z @ classes.vectors(torch.arange(system.size), dtype=torch.float32).T
    torch.testing.assert_close(cosine, scores.topk(3).values)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("case", CASES, ids=repr)
def test_lists_find_what_all_vectors_give(case: tuple[VectorSystem, int], dtype: torch.dtype):
    classes = ClassMap(*case)
    z = embeddings(classes).to(dtype)
    found = lists(classes)
    scores = z @ classes.vectors(torch.arange(classes.num_classes), dtype=dtype).T
    for k in (1, 7, classes.num_classes):
        cosine, label = found.search(z, k)
        assert cosine.dtype == dtype and label.shape == (len(z), k)
        torch.testing.assert_close(cosine, scores.topk(k).values)
        torch.testing.assert_close(scores.gather(1, label), cosine)
        assert all(len(set(row.tolist())) == k for row in label)
        ties = cosine[:, 1:] == cosine[:, :-1]
        assert (label[:, 1:] > label[:, :-1])[ties].all()


def test_few_lists_are_looked_through(monkeypatch: pytest.MonkeyPatch):
    classes = ClassMap(RootA(384, interpolations=1), 20_000)
    found, looked = lists(classes), 0
    cosines = found._cosines

    def counted(z: object, values: object, labels: Tensor) -> object:
        nonlocal looked
        looked += len(labels)
        return cosines(z, values, labels)  # pyright: ignore[reportArgumentType]

    monkeypatch.setattr(found, "_cosines", counted)
    near = classes.vectors(torch.arange(50), dtype=torch.float32)
    found.search(normalize(near + 0.05 * torch.randn(50, classes.dim), dim=-1), 1)
    assert looked < 50 * len(found) / 10


def remembered(map_: ClassMap) -> bool:
    return map_._lists is not None


@pytest.mark.parametrize("again", [copy.deepcopy, lambda m: pickle.loads(pickle.dumps(m))])
def test_maps_search_through_lists(
    monkeypatch: pytest.MonkeyPatch, again: Callable[[ClassMap], ClassMap]
):
    classes = ClassMap(RootA(384, interpolations=1), 3000, seed=3)
    scanned = classes.predict(embeddings(classes), k=5)
    assert not remembered(classes)  # so few are scanned
    monkeypatch.setattr("rootspace.classes.class_map.FEW_CLASSES", 1000)
    found = classes.predict(embeddings(classes), k=5)
    assert remembered(classes)
    torch.testing.assert_close(found.cosine, scanned.cosine)
    same = found.label == scanned.label
    assert same[3:-1].all()  # of the others some cosines are equal
    copied = again(classes)
    assert not remembered(copied)
    assert copied.predict(embeddings(classes)).label.equal(found.label[:, :1])
    z = embeddings(classes)[5:-1].requires_grad_()
    classes.predict(z).cosine.sum().backward()
    assert z.grad is not None and (z.grad != 0).any(-1).all()


def test_closed_forms_and_dense_vectors_need_no_lists(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("rootspace.classes.class_map.FEW_CLASSES", 1)
    for classes in (ClassMap(RootA(384), 50_000), ClassMap(Hypercube(40), 100)):
        classes.predict(torch.randn(20, classes.dim))
        assert not remembered(classes)
