"""Embeddings with classes, and their cosines to others a block at a time."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import normalize

BLOCK = 1 << 22
"""Cosines that are in memory at a time, unless a single row has more."""


@dataclass(frozen=True)
class LabeledEmbeddings:
    """Embeddings and what is known of them.

    Attributes:
        embeddings: float `[N, dim]`, of any length: they are compared by cosine, in float32.
        labels: integers `[N]`, the classes.
        cameras: integers `[N]`, which camera took each image; None where that does not matter.

    Raises:
        ValueError: other shapes or kinds of numbers, no embeddings, or ones that are not finite.
    """

    embeddings: Tensor
    labels: Tensor
    cameras: Tensor | None = None

    def __post_init__(self) -> None:
        z = self.embeddings
        if z.ndim != 2 or not z.numel() or not z.is_floating_point():
            raise ValueError(
                "Argument 'embeddings' must be float of shape [N, dim], not "
                f"{z.dtype} {tuple(z.shape)}."
            )
        if not bool(z.isfinite().all()):
            raise ValueError("Argument 'embeddings' must be finite.")
        for name, values in (("labels", self.labels), ("cameras", self.cameras)):
            if values is None:
                continue
            whole = not (values.is_floating_point() or values.is_complex())
            if values.shape != z.shape[:1] or not whole or values.dtype == torch.bool:
                raise ValueError(
                    f"Argument '{name}' must hold an integer for each of the {len(z)} embeddings, "
                    f"not {values.dtype} {tuple(values.shape)}."
                )

    def __len__(self) -> int:
        return len(self.labels)

    def unit(self) -> Tensor:
        """`[N, dim]` float32 embeddings of length 1."""
        return normalize(self.embeddings.detach().float(), dim=-1)


def check_sides(queries: LabeledEmbeddings, gallery: LabeledEmbeddings | None) -> None:
    """Raise a ValueError unless queries can be compared with a gallery."""
    if gallery is None:
        return
    mine, its = queries.embeddings.shape[1], gallery.embeddings.shape[1]
    if mine != its:
        raise ValueError(
            f"Argument 'gallery' must have embeddings of dimension {mine}, as the queries, not "
            f"{its}."
        )
    if (queries.cameras is None) != (gallery.cameras is None):
        raise ValueError("Argument 'cameras' must be given for queries and gallery, or for none.")


def blocks(rows: int, columns: int) -> Iterator[slice]:
    """Slices of the rows whose cosines to all columns are taken together."""
    step = max(1, BLOCK // max(1, columns))
    return (slice(start, min(start + step, rows)) for start in range(0, rows, step))
