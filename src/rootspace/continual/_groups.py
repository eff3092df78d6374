"""Which unknown inputs belong together."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from rootspace._extras import require
from rootspace.systems import VectorSystem, directed_rows

MOST = 10_000
"""Inputs grouped by their cosines: all pairs are compared, 400 MB for so many."""


def group_by_vector(system: VectorSystem, z: Tensor) -> Tensor:
    """Inputs with the same nearest vector in the system are one group: O(N) `quantize`.

    Fit for systems with few vectors near an embedding, such as roots; among the dense codes of a
    `PermutationCode` nearly every input has a nearest vector of its own.

    Args:
        system: the vectors, those without a class included.
        z: `[N, dim]` embeddings.

    Returns:
        `[N]` int64 group numbers 0, 1, ... by their first members.
    """
    # Adding zero makes one zero of both.
    vectors = system.quantize(z).cpu() + 0.0
    return _in_order(torch.unique(vectors, dim=0, return_inverse=True)[1])


def group_by_cosine(z: Tensor, min_cosine: float) -> Tensor:
    """Groups merge while the mean cosine between their members is `min_cosine` or more.

    Agglomeration with average linkage (UPGMA), by scipy: O(N^2) time and memory.

    Args:
        z: `[N, dim]` embeddings, at most 10,000.
        min_cosine: in [-1, 1].

    Returns:
        `[N]` int64 group numbers 0, 1, ... by their first members.

    Raises:
        ValueError: too many or zero embeddings, or a cosine out of range.
    """
    if not -1 <= min_cosine <= 1:
        raise ValueError(f"Argument 'min_cosine' must lie in [-1, 1], not {min_cosine}.")
    if len(z) > MOST:
        raise ValueError(
            f"Argument 'z' must hold at most {MOST:,} embeddings, all pairs of which are compared, "
            f"not {len(z):,}. Take them in parts."
        )
    rows, norm = directed_rows(z.double().cpu(), "z")
    if len(z) < 2:
        return torch.zeros(len(z), dtype=torch.int64)
    hierarchy = require("scipy.cluster.hierarchy", extra="train", purpose="Grouping by cosines")
    unit = (rows / norm[:, None]).numpy()
    upper = np.triu_indices(len(unit), k=1)
    distances = (1 - unit @ unit.T)[upper].clip(min=0)
    merges = hierarchy.linkage(distances, method="average")
    # A little more, so that a cosine which is the bound itself merges whatever its rounding.
    groups = hierarchy.fcluster(merges, 1 - min_cosine + 1e-12, criterion="distance")
    return _in_order(torch.from_numpy(groups.astype(np.int64)))


def _in_order(groups: Tensor) -> Tensor:
    """The same groups, numbered by their first members."""
    unique, inverse = torch.unique(groups, return_inverse=True)
    first = torch.full((len(unique),), len(groups), dtype=torch.int64)
    first.scatter_reduce_(0, inverse, torch.arange(len(groups)), reduce="amin")
    rank = torch.empty_like(first)
    rank[first.argsort()] = torch.arange(len(unique))
    return rank[inverse]
