"""Means moved to where similar classes are told apart, held against autograd."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.nn.functional import cross_entropy, normalize

from rootspace.classes import ClassMeans, RefinedMeans, refine
from rootspace.classes import means as means_module


def overlapping(num_classes: int = 40, dim: int = 12, each: int = 15) -> tuple[Tensor, Tensor]:
    """Gaussians of very different widths: half way between two means is not where they part."""
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(num_classes).repeat(each)
    centers = normalize(torch.randn(num_classes, dim, generator=generator), dim=-1)
    widths = torch.linspace(0.05, 0.5, num_classes)[
        torch.randperm(num_classes, generator=generator)
    ]
    noise = torch.randn(len(labels), dim, generator=generator) * widths[labels, None]
    return centers[labels] + noise, labels


def filled(z: Tensor, labels: Tensor, batch: int = 64) -> RefinedMeans:
    means = RefinedMeans(int(labels.max()) + 1, z.shape[1], len(z))
    for some, own in zip(z.split(batch), labels.split(batch), strict=True):
        means.add(some, own)
    return means


def accuracy(directions: Tensor, z: Tensor, labels: Tensor) -> float:
    return float(((z @ directions.T).argmax(-1) == labels).float().mean())


def test_a_round_is_a_step_of_gradient_descent():
    z, labels = overlapping()
    means = filled(z, labels)
    start = normalize(means.means(), dim=-1)
    assert torch.equal(means.refined(0), start)
    weights = start.clone().requires_grad_()
    unit = normalize(z, dim=-1).half().float()
    cross_entropy(20 * unit @ weights.T, labels, reduction="sum").backward()
    assert weights.grad is not None
    count = torch.bincount(labels)[:, None]
    expected = normalize(start - weights.grad / (20 * count), dim=-1)
    torch.testing.assert_close(means.refined(1, neighbors=39, scale=20.0), expected)
    torch.testing.assert_close(means.refined(1, neighbors=1000, scale=20.0), expected)


def test_refined_means_tell_classes_apart():
    z, labels = overlapping()
    plain, means = ClassMeans(40, 12), filled(z, labels)
    plain.add(z, labels)
    assert torch.allclose(plain.means(), means.means(), atol=1e-6)
    before = normalize(plain.means(), dim=-1)
    after = means.refined(8)
    assert accuracy(after, z, labels) > accuracy(before, z, labels) + 0.03
    assert float((before * after).sum(-1).min()) > 0.5, "near the means"


def test_rounds_that_do_harm_are_taken_back():
    """Embeddings that a network hardly tells apart, each a class of its own: the means are best."""
    generator = torch.Generator().manual_seed(0)
    z = normalize(torch.ones(60, 8) + 0.05 * torch.randn(60, 8, generator=generator), dim=-1)
    labels = torch.arange(60)
    assert accuracy(filled(z, labels).refined(8), z, labels) > 0.95


def test_far_classes_stay_where_they_are():
    labels = torch.arange(10).repeat(5)
    z = torch.eye(10)[labels] + 0.01 * torch.randn(
        50, 10, generator=torch.Generator().manual_seed(0)
    )
    means = filled(z, labels)
    assert float((means.refined(8) * means.refined(0)).sum(-1).min()) > 0.9999


@pytest.mark.parametrize("limit", ["ALL_PAIRS", "IN_MEMORY", "ROWS"])
def test_large_tables(limit: str, monkeypatch: pytest.MonkeyPatch):
    """In files, in small parts, or in regions: the same, or as good."""
    z, labels = overlapping()
    expected = filled(z, labels).refined(6, neighbors=6)
    monkeypatch.setattr(means_module if limit == "IN_MEMORY" else refine, limit, 7)
    monkeypatch.setattr(refine, "REGION", 20)
    found = filled(z, labels).refined(6, neighbors=6)
    if limit == "ALL_PAIRS":
        assert accuracy(found, z, labels) > accuracy(expected, z, labels) - 0.03
    else:
        torch.testing.assert_close(found, expected)


def test_one_class_and_a_class_without_images():
    means = filled(torch.ones(3, 4), torch.zeros(3, dtype=torch.int64))
    assert torch.allclose(means.refined(5), torch.full((1, 4), 0.5))
    empty = RefinedMeans(2, 4, 3)
    empty.add(torch.ones(3, 4), torch.zeros(3, dtype=torch.int64))
    with pytest.raises(ValueError, match="Class 1 has no embedding"):
        empty.refined(1)
