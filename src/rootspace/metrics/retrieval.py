"""Retrieval: where the items of a query's class stand when a gallery is ranked by cosine.

Exact, over the whole ranking, in blocks of queries: what is in memory is the embeddings, one block
of cosines (`BLOCK`, or one row if that is longer) and a few numbers a query. There is no k that
bounds a metric.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from rootspace._precision import full_precision

from .embeddings import LabeledEmbeddings, blocks, check_sides


@dataclass(frozen=True)
class RetrievalMetrics:
    """Means over the queries that have a match.

    Attributes:
        recall: k -> share of queries with a match among the k nearest: Recall@k, and the same as
            CMC@k.
        r_precision: mean of the share of matches among the R nearest, R being the number of
            matches of the query.
        map_at_r: MAP@R (arXiv 2003.08505): mean of (1 / R) sum over the R nearest of the precision
            at each match.
        mean_average_precision: mAP: mean of the precision at each match, over the whole ranking.
        mean_inverse_negative_penalty: mINP (arXiv 2001.04193): mean of R over the rank of the last
            match.
        queries: how many the means are over.
        without_match: other queries, whose class the gallery lacks once excluded items are gone.
        gallery: items that are searched.
    """

    recall: dict[int, float]
    r_precision: float
    map_at_r: float
    mean_average_precision: float
    mean_inverse_negative_penalty: float
    queries: int
    without_match: int
    gallery: int


@dataclass(frozen=True)
class MatchRanks:
    """What the ranking of the gallery is like for each of Q queries.

    Attributes:
        matches: int64 `[Q]`, R: gallery items of the query's class, without excluded ones; where
            it is 0 the others mean nothing.
        first: int64 `[Q]`, rank of the nearest match; 1 is the nearest item.
        last: int64 `[Q]`, rank of the farthest match.
        r_precision: float64 `[Q]`.
        map_at_r: float64 `[Q]`.
        average_precision: float64 `[Q]`.
        gallery: number of its items.
    """

    matches: Tensor
    first: Tensor
    last: Tensor
    r_precision: Tensor
    map_at_r: Tensor
    average_precision: Tensor
    gallery: int

    def metrics(self, top: Sequence[int] = (1, 5, 10)) -> RetrievalMetrics:
        """The means over all queries that have a match.

        Args:
            top: k of Recall@k.

        Raises:
            ValueError: a k below 1, or no query has a match.
        """
        for k in top:
            if k < 1:
                raise ValueError(f"Argument 'top' must hold numbers of at least 1, not {k}.")
        known = self.matches > 0
        queries = int(known.sum())
        if not queries:
            raise ValueError(
                "Argument 'queries' must hold a query whose class is in the gallery; all "
                f"{len(known)} are without a match."
            )
        first = self.first[known]
        return RetrievalMetrics(
            {k: float((first <= k).double().mean()) for k in top},
            float(self.r_precision[known].mean()),
            float(self.map_at_r[known].mean()),
            float(self.average_precision[known].mean()),
            float((self.matches[known].double() / self.last[known]).mean()),
            queries,
            len(known) - queries,
            self.gallery,
        )


def retrieval_metrics(
    queries: LabeledEmbeddings,
    gallery: LabeledEmbeddings | None = None,
    top: Sequence[int] = (1, 5, 10),
) -> RetrievalMetrics:
    """Recall@k, R-precision, MAP@R, mAP and mINP; see `match_ranks` for the arguments.

    Example:
        >>> z = torch.tensor([[1.0, 0.1], [1.0, 0.0], [0.8, 0.6], [0.0, 1.0]])
        >>> found = retrieval_metrics(LabeledEmbeddings(z, torch.tensor([0, 0, 1, 1])), top=(1,))
        >>> found.recall, round(found.mean_average_precision, 3)
        ({1: 0.75}, 0.833)
    """
    return match_ranks(queries, gallery).metrics(top)


@torch.no_grad()
def match_ranks(queries: LabeledEmbeddings, gallery: LabeledEmbeddings | None = None) -> MatchRanks:
    """Rank a gallery by cosine for each query and find the matches, items of the query's class.

    Ties: a match stands behind all other items of the same cosine, so that nothing is gained by
    embeddings that are equal. Excluded, as if the gallery did not hold them: the query itself, and
    with cameras the items of its class that its camera took (the rule of Market-1501).

    Args:
        queries: what is searched for.
        gallery: what is searched; None for the queries themselves, each without itself.

    Returns:
        On the CPU. Time O(queries * gallery * (dim + log R)).

    Raises:
        ValueError: the two do not fit together.
    """
    check_sides(queries, gallery)
    alone = gallery is None
    gallery = queries if gallery is None else gallery
    device = queries.embeddings.device
    z = queries.unit()
    items = z if alone else gallery.unit().to(device)
    labels, item_labels = (some.labels.to(device).long() for some in (queries, gallery))
    # The items of a class are one piece of this order.
    order = item_labels.argsort(stable=True)
    in_order = item_labels[order]
    begin = torch.searchsorted(in_order, labels)
    count = torch.searchsorted(in_order, labels, right=True) - begin
    found = []
    for block in blocks(len(z), len(items)):
        widest = int(count[block].max())
        place = torch.arange(widest, device=device)
        own = place < count[block, None]  # [B, widest], which places hold an item of the class
        columns = order[(begin[block, None] + place) % len(order)]  # of a row all different
        kept = own.clone()
        if alone:
            kept &= columns != torch.arange(block.start, block.stop, device=device)[:, None]
        if queries.cameras is not None and gallery.cameras is not None:
            cameras = gallery.cameras.to(device)[columns]
            kept &= cameras != queries.cameras.to(device)[block, None]
        with full_precision(device):
            cosines = z[block] @ items.T
        found.append(_ranks(cosines, columns, own, kept))
    parts = [torch.cat(part).cpu() for part in zip(*found, strict=True)]
    return MatchRanks(*parts, gallery=len(items))


def _ranks(cosines: Tensor, columns: Tensor, own: Tensor, kept: Tensor) -> tuple[Tensor, ...]:
    """The parts of `MatchRanks` for a block.

    Args:
        cosines: `[B, G]`.
        columns: `[B, W]`, where the items of the query's class are.
        own: `[B, W]`, which of these there are.
        kept: `[B, W]`, which of these are matches.
    """
    rows, width = columns.shape
    matches = kept.sum(dim=1)
    nothing = torch.zeros(rows, dtype=torch.float64, device=cosines.device)
    if not width:
        return matches, matches, matches, nothing, nothing, nothing
    # -inf, where there is no match, comes first.
    of_match = cosines.gather(1, columns).masked_fill(~kept, -torch.inf).sort(dim=1).values
    # Items of other classes: places past the end of the class keep their cosine.
    others = cosines.scatter(1, columns, cosines.gather(1, columns).masked_fill(own, -torch.inf))
    # Each stands before the matches whose cosine is at most its own.
    passed = torch.searchsorted(of_match, others, right=True)
    passed += torch.arange(rows, device=cosines.device)[:, None] * (width + 1)
    tally = torch.bincount(passed.flatten(), minlength=rows * (width + 1)).view(rows, width + 1)
    before = tally.flip(1).cumsum(dim=1)[:, :width]  # nearest match first
    number = torch.arange(1, width + 1, device=cosines.device)
    rank = before + number
    real = number <= matches[:, None]
    precision = (number.double() / rank).masked_fill(~real, 0)
    near = real & (rank <= matches[:, None])
    most = matches.clamp(min=1)
    return (
        matches,
        rank[:, 0],
        rank.gather(1, (most - 1)[:, None])[:, 0],
        near.sum(dim=1) / most.double(),
        (precision * near).sum(dim=1) / most,
        precision.sum(dim=1) / most,
    )
