"""A network and the decoding of its embeddings, as one module of fixed operations."""

from __future__ import annotations

from typing import Literal, NamedTuple

import torch
from torch import Tensor, nn

from rootspace._checks import integer
from rootspace.classes import ClassMap
from rootspace.heads import Head
from rootspace.systems import MAX_INDEX, Circle, Enumerated, Orbit

MOST_BYTES = 2**30
"""Class vectors stored in a file take at most this much."""

CHUNK = 2**16
"""Classes whose vectors are computed together while they are stored."""


class Decoded(NamedTuple):
    """What a `Decoder` gives for a batch, best first.

    Attributes:
        embedding: `[batch, dim]`.
        index: `[batch, k]` int64 numbers of vectors in the system, -1 where it is too large to
            number them.
        label: `[batch, k]` int64 classes, -1 for a vector that belongs to no class.
        cosine: `[batch, k]`.
    """

    embedding: Tensor
    index: Tensor  # pyright: ignore[reportIncompatibleMethodOverride] - shadows tuple.index
    label: Tensor
    cosine: Tensor


class InFrame(nn.Module):
    """A network whose embeddings are in the frame of the prototypes.

    Args:
        network: inputs -> `[batch, dim]`.
        head: whose frame it is.
    """

    def __init__(self, network: nn.Module, head: Head) -> None:
        super().__init__()
        self.network = network
        self.head = head

    def forward(self, inputs: Tensor) -> Tensor:
        return self.head.transform(self.network(inputs))


class Decoder(nn.Module):
    """A network followed by the decoding of its embeddings.

    By formula, it finds the k nearest vectors of the system and then their classes, -1 where they
    have none; nothing is stored but 8 bytes a class for vectors that were assigned by number. By
    search, it finds the k nearest class vectors, as `ClassMap.predict` does; they are stored, in
    int8 for an orbit of small integers, in float32 else. Where all vectors have a class the two
    agree.

    Args:
        network: inputs `[batch, ...]` -> embeddings `[batch, dim]`.
        classes: the class map.
        top: k.
        decode: `"formula"`, `"search"`, or `"auto"`: the formula where at least half of the vectors
            have a class, or the class vectors would take more than `MOST_BYTES`.
        retired: `[R]` labels that are not predicted. By formula their vectors have no class, by
            search they are left out.

    Raises:
        ValueError: `top` out of range, or a decoding that the class map does not allow.
    """

    codes: Tensor
    numbers: Tensor
    active: Tensor
    retired: Tensor | None

    def __init__(
        self,
        network: nn.Module,
        classes: ClassMap,
        top: int = 1,
        decode: Literal["auto", "formula", "search"] = "auto",
        retired: Tensor | None = None,
    ) -> None:
        super().__init__()
        retired = torch.empty(0, dtype=torch.int64) if retired is None else retired
        if decode not in ("auto", "formula", "search"):
            raise ValueError(
                f"Argument 'decode' must be 'auto', 'formula' or 'search', not {decode!r}."
            )
        search = decode == "search" or (decode == "auto" and _search_pays(classes))
        if not search and not _has_formula(classes):
            raise ValueError(
                f"Argument 'decode' must be 'search' for {classes!r}: 'formula' needs a system of "
                "at most 2**63 - 1 vectors that is no Circle, Enumerated or Table."
            )
        most = classes.num_classes - len(retired.unique()) if search else classes.capacity
        self.network = network
        self.classes = classes
        self.top = integer("top", top, 1, most)
        self.decode: Literal["formula", "search"] = "search" if search else "formula"
        self.unit = 1.0
        if search:
            codes, self.unit = _class_codes(classes)
            active = torch.ones(classes.num_classes, dtype=torch.bool)
            active[retired] = False
            self.register_buffer("codes", codes if active.all() else codes[active])
            self.register_buffer("numbers", _numbers(classes))
            self.register_buffer("active", active.nonzero()[:, 0])
        else:
            self.register_buffer("retired", retired if len(retired) else None)

    def forward(self, inputs: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """`[batch, ...]` -> the fields of `Decoded`."""
        z = self.network(inputs).float()
        if self.decode == "formula":
            cosine, index = self.classes.system.nearest(z, self.top)
            return z, index, self.labels_of(index), cosine
        norm = torch.linalg.vector_norm(z, dim=-1, keepdim=True)
        direction = z / norm.clamp_min(torch.finfo(z.dtype).tiny)
        score, label = (direction @ self.codes.to(z.dtype).T).topk(self.top, dim=-1)
        if len(self.active) < self.classes.num_classes:
            label = self.active[label]
        return z, self.numbers[label], label, score * self.unit

    def labels_of(self, index: Tensor) -> Tensor:
        """By formula, numbers of vectors -> their classes, -1 where they have none."""
        label = self.classes.labels(index)
        if self.retired is None:
            return label
        return torch.where((label[..., None] == self.retired).any(dim=-1), -1, label)


def _has_formula(classes: ClassMap) -> bool:
    """Whether vectors have numbers and their nearest ones a closed form in ONNX's operators.

    A circle needs an arc tangent in float64, which runtimes lack; the others score all vectors.
    """
    return classes.capacity <= MAX_INDEX and not isinstance(classes.system, (Circle, Enumerated))


def _search_pays(classes: ClassMap) -> bool:
    if not _has_formula(classes):
        return True
    return 2 * classes.num_classes < classes.capacity and _size(classes) <= MOST_BYTES


def _size(classes: ClassMap) -> int:
    """Bytes of the class vectors in the file."""
    return classes.num_classes * classes.dim * (1 if _levels_fit(classes) else 4)


def _levels_fit(classes: ClassMap) -> bool:
    return isinstance(classes.system, Orbit) and classes.system.fits_int8


def _numbers(classes: ClassMap) -> Tensor:
    """`[C]` int64 numbers of the class vectors in the system, -1 where it is too large."""
    labels = torch.arange(classes.num_classes)
    if classes.capacity > MAX_INDEX:
        return torch.full_like(labels, -1)
    return classes.indices(labels)


def _class_codes(classes: ClassMap) -> tuple[Tensor, float]:
    """Multiples of the class vectors `[C, dim]`, and what they are to be multiplied by.

    Raises:
        ValueError: they take more memory than `MOST_BYTES`.
    """
    if _size(classes) > MOST_BYTES:
        raise ValueError(
            f"The class vectors of {classes!r}, which a search needs, would take "
            f"{_size(classes) / 2**30:.1f} GiB in the file, more than {MOST_BYTES // 2**30} GiB. "
            "Without them decode='formula' works, for a system of at most 2**63 - 1 vectors that "
            "is no Circle, Enumerated or Table."
        )
    count = classes.num_classes
    norm = classes.system.norm if isinstance(classes.system, Orbit) else 1.0
    whole = _levels_fit(classes)
    parts = []
    for start in range(0, count, CHUNK):
        vectors = classes.vectors(torch.arange(start, min(start + CHUNK, count)))
        parts.append((vectors * norm).round().to(torch.int8) if whole else vectors.float())
    return torch.cat(parts), 1 / norm if whole else 1.0
