"""Exact search among the class vectors, where no closed form leads to one of them."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

SCORES = 2**24
"""Scores computed together, to bound the memory of a search."""

STEP = 4096
"""Stored codes scored together: their scores stay in the cache for a batch of a few hundred."""

GROUP = 256
"""Codes whose best coarse score is kept; they are scored again together."""

LARGEST = 127
"""Of int8."""


def search_vectors(
    z: Tensor, vectors: Callable[[int, int], Tensor], num_classes: int, k: int
) -> tuple[Tensor, Tensor]:
    """The k best of all class vectors, computed a chunk at a time: O(N * num_classes * dim).

    Args:
        z: `[N, dim]` unit embeddings.
        vectors: `start, stop` -> the unit vectors `[stop - start, dim]` of these classes.
        num_classes: how many there are.
        k: how many are wanted.

    Returns:
        Cosines and labels `[N, k]`, best first.
    """
    step = max(1, SCORES // max(len(z), z.shape[1]))
    return _scan(z, lambda start, stop: z @ vectors(start, stop).T, num_classes, k, step)


def search_placements(
    z: Tensor, placements: Callable[[int, int], tuple[Tensor, Tensor]], num_classes: int, k: int
) -> tuple[Tensor, Tensor]:
    """`search_vectors` through the m non-zero coordinates: O(N * num_classes * m).

    Args:
        z: `[N, dim]` unit embeddings.
        placements: `start, stop` -> positions and values `[stop - start, m]` of these classes.
        num_classes: how many there are.
        k: how many are wanted.
    """

    def score(start: int, stop: int) -> Tensor:
        positions, values = placements(start, stop)
        return sum(
            (z[:, positions[:, j]] * values[:, j] for j in range(1, positions.shape[1])),
            start=z[:, positions[:, 0]] * values[:, 0],
        )

    return _scan(z, score, num_classes, k, max(1, SCORES // max(len(z), 64)))


def _scan(
    z: Tensor, score: Callable[[int, int], Tensor], num_classes: int, k: int, step: int
) -> tuple[Tensor, Tensor]:
    cosine = z.new_empty((len(z), 0))
    label = torch.empty((len(z), 0), dtype=torch.int64, device=z.device)
    for start in range(0, num_classes, step):
        scores = score(start, min(start + step, num_classes))
        cosine, label = _keep_best(cosine, label, scores, start, k)
    return cosine, label


def _keep_best(
    cosine: Tensor, label: Tensor, scores: Tensor, start: int, k: int
) -> tuple[Tensor, Tensor]:
    """The k best of those so far and of new scores of the classes from `start` on."""
    if k == 1:
        best, where = scores.max(dim=-1, keepdim=True)
    else:
        best, where = scores.topk(min(k, scores.shape[1]), dim=-1)
    cosine, label = torch.cat([cosine, best], -1), torch.cat([label, where + start], -1)
    cosine, order = cosine.topk(min(k, cosine.shape[-1]), dim=-1)
    return cosine, label.gather(-1, order)


def search_levels(z: Tensor, levels: Tensor, norm: float, k: int) -> tuple[Tensor, Tensor]:
    """The k best of stored integer codes of one length: exact, at the speed of int8 arithmetic.

    Embeddings are rounded to int8 as well and the integer scores give the best of each group of
    codes to within the length of what rounding left over (Cauchy-Schwarz). The groups that can
    hold one of the k best, usually one or two of them, are then scored in the precision of z.

    Args:
        z: `[N, dim]` unit embeddings.
        levels: `[C, dim]` int8 codes.
        norm: the length of all of them.
        k: how many are wanted, at most C.

    Returns:
        Cosines and labels `[N, k]`, best first. O(N * C * dim) int8 operations.
    """
    if not _has_int8_product(z.device) or len(levels) < 4 * k * GROUP:

        def part(start: int, stop: int) -> Tensor:
            return _unit(levels[start:stop], z, norm)

        return search_vectors(z, part, len(levels), k)
    parts = [_search_levels(part, levels, norm, k) for part in z.split(1024)]
    return torch.cat([part[0] for part in parts]), torch.cat([part[1] for part in parts])


def _search_levels(z: Tensor, levels: Tensor, norm: float, k: int) -> tuple[Tensor, Tensor]:
    step = z.abs().amax(dim=-1, keepdim=True).clamp_min(torch.finfo(z.dtype).tiny) / LARGEST
    rounded = (z / step).round()
    # Rounding of this bound itself, and of the scores, is far below a thousandth of it.
    error = 1.001 * torch.linalg.vector_norm(z - step * rounded, dim=-1) + 1e-5
    best = _group_maxima(rounded.to(torch.int8), levels)  # [N, groups]
    coarse = best * (step / norm)
    # The k-th largest of the groups' maxima bounds the k-th best score from below.
    bound = coarse.topk(k, dim=-1).values[:, -1] - 2 * error
    wanted = coarse >= bound[:, None]
    cosine = torch.full((len(z), k), -torch.inf, dtype=z.dtype, device=z.device)
    label = torch.full((len(z), k), -1, dtype=torch.int64, device=z.device)
    for group in wanted.any(dim=0).nonzero()[:, 0].tolist():
        rows = wanted[:, group].nonzero()[:, 0]
        start = group * GROUP
        scores = z[rows] @ _unit(levels[start : start + GROUP], z, norm).T
        cosine[rows], label[rows] = _keep_best(cosine[rows], label[rows], scores, start, k)
    return cosine, label


def _group_maxima(rounded: Tensor, levels: Tensor) -> Tensor:
    """`[N, dim]` and `[C, dim]` int8 -> `[N, ceil(C / GROUP)]` best product in each group."""
    maxima = []
    for part in levels.split(STEP):
        scores = torch._int_mm(rounded, part.T)  # pyright: ignore[reportPrivateImportUsage]
        short = -len(part) % GROUP
        if short:
            scores = torch.nn.functional.pad(
                scores, (0, short), value=torch.iinfo(scores.dtype).min
            )
        maxima.append(scores.view(len(rounded), -1, GROUP).amax(dim=-1))
    return torch.cat(maxima, dim=-1).float()


def _unit(levels: Tensor, like: Tensor, norm: float) -> Tensor:
    return levels.to(like.dtype) / norm


def _has_int8_product(device: torch.device) -> bool:
    # On CUDA it wants shapes in multiples of 8, and float products of a chunk are fast enough.
    return device.type == "cpu" and callable(getattr(torch, "_int_mm", None))
