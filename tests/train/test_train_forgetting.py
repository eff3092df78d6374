"""The hold on embeddings of old classes, against its definition."""

from __future__ import annotations

import copy

import numpy as np
import torch
from torch import nn

from rootspace.models import Embedder
from rootspace.train.forgetting import LessForgetting

LABELS = torch.tensor([0, 5, 2, 1, 7])
CENTER = torch.tensor([0.5, -1.0, 0.25])


def centered(z: torch.Tensor) -> torch.Tensor:
    return z - CENTER


def networks() -> tuple[Embedder, Embedder]:
    torch.manual_seed(0)
    before, now = (Embedder(nn.Sequential(nn.Linear(4, 3), nn.Dropout(0.5))) for _ in range(2))
    return before, now.eval()


def test_it_is_the_mean_of_one_less_the_cosine_of_old_classes() -> None:
    before, now = networks()
    x = torch.randn(5, 4)
    z = now(x)
    loss = LessForgetting(before, num_old=3, weight=2.5).loss(x, LABELS, z, centered)
    linears = [network.network[0] for network in (before, now)]  # pyright: ignore[reportIndexIssue]
    was, found = (
        x.numpy() @ linear.weight.detach().numpy().T + linear.bias.detach().numpy()
        for linear in linears
    )
    cosines = []
    for row in (0, 2, 3):  # whose labels are below 3
        a, b = found[row] - CENTER.numpy(), was[row] - CENTER.numpy()
        cosines.append(a @ b / np.linalg.norm(a) / np.linalg.norm(b))
    assert np.isclose(float(loss.detach()), 2.5 * (1 - np.mean(cosines)), atol=1e-5)


def test_gradients_are_for_inputs_of_old_classes_and_not_for_the_earlier_network() -> None:
    before, now = networks()
    x = torch.randn(5, 4)
    z = now(x)
    z.retain_grad()
    held = LessForgetting(before, num_old=3, weight=1.0)
    held.loss(x, LABELS, z, centered).backward()
    assert z.grad is not None
    assert (z.grad.abs().sum(dim=-1) > 0).tolist() == [True, False, True, True, False]
    assert all(weight.grad is None for weight in held.before.parameters())


def test_it_keeps_the_network_as_it_was_while_that_learns() -> None:
    network, _ = networks()
    held = LessForgetting(network, num_old=3, weight=1.0)
    x, was = torch.randn(5, 4), held.before(torch.ones(1, 4))
    with torch.no_grad():
        for weight in network.parameters():
            weight.add_(torch.randn_like(weight))
    assert torch.equal(held.before(torch.ones(1, 4)), was)
    assert float(held.loss(x, LABELS, network.eval()(x), centered).detach()) > 0.01
    assert all(weight.requires_grad for weight in network.parameters())


def test_a_network_that_has_not_changed_and_a_batch_without_old_classes_cost_nothing() -> None:
    before, _ = networks()
    now = copy.deepcopy(before).eval()
    x = torch.randn(5, 4)
    held = LessForgetting(before, num_old=3, weight=1.0)
    assert float(held.loss(x, LABELS, now(x), centered).detach().abs()) < 1e-6
    z = now(x)
    none = held.loss(x, LABELS + 3, z, centered)
    assert float(none.detach()) == 0
