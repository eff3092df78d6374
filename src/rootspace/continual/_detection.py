"""How well a score tells known inputs from unknown ones, at all thresholds at once."""

from __future__ import annotations

import math

import numpy as np
from torch import Tensor


def auroc(known: Tensor, unknown: Tensor) -> float:
    """Probability that a known input scores above an unknown one, ties counted half.

    The area under the ROC curve with known inputs as the positive class (arXiv 1610.02136),
    by ranks: O(n log n).

    Args:
        known: `[N]` scores of known inputs, higher for more known; -inf is allowed.
        unknown: `[M]` scores of unknown inputs.

    Returns:
        In [0, 1]; 0.5 for a score that tells nothing.

    Raises:
        ValueError: no scores, or NaN.
    """
    positive, negative = _sorted(known, "known"), _sorted(unknown, "unknown")
    below = np.searchsorted(negative, positive, side="left")
    not_above = np.searchsorted(negative, positive, side="right")
    return float((below + not_above).sum() / (2 * len(positive) * len(negative)))


def fpr_at_tpr(known: Tensor, unknown: Tensor, tpr: float = 0.95) -> float:
    """Share of unknown inputs accepted by the highest threshold that accepts `tpr` of the known.

    FPR at 95 % TPR of out-of-distribution detection (arXiv 1706.02690); inputs at the
    threshold are accepted.

    Args:
        known: `[N]` scores of known inputs, higher for more known; -inf is allowed.
        unknown: `[M]` scores of unknown inputs.
        tpr: share of known inputs to accept, in (0, 1].

    Raises:
        ValueError: no scores, NaN, or `tpr` out of range.
    """
    if not 0 < tpr <= 1:
        raise ValueError(f"Argument 'tpr' must lie in (0, 1], not {tpr}.")
    positive, negative = _sorted(known, "known"), _sorted(unknown, "unknown")
    # As many as reach the share; what rounding adds to a whole number is not one more input.
    accepted = max(1, math.ceil(tpr * len(positive) - 1e-9))
    threshold = positive[len(positive) - accepted]
    return float((negative >= threshold).mean())


def _sorted(scores: Tensor, argument: str) -> np.ndarray:
    values = checked_scores(scores, argument)
    return np.sort(values.numpy())


def checked_scores(scores: Tensor, argument: str) -> Tensor:
    """`[N]` scores in float64 on the CPU.

    Raises:
        ValueError: none, not one-dimensional, or NaN.
    """
    values = scores.detach().double().cpu()
    if values.ndim != 1 or not len(values):
        raise ValueError(
            f"Argument '{argument}' must hold scores of shape [N], not {tuple(scores.shape)}."
        )
    if bool(values.isnan().any()):
        raise ValueError(f"Argument '{argument}' must not hold NaN.")
    return values
