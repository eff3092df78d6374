"""Verification (1:1): whether two inputs are of one class, by the cosine of their embeddings."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from rootspace._precision import full_precision

from .embeddings import LabeledEmbeddings, blocks, check_sides
from .open_set import checked_scores, num_allowed

FARS = (1e-1, 1e-2, 1e-3, 1e-4)
"""False accept rates that are reported if nothing else is asked for."""

STEPS = 1 << 20
"""`verify_all` counts cosines in steps of 1 / STEPS, about the error of a cosine in float32."""


@dataclass(frozen=True)
class VerificationMetrics:
    """How well genuine pairs, of one class, are told from impostor pairs, of two.

    Attributes:
        tar: FAR -> true accept rate: the share of genuine pairs that are accepted at the lowest
            threshold where at most this share of the impostor pairs is. A pair at the threshold is
            accepted.
        threshold: FAR -> that threshold, the least score of a pair that is accepted; inf where
            none is.
        eer: equal error rate: the mean of false accepts and false rejects where they differ least.
        auroc: probability that a genuine pair scores above an impostor pair, ties counted half.
        genuine: pairs of one class.
        impostor: pairs of two classes.
    """

    tar: dict[float, float]
    threshold: dict[float, float]
    eer: float
    auroc: float
    genuine: int
    impostor: int


def verify_pairs(
    genuine: Tensor, impostor: Tensor, fars: Sequence[float] | None = None
) -> VerificationMetrics:
    """TAR at FAR, EER and AUROC of given pairs.

    Args:
        genuine: `[N]` scores of pairs of one class, higher for more alike.
        impostor: `[M]` scores of pairs of two classes.
        fars: false accept rates in (0, 1); those of `FARS` that M pairs can measure by default.

    Raises:
        ValueError: no scores, NaN, or a rate out of range or below 1 / M.
    """
    same = checked_scores(genuine, "genuine").numpy()
    other = checked_scores(impostor, "impostor").numpy()
    scores, place = np.unique(np.concatenate([same, other]), return_inverse=True)
    counts = np.bincount(place[: len(same)], minlength=len(scores))
    others = np.bincount(place[len(same) :], minlength=len(scores))
    return _measured(scores, counts, others, fars)


@torch.no_grad()
def verify_all(
    queries: LabeledEmbeddings,
    gallery: LabeledEmbeddings | None = None,
    fars: Sequence[float] | None = None,
) -> VerificationMetrics:
    """TAR at FAR, EER and AUROC of all pairs of embeddings, by cosine.

    Cosines are rounded to multiples of 1 / `STEPS` and counted, so that memory is 64 MB and a block
    of cosines, whatever the number of pairs.

    Args:
        queries: what is compared.
        gallery: with what; None for the queries with one another, each two once. With cameras,
            pairs of one class and one camera are no pairs.
        fars: as of `verify_pairs`.

    Raises:
        ValueError: there are no pairs of one class, or none of two; or as of `verify_pairs`.
    """
    check_sides(queries, gallery)
    alone = gallery is None
    gallery = queries if gallery is None else gallery
    device = queries.embeddings.device
    z = queries.unit()
    items = z if alone else gallery.unit().to(device)
    labels, item_labels = (some.labels.to(device).long() for some in (queries, gallery))
    tally = torch.zeros(2 * (2 * STEPS + 1), dtype=torch.int64, device=device)
    for block in blocks(len(z), len(items)):
        # Of pairs that come twice, those with the larger number behind.
        start = block.start + 1 if alone else 0
        with full_precision(device):
            cosines = z[block] @ items[start:].T
        same = labels[block, None] == item_labels[start:]
        pairs = torch.ones_like(same)
        if alone:
            pairs = pairs.triu()
        if queries.cameras is not None and gallery.cameras is not None:
            one = queries.cameras.to(device)[block, None] == gallery.cameras.to(device)[start:]
            pairs &= ~(same & one)
        place = ((cosines.clamp(-1, 1) + 1) * STEPS).round().long() * 2 + same
        tally += torch.bincount(place[pairs], minlength=len(tally))
    impostor, genuine = tally.view(-1, 2).cpu().numpy().T
    for name, counts in (("one class", genuine), ("two classes", impostor)):
        if not counts.any():
            raise ValueError(f"Argument 'queries' must make pairs of {name}, and makes none.")
    seen = np.flatnonzero(genuine + impostor)
    return _measured(seen / STEPS - 1, genuine[seen], impostor[seen], fars)


def _measured(
    scores: np.ndarray, genuine: np.ndarray, impostor: np.ndarray, fars: Sequence[float] | None
) -> VerificationMetrics:
    """The metrics from how many pairs have each score; scores ascend."""
    # [S + 1] pairs that are accepted by each score as the threshold, and by one above all.
    accepted = np.append(np.cumsum(genuine[::-1])[::-1], 0)
    false = np.append(np.cumsum(impostor[::-1])[::-1], 0)
    num_genuine, num_impostor = int(accepted[0]), int(false[0])
    if fars is None:
        fars = [far for far in FARS if far * num_impostor >= 1]
    tar, threshold = {}, {}
    for far in fars:
        allowed = num_allowed(far, num_impostor, "fars")
        at = int(np.argmax(false <= allowed))
        # The least score of a pair that is accepted, not the next one that none has.
        tar[far] = float(accepted[at] / num_genuine)
        threshold[far] = float(scores[at]) if at < len(scores) else float("inf")
    far_of, frr_of = false / num_impostor, 1 - accepted / num_genuine
    equal = int(np.argmin(np.abs(far_of - frr_of)))
    above = accepted[1:] + genuine / 2
    return VerificationMetrics(
        tar,
        threshold,
        float(far_of[equal] + frr_of[equal]) / 2,
        float((impostor * above).sum() / (num_genuine * num_impostor)),
        num_genuine,
        num_impostor,
    )
