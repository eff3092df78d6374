"""A network with the normalisation of its inputs."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class Embedder(nn.Module):
    """A network with the normalisation of its inputs: uint8 images -> embeddings.

    Args:
        network: float images `[B, C, H, W]` -> `[B, dim]`.
        mean: of each channel, for pixels in [0, 1].
        std: of each channel.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, network: nn.Module, mean: tuple[float, ...], std: tuple[float, ...]) -> None:
        super().__init__()
        # Convolutions are about 1.5 times as fast with channels last, on CPUs and GPUs.
        self.network = network.to(memory_format=torch.channels_last)
        self.register_buffer("mean", torch.tensor(mean)[:, None, None])
        self.register_buffer("std", torch.tensor(std)[:, None, None])

    def forward(self, images: Tensor) -> Tensor:
        pixels = (images.float() / 255 - self.mean) / self.std
        return self.network(pixels.contiguous(memory_format=torch.channels_last))
