"""From class means to class vectors, between the two stages of a run."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from rootspace.classes import Assignment, ClassMeans, assign
from rootspace.data import EpochLoader
from rootspace.systems import VectorSystem

from .embedder import Embedder


@torch.no_grad()
def assign_classes(
    embedder: Embedder,
    loader: EpochLoader,
    system: VectorSystem,
    names: list[str],
    *,
    seed: int,
    optimizer: torch.optim.Optimizer | None = None,
) -> Assignment:
    """Give each class the vector nearest to the mean of its embeddings.

    The embeddings are centred and rotated at random first, so that their coordinates are alike, as
    a permutation code expects; both are folded into the network's last linear layer, so the
    network knows what it knew.

    Args:
        embedder: its last linear layer is changed.
        loader: all training images.
        system: whose vectors to use.
        names: of the classes.
        seed: of the rotation.
        optimizer: whose running moments of that layer no longer fit and are dropped.

    Raises:
        ValueError: the network has no last linear layer.
    """
    head = getattr(embedder.network, "head", None)
    if head is None:
        raise ValueError(
            "Assignment 'warmup' needs a network that ends in a linear layer; set 'model.dim' to "
            "another dimension than the backbone's, which adds one."
        )
    device = embedder.mean.device
    means = ClassMeans(len(names), system.dim)
    training = embedder.training
    embedder.eval()
    for images, labels in loader:
        means.add(embedder(images.to(device)), labels)
    embedder.train(training)
    means.reduce(device)
    center, rotation = means.center(), random_rotation(system.dim, seed)
    fold(head, center.to(device), rotation.to(device))
    if optimizer is not None:
        for parameter in head.parameters():
            optimizer.state.pop(parameter, None)
    return assign(system, (means.means() - center) @ rotation.T, names)


def random_rotation(dim: int, seed: int) -> Tensor:
    """`[dim, dim]` orthogonal, uniformly distributed."""
    generator = torch.Generator().manual_seed(seed)
    q, r = torch.linalg.qr(torch.randn(dim, dim, generator=generator, dtype=torch.float64))
    return (q * r.diagonal().sign()).float()


@torch.no_grad()
def fold(layer: nn.Linear, center: Tensor, rotation: Tensor) -> None:
    """Make a linear layer return `(old - center) @ rotation.T` instead of `old`."""
    layer.weight.copy_(rotation @ layer.weight)
    layer.bias.copy_(rotation @ (layer.bias - center))
