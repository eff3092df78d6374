"""Sums over an orbit's vectors or placements, of exp(score): four algorithms of one quantity.

All of them work in the log domain or take the largest term out, and add positive terms only, so
nothing cancels at any scale.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from ._topk import best_first

WIDEST = 600.0
"""Largest spread of exponents in an orbit's terms: exp(-600) is far above float64's smallest."""

NEVER = -1e30
"""Log weight of an impossible state: finite, so that sums and gradients stay free of NaN."""

# ------------------------------------------------------------ sums over the coordinates of a row
#
# The partition functions of A_n and D_n are made of them, with their gradients in as few passes as
# possible: they are memory-bound, and what autograd would keep and pass over again for each
# elementary operation is several times the work.


def log_sums(u: Tensor, rates: Sequence[float]) -> tuple[Tensor, ...]:
    """log sum_i exp(c * u_i) for each rate c.

    Args:
        u: `[N, dim]`.
        rates: the c.

    Returns:
        One `[N]` for each rate. O(N * dim) time for each.
    """
    if torch.compiler.is_compiling():  # the compiler fuses the passes itself
        return tuple(torch.logsumexp(rate * u, dim=-1) for rate in rates)
    return _LogSums.apply(u, tuple(rates)).unbind(-1)


def log_pair_sum(u: Tensor, rate: float, signed: bool) -> Tensor:
    """log sum_{i<j} f(u_i) f(u_j), f(x) = exp(rate * x), or 2 cosh(rate * x) if signed.

    Args:
        u: `[N, dim]`, dim >= 2.
        rate: the scale of the exponents.
        signed: whether both signs count.

    Returns:
        `[N]`.
    """
    if torch.compiler.is_compiling():
        return _reference_pair_sum(u, rate, signed)
    return _LogPairSum.apply(u, rate, signed)


class _LogSums(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, u: Tensor, rates: tuple[float, ...]) -> Tensor:
        low, high = torch.aminmax(u, dim=-1, keepdim=True)
        terms, sums, largest = [], [], []
        for rate in rates:
            top = rate * (high if rate > 0 else low)
            term = torch.add(-top, u, alpha=rate).exp_()
            terms.append(term)
            sums.append(term.sum(dim=-1))
            largest.append(top[:, 0])
        total = torch.stack(sums, dim=-1)
        ctx.rates = rates
        ctx.save_for_backward(u, total, *terms)
        return total.log() + torch.stack(largest, dim=-1)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        (gradient,) = gradients
        u, total, *terms = ctx.saved_tensors
        if torch.is_grad_enabled():  # a second derivative is wanted
            each = torch.stack([rate * torch.softmax(rate * u, dim=-1) for rate in ctx.rates], -1)
            return (each * gradient.unsqueeze(1)).sum(-1), None
        factor = gradient / total * total.new_tensor(ctx.rates)
        result = terms[0] * factor[:, :1]
        for i, term in enumerate(terms[1:], 1):
            result.addcmul_(term, factor[:, i : i + 1])
        return result, None


class _LogPairSum(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, u: Tensor, rate: float, signed: bool) -> Tensor:
        x = u * rate
        if signed:
            x = x.abs_()
        top, place = x.max(dim=-1, keepdim=True)
        term = (x - top).exp_()
        slope = term
        if signed:
            other = x.neg_().sub_(top).exp_()
            slope = (term - other).copysign_(u)  # |u| grows with u or against it
            term = term.add_(other)
        # What goes with the largest term is summed apart from it, and the rest among themselves
        # is at most dim times as much: the difference of squares below loses no more than that.
        first = term.gather(-1, place)
        rest = term.scatter(-1, place, 0)
        wide = torch.float64 if u.device.type != "mps" else torch.float32
        total = rest.sum(dim=-1, keepdim=True, dtype=wide)
        squares = torch.linalg.vector_norm(rest, dim=-1, keepdim=True, dtype=wide).square()
        pairs = first * total + ((total * total - squares) / 2).clamp_min(0)
        ctx.rate, ctx.signed = rate, signed
        ctx.save_for_backward(u, slope, rest, first, place, total.to(u.dtype), pairs)
        return (pairs.log() + 2 * top)[:, 0].to(u.dtype)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None]:
        (gradient,) = gradients
        u, slope, rest, first, place, total, pairs = ctx.saved_tensors
        if torch.is_grad_enabled():
            value = _reference_pair_sum(u, ctx.rate, ctx.signed)
            return torch.autograd.grad(value, u, gradient, create_graph=True)[0], None, None
        # The derivative by a term is the sum of all others.
        others = ((first + total) - rest).scatter_(-1, place, total)
        factor = (ctx.rate * gradient[:, None] / pairs).to(u.dtype)
        return others.mul_(slope).mul_(factor), None, None


def _reference_pair_sum(u: Tensor, rate: float, signed: bool) -> Tensor:
    """`log_pair_sum` in plain operations: each coordinate with all before it."""
    w = rate * u
    w = torch.logaddexp(w, -w) if signed else w
    before = torch.logcumsumexp(w, dim=-1)[:, :-1]
    return torch.logsumexp(w[:, 1:] + before, dim=-1)


# ------------------------------------------------------ running sums: where float64 is wide enough


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


# ---------------------------------------- a coordinate at a time: for many states at any scale


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


# ---------------------------------------------------- divide and conquer over the coordinates
#
# A structured set of vectors is a set of ways to place values on coordinates. What has been placed
# on a block of coordinates is a *state*; the states of two neighboring blocks combine to the state
# of their union. Summing exp(score) over all placements is then a product of small "polynomials",
# one a coordinate, multiplied pairwise in log2(dim) levels.


def log_tree_sum(leaves: Tensor, products: Sequence[Sequence[tuple[int, int]]]) -> Tensor:
    """Log of the sum over all placements that end in the last state.

    Args:
        leaves: `[N, dim, S]` log weight of each state of one coordinate; state 0 is "nothing
            placed" and has log weight 0; impossible states have `NEVER`.
        products: for each of the S states the pairs (left, right) that combine to it.

    Returns:
        `[N]`. Time O(N * dim * pairs); memory the same while training.
    """
    while leaves.shape[1] > 1:
        if leaves.shape[1] % 2:
            nothing = torch.full_like(leaves[:, :1], NEVER)
            nothing[..., 0] = 0
            leaves = torch.cat([leaves, nothing], dim=1)
        left, right = leaves[:, 0::2], leaves[:, 1::2]
        # The last product needs its final state only.
        wanted = products if leaves.shape[1] > 2 else products[-1:]
        leaves = torch.stack([_log_sum(left, right, pairs) for pairs in wanted], dim=-1)
    return leaves[:, 0, -1]


def _log_sum(left: Tensor, right: Tensor, pairs: Sequence[tuple[int, int]]) -> Tensor:
    terms = [left[..., a] + right[..., b] for a, b in pairs]
    if len(terms) == 1:
        return terms[0]
    if len(terms) == 2:
        return torch.logaddexp(*terms)
    return torch.logsumexp(torch.stack(terms, dim=-1), dim=-1)


def best_tree_sums(
    leaves: Tensor, ranks: Tensor, products: Sequence[Sequence[tuple[int, int]]], k: int
) -> tuple[Tensor, Tensor]:
    """The k best placements that end in the last state, with their ranks.

    Args:
        leaves: `[N, dim, S]` score of each state of one coordinate, as in `log_tree_sum`.
        ranks: `[dim, S]` int64, what the state of that coordinate adds to the placement's rank.
        products: as in `log_tree_sum`.
        k: how many; at most the number of placements.

    Returns:
        Scores and ranks `[N, k]`, best first, ties by smaller rank.
    """
    score, rank = leaves[..., None], ranks[None, :, :, None].expand(leaves.shape[0], -1, -1, 1)
    while score.shape[1] > 1:
        if score.shape[1] % 2:
            nothing = torch.full_like(score[:, :1], NEVER)
            nothing[:, :, 0, 0] = 0
            score = torch.cat([score, nothing], dim=1)
            rank = torch.cat([rank, torch.zeros_like(rank[:, :1])], dim=1)
        left, right = (score[:, 0::2], rank[:, 0::2]), (score[:, 1::2], rank[:, 1::2])
        wanted = products if score.shape[1] > 2 else products[-1:]
        merged = [_best_sums(left, right, pairs, k) for pairs in wanted]
        width = max(s.shape[-1] for s, _ in merged)
        pad = [width - s.shape[-1] for s, _ in merged]
        score = torch.stack(
            [
                torch.nn.functional.pad(s, (0, p), value=NEVER)
                for (s, _), p in zip(merged, pad, strict=True)
            ],
            dim=2,
        )
        rank = torch.stack(
            [torch.nn.functional.pad(r, (0, p)) for (_, r), p in zip(merged, pad, strict=True)],
            dim=2,
        )
    return score[:, 0, -1, :k], rank[:, 0, -1, :k]


def _best_sums(
    left: tuple[Tensor, Tensor],
    right: tuple[Tensor, Tensor],
    pairs: Sequence[tuple[int, int]],
    k: int,
) -> tuple[Tensor, Tensor]:
    # Of two sorted lists only the sums of ranks (a, b) with (a+1)(b+1) <= k can be among the best.
    width = left[0].shape[-1]
    grid = [(a, b) for a in range(width) for b in range(width) if (a + 1) * (b + 1) <= k]
    rows, columns = ([pair[i] for pair in grid] for i in (0, 1))
    score = torch.cat(
        [left[0][:, :, a, rows] + right[0][:, :, b, columns] for a, b in pairs], dim=-1
    )
    rank = torch.cat(
        [left[1][:, :, a, rows] + right[1][:, :, b, columns] for a, b in pairs], dim=-1
    )
    return best_first(score, rank, min(k, score.shape[-1]))
