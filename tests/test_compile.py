"""Losses and decoding compile as one graph: no loop depends on the data, nothing is called back."""

import pytest
import torch

from rootspace import ClassMap
from rootspace.classes import KeyedPermutation
from rootspace.losses import (
    CombinedLoss,
    CosineLoss,
    DistanceLoss,
    InBatchSoftmaxLoss,
    SystemSoftmaxLoss,
)
from rootspace.systems import (
    Circle,
    Orthoplex,
    PermutationCode,
    PermutationSystem,
    RootA,
    RootD,
    SignedKHot,
    VectorSystem,
)

SYSTEMS: list[VectorSystem] = [
    RootA(8),
    RootA(8, interpolations=1),
    RootA(9, projection="isometric"),
    RootD(8),
    SignedKHot(8, 3),
    PermutationSystem(8, 2, 1),
    PermutationCode(6),
    Orthoplex(40),
    Circle(7),
]


@pytest.fixture(autouse=True)
def _fresh() -> None:
    torch.compiler.reset()


def compiled(function):
    return torch.compile(function, fullgraph=True, backend="aot_eager")


@pytest.mark.parametrize("order", ["natural", "shuffled"])
@pytest.mark.parametrize(
    "make", [CosineLoss, DistanceLoss, CombinedLoss, SystemSoftmaxLoss, InBatchSoftmaxLoss]
)
@pytest.mark.parametrize("system", [RootA(8, interpolations=1), SignedKHot(8, 3)], ids=repr)
def test_losses(system: VectorSystem, make, order) -> None:
    loss = make(ClassMap(system, 40, order))
    z, labels = torch.randn(6, 8, requires_grad=True), torch.arange(34, 40)
    found = compiled(loss)(z, labels)
    assert torch.allclose(found, loss(z, labels))
    (gradient,) = torch.autograd.grad(found, z)
    assert torch.allclose(gradient, torch.autograd.grad(loss(z, labels), z)[0], atol=1e-6)


@pytest.mark.parametrize("k", [1, 5])
@pytest.mark.parametrize("system", SYSTEMS, ids=repr)
def test_decoding(system: VectorSystem, k: int) -> None:
    z = torch.randn(6, system.dim)
    found, expected = compiled(lambda z: system.nearest(z, k))(z), system.nearest(z, k)
    assert torch.equal(found.index, expected.index)
    assert torch.allclose(found.cosine, expected.cosine)


@pytest.mark.parametrize("num_classes", [40, 576])
def test_prediction(num_classes: int) -> None:
    classes = ClassMap(RootA(8, interpolations=1), num_classes)
    z = torch.randn(6, 8)
    found = compiled(lambda z: classes.predict(z, 3))(z)
    assert torch.equal(found.label, classes.predict(z, 3).label)


@pytest.mark.parametrize("size", [2, 10, 576, 56_770_560, 2**41 + 9])
def test_shuffle(size: int) -> None:
    permutation = KeyedPermutation(size, seed=3)
    numbers = torch.linspace(0, size - 1, 2000, dtype=torch.float64).long().clamp(max=size - 1)
    assert torch.equal(compiled(permutation)(numbers), permutation(numbers))
    assert torch.equal(compiled(permutation.inverse)(numbers), permutation.inverse(numbers))
