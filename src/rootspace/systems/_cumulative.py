"""Sums over an orbit by running sums over the coordinates: fast, where float64 is wide enough."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import torch
from torch import Tensor

WIDEST = 600.0
"""Largest spread of exponents in an orbit's terms: exp(-600) is far above float64's smallest."""


def log_cumulative_sum(weights: Sequence[Tensor], counts: Sequence[int]) -> Tensor:
    """Log of the sum, over all placements of the values on the coordinates, of exp(score).

    This is the coefficient of prod_c t_c^(m_c) in prod_i (1 + sum_c t_c exp(w_ci)): the state
    q <= m holds, at coordinate i, the sum over placements of q_c copies of each value on the
    coordinates up to i. Sums of positive terms only, in float64, so nothing cancels; the largest
    weight of each value is taken out, and the rest must not underflow (`WIDEST`).

    Args:
        weights: for each value `[N, dim]`, what it scores on each coordinate.
        counts: how often each value is placed, m_c.

    Returns:
        `[N]` in the dtype of the weights. O(N * dim * prod(m_c + 1)) time and, while training,
        memory.
    """
    offset = torch.zeros_like(weights[0][:, 0], dtype=torch.float64)
    factors = []
    for w, count in zip(weights, counts, strict=True):
        largest = w.detach().amax(dim=-1, keepdim=True)
        factors.append(torch.exp((w - largest).double()))
        offset = offset + count * largest[:, 0].double()
    whole = tuple(counts)
    sums: dict[tuple[int, ...], Tensor] = {}
    for state in itertools.product(*(range(count + 1) for count in counts)):
        terms = []
        for c, factor in enumerate(factors):
            before = (*state[:c], state[c] - 1, *state[c + 1 :])
            if not any(before):
                terms.append(factor)
            elif before in sums:
                earlier = torch.nn.functional.pad(sums[before][:, :-1], (1, 0))
                terms.append(factor * earlier)
        if terms:
            term = torch.stack(terms).sum(0) if len(terms) > 1 else terms[0]
            sums[state] = term if state == whole else term.cumsum(-1)
    return (torch.log(sums[whole].sum(-1)) + offset).to(weights[0].dtype)
