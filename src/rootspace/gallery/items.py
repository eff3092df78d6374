"""What a gallery holds and answers: items, hits, reports."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, TypeAlias

import numpy as np

Value: TypeAlias = str | int | float | bool
Payload: TypeAlias = Mapping[str, Value]
"""What an application keeps beside an image: names to texts, numbers, truth values."""

FIELDS = ("id", "path", "label")
"""What filters know beside the keys of a payload."""

LONGEST_TEXT = 4096
"""Characters of a path, a label, or a text of a payload."""

_KEY = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]{0,99}")
_INTEGER = 2**63


class UnknownItemError(ValueError):
    """There is no such item."""


class ConflictError(ValueError):
    """A change that contradicts what is there."""


class ReviewError(ConflictError):
    """Images that could be taken, and were refused because they do not seem to belong."""


@dataclass(frozen=True)
class Item:
    """An image that a gallery holds.

    Attributes:
        id: its number, for good; that of a deleted item is not given again.
        path: where it came from, if it is known.
        label: name of its class, if it is known.
        payload: what the application keeps beside it.
        digest: hash of its content: of the pixels that the network gets, or of its embedding where
            that was added alone.
        decided: whether a user has said which label it has, or that it has none; else it has the
            label that the gallery gives it.
    """

    id: int
    path: str | None
    label: str | None
    payload: Payload = field(default_factory=dict)
    digest: str = ""
    decided: bool = False


@dataclass(frozen=True)
class Labels:
    """The labels of all items, a column each.

    Attributes:
        ids: int64 `[N]`, ascending.
        names: as `Item.label`.
        decided: bool `[N]`, as `Item.decided`.
    """

    ids: np.ndarray
    names: Sequence[str | None]
    decided: np.ndarray

    def rows(self, ids: Sequence[int]) -> list[int]:
        """Where items are that are there."""
        return np.searchsorted(self.ids, ids).tolist()


@dataclass(frozen=True)
class Hit:
    """An item that a search has found.

    Attributes:
        id: of the item.
        cosine: between the query and the item's embedding.
        path: of the item.
        label: of the item.
        payload: of the item.
    """

    id: int
    cosine: float
    path: str | None
    label: str | None
    payload: Payload = field(default_factory=dict)


Reason: TypeAlias = Literal["unreadable", "duplicate", "embedding", "outlier", "other class"]


@dataclass(frozen=True)
class Rejected:
    """An input that was not added.

    Attributes:
        index: its place among the inputs.
        path: of it, if one was given.
        reason: `unreadable`: no image, or a damaged one; `duplicate`: the same content is there
            already, or comes twice; `embedding`: zero, NaN or infinite; and where a class is
            enrolled, `outlier`: too far from its other images; `other class`: nearer to that.
        message: what is wrong, in a line.
        id: of the item with the same content.
    """

    index: int
    path: str | None
    reason: Reason
    message: str
    id: int | None = None


@dataclass(frozen=True)
class AddReport:
    """What became of inputs.

    Attributes:
        ids: of the item that holds each input now, in the order of the inputs: its own, that of
            the item with the same content, or None where it was rejected for another reason.
        rejected: the inputs that were not added, in their order.
    """

    ids: tuple[int | None, ...]
    rejected: tuple[Rejected, ...]

    @property
    def added(self) -> tuple[int, ...]:
        """Ids of the new items."""
        out = {one.index for one in self.rejected}
        return tuple(id for i, id in enumerate(self.ids) if id is not None and i not in out)


@dataclass(frozen=True)
class Rows:
    """Items to be written, a column each.

    Attributes:
        embeddings: float32 `[N, dim]` unit vectors.
        digests: as of `Item`, all different.
        paths: as of `Item`.
        stamps: size and time of each file, by which a changed one is known.
        labels: as of `Item`; those that are given are a user's.
        payloads: as of `Item`.
        thumbnails: small pictures to show, as files; None for what was no image.
    """

    embeddings: np.ndarray
    digests: Sequence[str]
    paths: Sequence[str | None]
    stamps: Sequence[str | None]
    labels: Sequence[str | None]
    payloads: Sequence[Payload]
    thumbnails: Sequence[bytes | None]

    def __len__(self) -> int:
        return len(self.digests)


@dataclass(frozen=True)
class Found:
    """What a store has found.

    Attributes:
        ids: int64, up to k of each query, best first.
        cosines: float64, of these.
    """

    ids: list[np.ndarray]
    cosines: list[np.ndarray]


def check_text(text: object, argument: str) -> str:
    """A text that every store can hold.

    Raises:
        TypeError, ValueError: it is none.
    """
    if not isinstance(text, str):
        raise TypeError(f"Argument '{argument}' must be text, not {type(text).__name__}.")
    if not text or "\0" in text or len(text) > LONGEST_TEXT:
        raise ValueError(
            f"Argument '{argument}' must be a text of 1 to {LONGEST_TEXT:,} characters without "
            f"NUL, not {text[:80]!r}."
        )
    try:
        text.encode()
    except UnicodeEncodeError:
        raise ValueError(f"Argument '{argument}' must be valid Unicode, not {text[:80]!r}.") from (
            None
        )
    return text


def check_payload(payload: object, argument: str) -> dict[str, Value]:
    """A payload that every store can hold, and filters can ask for.

    Raises:
        TypeError, ValueError: naming the key.
    """
    if not isinstance(payload, Mapping):
        raise TypeError(
            f"Argument '{argument}' must map names to texts, numbers and truth values, not be "
            f"{type(payload).__name__}."
        )
    found: dict[str, Value] = {}
    for key, value in payload.items():
        if not isinstance(key, str) or not _KEY.fullmatch(key) or key in FIELDS:
            raise ValueError(
                f"Argument '{argument}' must have keys of up to 100 letters, digits, '_', '-' and "
                f"'.' that begin with a letter and are not {', '.join(FIELDS)}, not {key!r:.80}."
            )
        found[key] = _checked_value(value, f"{argument}[{key!r}]")
    return found


def _checked_value(value: object, argument: str) -> Value:
    if isinstance(value, str):
        return value if not value else check_text(value, argument)
    if isinstance(value, bool):
        return value
    if isinstance(value, int) and -_INTEGER <= value < _INTEGER:
        return value
    if isinstance(value, float) and math.isfinite(value):
        return value
    raise TypeError(
        f"Argument '{argument}' must be a text, a finite number of 64 bits or a truth value, not "
        f"{value!r:.80} ({type(value).__name__})."
    )


def checked_ids(ids: Iterable[int]) -> list[int]:
    """Ids as plain numbers.

    Raises:
        TypeError: something else.
    """
    found = list[int]()
    for id in ids:
        if isinstance(id, bool) or not isinstance(id, int | np.integer):
            raise TypeError(f"Argument 'ids' must hold whole numbers, not {id!r:.80}.")
        found.append(int(id))
    return found
