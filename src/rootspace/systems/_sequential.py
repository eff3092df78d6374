"""Sums over an orbit coordinate by coordinate, in the log domain: for many states at any scale."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from ._tree import NEVER


def log_sequential_sum(weights: Sequence[Tensor], counts: Sequence[int]) -> Tensor:
    """`log_cumulative_sum` where its terms would leave the range of float64.

    One state for each number of copies placed so far, and one step for each coordinate: the
    recursion of elementary symmetric polynomials, with logarithms of sums of positive terms only.

    Args:
        weights: for each value `[N, dim]`, what it scores on each coordinate.
        counts: how often each value is placed, m_c.

    Returns:
        `[N]` in the dtype of the weights. O(N * dim * prod(m_c + 1)) time and, while training,
        memory.
    """
    wide = torch.float64 if weights[0].device.type != "mps" else torch.float32
    logs = torch.stack(list(weights)).to(wide)  # [values, N, dim]
    num_rows, dim = weights[0].shape
    state = torch.full(
        (num_rows, *(count + 1 for count in counts)), NEVER, dtype=wide, device=logs.device
    )
    state[(slice(None), *(0 for _ in counts))] = 0.0
    column = (num_rows, *(1 for _ in counts))
    for i in range(dim):
        before = state
        for c, count in enumerate(counts):
            axis = c + 1
            one_more = before.narrow(axis, 0, count) + logs[c, :, i].reshape(column)
            nothing = torch.full_like(before.narrow(axis, 0, 1), NEVER)
            state = torch.logaddexp(state, torch.cat([nothing, one_more], dim=axis))
    return state[(slice(None), *counts)].to(weights[0].dtype)
