"""Sequences of strings that are no lists: made when asked for, or millions in two arrays."""

from __future__ import annotations

import abc
from array import array
from collections.abc import Iterable, Iterator, Sequence
from typing import overload

import numpy as np

from .errors import DataError


class LazyStrings(Sequence[str], abc.ABC):
    """Strings that are made when they are asked for. Subclasses have a length and `_at`."""

    @abc.abstractmethod
    def _at(self, place: int) -> str:
        """The string at a place in [0, len(self))."""

    def __iter__(self) -> Iterator[str]:
        return map(self._at, range(len(self)))

    @overload
    def __getitem__(self, index: int) -> str: ...
    @overload
    def __getitem__(self, index: slice) -> list[str]: ...
    def __getitem__(self, index: int | slice) -> str | list[str]:
        places = range(len(self))[index]
        return [self._at(i) for i in places] if isinstance(places, range) else self._at(places)


class Strings(LazyStrings):
    """An immutable sequence of strings in a few bytes more than their letters.

    A list of them costs about 60 bytes more each, and worker processes copy it: reading a Python
    object writes its reference count.

    Args:
        data: uint8 [B], the strings in UTF-8, one after another. What a file system calls a name
            but is no UTF-8 survives (PEP 383).
        ends: int64 [N], where each of them ends in `data`.

    Raises:
        DataError: they are others.

    Example:
        >>> names = Strings.of(["cat/1.png", "dog/2.png"])
        >>> len(names), names[-1], names[:1]
        (2, 'dog/2.png', ['cat/1.png'])
    """

    def __init__(self, data: np.ndarray, ends: np.ndarray) -> None:
        for name, value, dtype in (("data", data, np.uint8), ("ends", ends, np.int64)):
            if value.dtype != dtype or value.ndim != 1:
                wanted = f"an array of {np.dtype(dtype)} with one dimension"
                raise DataError(
                    f"Argument '{name}' must be {wanted}, not {value.dtype} {list(value.shape)}."
                )
        if len(ends) and ends[-1] != len(data):
            raise DataError(
                f"Argument 'ends' must end with the {len(data)} bytes of 'data', not {ends[-1]}."
            )
        self.data = data
        self.ends = ends

    @classmethod
    def of(cls, strings: Iterable[str]) -> Strings:
        """Those of any iterable, which is never in memory as a whole."""
        data, ends = bytearray(), array("q")
        for string in strings:
            data += string.encode("utf-8", "surrogateescape")
            ends.append(len(data))
        return cls(np.frombuffer(data, dtype=np.uint8), np.array(ends, dtype=np.int64))

    def take(self, places: np.ndarray) -> Strings:
        """Those at int64 [M] places, in this order."""
        return Strings.of(self._at(place) for place in places.tolist())

    def __len__(self) -> int:
        return len(self.ends)

    def _at(self, place: int) -> str:
        start = int(self.ends[place - 1]) if place else 0
        letters = self.data[start : int(self.ends[place])].tobytes()
        return letters.decode("utf-8", "surrogateescape")
