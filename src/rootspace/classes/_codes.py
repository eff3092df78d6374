"""Stored class vectors: one compact code a class, for maps that were chosen from data."""

from __future__ import annotations

import abc
from typing import Any

import numpy as np
import torch
from torch import Tensor

from rootspace.systems import MAX_INDEX, Orbit, VectorSystem, check_range

from ._packing import bits_for, pack, unpack
from ._search import search_levels, search_vectors

CHUNK = 2**16
"""Codes unpacked together."""


class Codes(abc.ABC):
    """The vectors of classes 0, 1, ..., each stored as a code.

    Args:
        array: `[C, ...]` the codes.
    """

    def __init__(self, array: Tensor) -> None:
        self.array = array.cpu()
        self._copies = {self.array.device: self.array}

    def __len__(self) -> int:
        return len(self.array)

    @property
    def bytes_per_class(self) -> float:
        return self.array[0].numel() * self.array.element_size()

    def of(self, labels: Tensor) -> Tensor:
        """`[N]` labels -> `[N, ...]` codes, on their device."""
        if labels.device not in self._copies:
            self._copies[labels.device] = self.array.to(labels.device)
        return self._copies[labels.device][labels]

    @abc.abstractmethod
    def vectors(self, labels: Tensor, dtype: torch.dtype) -> Tensor:
        """`[N]` labels -> `[N, dim]` unit vectors."""

    @abc.abstractmethod
    def indices(self, labels: Tensor) -> Tensor:
        """`[N]` labels -> `[N]` numbers of their vectors in the system."""


class NumberCodes(Codes):
    """Numbers of the vectors in their system, 8 bytes a class.

    Args:
        system: the vectors belong to.
        numbers: `[C]` int64.
    """

    def __init__(self, system: VectorSystem, numbers: Tensor) -> None:
        super().__init__(numbers)
        self.system = system
        self._sorted = self.array.sort()

    def vectors(self, labels: Tensor, dtype: torch.dtype) -> Tensor:
        return self.system.vectors(self.of(labels), dtype=dtype)

    def indices(self, labels: Tensor) -> Tensor:
        return self.of(labels)

    def labels(self, index: Tensor) -> Tensor:
        """`[...]` numbers of vectors -> `[...]` their classes, -1 where a vector has none."""
        numbers = self._sorted.values.to(index.device)
        place = torch.searchsorted(numbers, index.contiguous()).clamp(max=len(self) - 1)
        label = self._sorted.indices.to(index.device)[place]
        return torch.where(numbers[place] == index, label, -1)


class LevelCodes(Codes):
    """The level of each coordinate in 1 to 3 bits, for an orbit of any size.

    Args:
        system: the vectors belong to.
        packed: `[C, bits, ceil(dim / 8)]` uint8.
    """

    def __init__(self, system: Orbit, packed: Tensor) -> None:
        super().__init__(packed)
        self.system = system
        self._levels: Tensor | None = None

    def vectors(self, labels: Tensor, dtype: torch.dtype) -> Tensor:
        levels = torch.tensor(self.system.levels, dtype=torch.float64) / self.system.norm
        numbers = unpack(self.of(labels), self.system.dim)
        return levels.to(labels.device, dtype)[numbers.long()]

    def indices(self, labels: Tensor) -> Tensor:
        return self.system.index(self.vectors(labels, torch.float32))

    def search(self, z: Tensor, k: int) -> tuple[Tensor, Tensor]:
        """The k best of all codes for `[N, dim]` unit embeddings: cosines, labels `[N, k]`.

        Codes with integer levels are kept as int8 from the first call on, a byte a coordinate.
        """
        if not self.system.fits_int8:
            return search_vectors(z, lambda labels: self.vectors(labels, z.dtype), len(self), k)
        if self._levels is None or self._levels.device != z.device:
            values = torch.tensor(self.system.levels, dtype=torch.int8)
            self._levels = torch.cat(
                [values[unpack(part, self.system.dim).int()] for part in self.array.split(CHUNK)]
            ).to(z.device)
        return search_levels(z, self._levels, self.system.norm, k)

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_levels": None}


def make_codes(system: VectorSystem, vectors: Tensor) -> Codes:
    """Numbers of the vectors where they have some, else their levels.

    Args:
        system: they belong to.
        vectors: `[C, dim]` members, or `[C]` int64 numbers.

    Raises:
        ValueError: a vector is not a member, two are equal, or the system is too large to number
            and no orbit.
        IndexError: a number is out of range.
    """
    if vectors.is_floating_point():
        array = encode(system, vectors)
    else:
        array = vectors.to(torch.int64)
        check_range(array, system.size, "'vectors' must hold numbers in")
    if len(np.unique(keys(array))) < len(array):
        raise ValueError("Argument 'vectors' must hold a different vector for each class.")
    return read_codes(system, array)


def encode(system: VectorSystem, vectors: Tensor) -> Tensor:
    """`[C, dim]` members of a system -> the array of their `Codes`.

    Raises:
        ValueError: a vector is not a member, or the system is too large to number and no orbit.
    """
    system.check_shape(vectors, "vectors")
    if system.size <= MAX_INDEX:
        return system.index(vectors).cpu()
    if not isinstance(system, Orbit):
        raise ValueError(
            f"Argument 'system' must be an Orbit, or have at most 2**63 - 1 vectors: {system!r}."
        )
    return pack(system.level_numbers(vectors), bits_for(len(system.levels))).cpu()


def keys(array: Tensor) -> np.ndarray:
    """The array of some `Codes` -> `[C]` numbers or byte strings that sort and compare."""
    if array.ndim == 1:
        return array.numpy()
    flat = array.reshape(len(array), -1).contiguous().numpy()
    return flat.view(f"S{flat.shape[1]}")[:, 0]


def read_codes(system: VectorSystem, array: Tensor) -> Codes:
    """Codes from the array that was saved."""
    if array.ndim == 1:
        return NumberCodes(system, array)
    if not isinstance(system, Orbit):
        raise ValueError(f"Stored levels belong to an Orbit, not to {system!r}.")
    return LevelCodes(system, array)
