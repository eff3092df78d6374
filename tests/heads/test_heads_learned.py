"""Learned heads against pytorch-metric-learning and torch."""

import copy
from typing import Any

import pytest
import pytorch_metric_learning.losses as pml
import torch
from made_heads import (
    DIM,
    C,
    batch,
    gradient,
    means,
    table,
    through_file,
)
from torch import nn
from torch.nn.functional import cross_entropy, normalize

from rootspace import PrototypeHead
from rootspace.heads import ArcFaceHead, CosFaceHead, LearnedHead, LinearHead, NormalizedHead

LEARNED: list[type[LearnedHead]] = [LinearHead, NormalizedHead, CosFaceHead, ArcFaceHead]


@pytest.mark.parametrize(
    ("head", "loss"),
    [
        (NormalizedHead(C, DIM, scale=10), pml.NormalizedSoftmaxLoss(C, DIM, temperature=0.1)),
        (CosFaceHead(C, DIM), pml.CosFaceLoss(C, DIM, margin=0.2, scale=16)),
        (ArcFaceHead(C, DIM), pml.ArcFaceLoss(C, DIM, margin=10, scale=16)),
        # A margin so large that targets lie beyond 180 degrees.
        (ArcFaceHead(C, DIM, margin=120.0), pml.ArcFaceLoss(C, DIM, margin=120, scale=16)),
    ],
    ids=["normalized", "cosface", "arcface", "arcface-120"],
)
def test_normalized_heads_are_those_of_pytorch_metric_learning(
    head: LearnedHead, loss: Any
) -> None:
    loss.W.data = head.weight.detach().T.clone()
    z, labels = batch()
    ours, theirs = head(z, labels), loss(z, labels)
    torch.testing.assert_close(ours, theirs)
    torch.testing.assert_close(gradient(ours, z), gradient(theirs, z))
    weight = gradient(ours, head.weight)
    torch.testing.assert_close(weight, gradient(theirs, loss.W).T, rtol=1e-4, atol=1e-6)


def test_linear_head_is_a_linear_layer() -> None:
    head, layer = LinearHead(C, DIM), nn.Linear(DIM, C)
    layer.weight.data, layer.bias.data = head.weight.detach().clone(), head.bias.detach().clone()
    z, labels = batch()
    ours, theirs = head(z, labels), cross_entropy(layer(z), labels)
    torch.testing.assert_close(ours, theirs)
    torch.testing.assert_close(gradient(ours, z), gradient(theirs, z))
    torch.testing.assert_close(gradient(ours, head.weight), gradient(theirs, layer.weight))
    best = layer(z).topk(3)
    found = head.predict(z, 3)
    assert found.label.equal(best.indices)
    own = normalize(z, dim=-1)[:, None] * normalize(layer.weight, dim=-1)[best.indices]
    torch.testing.assert_close(found.cosine, own.sum(-1))
    share = layer(z).softmax(-1)
    asked = torch.tensor([[3, 0, -1]]).expand(len(z), 3)
    expected = torch.stack([share[:, 3], share[:, 0], torch.zeros(len(z))], dim=-1)
    torch.testing.assert_close(head.probability(z, asked), expected)


def test_arcface_gradient_is_finite_on_the_class_vectors() -> None:
    head = ArcFaceHead(C, DIM)
    z = head.weight.detach().clone().requires_grad_()
    for sign in (1, -1):
        assert gradient(head(sign * z, torch.arange(C)), z).isfinite().all()


@pytest.mark.parametrize("kind", LEARNED)
def test_learned_heads(kind: type[LearnedHead]) -> None:
    head = kind(C, DIM)
    z, labels = batch(dtype=torch.bfloat16)
    assert head.ready
    assert not head.needs_pairs
    assert head.class_map is None
    assert head.search_cost == C
    assert head.transform(z) is z
    expected = head(z.float(), labels)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        torch.testing.assert_close(head(z, labels.int()), expected)
    for dtype in (torch.bfloat16, torch.float64):
        other = copy.deepcopy(head).to(dtype)
        assert other.predict(z.to(dtype)).label.shape == (24, 1)
        assert other(z.to(dtype), labels).dtype == torch.promote_types(dtype, torch.float32)
    torch.testing.assert_close(table(head).norm(dim=-1), torch.ones(C).double())
    wrong: list[tuple[Any, str]] = [
        (lambda: head(z, labels, targets=z), "'targets' must be left out"),
        (lambda: head(z, labels[:3]), "must have shapes"),
        (lambda: head(z[:0], labels[:0]), "with B > 0"),
        (lambda: head.extend("new"), "'new' must be a number of classes or names, not 'new'"),
        (lambda: kind(names=[]), "'names' must hold at least one name"),
        (lambda: head.predict(z, 0), r"'k' must be an integer in \[1, 20\], not 0"),
        (lambda: head.predict(z, C + 1), "'k' must be an integer in"),
        (lambda: head.predict(z, 2.0), "'k' must be an integer in .*, not 2.0"),  # pyright: ignore[reportArgumentType]
        (lambda: head.predict(z[:, :3]), r"'embeddings' must have shape \[..., 16\]"),
        (lambda: head.predict(0 * z), "must not hold zero embeddings"),
        (lambda: head.predict(z * torch.nan), "NaN"),
        (lambda: head.extend(True), "'new' must be a number"),
        (lambda: head.extend(-1), "'new' must be a number"),
        (lambda: head.extend(["a"]), "have no names: give a number"),
        (lambda: head.extend(2, means(3)), r"'means' must have shape \[2, 16\], not \[3, 16\]"),
        (kind, "'num_classes' or 'names' must be given"),
        (lambda: kind(3, names=["a"]), "must agree, not 3 and 1 names"),
        (lambda: kind(0), "must be a positive integer, not 0"),
        (
            lambda: NormalizedHead(2, scale=torch.inf),
            "'scale' must be positive and finite, not inf",
        ),
        (lambda: kind(2, lr_factor=-1.0), "'lr_factor' must not be negative, .* not -1.0"),
        (lambda: CosFaceHead(2, margin=-0.1), "'margin' must not be negative, .* not -0.1"),
        (lambda: ArcFaceHead(2, margin=torch.nan), "'margin' must not be negative, .* not nan"),
        (lambda: kind(2.0), "must be a positive integer, not 2.0"),  # pyright: ignore[reportArgumentType]
        (lambda: kind.from_state_dict({}), "'state' must be what head.state_dict.* no '_extra_"),
        (
            lambda: kind.from_state_dict(PrototypeHead(2, 8).state_dict()),
            f"'state' must be of a {kind.__name__}, and has no 'weight': it is of another head",
        ),
    ]
    for call, message in wrong:
        with pytest.raises(ValueError, match=message):
            call()
    for call, message in (
        (lambda: kind(names="ab"), "'names' must be a list of texts, not 'ab'"),
        (lambda: kind(names={"a", "b"}), "'names' must be a list of texts, not set"),  # pyright: ignore[reportArgumentType]
        (lambda: head.predict(z.tolist()), "'embeddings' must be a .* tensor, not list"),  # pyright: ignore[reportArgumentType]
        (lambda: head.predict(z.long()), "'embeddings' must be a .* tensor, not torch.int64"),
        (lambda: head(z, labels.tolist()), "'labels' must be an integer tensor, not list"),  # pyright: ignore[reportArgumentType]
    ):
        with pytest.raises(TypeError, match=message):
            call()
    with pytest.raises(IndexError, match="'labels' must lie in"):
        head(z, labels + C)


@pytest.mark.parametrize("kind", LEARNED)
def test_learned_heads_extend_and_come_back(kind: type[LearnedHead]) -> None:
    head = kind(dim=DIM, names=[f"c{i}" for i in range(C)])
    before = head.weight.detach().clone()
    head.extend(["x", "y"], means(2))
    head.extend(["z"])
    assert head.num_classes == len(head.names or []) == len(head.weight) == C + 3
    assert head.weight[:C].equal(before)
    torch.testing.assert_close(head.vectors(torch.tensor([C, C + 1])), normalize(means(2), dim=-1))
    assert head.predict(means(2)).label.shape == (2, 1)
    again = kind.from_state_dict(through_file(head.state_dict()), lr_factor=3.0)
    assert (again.names, again.num_classes, again.lr_factor) == (head.names, C + 3, 3.0)
    z, labels = batch()
    assert again(z, labels).equal(head(z, labels))
