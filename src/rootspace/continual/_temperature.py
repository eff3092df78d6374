"""The scale that turns cosines into calibrated probabilities."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

LOWEST, HIGHEST = 0.1, 1e4
"""Scales searched."""

STEPS = 40
"""Of a golden-section search: the scale to within a part in 10^7."""


def fit_scale(
    cosines: Tensor,
    own: Tensor,
    is_own: Tensor,
    log_total: Callable[[float], Tensor] | None = None,
) -> float:
    """The scale at which the true classes of known inputs are most likely: temperature scaling.

    Minimises the mean of log_total(s) - s * own over s (arXiv 1706.04599, sec. 4.2, with s = 1/T),
    a convex function. Where every input is right it would fall for ever; so the share 1 / (N + 2)
    of each target goes to the k best alike, as Platt (1999) smooths his, and the scale is finite.

    Args:
        cosines: `[N, k]` to the k best classes, best first; k at least 2.
        own: `[N]` to the true class.
        is_own: `[N, k]` bool, which of the k best is the true class; in no place where it is none.
        log_total: from s to `[N]`, the log of the sum of exp(s * cosine) over everything that
            shares the probability; None for the k best and the true class.

    Returns:
        The scale, an inverse temperature.

    Raises:
        ValueError: no inputs, or fewer than two classes.
    """
    if cosines.ndim != 2 or not len(cosines) or cosines.shape[1] < 2:
        raise ValueError(
            "Argument 'cosines' must have shape [N, k] with N at least 1 and k at least 2, not "
            f"{tuple(cosines.shape)}."
        )
    cosines, own = cosines.double(), own.double()
    # The true class once, whether or not it is one of the k best.
    extra = torch.where(is_own.any(dim=-1), -torch.inf, own)
    shared = torch.cat([cosines, extra[:, None]], dim=-1)
    smooth = 1 / (len(own) + 2)
    target = (1 - smooth) * own + smooth * cosines.mean(dim=-1)

    def loss(log_scale: float) -> float:
        scale = math.exp(log_scale)
        total = torch.logsumexp(scale * shared, -1) if log_total is None else log_total(scale)
        return float((total.double() - scale * target).mean())

    return math.exp(_minimum(loss, math.log(LOWEST), math.log(HIGHEST)))


def _minimum(function: Callable[[float], float], low: float, high: float) -> float:
    """Where a function with one valley is smallest, by golden sections."""
    ratio = (math.sqrt(5) - 1) / 2
    left, right = high - ratio * (high - low), low + ratio * (high - low)
    at_left, at_right = function(left), function(right)
    for _ in range(STEPS):
        if at_left <= at_right:
            high, right, at_right = right, left, at_left
            left = high - ratio * (high - low)
            at_left = function(left)
        else:
            low, left, at_left = left, right, at_right
            right = low + ratio * (high - low)
            at_right = function(right)
    return (low + high) / 2
