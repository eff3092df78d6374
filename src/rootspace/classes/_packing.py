"""Vectors of an orbit in few bits: the number of each coordinate's level, as bit planes."""

from __future__ import annotations

import torch
from torch import Tensor


def bits_for(num_levels: int) -> int:
    """Bits that number `num_levels` levels: 2 for k-hot vectors, 3 for three signed levels."""
    return max(1, (num_levels - 1).bit_length())


def pack(levels: Tensor, bits: int) -> Tensor:
    """`[C, dim]` numbers below 2**bits -> `[C, bits, ceil(dim / 8)]` uint8."""
    padded = torch.nn.functional.pad(levels.to(torch.uint8), (0, -levels.shape[1] % 8))
    eights = padded.reshape(len(levels), -1, 8)
    weights = 1 << torch.arange(8, device=levels.device)
    planes = [(((eights >> bit) & 1) * weights).sum(-1).to(torch.uint8) for bit in range(bits)]
    return torch.stack(planes, dim=1)


def unpack(packed: Tensor, dim: int) -> Tensor:
    """Inverse of `pack`: `[C, bits, ceil(dim / 8)]` -> `[C, dim]` uint8."""
    count, bits, width = packed.shape
    places = torch.arange(8, dtype=torch.uint8, device=packed.device)
    ones = (packed[..., None] >> places) & 1
    weights = (1 << torch.arange(bits, device=packed.device)).to(torch.uint8)
    levels = (ones * weights[:, None, None]).sum(1, dtype=torch.uint8)
    return levels.reshape(count, 8 * width)[:, :dim]
