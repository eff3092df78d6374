"""Disjoint parts one after another in index order."""

from __future__ import annotations

import itertools
import math
import operator
from collections.abc import Iterator, Sequence
from fractions import Fraction

import torch
from torch import Tensor

from ._partition import log_sums
from ._topk import best_first
from .base import MAX_INDEX, VectorSystem
from .orbit import Orbit, find_ends
from .ordered import Ordered
from .table import Table


class Union(VectorSystem):
    """The vectors of several systems of one dimension, in the order of the parts.

    Args:
        parts: two or more systems, each an `Orbit`, an `Ordered`, a `Table` or a `Union` of such,
            with no vector in common.

    Raises:
        ValueError: the dimensions differ or two parts share a vector.

    Complexity: the sum over the parts.

    Example:
        >>> roots = Union([Orbit(3, {1: 1, -1: 1}), Orbit(3, {1: 1}), Orbit(3, {-1: 1})])
        >>> roots.size, round(roots.min_angle)
        (12, 45)
    """

    def __init__(self, parts: Sequence[VectorSystem]) -> None:
        flat = [p for part in parts for p in (part._parts if isinstance(part, Union) else (part,))]
        if len(flat) < 2:
            raise ValueError(f"Argument 'parts' must hold at least two systems, not {len(flat)}.")
        for part in flat:
            if not isinstance(part, (Orbit, Ordered, Table)):
                raise ValueError(
                    f"Argument 'parts' must hold Orbit, Ordered, Table or Union, not {part!r}."
                )
            if part.dim != flat[0].dim:
                raise ValueError(
                    f"Argument 'parts' must share one dimension: {flat[0]!r} has "
                    f"{flat[0].dim}, {part!r} has {part.dim}."
                )
        self._parts = tuple(flat)
        self._starts = tuple(itertools.accumulate((p.size for p in flat[:-1]), initial=0))
        self._cross_cosine, a, b = _closest(self._parts)
        if self._cross_cosine > 1 - 1e-9:
            raise ValueError(f"Argument 'parts' must be disjoint: {a!r} and {b!r} are not.")

    @property
    def parts(self) -> tuple[VectorSystem, ...]:
        return self._parts

    @property
    def dim(self) -> int:
        return self._parts[0].dim

    @property
    def size(self) -> int:
        return self._starts[-1] + self._parts[-1].size

    def __repr__(self) -> str:
        return f"Union({list(self._parts)!r})"

    def _vectors(self, index: Tensor, dtype: torch.dtype) -> Tensor:
        vectors = torch.zeros(len(index), self.dim, dtype=dtype, device=index.device)
        placed = self._placements(index, dtype)
        if placed is not None:
            return vectors.scatter_add_(1, *placed)
        # Each part computes a vector for every row, of index 0 where the row is not its own: no
        # shape depends on the data.
        for part, own, local in self._own(index):
            vectors = torch.where(own[:, None], part._vectors(local, dtype), vectors)
        return vectors

    def _placements(self, index: Tensor, dtype: torch.dtype) -> tuple[Tensor, Tensor] | None:
        """Rows with fewer non-zero coordinates than others are filled up with zeros at 0."""
        positions = index.new_zeros((len(index), 0))
        values = index.new_zeros((len(index), 0), dtype=dtype)
        for part, own, local in self._own(index):
            placed = part._placements(local, dtype)
            if placed is None:
                return None
            wider = placed[0].shape[1] - positions.shape[1]
            positions, values = (_widen(t, wider) for t in (positions, values))
            some_positions, some_values = (_widen(t, -wider) for t in placed)
            positions = torch.where(own[:, None], some_positions, positions)
            values = torch.where(own[:, None], some_values, values)
        return positions, values

    def _own(self, index: Tensor) -> Iterator[tuple[VectorSystem, Tensor, Tensor]]:
        """Each part, which rows are its own, and their indices in it, 0 for the others."""
        for start, part in zip(self._starts, self._parts, strict=True):
            own = (index >= start) & (index < start + part.size)
            yield part, own, torch.where(own, index - start, 0)

    def _index(self, vectors: Tensor) -> Tensor:
        # In half precision several parts may take a vector for theirs: the nearest has it.
        index = torch.full((len(vectors),), -1, device=vectors.device)
        nearest = torch.full((len(vectors),), torch.inf, device=vectors.device)
        wide = vectors if vectors.dtype == torch.float64 else vectors.float()
        for start, part in zip(self._starts, self._parts, strict=True):
            own = part._index(vectors)
            there = part._vectors(own.clamp(min=0), wide.dtype)
            distance = (there - wide).norm(dim=-1).float()
            better = (own >= 0) & (distance < nearest)
            index = torch.where(better, own + start, index)
            nearest = torch.where(better, distance, nearest)
        return index

    def _nearest(self, z: Tensor, k: int) -> tuple[Tensor, Tensor]:
        ends = find_ends([part for part in self._parts if isinstance(part, Orbit)], z, k)
        found = [
            part._nearest_from(z, min(k, part.size), ends.get(part.signed))
            if isinstance(part, Orbit)
            else part._nearest(z, min(k, part.size))
            for part in self._parts
        ]
        score = torch.cat([score for score, _ in found], dim=-1)
        index = torch.cat(
            [index + start for (_, index), start in zip(found, self._starts, strict=True)], dim=-1
        )
        if k == 1:
            # Parts come in index order, and argmax takes the first of equals.
            best = score.argmax(dim=-1, keepdim=True)
            return score.gather(-1, best), index.gather(-1, best)
        return best_first(score, index, k)

    def _quantize(self, z: Tensor) -> Tensor:
        found = torch.stack([part._quantize(z) for part in self._parts], dim=1)
        best = torch.einsum("npd,nd->np", found, z).argmax(dim=-1)
        return found[torch.arange(len(z), device=z.device), best]

    def _log_partition(self, u: Tensor, length: float) -> Tensor:
        # The sums that the simplest parts are made of are found together.
        rates = [part._rates() if isinstance(part, Orbit) else () for part in self._parts]
        every = sorted({rate for some in rates for rate in some})
        sums = dict(zip(every, log_sums(u, every), strict=True)) if every else {}
        parts = [
            part._from_sums([sums[rate] for rate in some])
            if some and isinstance(part, Orbit)
            else part._log_partition(u, length)
            for part, some in zip(self._parts, rates, strict=True)
        ]
        return torch.logsumexp(torch.stack(parts, dim=-1), dim=-1)

    def _largest_cosine(self) -> float:
        return max(self._cross_cosine, *(part._largest_cosine() for part in self._parts))

    def _representatives(self) -> tuple[Tensor, Sequence[Fraction | int]]:
        vectors, counts = [], []
        for part in self._parts:
            some, count = self._representatives_of(part)
            vectors.append(some)
            counts += [Fraction(part.size) * c / sum(count) for c in count]
        return torch.cat(vectors), counts

    def _representatives_of(self, part: VectorSystem) -> tuple[Tensor, Sequence[Fraction | int]]:
        """Of a part, under the symmetries that all parts have in common."""
        if not isinstance(part, Orbit) or all(
            isinstance(p, Orbit) and p.signed for p in self._parts
        ):
            return part._representatives()
        if all(isinstance(p, Orbit) for p in self._parts):
            return _sign_patterns(part), _sign_counts(part)
        if part.size > MAX_INDEX:
            return part._representatives()
        count = min(part.size, 64)
        index = torch.tensor([i * (part.size - 1) // max(count - 1, 1) for i in range(count)])
        return part._vectors(index, torch.float64), [1] * count


def _widen(rows: Tensor, columns: int) -> Tensor:
    return torch.nn.functional.pad(rows, (0, columns)) if columns > 0 else rows


Closest = tuple[float, VectorSystem, VectorSystem]
"""A cosine, and the two systems that have vectors at this cosine."""


def _closest(parts: Sequence[VectorSystem]) -> Closest:
    """Largest cosine between vectors of different parts, exact, and these parts.

    Orbits are compared with all others at once, and so are words: interpolated roots have a
    thousand parts, half a million pairs.
    """
    orbits = [part for part in parts if isinstance(part, Orbit)]
    words = [part for part in parts if isinstance(part, Ordered)]
    found = [*_closest_orbits(orbits), *_closest_words(words)]
    for a, b in itertools.combinations(parts, 2):
        if not any(isinstance(a, kind) and isinstance(b, kind) for kind in (Orbit, Ordered)):
            found.append((max(_largest_over(a, b), _largest_over(b, a)), a, b))
    return max(found, key=operator.itemgetter(0))


def _closest_orbits(orbits: Sequence[Orbit]) -> Iterator[Closest]:
    """For each orbit the nearest of the others.

    Coordinates in which both vectors are 0 add nothing: as many as the non-zero values of two
    vectors are enough.
    """
    if len(orbits) < 2:
        return
    most = max(sum(orbit.multiplicities.values()) for orbit in orbits)
    dim = min(orbits[0].dim, 2 * most)
    small = [Orbit(dim, orbit.multiplicities, orbit.signed) for orbit in orbits]
    patterns = [_sign_patterns(orbit) for orbit in small]
    queries = torch.cat(patterns)
    owner = torch.arange(len(small)).repeat_interleave(torch.tensor([len(p) for p in patterns]))
    for i, orbit in enumerate(small):
        cosines = (orbit.quantize(queries) * queries).sum(-1).masked_fill(owner == i, -1.0)
        best = int(cosines.argmax())
        yield float(cosines[best]), orbits[i], orbits[int(owner[best])]


def _closest_words(words: Sequence[Ordered]) -> Iterator[Closest]:
    """For the words of each two lengths the two nearest that are not the same."""
    lengths = sorted({len(word.values) for word in words})
    groups = {n: [word for word in words if len(word.values) == n] for n in lengths}
    for p, q in itertools.combinations_with_replacement(lengths, 2):
        if p == q and len(groups[p]) == 1:
            continue
        cosines = _alignments(groups[p], groups[q])
        if p == q:
            cosines.fill_diagonal_(-1.0)
        i, j = divmod(int(cosines.argmax()), len(groups[q]))
        yield float(cosines[i, j]), groups[p][i], groups[q][j]


def _largest_over(a: VectorSystem, b: VectorSystem) -> float:
    """Largest cosine of a's vectors with some of b's; of the two directions one is exhaustive.

    Coordinate permutations map an orbit to itself, so for an orbit a one vector of each class of
    b under permutations suffices; the rows of a table are all tried.
    """
    if isinstance(b, Table):
        queries = b.vectors(torch.arange(b.size), dtype=torch.float64)
    elif isinstance(b, Orbit):
        queries = _sign_patterns(b)
    else:
        queries = b._representatives()[0][:1]
    return float((a.quantize(queries) * queries).sum(-1).max())


def _sign_patterns(orbit: Orbit) -> Tensor:
    """One vector for each number of minus signs on each value: all up to permutations."""
    rows = []
    counts = orbit.multiplicities
    signs = (range(count + 1 if orbit.signed else 1) for count in counts.values())
    for minus in itertools.product(*signs):
        row: list[float] = []
        for (value, count), negative in zip(counts.items(), minus, strict=True):
            row += [-value] * negative + [value] * (count - negative)
        rows.append(row + [0.0] * (orbit.dim - len(row)))
    return torch.nn.functional.normalize(torch.tensor(rows, dtype=torch.float64), dim=-1)


def _sign_counts(orbit: Orbit) -> list[int]:
    """How many choices of signs each row of `_sign_patterns` stands for."""
    counts = orbit.multiplicities.values()
    signs = (range(count + 1 if orbit.signed else 1) for count in counts)
    return [
        math.prod(math.comb(count, minus) for count, minus in zip(counts, some, strict=True))
        for some in itertools.product(*signs)
    ]


def _alignments(a: Sequence[Ordered], b: Sequence[Ordered]) -> Tensor:
    """Largest cosines over all placements of two ordered words, by dynamic programming.

    A coordinate holds the next value of the one, of the other, of both or of neither.

    Args:
        a: A words of one length.
        b: B words of one length.

    Returns:
        [A, B], float64.
    """
    x = torch.tensor([word.values for word in a], dtype=torch.float64)
    y = torch.tensor([word.values for word in b], dtype=torch.float64)
    p, q = x.shape[1], y.shape[1]
    best = {(0, 0): x.new_zeros(len(x), len(y))}
    for _ in range(min(a[0].dim, p + q)):
        following = dict(best)
        for (i, j), score in best.items():
            for di, dj in ((1, 0), (0, 1), (1, 1)):
                if i + di <= p and j + dj <= q:
                    state = (i + di, j + dj)
                    there = score + torch.outer(x[:, i], y[:, j]) if di and dj else score
                    known = following.get(state)
                    following[state] = there if known is None else torch.maximum(known, there)
        best = following
    return best[p, q] / torch.outer(x.norm(dim=1), y.norm(dim=1))
