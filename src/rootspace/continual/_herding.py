"""Which images of a class stand for it: those whose mean stays nearest to that of the class."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import normalize


def herding(embeddings: Tensor, number: int) -> Tensor:
    """A greedy choice whose every beginning is as good a choice (iCaRL, arXiv 1611.07725, Alg. 4).

    The k-th image is the one that brings the mean of the first k unit embeddings nearest to the
    mean mu of all: the smallest |k mu - (sum of those before) - phi(x)|. None is taken twice, and
    of equally good ones the first is. So a memory that must shrink drops the last ones.

    Time O(number * N * dim), in float64; memory O(N * dim).

    Args:
        embeddings: `[N, dim]` of the images of one class, of any length.
        number: how many to choose, at most N.

    Returns:
        `[number]` int64 rows, the best first.

    Raises:
        ValueError: fewer embeddings than `number`.

    Example:
        >>> z = torch.tensor([[1.0, 0.0], [0.0, 1.0], [0.8, 0.6], [0.6, 0.8]])
        >>> herding(z, 3)
        tensor([2, 3, 0])
    """
    if not 0 <= number <= len(embeddings):
        raise ValueError(
            f"Argument 'number' must lie in [0, {len(embeddings)}], the number of embeddings, not "
            f"{number}."
        )
    unit = normalize(embeddings.detach().double(), dim=-1)
    mean, half_squares = unit.mean(dim=0), unit.square().sum(dim=-1) / 2
    rest = torch.zeros_like(mean)
    free = torch.zeros(len(unit), dtype=torch.float64, device=unit.device)
    chosen = []
    for _ in range(number):
        rest = rest + mean
        # |rest - phi|^2 is smallest where this is largest; -inf where an image is taken.
        best = int((unit @ rest - half_squares + free).argmax())
        chosen.append(best)
        free[best] = -torch.inf
        rest = rest - unit[best]
    return torch.tensor(chosen, dtype=torch.int64)
