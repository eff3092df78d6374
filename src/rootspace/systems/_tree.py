"""Sums over placements by divide and conquer over the coordinates.

A structured set of vectors is a set of ways to place values on coordinates. What has been placed
on a block of coordinates is a *state*; the states of two neighbouring blocks combine to the state
of their union. Summing exp(score) over all placements is then a product of small "polynomials",
one a coordinate, multiplied pairwise in log2(dim) levels. Only sums of positive terms occur, so
nothing cancels at any scale.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

NEVER = -1e30
"""Log weight of an impossible state: finite, so that sums and gradients stay free of NaN."""


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


def best_first(score: Tensor, rank: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """The k largest scores along the last axis, equal ones by smaller rank."""
    rank, order = rank.sort(dim=-1)
    score, by_score = score.gather(-1, order).sort(dim=-1, descending=True, stable=True)
    return score[..., :k], rank.gather(-1, by_score)[..., :k]
