"""Heads to test, and what tells two of them apart."""

import io
from typing import Any

import torch
from torch import Tensor

from rootspace import ClassMap, PrototypeHead
from rootspace.heads import Head
from rootspace.losses import (
    InBatchSoftmaxLoss,
)
from rootspace.systems import RootA, Table

C, DIM = 20, 16


def means(num_classes: int = C, dim: int = DIM, seed: int = 1) -> Tensor:
    return torch.randn(num_classes, dim, generator=torch.Generator().manual_seed(seed))


def rotation(dim: int = DIM) -> Tensor:
    generator = torch.Generator().manual_seed(2)
    return torch.linalg.qr(torch.randn(dim, dim, generator=generator)).Q


def chosen(names: bool = False, framed: bool = True, **arguments: Any) -> PrototypeHead:
    """A head with prototypes from random means."""
    classes = {"names": [f"c{i}" for i in range(C)]} if names else {"num_classes": C}
    head = PrototypeHead(**classes, dim=DIM, **arguments)  # pyright: ignore[reportArgumentType]
    frame = (torch.linspace(-1, 1, DIM), rotation()) if framed else (None, None)
    head.choose(means(), *frame)
    return head


def batch(count: int = 24, dtype: torch.dtype = torch.float32) -> tuple[Tensor, Tensor]:
    return torch.randn(count, DIM).to(dtype).requires_grad_(), torch.arange(count) % (C // 2)


def gradient(loss: Tensor, of: Tensor) -> Tensor:
    return torch.autograd.grad(loss, of, retain_graph=True)[0]


def table(head: Head) -> Tensor:
    return head.vectors(torch.arange(head.num_classes)).double()


def through_file(state: dict[str, Any]) -> dict[str, Any]:
    file = io.BytesIO()
    torch.save(state, file)
    file.seek(0)
    return torch.load(file, weights_only=True)


def same(first: PrototypeHead, second: PrototypeHead) -> None:
    """Both give the same losses and predictions, to the bit."""
    assert first.extra_repr() == second.extra_repr()
    assert (first.names, first.num_classes) == (second.names, second.num_classes)
    assert (first.ready, first.framed, first.dim) == (second.ready, second.framed, second.dim)
    assert first.center.equal(second.center)
    assert first.rotation.equal(second.rotation)
    z = torch.randn(12, first.dim)
    labels = torch.arange(12) % 4
    assert first(z, labels).equal(second(z, labels))
    if first.ready:
        assert table(first).equal(table(second))
        for ours, theirs in zip(first.predict(z, 3), second.predict(z, 3), strict=True):
            assert ours.equal(theirs)


STAGES = {
    "first": lambda: PrototypeHead(C, DIM),
    "first, names": lambda: PrototypeHead(names=[f"c{i}" for i in range(C)], dim=DIM),
    "first, table": lambda: PrototypeHead(C, system=Table(means(30))),
    "chosen": chosen,
    "chosen, names": lambda: chosen(names=True),
    "chosen, no frame": lambda: chosen(framed=False),
    "chosen, roots": lambda: chosen(system=RootA(DIM)),
    "chosen, table": lambda: chosen(system=Table(means(30))),
    "formula": lambda: PrototypeHead.from_map(ClassMap(RootA(DIM), C), InBatchSoftmaxLoss),
    "formula, table": lambda: PrototypeHead.from_map(
        ClassMap(Table(means(30)), C), InBatchSoftmaxLoss
    ),
}
