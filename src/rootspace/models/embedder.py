"""A network with the normalization of its inputs."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

DEFAULT_LR = 1e-3
"""Peak learning rate of a network that names none as `default_lr`."""


class Embedder(nn.Module):
    """A network with the normalization of its inputs: what a batch brings -> embeddings.

    uint8 images `[B, C, H, W]` are scaled by the statistics of the training images; a network
    without statistics takes whatever the data bring, as it is.

    Args:
        network: to `[B, dim]`, of float images `[B, C, H, W]` where there are statistics.
        mean: of each channel, for pixels in [0, 1]; None for data that are no images.
        std: of each channel, likewise.
    """

    mean: Tensor | None
    std: Tensor | None

    def __init__(
        self,
        network: nn.Module,
        mean: Sequence[float] | None = None,
        std: Sequence[float] | None = None,
    ) -> None:
        super().__init__()
        if mean is None or std is None:
            self.network = network
            self.mean = self.std = None
            return
        # Convolutions are about 1.5 times as fast with channels last, on CPUs and GPUs.
        self.network = network.to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]
        self.register_buffer("mean", torch.tensor(mean)[:, None, None])
        self.register_buffer("std", torch.tensor(std)[:, None, None])

    @property
    def default_lr(self) -> float:
        """Peak learning rate where no setting names one.

        Raises:
            ValueError: what the network names is none.
        """
        lr = getattr(self.network, "default_lr", DEFAULT_LR)
        if isinstance(lr, bool) or not isinstance(lr, int | float) or not 0 < lr < math.inf:
            name = type(self.network).__name__
            raise ValueError(
                f"'default_lr' of {name} must be a positive number, or be left out, not {lr!r}."
            )
        return float(lr)

    def parameter_groups(self) -> list[tuple[list[nn.Parameter], float]]:
        """What trains, with its learning rate relative to the peak.

        A network may divide its parameters so, as `TimmBackbone` does; else they are one group.
        """
        divide = getattr(self.network, "parameter_groups", None)
        groups: Iterable[tuple[Iterable[nn.Parameter], float]]
        groups = [(self.network.parameters(), 1.0)] if divide is None else divide()
        found = [([p for p in group if p.requires_grad], factor) for group, factor in groups]
        return [(group, factor) for group, factor in found if group]

    def forward(self, x: Any) -> Tensor:
        if self.mean is None or self.std is None:
            return self.network(x)
        pixels = (x.float() / 255 - self.mean) / self.std
        return self.network(pixels.contiguous(memory_format=torch.channels_last))
