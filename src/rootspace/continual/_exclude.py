"""Prediction without some of the classes, such as retired ones."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from rootspace.classes import Prediction


def predict_without(
    predict: Callable[[Tensor, int], Prediction],
    z: Tensor,
    k: int,
    excluded: Tensor,
    num_classes: int,
) -> Prediction:
    """The k best of the classes that are not excluded: exact.

    The best classes are asked for in growing numbers until k of them are left. An embedding with
    no excluded class among its k best costs what it did without any; others are predicted again
    with 2k, 4k, ... answers, at the most k + len(excluded).

    Args:
        predict: from `[N, dim]` and k to the k best of all classes, best first, as
            `ClassMap.predict` and every objective of training do.
        z: `[..., dim]` embeddings.
        k: number of classes, at most those that are left.
        excluded: `[R]` int64 labels, all different and in [0, num_classes).
        num_classes: of all classes.

    Returns:
        `Prediction` of shape `[..., k]`, best first.

    Raises:
        ValueError: k out of range.
    """
    left = num_classes - len(excluded)
    if not 1 <= k <= left:
        raise ValueError(
            f"Argument 'k' must lie in [1, {left}], the classes that are not retired, not {k}."
        )
    flat = z.reshape(-1, z.shape[-1])
    label, cosine = predict(flat, k)
    excluded = excluded.to(label.device)
    open_rows, width = torch.isin(label, excluded).any(dim=-1).nonzero()[:, 0], k
    while len(open_rows):
        width = min(2 * width, k + len(excluded))
        wide = predict(flat[open_rows], width)
        out = torch.isin(wide.label, excluded)
        # Those that stay first, in their order.
        first = out.to(torch.uint8).sort(dim=-1, stable=True).indices[:, :k]
        label[open_rows] = wide.label.gather(-1, first)
        cosine[open_rows] = wide.cosine.gather(-1, first)
        open_rows = open_rows[(~out).sum(dim=-1) < k]
    shape = (*z.shape[:-1], k)
    return Prediction(label.reshape(shape), cosine.reshape(shape))
