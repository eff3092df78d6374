"""What a server asks of a model, and a trained run or an ONNX file that answers. No torch here."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from rootspace._errors import DataError
from rootspace.images import ImageShape

if TYPE_CHECKING:
    from fastapi import APIRouter

    from .service import Service

Floats = NDArray[np.float32]
Ints = NDArray[np.int64]


@dataclass(frozen=True)
class Answers:
    """Of a batch of B images, best class first.

    Attributes:
        embedding: `[B, dim]` in the frame of the prototypes.
        label: `[B, k]`, -1 for a vector that belongs to no class.
        cosine: `[B, k]`.
        names: of the labels; of -1 what the model calls it.
        unknown: `[B]`, whether the run's rejector calls the input unknown; None without one.
    """

    embedding: Floats
    label: Ints
    cosine: Floats
    names: list[list[str]]
    unknown: NDArray[np.bool_] | None


class ServedModel(Protocol):
    """A model that answers for images; several threads may call it at once.

    Attributes:
        name: for readers.
        kind: of it.
        dim: of the embeddings.
        num_classes: retired ones too.
        head: what decides, for readers.
        has_vectors: whether the vectors of the classes are known.
        has_rejector: whether answers say what is unknown.
        has_gallery: whether images and classes can be added.
    """

    name: str
    kind: Literal["run", "onnx"]
    dim: int
    num_classes: int
    head: str
    has_vectors: bool
    has_rejector: bool
    has_gallery: bool

    @property
    def shape(self) -> ImageShape:
        """How images become pixels."""
        ...

    @property
    def most(self) -> int:
        """How many classes can be asked for at once; may read a file."""
        ...

    def answer(self, pixels: NDArray[np.uint8], k: int) -> Answers:
        """uint8 `[B, C, size, size]` -> the k nearest classes of each, or all if there are fewer.

        Raises:
            DataError: an image has no embedding with a direction.
        """
        ...

    def embed(self, pixels: NDArray[np.uint8]) -> Floats:
        """The embeddings alone, likewise."""
        ...

    def names(self, labels: Sequence[int]) -> list[str]:
        """Of these classes; "unknown" for -1.

        Raises:
            ValueError: there is no such class.
        """
        ...

    def add_routes(self, app: APIRouter, service: Service) -> None:
        """What this kind of model answers beside what all do."""
        ...

    def close(self) -> None:
        """Let go of files."""
        ...

    def vectors(self, labels: Ints) -> Floats | None:
        """`[N]` labels -> `[N, dim]` unit vectors of the classes; None where they are not known."""
        ...


def check_directions(z: Floats) -> None:
    """Raise unless each embedding has a direction."""
    norm = np.linalg.norm(z, axis=1)
    if not (np.isfinite(norm) & (norm > 0)).all():
        raise DataError("The network gives this image an embedding without a direction.")
