"""Stored class vectors: one compact code a class, for maps that were chosen from data."""

from __future__ import annotations

import abc

import numpy as np
import torch
from torch import Tensor

from rootspace._host_array import HOST, HostArray
from rootspace.search import scan_levels
from rootspace.systems import MAX_INDEX, Orbit, VectorSystem, check_range

from .search import search_vectors

CHUNK = 2**16
"""Codes unpacked together."""


class Codes(abc.ABC):
    """The vectors of classes 0, 1, ..., each stored as a code on the host.

    Args:
        array: `[C, ...]` the codes.
    """

    def __init__(self, array: Tensor) -> None:
        self._codes = HostArray(array)

    def __len__(self) -> int:
        return len(self.array)

    @property
    def array(self) -> Tensor:
        """`[C, ...]` the codes, on the CPU."""
        return self._codes.rows

    @property
    def bytes_per_class(self) -> float:
        return self.array[0].numel() * self.array.element_size()

    def of(self, labels: Tensor) -> Tensor:
        """`[N]` labels -> `[N, ...]` codes, on their device.

        More than `_host_array.ON_DEVICE` bytes of codes stay on the host; those of the labels
        alone are sent.
        """
        return self._codes.take(labels)

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
        ascending, owners = self.array.sort()
        self._ascending, self._owners = HostArray(ascending), HostArray(owners)

    def vectors(self, labels: Tensor, dtype: torch.dtype) -> Tensor:
        return self.system.vectors(self.of(labels), dtype=dtype)

    def indices(self, labels: Tensor) -> Tensor:
        return self.of(labels)

    def labels(self, index: Tensor) -> Tensor:
        """`[...]` numbers of vectors -> `[...]` their classes, -1 where a vector has none."""
        numbers, owners = self._ascending.on(index.device), self._owners.on(index.device)
        if numbers is None or owners is None:
            return self._labels(index.cpu(), self._ascending.rows, self._owners.rows).to(
                index.device
            )
        return self._labels(index, numbers, owners)

    def _labels(self, index: Tensor, numbers: Tensor, owners: Tensor) -> Tensor:
        place = torch.searchsorted(numbers, index.contiguous()).clamp(max=len(self) - 1)
        return torch.where(numbers[place] == index, owners[place], -1)


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
        return self._unpacked(self.of(labels), dtype)

    def _unpacked(self, codes: Tensor, dtype: torch.dtype) -> Tensor:
        levels = torch.tensor(self.system.levels, dtype=torch.float64) / self.system.norm
        return levels.to(codes.device, dtype)[unpack(codes, self.system.dim).int()]

    def indices(self, labels: Tensor) -> Tensor:
        return self.system.index(self.vectors(labels, torch.float32))

    def search(self, z: Tensor, k: int) -> tuple[Tensor, Tensor]:
        """The k best of all codes for `[N, dim]` unit embeddings: cosines, labels `[N, k]`.

        On the host, codes with integer levels are kept as int8 from the first call on, a byte a
        coordinate. On other devices they are unpacked a part at a time, and what is more than
        `_host_array.ON_DEVICE` bytes of codes is sent there a part at a time as well.
        """
        if z.device.type == HOST and self.system.fits_int8:
            return scan_levels(z, self.int8(), self.system.norm, k)

        def part(start: int, stop: int) -> Tensor:
            return self._unpacked(self._codes.part(start, stop, z.device), z.dtype)

        return search_vectors(z, part, len(self), k)

    def int8(self) -> Tensor:
        """`[C, dim]` the levels of all codes, which must be integers; kept from then on."""
        if self._levels is None:
            with torch.inference_mode(False):  # what is kept must do for training as well
                values = torch.tensor(self.system.levels, dtype=torch.int8)
                self._levels = torch.cat(
                    [
                        values[unpack(part, self.system.dim).int()]
                        for part in self.array.split(CHUNK)
                    ]
                )
        return self._levels

    def __getstate__(self) -> dict[str, object]:
        return {**self.__dict__, "_levels": None}


def make_codes(system: VectorSystem, vectors: Tensor) -> Codes:
    """Numbers of the vectors where they have some, else their levels.

    Args:
        system: they belong to.
        vectors: `[C, dim]` members, or `[C]` int64 numbers.

    Raises:
        ValueError: a vector is not a member, two are equal, or the system is too large to number
            and no orbit.
        TypeError: neither floating point vectors nor integer numbers.
        IndexError: a number is out of range.
    """
    if vectors.is_floating_point():
        array = encode(system, vectors)
    else:
        if vectors.ndim != 1 or vectors.dtype == torch.bool or vectors.is_complex():
            raise TypeError(
                f"Argument 'vectors' must be floating point of shape [C, {system.dim}], or [C] "
                f"integers, not {vectors.dtype} of shape {list(vectors.shape)}."
            )
        array = vectors.to("cpu", torch.int64, copy=True)
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


def check_codes(system: VectorSystem, array: Tensor) -> None:
    """Raise ValueError unless the array holds codes of different vectors of the system."""
    if system.size <= MAX_INDEX:
        if array.ndim != 1 or array.dtype != torch.int64:
            raise ValueError(
                f"Codes of {system!r} must be numbers, int64 of shape [C], not "
                f"{array.dtype} of shape {tuple(array.shape)}."
            )
        low, high = (int(x) for x in torch.aminmax(array))
        if low < 0 or high >= system.size:
            raise ValueError(
                f"Codes of {system!r} must lie in [0, {system.size}), not "
                f"{low if low < 0 else high}."
            )
    else:
        _check_levels(system, array)
    if len(np.unique(keys(array.cpu()))) < len(array):
        raise ValueError("Codes must be different for each class; some are equal.")


def _check_levels(system: VectorSystem, packed: Tensor) -> None:
    if not isinstance(system, Orbit):
        raise ValueError(f"Packed levels belong to an Orbit, not to {system!r}.")
    levels = system.levels
    shape = (bits_for(len(levels)), -(-system.dim // 8))
    if packed.dtype != torch.uint8 or packed.ndim != 3 or packed.shape[1:] != shape:
        raise ValueError(
            f"Codes of {system!r} must be packed levels, uint8 of shape [C, {shape[0]}, "
            f"{shape[1]}], not {packed.dtype} of shape {tuple(packed.shape)}."
        )
    start = 0
    for part in packed.split(CHUNK):
        numbers = unpack(part, system.dim)
        member = (pack(numbers, shape[0]) == part).flatten(1).all(1)  # no bits beyond the last
        for value, count in system.multiplicities.items():
            both = (value, -value) if system.signed else (value,)
            placed = torch.stack([numbers == levels.index(some) for some in both]).any(0)
            member &= placed.sum(1) == count
        # The other coordinates are zeros, not numbers that stand for no level.
        member &= (numbers < len(levels)).all(1)
        if not bool(member.all()):
            row = start + int((~member).nonzero()[0, 0])
            raise ValueError(f"Codes must be those of members of {system!r}; row {row} is not.")
        start += len(part)


def read_codes(system: VectorSystem, array: Tensor) -> Codes:
    """Codes from an array of them that is known to be right."""
    if array.ndim == 1:
        return NumberCodes(system, array)
    if not isinstance(system, Orbit):
        raise ValueError(f"Stored levels belong to an Orbit, not to {system!r}.")
    return LevelCodes(system, array)


# ------------------------------------------- levels in few bits, as bit planes


def bits_for(num_levels: int) -> int:
    """Bits that number `num_levels` levels: 2 for k-hot vectors, 3 for three signed levels."""
    return max(1, (num_levels - 1).bit_length())


def pack(levels: Tensor, bits: int) -> Tensor:
    """`[C, dim]` numbers below 2**bits -> `[C, bits, ceil(dim / 8)]` uint8."""
    padded = torch.nn.functional.pad(levels.to(torch.uint8), (0, -levels.shape[1] % 8))
    eights = padded.reshape(len(levels), -1, 8)
    weights = 1 << torch.arange(8, device=levels.device)
    planes = [(((eights >> bit) & 1) * weights).sum(-1).to(torch.uint8) for bit in range(bits)]
    return torch.stack(planes, dim=1)


def unpack(packed: Tensor, dim: int) -> Tensor:
    """Inverse of `pack`: `[C, bits, ceil(dim / 8)]` -> `[C, dim]` uint8."""
    count, bits, width = packed.shape
    places = torch.arange(8, dtype=torch.uint8, device=packed.device)
    ones = (packed[..., None] >> places) & 1
    weights = (1 << torch.arange(bits, device=packed.device)).to(torch.uint8)
    levels = (ones * weights[:, None, None]).sum(1, dtype=torch.uint8)
    return levels.reshape(count, 8 * width)[:, :dim]
