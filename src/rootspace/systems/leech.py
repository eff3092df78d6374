"""The minimal vectors of the Leech lattice, from the binary Golay code.

J. H. Conway, N. J. A. Sloane, Sphere Packings, Lattices and Groups (SPLAG), ch. 4, sec. 11, and
ch. 10 for the coordinates. In the coordinates of SPLAG times sqrt(8), which are integers, they
have length sqrt(32) and three shapes.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from ._topk import best_first
from .enumerated import Enumerated
from .orbit import Orbit
from .roots import even_signs

CIRCULANT = "11011100010"
"""First row of the circulant part of the generator matrix, (I | B) with a border of ones on B."""

WORDS, OCTADS = 4096, 759
TWOS, THREES = OCTADS * 2**7, WORDS * 24
"""Vectors of the shapes (+-2^8, 0^16) and (-+3, +-1^23)."""

NORM = math.sqrt(32)

MOST = 64
"""Up to so many neighbors are found by structure, more by looking at all vectors."""

ROWS = 64
"""Embeddings decoded together, to bound memory and to stay in the cache of a processor."""

# Scores are sums, not matrix products, which a GPU may round to TF32.


class _Golay(NamedTuple):
    """The extended binary Golay code [24, 12, 8].

    A word has the bits of its number at coordinates 0 to 11 and those of `other` of its number at
    coordinates 12 to 23; `other` is its own inverse.

    Attributes:
        other: `[4096]` int64.
        octads: `[759, 8]` int64, coordinates of the words of weight 8, by number of the word.
        inside: `[24, 759]` float32, 1 where a coordinate belongs to an octad.
    """

    other: Tensor
    octads: Tensor
    inside: Tensor


_KEPT: dict[torch.device, _Golay] = {}


def golay(device: torch.device) -> _Golay:
    """The code on this device, made once. No `lru_cache`, which compiled graphs do not keep."""
    if device not in _KEPT:
        with torch.inference_mode(False):  # what is kept must do for training as well
            _KEPT[device] = _Golay(*(part.to(device) for part in _make_golay()))
    return _KEPT[device]


def _make_golay() -> _Golay:
    rows = ["0" + "1" * 11] + ["1" + CIRCULANT[i:] + CIRCULANT[:i] for i in range(11)]
    number = torch.arange(WORDS)
    other = torch.zeros_like(number)
    for i, row in enumerate(rows):
        other = other ^ (((number >> i) & 1) * int(row[::-1], 2))
    bits = (torch.stack([number, other], dim=-1)[..., None] >> torch.arange(12)) & 1
    bits = bits.flatten(1)
    octads = bits[bits.sum(-1) == 8].nonzero()[:, 1].reshape(OCTADS, 8)
    inside = torch.zeros(OCTADS, 24).scatter(1, octads, 1.0).T.contiguous()
    return _Golay(other, octads, inside)


class Leech(Enumerated):
    """The 196,560 minimal vectors of the Leech lattice, at 60 degrees in 24 dimensions.

    The kissing arrangement of 24 dimensions, times sqrt(32): octads with an even number of minus
    signs (+-2^8, 0^16); Golay words, as signs, with one coordinate times -3 (-+3, +-1^23); pairs
    (+-4^2, 0^22). Only the Golay code is stored, 4,096 words and 759 octads.

    Index order: octads by number of their word, 128 choices of signs each, where bit i is a minus
    at the i-th coordinate of the first seven; words by number, 24 places of the 3 each; pairs in
    the order of `RootD(24)`. Word c has bit i of c at coordinate i < 12, and at coordinates 12 to
    23 the sum of rows of a bordered circulant matrix that c selects.

    Complexity: `nearest`, `quantize`, `index` and `log_partition` follow the three shapes and take
    some 10**5 operations an embedding, where a table takes 5 * 10**6; `nearest` looks at all
    vectors for k > 64.

    Example:
        >>> (Leech().vectors(torch.tensor([97152])) * 32**0.5).round()[0, :4]
        tensor([-3.,  1.,  1.,  1.])
    """

    def __init__(self) -> None:
        self._pairs = Orbit(24, {1: 2}, signed=True)
        golay(torch.device("cpu"))  # not first in a compiled graph

    @property
    def dim(self) -> int:
        return 24

    @property
    def size(self) -> int:
        return TWOS + THREES + self._pairs.size

    def __repr__(self) -> str:
        return "Leech()"

    # ---------------------------------------------------------------- unrank

    def _vectors(self, index: Tensor, dtype: torch.dtype) -> Tensor:
        # Each shape computes a vector for every row: no shape of a tensor depends on the data.
        twos = _twos(index.clamp(max=TWOS - 1)) / NORM
        threes = _threes((index - TWOS).clamp(0, THREES - 1)) / NORM
        pairs = self._pairs._vectors((index - TWOS - THREES).clamp(min=0), torch.float64)
        others = torch.where((index < TWOS + THREES)[:, None], threes, pairs)
        return torch.where((index < TWOS)[:, None], twos, others).to(dtype)

    # ---------------------------------------------------------------- decode

    def _nearest(self, z: Tensor, k: int) -> tuple[Tensor, Tensor]:
        if k > MOST:
            return super()._nearest(z, k)
        parts = [self._best(rows, k) for rows in z.split(ROWS)]
        score, index = (torch.cat(part) for part in zip(*parts, strict=True))
        return score / NORM, index

    def _best(self, z: Tensor, k: int) -> tuple[Tensor, Tensor]:
        """Scores with the vectors of length sqrt(32), which tie exactly where z are integers.

        The k best vectors lie in the k best octads, the k best words and the k best pairs.
        """
        pair = self._pairs._nearest(z, k)[1]
        signed = self._pairs._vectors(pair.flatten(), z.dtype).reshape(*pair.shape, 24).sign()
        pairs = 4 * (signed * z[:, None]).sum(-1), pair + TWOS + THREES
        found = (_best_twos(z, k), _best_threes(z, k), pairs)
        score, index = (torch.cat(part, dim=-1) for part in zip(*found, strict=True))
        best, where = _top(score, k)
        return best_first(best, index.gather(-1, where), k)

    # ---------------------------------------------------------------- partition function

    def _log_partition(self, u: Tensor, length: float) -> Tensor:
        parts = []
        for rows in u.split(ROWS):
            w = rows / NORM
            shapes = (_log_twos(w), _log_threes(w), self._pairs._log_partition(rows, length))
            parts.append(torch.logsumexp(torch.stack(shapes, dim=-1), dim=-1))
        return torch.cat(parts)

    def _largest_cosine(self) -> float:
        return 0.5

    def _representatives(self) -> tuple[Tensor, list[int]]:
        # Conway's group maps any minimal vector to any other.
        return self._vectors(torch.tensor([0]), torch.float64), [self.size]


# -------------------------------------------------------------------- octads: (+-2^8, 0^16)


def _twos(index: Tensor) -> Tensor:
    octads = golay(index.device).octads[index >> 7]
    signs = even_signs(index & 127, 8)
    return signs.new_zeros(len(index), 24).scatter_(1, octads, 2 * signs)


def _best_twos(z: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """Scores and indices `[N, 128 k]` of all vectors on the k best octads."""
    code = golay(z.device)
    inside, magnitude = code.inside.to(z.dtype), z.abs()
    # Signs of z, but for the smallest coordinate where they would be odd.
    odd = ((z < 0).to(z.dtype) @ inside) % 2
    eight = magnitude[:, code.octads]
    octad = _top(eight.sum(-1) - 2 * odd * eight.amin(-1), k)[1]
    bits = torch.arange(128, device=z.device)
    values = z.gather(-1, code.octads[octad].flatten(1)).reshape(*octad.shape, 8)
    score = (values[..., None, :] * (2 * even_signs(bits, 8)).to(z.dtype)).sum(-1)
    return score.flatten(1), ((octad << 7)[..., None] + bits).flatten(1)


def _log_twos(w: Tensor) -> Tensor:
    """log of the sum over the vectors of this shape of exp(w . v).

    For an octad, the best signs have weight 1 and each other sign a factor below 1. Running sums
    over choices of even and of odd parity hold positive numbers only, and those of the parity that
    is not that of the best signs are taken relative to their largest, so that nothing underflows.
    """
    code = golay(w.device)
    inside = code.inside.to(w.dtype)
    sign = torch.where(w < 0, -1.0, 1.0).to(w.dtype)  # not `abs`, whose gradient at 0 is 0
    magnitude = 2 * w * sign
    odd = ((w < 0).to(w.dtype) @ inside) % 2 == 1
    eight = magnitude[:, code.octads]
    smallest = eight.detach().amin(dim=-1)
    factors = torch.exp(-2 * (eight - smallest[..., None]))
    twice = torch.exp(-4 * smallest)
    same, other = torch.ones_like(smallest), torch.zeros_like(smallest)
    for factor in factors.unbind(-1):
        same, other = same + other * factor * twice, other + same * factor
    terms = eight.sum(-1) + torch.where(odd, torch.log(other) - 2 * smallest, torch.log(same))
    return torch.logsumexp(terms, dim=-1)


# -------------------------------------------------------------------- words: (-+3, +-1^23)


def _threes(index: Tensor) -> Tensor:
    word, place = index // 24, index % 24
    signs = _word_signs(word)
    return signs.scatter(1, place[:, None], -3 * signs.gather(1, place[:, None]))


def _over_words(
    values: Tensor, combine: Callable[[Tensor, Tensor], Tensor]
) -> tuple[Tensor, Tensor]:
    """`[N, 24]` -> twice `[N, 4096]`: the signed values of 12 coordinates combined, for each word.

    The first 12 coordinates of the words are all patterns of 12 bits, and the others as well.
    """
    halves = []
    for half in values.split(12, dim=-1):
        pairs = torch.stack([half, -half], dim=-1)
        table = pairs[:, 0]
        for i in range(1, 12):
            table = combine(pairs[:, i, :, None], table[:, None]).flatten(1)
        halves.append(table)
    return halves[0], halves[1][:, golay(values.device).other]


def _best_threes(z: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """Scores and indices `[N, 24 k]` of all vectors of the k best words."""
    total = torch.add(*_over_words(z, torch.add))
    gain = torch.maximum(*_over_words(-z, torch.maximum))
    word = _top(total + 4 * gain, k)[1]
    values = z[:, None] * _word_signs(word.flatten()).reshape(*word.shape, 24).to(z.dtype)
    score = values.sum(-1, keepdim=True) - 4 * values
    index = (TWOS + 24 * word)[..., None] + torch.arange(24, device=z.device)
    return score.flatten(1), index.flatten(1)


def _word_signs(word: Tensor) -> Tensor:
    bits = torch.stack([word, golay(word.device).other[word]], dim=-1)[..., None]
    bits = (bits >> torch.arange(12, device=word.device)) & 1
    return (1 - 2 * bits).flatten(1).double()


def _log_threes(w: Tensor) -> Tensor:
    """log of the sum over the vectors of this shape of exp(w . v): over words and places.

    A place among 6 coordinates gains what depends on their 64 patterns only, so the words of each
    pattern are summed first.
    """
    device = w.device
    patterns = even_signs(torch.arange(64, device=device), 7)[:, :6].to(w.dtype)
    gains = torch.logsumexp(-4 * w.reshape(-1, 4, 1, 6) * patterns, dim=-1)  # [N, 4, 64]
    first, second = _over_words(w, torch.add)
    total = first + second
    # `other` is its own inverse, so the words go by their last 12 bits in this order.
    by_other = total[:, golay(device).other]
    sums = [
        torch.logsumexp(words.reshape(-1, 64, 64), dim=axis)
        for words in (total, by_other)
        for axis in (1, 2)
    ]
    return torch.logsumexp(torch.stack(sums, dim=1) + gains, dim=(1, 2))


def _top(score: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """The k largest, or all; of equals the first where k = 1."""
    if k == 1:
        best, where = score.max(dim=-1, keepdim=True)
        return best, where
    best, where = score.topk(min(k, score.shape[-1]), dim=-1)
    return best, where
