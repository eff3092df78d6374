"""A keyed permutation of [0, size): a shuffle that is computed, not stored."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

ROUNDS = 6

COUNTED = 2**18
"""Up to this many elements outside of the domain are followed to count the walks."""

MANY_WALKS = 4
"""Walks where more are outside: of 2**36 elements or more, one in 2**36 keys has a longer walk."""

_MASK = (1 << 64) - 1


class KeyedPermutation:
    """A pseudo-random bijection of `[0, size)`, O(1) memory for any size up to 2**63 - 1.

    A Feistel network on two digits of radix about sqrt(size) (a generalized Feistel network in
    the sense of Black and Rogaway, Ciphers with Arbitrary Finite Domains, 2002), with cycle walking
    for the less than 1/sqrt(size) of the domain that lies outside. The same seed gives the
    same permutation on every device and in every version: golden values pin it.

    Args:
        size: number of elements.
        seed: any integer; its low 64 bits matter.
    """

    def __init__(self, size: int, seed: int) -> None:
        if not 1 <= size < 2**63:
            raise ValueError(f"Argument 'size' must lie in [1, 2**63), not {size}.")
        self.size = size
        self.seed = seed
        # Left digit in [0, high), right digit in [0, low); high * low is just above size.
        self._low = math.isqrt(size - 1) + 1
        self._high = -(-size // self._low)
        state, keys = seed & _MASK, []
        for _ in range(ROUNDS):
            state = (state + 0x9E3779B97F4A7C15) & _MASK
            keys.append(_signed(_mix_int(state)))
        self._keys = tuple(keys)
        counted = self._high * self._low - size <= COUNTED
        self._walks = self._longest_walk() if counted else MANY_WALKS

    def _longest_walk(self) -> int:
        """Steps outside of the domain between an element and where it goes, at most."""
        last, rest = divmod(self.size, self._low)
        place = torch.arange(rest, rest + self._high * self._low - self.size)
        left, right = place // self._low + last, place % self._low
        # Only what is entered from the domain matters: cycles may lie outside altogether.
        entered = ~self._outside(*self._backward(left, right))
        left, right, walks = left[entered], right[entered], 0
        while len(left):
            walks += 1
            left, right = self._forward(left, right)
            outside = self._outside(left, right)
            left, right = left[outside], right[outside]
        return walks

    def __call__(self, element: Tensor) -> Tensor:
        """`[...]` int64 in [0, size) -> where each goes, `[...]` int64."""
        return self._walk(element, self._forward)

    def inverse(self, element: Tensor) -> Tensor:
        """`[...]` int64 in [0, size) -> what goes there, `[...]` int64."""
        return self._walk(element, self._backward)

    def _walk(self, element: Tensor, step: Callable[..., tuple[Tensor, Tensor]]) -> Tensor:
        # Digits are kept apart: near 2**63 their product would leave int64.
        left, right = step(element // self._low, element % self._low)
        if torch.compiler.is_compiling():  # no loop that depends on the data
            for _ in range(self._walks):
                left, right = self._walk_on(left, right, step)
        else:
            while bool(self._outside(left, right).any()):
                left, right = self._walk_on(left, right, step)
        return left * self._low + right

    def _walk_on(
        self, left: Tensor, right: Tensor, step: Callable[..., tuple[Tensor, Tensor]]
    ) -> tuple[Tensor, Tensor]:
        outside = self._outside(left, right)
        new_left, new_right = step(left, right)
        return torch.where(outside, new_left, left), torch.where(outside, new_right, right)

    def _outside(self, left: Tensor, right: Tensor) -> Tensor:
        last, rest = divmod(self.size, self._low)
        return (left > last) | ((left == last) & (right >= rest))

    def _forward(self, left: Tensor, right: Tensor) -> tuple[Tensor, Tensor]:
        for i, key in enumerate(self._keys):
            if i % 2:
                right = (right + _hash(left, key, self._low)) % self._low
            else:
                left = (left + _hash(right, key, self._high)) % self._high
        return left, right

    def _backward(self, left: Tensor, right: Tensor) -> tuple[Tensor, Tensor]:
        for i, key in reversed(list(enumerate(self._keys))):
            if i % 2:
                right = (right - _hash(left, key, self._low)) % self._low
            else:
                left = (left - _hash(right, key, self._high)) % self._high
        return left, right


def _hash(x: Tensor, key: int, modulus: int) -> Tensor:
    """`[...]` -> `[...]` in [0, modulus): splitmix64's finalizer (Steele et al., 2014)."""
    x = x * _signed(0x9E3779B97F4A7C15) + key
    x = (x ^ _shift(x, 30)) * _signed(0xBF58476D1CE4E5B9)
    x = (x ^ _shift(x, 27)) * _signed(0x94D049BB133111EB)
    x = x ^ _shift(x, 31)
    return _shift(x, 1) % modulus


def _shift(x: Tensor, bits: int) -> Tensor:
    """Logical right shift of int64."""
    return (x >> bits) & ((1 << (64 - bits)) - 1)


def _mix_int(x: int) -> int:
    x = ((x ^ (x >> 30)) * 0xBF58476D1CE4E5B9) & _MASK
    x = ((x ^ (x >> 27)) * 0x94D049BB133111EB) & _MASK
    return x ^ (x >> 31)


def _signed(x: int) -> int:
    return x - (1 << 64) if x >= 1 << 63 else x
