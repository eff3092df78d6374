"""Unknowns: whether scores tell inputs of known classes from others, and name the known ones."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

FARS = (1e-1, 1e-2, 1e-3)
"""False accept rates that are reported if nothing else is asked for."""


@dataclass(frozen=True)
class OpenSetMetrics:
    """How a classifier with a score fares where some inputs are of no class that it knows.

    Attributes:
        accuracy: share of known inputs that are classified right, with nothing rejected.
        auroc: see `auroc`.
        fpr95: see `fpr_at_tpr`, at 0.95.
        oscr: see `oscr`.
        dir: FAR -> see `dir_at_far`, at rank 1.
        known: inputs of known classes.
        unknown: other inputs.
    """

    accuracy: float
    auroc: float
    fpr95: float
    oscr: float
    dir: dict[float, float]
    known: int
    unknown: int


def open_set_metrics(
    known: Tensor, correct: Tensor, unknown: Tensor, fars: Sequence[float] | None = None
) -> OpenSetMetrics:
    """All of `OpenSetMetrics`.

    Args:
        known: `[N]` scores of inputs of known classes, higher for more known.
        correct: bool `[N]`, which of them are given their class.
        unknown: `[M]` scores of other inputs.
        fars: false accept rates in (0, 1); those of `FARS` that M inputs can measure by default.

    Raises:
        ValueError: no scores, NaN, `correct` of another shape, or a rate out of range or below
            1 / M.
    """
    if fars is None:
        fars = [far for far in FARS if far * len(unknown) >= 1]
    return OpenSetMetrics(
        float(_checked_correct(correct, known).double().mean()),
        auroc(known, unknown),
        fpr_at_tpr(known, unknown),
        oscr(known, correct, unknown),
        {far: dir_at_far(known, correct, unknown, far) for far in fars},
        len(known),
        len(unknown),
    )


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


def oscr(known: Tensor, correct: Tensor, unknown: Tensor) -> float:
    """Probability that a known input is classified right and scores above an unknown one.

    The area under the open-set classification rate curve (arXiv 1811.04110): the share of known
    inputs that are right and accepted, against the share of unknown inputs accepted, over all
    thresholds; straight between them, so ties count half. The same number as OpenAUC
    (arXiv 2210.13458). At most the accuracy, and the AUROC where all are right.

    Args:
        known: `[N]` scores of inputs of known classes, higher for more known; -inf is allowed.
        correct: bool `[N]`, which of them are given their class.
        unknown: `[M]` scores of other inputs.

    Raises:
        ValueError: no scores, NaN, or `correct` of another shape.
    """
    right = _checked_correct(correct, known)
    scores = checked_scores(known, "known")[right]
    checked_scores(unknown, "unknown")
    return auroc(scores, unknown) * len(scores) / len(known) if len(scores) else 0.0


def dir_at_far(known: Tensor, correct: Tensor, unknown: Tensor, far: float) -> float:
    """Detection and identification rate of open-set identification (1:N), NIST's TPIR at FPIR.

    The share of known inputs (mated probes) that are right and accepted, at the lowest threshold
    where at most `far` of the unknown ones (non-mated probes) is accepted. An input at the
    threshold is accepted.

    Args:
        known: `[N]` scores of known inputs. For rank 1 that of the best class; for rank k that of
            the own class.
        correct: bool `[N]`, whose own class is the best; for rank k among the k best.
        unknown: `[M]` scores of the best class of other inputs.
        far: false accept rate, in (0, 1).

    Raises:
        ValueError: no scores, NaN, `correct` of another shape, or a rate out of range or below
            1 / M.
    """
    right = _checked_correct(correct, known)
    scores, others = checked_scores(known, "known"), _sorted(unknown, "unknown")
    allowed = num_allowed(far, len(others), "far")
    # Accepted is what lies above the first unknown input that must not be.
    limit = float(others[len(others) - allowed - 1])
    return float(((scores > limit) & right).double().mean())


def num_allowed(far: float, number: int, argument: str) -> int:
    """How many of so many scores may be accepted at a false accept rate.

    Raises:
        ValueError: the rate is out of range, or too low to be measured.
    """
    if not 0 < far < 1:
        raise ValueError(f"Argument '{argument}' must lie between 0 and 1, not {far}.")
    allowed = math.floor(far * number + 1e-9)
    if not allowed:
        raise ValueError(
            f"Argument '{argument}' must be at least 1/{number}, what {number:,} scores can "
            f"measure, not {far}."
        )
    return allowed


def _checked_correct(correct: Tensor, known: Tensor) -> Tensor:
    if correct.dtype != torch.bool or correct.shape != known.shape:
        raise ValueError(
            f"Argument 'correct' must be bool of shape {list(known.shape)}, as 'known', not "
            f"{correct.dtype} {list(correct.shape)}."
        )
    return correct.cpu()


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
