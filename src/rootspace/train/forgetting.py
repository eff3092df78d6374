"""What keeps a network from forgetting, while it learns new classes."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import cosine_similarity

from rootspace.models import Embedder


class LessForgetting:
    """Holds inputs of old classes where the network put them before it met the new ones.

    A prototype that stays says where the class belongs, and the few images that a memory holds of
    it could all move there while others of the class do not. That their embeddings keep all their
    directions is a closer hold: 1 - cosine between the embedding by the network that learns and
    that by the one it was, the mean over the inputs of old classes in a batch (the less-forget
    constraint of LUCIR, Hou et al., CVPR 2019, eq. 6).

    It costs a forward pass for the inputs of old classes, and a second copy of the network's
    weights on the device, which nothing trains and no checkpoint holds.

    Args:
        embedder: the network before it learns the new classes; copied.
        num_old: old classes, the first ones.
        weight: of the constraint, beside a loss.
    """

    def __init__(self, embedder: Embedder, num_old: int, weight: float) -> None:
        self.before = copy.deepcopy(embedder).eval().requires_grad_(False)
        """The network as it was."""
        self.num_old = num_old
        self.weight = weight

    def to(self, device: torch.device) -> None:
        """Moves the earlier network to where inputs are."""
        self.before.to(device)

    def loss(
        self, x: Any, labels: Tensor, embeddings: Tensor, transform: Callable[[Tensor], Tensor]
    ) -> Tensor:
        """The constraint times its weight: a scalar, 0 where a batch has no old class.

        Args:
            x: `[B, ...]` inputs.
            labels: `[B]` integers.
            embeddings: `[B, dim]` by the network that learns.
            transform: into the frame in which cosines are taken.
        """
        old = labels < self.num_old
        if not bool(old.any()):
            return embeddings.new_zeros(())
        with torch.no_grad():
            target = transform(self.before(x[old]))
        cosine = cosine_similarity(transform(embeddings[old]).float(), target.float(), dim=-1)
        return self.weight * (1 - cosine).mean()
