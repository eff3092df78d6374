"""How known an input is, as one number."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

import torch
from torch import Tensor

from rootspace.classes import ClassMap, Prediction
from rootspace.systems import MAX_INDEX

from ._temperature import fit_scale

Kind = Literal["cosine", "probability", "system_probability"]
KINDS: tuple[Kind, ...] = get_args(Kind)

CHUNK = 1024
"""Embeddings whose log partition is taken together."""


@dataclass(frozen=True)
class KnownScore:
    """How known an input is, from its embedding and its nearest classes; higher is more known.

    Args:
        kind: `"cosine"` to the nearest class vector; `"probability"` of the nearest class among the
            k nearest, exp(s cos) over their sum; `"system_probability"`, the same over ALL vectors
            of the system by its exact log partition, so that vectors without a class share it too;
            only for systems that can be numbered.
        scale: s of the probabilities, by `fit_scale`; None for cosines.
        k: classes that share the probability.
        reject_unassigned: score -inf where the nearest vector of the system belongs to no class or
            a retired one. For systems most of whose vectors have one.

    Raises:
        ValueError: an unknown kind, k below 2, a missing or needless scale.
    """

    kind: Kind = "cosine"
    scale: float | None = None
    k: int = 10
    reject_unassigned: bool = False

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise ValueError(f"Argument 'kind' must be one of {list(KINDS)}, not {self.kind!r}.")
        if self.k < 2:
            raise ValueError(f"Argument 'k' must be at least 2, not {self.k}.")
        if (self.scale is None) != (self.kind == "cosine"):
            wanted = "None" if self.kind == "cosine" else "a positive number"
            raise ValueError(f"Argument 'scale' must be {wanted} for {self.kind}: {self.scale}.")
        if self.scale is not None and not self.scale > 0:
            raise ValueError(f"Argument 'scale' must be positive, not {self.scale}.")

    @property
    def width(self) -> int:
        """How many of the nearest classes a score needs."""
        return self.k if self.kind == "probability" else 1

    def __call__(
        self,
        prediction: Prediction,
        z: Tensor,
        classes: ClassMap | None = None,
        retired: Tensor | None = None,
    ) -> Tensor:
        """The scores of some inputs.

        Args:
            prediction: `[N, width]` or wider, their nearest classes.
            z: `[N, dim]`, their embeddings.
            classes: the class map; needed for `"system_probability"` and `reject_unassigned`.
            retired: `[R]` labels that count as no class for `reject_unassigned`.

        Returns:
            `[N]` float64: cosines in [-1, 1] or probabilities in [0, 1].

        Raises:
            ValueError: the class map is missing: learned heads have no vector system.
        """
        if classes is None and (self.kind == "system_probability" or self.reject_unassigned):
            raise ValueError(
                "Argument 'classes' must be a ClassMap for 'system_probability' and "
                "'reject_unassigned'; a learned head has no vector system."
            )
        cosine = prediction.cosine.double()
        if self.kind == "cosine":
            score = cosine[:, 0]
        elif self.kind == "probability":
            assert self.scale is not None
            score = torch.softmax(self.scale * cosine[:, : self.k], dim=-1)[:, 0]
        else:
            assert classes is not None
            best = prediction.label[:, :1]
            parts = [
                classes.probability(part, label, self.scale)[:, 0].double()
                for part, label in zip(z.split(CHUNK), best.split(CHUNK), strict=True)
            ]
            score = torch.cat(parts).clamp(max=1)
        if self.reject_unassigned:
            assert classes is not None
            owner = classes.predict(z, reject_unassigned=True).label[:, 0]
            absent = owner < 0
            if retired is not None:
                absent |= torch.isin(owner, retired.to(owner.device))
            score = torch.where(absent, -torch.inf, score)
        return score


def fit_score(
    kind: Kind,
    prediction: Prediction,
    z: Tensor,
    labels: Tensor,
    own: Tensor,
    *,
    classes: ClassMap | None = None,
    reject_unassigned: bool = False,
) -> KnownScore:
    """A score with its scale fitted on known inputs.

    Args:
        kind: of the score.
        prediction: `[N, k]`, their k nearest classes, k at least 2.
        z: `[N, dim]`, their embeddings.
        labels: `[N]`, their true classes.
        own: `[N]`, cosines to the vectors of these.
        classes: the class map; needed for `"system_probability"`.
        reject_unassigned: see `KnownScore`.

    Raises:
        ValueError: no inputs, an unknown kind, or the class map is missing or its system too large
            for `"system_probability"`.
    """
    if kind == "cosine":
        return KnownScore(kind, reject_unassigned=reject_unassigned)
    k = prediction.label.shape[1]
    is_own = prediction.label == labels[:, None]
    if kind != "system_probability":
        scale = fit_scale(prediction.cosine, own, is_own)
        return KnownScore(kind, scale, k, reject_unassigned)
    if classes is None:
        raise ValueError(
            "Argument 'classes' must be a ClassMap for 'system_probability'; a learned head has no "
            "vector system."
        )
    system = classes.system
    if system.size > MAX_INDEX:
        raise ValueError(
            "Argument 'kind' must be 'probability' or 'cosine' for a system too large to be "
            f"numbered: vectors without a class share all of the probability in {system!r}."
        )

    def log_total(scale: float) -> Tensor:
        return torch.cat([system.log_partition(part, scale) for part in z.split(CHUNK)])

    scale = fit_scale(prediction.cosine, own, is_own, log_total)
    return KnownScore(kind, scale, k, reject_unassigned)
