"""Binary linear codes as unit vectors: a bit is the sign of a coordinate.

F. J. MacWilliams, N. J. A. Sloane, The Theory of Error-Correcting Codes, 1977: ch. 1 (linear
codes), ch. 7 and 9 (BCH), ch. 13 (Reed-Muller).
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Sequence

import torch
from torch import Tensor

from rootspace._checks import integer, wrong_kind

from .enumerated import Enumerated

MOST_BITS = 24
"""Every word is looked at, so there should not be more than 2**24 = 16,777,216."""

MOST_KEPT = 8
"""Codes whose half words are kept, at most 2 * 2**12 of them for each device and dtype."""


class LinearCode(Enumerated):
    """The words of a binary linear code: +1 for bit 0 and -1 for bit 1, divided by sqrt(n).

    2**k vectors in n dimensions. Two of them at Hamming distance d have cosine 1 - 2d / n.

    Index order: the index is the message, whose bit i (from the lowest) selects row i of the
    generator matrix; the word is the sum of these rows modulo 2.

    Args:
        generator: k independent rows of n bits, each a string such as `"1101"` or a sequence of 0
            and 1; k is at most 24.

    Complexity: time O(N * 2**k * n) for `nearest` and `log_partition`, O(N * k * n) for `index`;
    words are products of two words of half the message bits, so 2**(k / 2) of them are made.

    Example:
        >>> code = LinearCode(("1000011", "0100101", "0010110", "0001111"))  # Hamming's
        >>> code.size, code.min_distance, code.min_angle > 80
        (16, 3, True)
    """

    def __init__(self, generator: Iterable[str | Iterable[int]]) -> None:
        if isinstance(generator, str):  # else its letters would be rows
            raise wrong_kind("generator", generator, "rows of bits, such as ('1101', '0111')")
        rows = tuple("".join(str(bit) for bit in row) for row in generator)
        if not rows or not rows[0] or any(len(row) != len(rows[0]) for row in rows):
            raise ValueError(
                f"Argument 'generator' must hold rows of one positive length, not {rows!r}."
            )
        for row in rows:
            if not set(row) <= {"0", "1"}:
                raise ValueError(f"Argument 'generator' must hold rows of bits, not {row!r}.")
        if len(rows) > MOST_BITS:
            raise ValueError(
                f"Argument 'generator' must hold at most {MOST_BITS} rows, as all 2**k words are "
                f"looked at, not {len(rows)}."
            )
        self._generator = rows
        self._places, self._readers = _information_set(rows)
        self._min_distance: int | None = None

    @property
    def generator(self) -> tuple[str, ...]:
        """The rows of the generator matrix."""
        return self._generator

    @property
    def dim(self) -> int:
        return len(self._generator[0])

    @property
    def size(self) -> int:
        return 2 ** len(self._generator)

    @property
    def min_distance(self) -> int:
        """Smallest Hamming distance between two words, by looking at all weights."""
        if self._min_distance is None:
            high, low = _half_words(self._generator, torch.device("cpu"), torch.float32)
            step = max(1, self._block_size() // len(low))
            # The sum of the signs of a word is n - 2 weight; small integers are exact in float32.
            # The first word is zero, the others have at least weight 1.
            largest = float((high[0] @ low[1:].T).max())
            for start in range(1, len(high), step):
                largest = max(largest, float((high[start : start + step] @ low.T).max()))
            self._min_distance = round((self.dim - largest) / 2)
        return self._min_distance

    def __repr__(self) -> str:
        return f"LinearCode({self._generator!r})"

    def _vectors(self, index: Tensor, dtype: torch.dtype) -> Tensor:
        wide = torch.float64 if dtype == torch.float64 else torch.float32
        high, low = _half_words(self._generator, index.device, wide)
        bits = (len(self._generator) + 1) // 2
        signs = high[index >> bits] * low[index & (2**bits - 1)]
        return (signs / math.sqrt(self.dim)).to(dtype)

    def _index(self, vectors: Tensor) -> Tensor:
        # Each message bit is a sum of the bits at the places of an information set.
        bits = (vectors[:, list(self._places)] < 0).double()
        readers = torch.tensor(self._readers, dtype=torch.float64, device=vectors.device)
        message = (bits @ readers).to(torch.int64) & 1
        weights = 1 << torch.arange(len(self._places), device=vectors.device)
        return self._checked((message * weights).sum(-1), vectors)

    def _largest_cosine(self) -> float:
        return 1 - 2 * self.min_distance / self.dim

    def _representatives(self) -> tuple[Tensor, list[int]]:
        # Adding a word maps the code to itself, and any word to any other.
        return self._vectors(torch.tensor([0]), torch.float64), [self.size]


class ReedMuller(LinearCode):
    """The Reed-Muller code RM(r, m): values of the polynomials of degree up to r in m bits.

    2**k words of length 2**m with k = sum of C(m, i) for i up to r, at distance 2**(m - r). Order 1
    is biorthogonal: all words but the opposite are at right angles.

    Index order: that of `LinearCode` with the monomials as rows, by degree and then in
    lexicographic order of their variables: 1, x_0, x_1, ..., x_0 x_1, ...; at coordinate j the
    variable x_i is bit i of j.

    Args:
        order: r, from 0 to m.
        m: number of variables.

    Example:
        >>> ReedMuller(1, 5).size, ReedMuller(1, 5).min_distance, ReedMuller(1, 5).min_angle
        (64, 16, 90.0)
    """

    def __init__(self, order: int, m: int) -> None:
        m, order = integer("m", m), integer("order", order, 0)
        if order > m:
            raise ValueError(f"Argument 'order' must be at most m = {m}, not {order}.")
        count = sum(math.comb(m, degree) for degree in range(order + 1))
        _require_few("order", order, count)
        monomials = itertools.chain.from_iterable(
            itertools.combinations(range(m), degree) for degree in range(order + 1)
        )
        super().__init__(
            "".join(str(int(all(j >> i & 1 for i in some))) for j in range(2**m))
            for some in monomials
        )
        self._arguments = (order, m)

    def __repr__(self) -> str:
        return f"ReedMuller{self._arguments}"


class BCH(LinearCode):
    """The narrow-sense primitive binary BCH code of length 2**m - 1.

    The multiples of the least common multiple of the minimal polynomials of a, a**2, ...,
    a**(distance - 1) over GF(2), where a is a root of the smallest primitive polynomial of degree m
    (as an integer whose bits are the coefficients). The words differ in at least `distance`
    places; `min_distance` may be more.

    Index order: that of `LinearCode` with the shifts x**i g(x) of the generator polynomial as rows;
    coordinate j is the coefficient of x**j.

    Args:
        m: degree of the field.
        distance: designed distance, from 2 to 2**m - 1.

    Example:
        >>> BCH(4, 5).size, BCH(4, 5).min_distance
        (128, 5)
    """

    def __init__(self, m: int, distance: int) -> None:
        if isinstance(m, bool) or not isinstance(m, int) or not 2 <= m <= 12:
            raise ValueError(f"Argument 'm' must be an integer from 2 to 12, not {m!r}.")
        n = 2**m - 1
        if isinstance(distance, bool) or not isinstance(distance, int) or not 2 <= distance <= n:
            raise ValueError(
                f"Argument 'distance' must be an integer from 2 to {n}, not {distance!r}."
            )
        polynomial = generator_polynomial(m, distance)
        count = n + 1 - polynomial.bit_length()
        _require_few("distance", distance, count)
        super().__init__(f"{polynomial << i:0{n}b}"[::-1] for i in range(count))
        self._arguments = (m, distance)

    def __repr__(self) -> str:
        return f"BCH{self._arguments}"


_KEPT: dict[tuple[tuple[str, ...], torch.device, torch.dtype], tuple[Tensor, Tensor]] = {}


def _half_words(
    rows: tuple[str, ...], device: torch.device, dtype: torch.dtype
) -> tuple[Tensor, Tensor]:
    """Signs of the words of the upper and of the lower half of the message bits, to multiply.

    Made once for the codes used last. No `lru_cache`, which compiled graphs do not keep.
    """
    key = rows, device, dtype
    if key not in _KEPT:
        if len(_KEPT) >= MOST_KEPT:
            _KEPT.clear()
        with torch.inference_mode(False):  # what is kept must do for training as well
            _KEPT[key] = _make_half_words(rows, device, dtype)
    return _KEPT[key]


def _make_half_words(
    rows: tuple[str, ...], device: torch.device, dtype: torch.dtype
) -> tuple[Tensor, Tensor]:
    half = (len(rows) + 1) // 2
    tables = []
    for some in (rows[half:], rows[:half]):
        table = torch.ones(1, len(rows[0]), dtype=dtype, device=device)
        for row in some:
            signs = torch.tensor([1 - 2 * int(bit) for bit in row], dtype=dtype, device=device)
            table = torch.cat([table, table * signs])
        tables.append(table)
    return tables[0], tables[1]


def _require_few(name: str, value: int, count: int) -> None:
    if count > MOST_BITS:
        raise ValueError(
            f"Argument '{name}' must leave at most {MOST_BITS} message bits, as all words are "
            f"looked at; {value} leaves {count}."
        )


def _information_set(rows: Sequence[str]) -> tuple[tuple[int, ...], tuple[tuple[int, ...], ...]]:
    """k places that determine the message, and how.

    Returns:
        The places, and for the bit at each of them which message bits it is part of.
    """
    # Gaussian elimination: each row is (word, which rows were added), bits in Python integers.
    left = [(int(row[::-1], 2), 1 << i) for i, row in enumerate(rows)]
    done: list[tuple[int, int, int]] = []
    while left:
        word, used = left.pop()
        if not word:
            raise ValueError(
                "Argument 'generator' must hold independent rows; some add up to zero: "
                f"{[rows[i] for i in range(len(rows)) if used >> i & 1]}."
            )
        place = word.bit_length() - 1
        left = [(w ^ word, u ^ used) if w >> place & 1 else (w, u) for w, u in left]
        done = [(w ^ word, u ^ used, p) if w >> place & 1 else (w, u, p) for w, u, p in done]
        done.append((word, used, place))
    # Now a word is the sum of those rows of `done` at whose place it has a bit.
    places = tuple(place for _, _, place in done)
    return places, tuple(tuple(used >> i & 1 for i in range(len(rows))) for _, used, _ in done)


# ------------------------------------------------------ polynomials over GF(2), bits of integers


def generator_polynomial(m: int, distance: int) -> int:
    """Least common multiple of the minimal polynomials of the first distance - 1 powers."""
    modulus = _primitive_polynomial(m)
    n = 2**m - 1
    powers = [1]
    for _ in range(n - 1):
        powers.append(_times_x(powers[-1], modulus))
    logarithm = {power: i for i, power in enumerate(powers)}
    exponents = {e * 2**i % n for e in range(1, distance) for i in range(m)}
    # The product of x + a**e over all conjugates; coefficients in the field, lowest first.
    product = [1]
    for e in exponents:
        shifted = [0, *product]
        for i, coefficient in enumerate(product):
            if coefficient:
                shifted[i] ^= powers[(logarithm[coefficient] + e) % n]
        product = shifted
    return sum(coefficient << i for i, coefficient in enumerate(product))


def _times_x(value: int, modulus: int) -> int:
    value <<= 1
    return value ^ modulus if value.bit_length() == modulus.bit_length() else value


def _primitive_polynomial(m: int) -> int:
    """The smallest polynomial of degree m for which x has order 2**m - 1."""
    for modulus in range(2**m + 1, 2 ** (m + 1), 2):
        value, order = _times_x(1, modulus), 1
        while value != 1 and order < 2**m:
            value, order = _times_x(value, modulus), order + 1
        if order == 2**m - 1:
            return modulus
    raise AssertionError(f"no primitive polynomial of degree {m}")
