"""Losses at extreme settings and embeddings, and as compiled graphs."""

import copy
import pickle

import pytest
import torch
from torch.nn.functional import cross_entropy

from rootspace import ClassMap
from rootspace.losses import (
    CombinedLoss,
    CosineLoss,
    DistanceLoss,
    InBatchSoftmaxLoss,
    SystemSoftmaxLoss,
)
from rootspace.systems import Circle, Orbit, RootA, Table, VectorSystem

SYSTEMS: list[VectorSystem] = [
    RootA(8, projection="isometric"),
    RootA(6, interpolations=1),
    RootA(6, positive=True),
    Orbit(6, {2: 1, 1: 2}, signed=True),
    Circle(2),
    Circle(8),
    Table(torch.randn(40, 6, generator=torch.Generator().manual_seed(0), dtype=torch.float64)),
]


@pytest.mark.parametrize("margin", [0.0, 0.1, 0.35])
@pytest.mark.parametrize("scale", [4.0, 16.0, 40.0])
@pytest.mark.parametrize("system", SYSTEMS, ids=repr)
def test_system_softmax_is_cross_entropy_over_all_vectors(
    system: VectorSystem, scale: float, margin: float
) -> None:
    classes = ClassMap(system, min(system.size, 30))
    labels = torch.randint(classes.num_classes, (12,))
    table = system.vectors(torch.arange(system.size), dtype=torch.float64)
    near = classes.vectors(labels, dtype=torch.float64)
    for spread in (0.05, 0.5, 5.0):
        z = near + spread * torch.randn(12, system.dim, dtype=torch.float64)
        own = classes.indices(labels)
        cosines = torch.nn.functional.normalize(z, dim=-1) @ table.T
        cosines[torch.arange(12), own] -= margin
        expected = cross_entropy(scale * cosines, own)
        found = SystemSoftmaxLoss(classes, scale, margin)(z, labels)
        # With a margin a small difference of large numbers is multiplied by exp(scale * margin).
        assert found.item() == pytest.approx(expected.item(), rel=1e-8, abs=1e-8)


def test_margin_on_a_table_in_float32() -> None:
    table = Table(torch.randn(40, 6, generator=torch.Generator().manual_seed(0)))
    classes, labels = ClassMap(table, 40, "natural"), torch.arange(40)
    vectors = classes.vectors(labels, dtype=torch.float64)
    expected = cross_entropy(40 * (vectors @ vectors.T - 0.35 * torch.eye(40)), labels)
    found = SystemSoftmaxLoss(classes, 40.0, 0.35)(vectors, labels)
    assert found.item() == pytest.approx(expected.item(), rel=1e-4)


@pytest.mark.parametrize(
    ("dtype", "scale"),
    [
        (torch.float32, 16.0),
        (torch.float32, 32.0),
        (torch.float64, 32.0),
        (torch.float32, 64.0),  # CosFace's own setting
        (torch.float64, 128.0),
    ],
)
def test_margin_on_perfect_embeddings(dtype: torch.dtype, scale: float) -> None:
    classes, labels = ClassMap(RootA(16, projection="isometric"), 272), torch.arange(272)
    z = classes.vectors(labels, dtype=dtype).requires_grad_()
    found = SystemSoftmaxLoss(classes, scale, 0.35)(z, labels)
    (gradient,) = torch.autograd.grad(found, z)
    vectors = classes.vectors(labels, dtype=torch.float64)
    expected = cross_entropy(scale * (vectors @ vectors.T - 0.35 * torch.eye(272)), labels)
    assert found.item() == pytest.approx(expected.item(), rel=1e-3, abs=1e-3)
    assert float(gradient.abs().max()) < 1e-3, "by symmetry the others pull equally"


@pytest.mark.parametrize("length", [1e-12, 1e-14, 1e16])
@pytest.mark.parametrize("make", [DistanceLoss, CombinedLoss])
def test_distance_does_not_depend_on_the_other_rows(
    make: type[DistanceLoss], length: float
) -> None:
    loss, labels = make(ClassMap(RootA(4), 20)), torch.arange(4)
    z = torch.randn(4, 4)
    alone = loss(z[:3], labels[:3])
    z[3] = length
    # The mean over four rows less what the last one adds.
    last = loss(z[3:], labels[3:]) if length < 1 else None
    together = loss(z, labels)
    if last is not None:
        assert together.item() == pytest.approx((3 * alone.item() + last.item()) / 4, rel=1e-5)
    else:
        assert together.item() > 1e15


@pytest.mark.parametrize("make", [CosineLoss, SystemSoftmaxLoss, InBatchSoftmaxLoss])
@pytest.mark.parametrize("factor", [1e-30, 1e-10, 1e10, 1e30])
def test_directions_do_not_depend_on_the_length(make, factor: float) -> None:
    loss, z, labels = make(ClassMap(RootA(8), 40)), torch.randn(10, 8), torch.arange(10)
    assert loss(factor * z, labels).item() == pytest.approx(loss(z, labels).item(), rel=1e-5)


def test_copies() -> None:
    loss = SystemSoftmaxLoss(ClassMap(RootA(8), 40), margin=0.1)
    z, labels = torch.randn(6, 8), torch.arange(6)
    for again in (copy.deepcopy(loss), pickle.loads(pickle.dumps(loss))):
        assert torch.equal(again(z, labels), loss(z, labels))
        assert repr(again) == repr(loss)


def test_integers_of_any_width_are_labels() -> None:
    loss, z = InBatchSoftmaxLoss(ClassMap(RootA(8), 40)), torch.randn(3, 8)
    expected = loss(z, torch.tensor([1, 1, 3]))
    for dtype in (torch.int32, torch.int16, torch.uint8):
        assert torch.equal(loss(z, torch.tensor([1, 1, 3], dtype=dtype)), expected)


@pytest.mark.parametrize(
    ("make", "setting"),
    [
        (SystemSoftmaxLoss, {"margin": float("nan")}),
        (SystemSoftmaxLoss, {"margin": float("inf")}),
        (SystemSoftmaxLoss, {"scale": float("inf")}),
        (DistanceLoss, {"radius": float("inf")}),
        (CombinedLoss, {"weight": float("nan")}),
    ],
    ids=str,
)
def test_settings_must_be_finite(make, setting: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=f"'{next(iter(setting))}' must"):
        make(ClassMap(RootA(8), 40), **setting)
