"""Sums of exponentials over the coordinates, with their gradients in as few passes as possible.

The partition functions of A_n and D_n are made of them, and are memory-bound: what autograd would
keep and pass over again for each elementary operation is several times the work.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor


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
