"""New classes from unknown inputs: which belong together, and the vector each group would own."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import normalize

from rootspace._extras import require
from rootspace.classes import ClassMap
from rootspace.systems import VectorSystem, directed_rows

from .live import Predict

MOST = 10_000
"""Inputs grouped by their cosines: all pairs are compared, 800 MB for so many."""


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
    spatial = require("scipy.spatial.distance", extra="train", purpose="Grouping by cosines")
    hierarchy = require("scipy.cluster.hierarchy", extra="train", purpose="Grouping by cosines")
    distances = spatial.pdist((rows / norm[:, None]).numpy(), "cosine")
    np.maximum(distances, 0, out=distances)
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


@dataclass(frozen=True)
class Proposal:
    """A group of inputs that may be a new class.

    Attributes:
        members: numbers of its inputs, the nearest to their mean first.
        cohesion: mean cosine of the members to their mean direction.
        vector: that the class would own, as `ClassMap.vector_ids` gives it: with a map that was
            assigned, the free vector nearest to the mean; with a formula, the next class's. None
            for a learned head, or where the system has no free vector left.
        vector_cosine: of the mean to that vector, None without one.
        nearest_label: the known class nearest to the mean.
        nearest_cosine: of the mean to that class's vector.
    """

    members: tuple[int, ...]
    cohesion: float
    vector: int | bytes | None
    vector_cosine: float | None
    nearest_label: int
    nearest_cosine: float

    @property
    def representative(self) -> int:
        """Number of the input nearest to the mean."""
        return self.members[0]


def propose(
    z: Tensor,
    groups: Tensor,
    predict: Predict,
    classes: ClassMap | None = None,
    min_size: int = 2,
) -> list[Proposal]:
    """New classes from groups of unknown inputs, largest first.

    Their vectors are those that `ClassMap.extend_assigned` or `extend` gives classes added in this
    order, so that all are different and free, those of retired classes too.

    Args:
        z: `[N, dim]` embeddings, none of them zero.
        groups: `[N]` group numbers of `group_by_cosine` or `group_by_vector`.
        predict: from embeddings and k to the nearest known classes.
        classes: the class map, None for a learned head.
        min_size: smaller groups are left out.

    Raises:
        ValueError: `min_size` below 1.
    """
    if min_size < 1:
        raise ValueError(f"Argument 'min_size' must be at least 1, not {min_size}.")
    groups = groups.cpu()
    sizes = torch.unique(groups, return_counts=True)[1]
    parts = groups.argsort(stable=True).split(sizes.tolist())
    largest = sizes.argsort(descending=True, stable=True)
    chosen = [parts[i] for i in largest[sizes[largest] >= min_size].tolist()]
    if not chosen:
        return []
    unit = normalize(z.detach().float().cpu(), dim=-1)
    members, cohesions, means = [], [], []
    for rows in chosen:
        mean = normalize(unit[rows].sum(dim=0), dim=0)
        cosines = unit[rows] @ mean
        members.append(tuple(rows[cosines.argsort(descending=True, stable=True)].tolist()))
        cohesions.append(float(cosines.mean()))
        means.append(mean)
    together = torch.stack(means)
    nearest = predict(together.to(z.device), 1)
    vectors, vector_cosines = _free_vectors(classes, together)
    return [
        Proposal(*row)
        for row in zip(
            members,
            cohesions,
            vectors,
            vector_cosines,
            nearest.label[:, 0].tolist(),
            nearest.cosine[:, 0].tolist(),
            strict=True,
        )
    ]


def _free_vectors(
    classes: ClassMap | None, means: Tensor
) -> tuple[list[int | bytes | None], list[float | None]]:
    """The vectors of new classes with these means, and the cosines to them."""
    number = 0 if classes is None else min(len(means), classes.capacity - classes.num_classes)
    missing = [None] * (len(means) - number)
    if classes is None or not number:
        return list(missing), list(missing)
    names = None if classes.names is None else [f"new {i}" for i in range(number)]
    if classes.order == "assigned":
        grown = classes.extend_assigned(means[:number], names)
    else:
        grown = classes.extend(number if names is None else names)
    labels = torch.arange(classes.num_classes, grown.num_classes)
    cosines = (grown.vectors(labels, dtype=means.dtype) * means[:number]).sum(dim=-1)
    return [*grown.vector_ids(labels), *missing], [*cosines.tolist(), *missing]
