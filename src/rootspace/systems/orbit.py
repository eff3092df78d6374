"""All distinct permutations (and sign changes) of one vector: Slepian's permutation modulation.

D. Slepian, Permutation modulation, Proc. IEEE 53 (1965): variant I, and variant II with signs.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from rootspace._checks import check_kind

from ._partition import (
    NEVER,
    WIDEST,
    log_cumulative_sum,
    log_pair_sum,
    log_sequential_sum,
    log_sums,
    log_tree_sum,
)
from ._ranking import (
    check_values,
    rank_subset,
    skip_positions,
    snap,
    unrank_subset,
    without_positions,
)
from ._topk import Ends, best_first, best_placements
from .base import VectorSystem, check_dim

FEW = 8
"""Up to this many largest coordinates are found one by one, more of them by sorting."""

PAIR_LENGTH = 60.0
"""Longest u for which no term of `log_pair_sum` leaves the range of float32."""

FEW_STATES = 16
"""Up to this many, the pairs of states that the divide and conquer joins are cheap."""

CHUNK = 2**22
"""Candidate coordinates looked at together in a top-k search, to bound its memory."""


class Orbit(VectorSystem):
    r"""All distinct coordinate permutations of a vector with the given non-zero values.

    Args:
        dim: number of coordinates n.
        multiplicities: how often each non-zero value c occurs, {c: m_c}; other coordinates are 0.
        signed: also all sign changes of the non-zero values (which are then given as positive).

    Size: the multinomial n! / (m_0! prod m_c!), times 2^(sum m_c) if signed.

    Index order: the positions of the largest value first (colexicographic rank), then those of
    the next value among the positions left, ..., and the signs last, a set bit for a minus.

    Complexity, with m = sum m_c: `nearest` for k = 1 takes O(N * dim * m) time (O(N * dim * log
    dim) for large m), for larger k the candidates of `_topk` in addition; `log_partition`
    takes O(N * dim) for one value or two of opposite sign, else O(N * dim * prod(m_c + 1)), at
    scales so large that it must stay in the log domain in steps of one coordinate.

    Example:
        >>> roots = Orbit(4, {1: 1, -1: 1})
        >>> roots.size, round(roots.min_angle, 6)
        (12, 60.0)
        >>> roots.nearest(torch.tensor([0.1, 3.0, -2.0, 0.0])).index
        tensor([4])
    """

    def __init__(self, dim: int, multiplicities: Mapping[float, int], signed: bool = False) -> None:
        check_kind(
            "multiplicities", multiplicities, Mapping, "{value: how often it occurs}, a dict"
        )
        for value, count in multiplicities.items():
            if isinstance(count, bool) or not isinstance(count, int) or count < 1:
                raise ValueError(
                    f"Argument 'multiplicities' must map to positive integers, not {count!r} "
                    f"for value {value!r}."
                )
        check_dim(dim)
        number = sum(multiplicities.values())
        if number > dim:  # before so many are listed
            raise ValueError(
                f"Argument 'multiplicities' must place at most dim = {dim} values, not {number}."
            )
        values = [value for value, count in multiplicities.items() for _ in range(count)]
        values = sorted(check_values(dim, values, name="multiplicities"), reverse=True)
        if signed and values[-1] < 0:
            raise ValueError(
                "Argument 'multiplicities' must hold positive values when signed=True, "
                f"not {values[-1]!r}."
            )
        self._dim = dim
        self._signed = bool(signed)
        self._placed = tuple(values)
        self._groups = tuple((value, multiplicities[value]) for value in dict.fromkeys(values))
        self._norm = math.hypot(*values)
        self._num_positive = sum(value > 0 for value in values)

    @property
    def dim(self) -> int:
        return self._dim

    @property
    def multiplicities(self) -> dict[float, int]:
        """{value: how often}, in descending order of the values."""
        return dict(self._groups)

    @property
    def num_states(self) -> int:
        """States that the partition function goes through at each coordinate."""
        return math.prod(count + 1 for _, count in self._groups)

    @property
    def signed(self) -> bool:
        return self._signed

    @property
    def norm(self) -> float:
        """Length of the vectors before they are made unit vectors."""
        return self._norm

    @property
    def levels(self) -> list[float]:
        """The values that a coordinate can have, ascending."""
        values = {value for value, _ in self._groups}
        if self._signed:
            values |= {-value for value in values}
        if len(self._placed) < self._dim:
            values.add(0)
        return sorted(values)

    @property
    def fits_int8(self) -> bool:
        """Whether all levels are integers that an int8 holds."""
        return all(level == int(level) and abs(level) <= 127 for level in self.levels)

    def level_numbers(self, vectors: Tensor) -> Tensor:
        """`[N, dim]` members -> `[N, dim]` uint8: which of `levels` each coordinate has.

        Raises:
            ValueError: a vector is not a member.
        """
        snapped, member = snap(vectors * self._norm, self.levels)
        magnitude = snapped.abs() if self._signed else snapped
        for value, count in self._groups:
            member = member & ((magnitude == value).sum(-1) == count)
        if not bool(member.all()):
            row = int((~member).nonzero()[0, 0])
            raise ValueError(
                f"Argument 'vectors' must hold members of {self!r}; row {row} is not one of them."
            )
        middles = [(a + b) / 2 for a, b in itertools.pairwise(self.levels)]
        return torch.bucketize(snapped, torch.tensor(middles).to(snapped)).to(torch.uint8)

    @property
    def size(self) -> int:
        size = 1
        for _, count, left in self._digits():
            size *= math.comb(left, count)
        return size * 2 ** (len(self._placed) if self._signed else 0)

    def __repr__(self) -> str:
        signed = ", signed=True" if self._signed else ""
        return f"Orbit({self._dim}, {self.multiplicities!r}{signed})"

    # ---------------------------------------------------------------- rank and unrank

    def _digits(self) -> list[tuple[float, int, int]]:
        """(value, count, positions left) for each digit of the index."""
        digits, left = [], self._dim
        for value, count in self._groups:
            digits.append((value, count, left))
            left -= count
        return digits

    def _vectors(self, index: Tensor, dtype: torch.dtype) -> Tensor:
        positions, values = self._placements(index, dtype)
        vectors = torch.zeros(len(index), self._dim, dtype=dtype, device=index.device)
        return vectors.scatter_(1, positions, values)

    def _placements(self, index: Tensor, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
        values = self._unit(index.new_empty(0, dtype=dtype)).expand(len(index), -1)
        rank = index
        if self._signed:
            bits = torch.arange(len(self._placed), device=index.device)
            values = values * (1 - 2 * ((index[:, None] >> bits) & 1)).to(dtype)
            rank = index >> len(self._placed)
        return self._unrank(rank), values

    def _unrank(self, rank: Tensor) -> Tensor:
        """`[N]` -> `[N, m]` positions of the placed values, ascending within each value."""
        digits, parts = self._digits(), []
        for _, count, left in reversed(digits):
            radix = math.comb(left, count)
            parts.append(unrank_subset(rank % radix, left, count))
            rank = rank // radix
        used = parts.pop()
        while parts:
            used = torch.cat([used, skip_positions(parts.pop(), used)], dim=-1)
        return used

    def _rank(self, positions: Tensor, negative: Tensor | None) -> Tensor:
        """`[N, m]` positions of the placed values (any order within a value) -> `[N]` index."""
        rank = positions.new_zeros(positions.shape[:-1])
        bits, start = [], 0
        for _, count, left in self._digits():
            group, order = positions[..., start : start + count], None
            if count > 1:
                group, order = group.sort(dim=-1)
            group = without_positions(group, positions[..., :start])
            rank = rank * math.comb(left, count) + rank_subset(group, left)
            if negative is not None:
                own = negative[..., start : start + count]
                bits.append(own if order is None else own.gather(-1, order))
            start += count
        if negative is not None:
            weights = 1 << torch.arange(len(self._placed), device=rank.device)
            rank = (rank << len(self._placed)) + (torch.cat(bits, -1) * weights).sum(-1)
        return rank

    def _index(self, vectors: Tensor) -> Tensor:
        snapped, member = snap(vectors * self._norm, self.levels)
        magnitude = snapped.abs() if self._signed else snapped
        groups = []
        for value, count in self._groups:
            placed = magnitude == torch.tensor(value, dtype=torch.float64).to(magnitude)
            member &= placed.sum(-1) == count
            # Rows that do not fit get some positions too, so that all have one width.
            some = placed.to(torch.uint8).sort(dim=-1, descending=True, stable=True).indices
            groups.append(some[:, :count])
        positions = torch.cat(groups, dim=-1)
        negative = (snapped.gather(-1, positions) < 0).long() if self._signed else None
        # Positions of a row that does not fit may repeat and rank to nonsense; it becomes -1.
        positions = torch.where(
            member[:, None], positions, torch.arange(positions.shape[1], device=vectors.device)
        )
        return torch.where(member, self._rank(positions, negative), -1)

    # ---------------------------------------------------------------- decode

    def _nearest(self, z: Tensor, k: int) -> tuple[Tensor, Tensor]:
        return self._nearest_from(z, k, find_ends([self], z, k).get(self._signed))

    def _reach(self, k: int) -> tuple[int, int]:
        """How many of the largest and smallest coordinates the k nearest vectors can involve."""
        m, positive = len(self._placed), self._num_positive
        high = min(self._dim, positive + k - 1) if positive else 0
        return high, min(self._dim - high, m - positive + k - 1) if positive < m else 0

    def _nearest_from(self, z: Tensor, k: int, ends: Ends | None) -> tuple[Tensor, Tensor]:
        """`_nearest` with what `find_ends` found in the embeddings, or their magnitudes."""
        key = z.abs() if self._signed and ends is None else z
        high, low = self._reach(k)
        if k == 1:
            positions = (
                self._best_positions(key)
                if ends is None
                else ends.positions(high, low, self._best_positions)
            )
            placed = z.gather(-1, positions)
            score = ((placed.abs() if self._signed else placed) * self._unit(z)).sum(-1)
            negative = (placed < 0).long() if self._signed else None
            return score[:, None], self._rank(positions, negative)[:, None]

        def in_order(key: Tensor) -> Tensor:
            return best_order(key, high, low)

        order = in_order(key) if ends is None else ends.positions(high, low, in_order)
        rank_of, sign_of = self._candidates(high, low, k)
        rank_of = rank_of.to(z.device)
        sign_of = None if sign_of is None else sign_of.to(z.device)
        rows = max(1, CHUNK // rank_of.numel())
        parts = [
            self._best_candidates(some_z, some_order, rank_of, sign_of, k)
            for some_z, some_order in zip(z.split(rows), order.split(rows), strict=True)
        ]
        if len(parts) == 1:
            return parts[0]
        score, index = zip(*parts, strict=True)
        return torch.cat(score), torch.cat(index)

    def _best_positions(self, key: Tensor) -> Tensor:
        """`[N, m]`: largest coordinates for positive values, smallest for negative ones.

        Equal coordinates go by smaller position, which makes the index the smallest possible.
        """
        m, positive = len(self._placed), self._num_positive
        if self._placed[0] > 0 > self._placed[-1] and m == 2:  # roots: no copy, no mask
            high, low = key.argmax(-1), key.argmin(-1)
            # They coincide only where all coordinates are equal: the first two are taken then.
            low = torch.where(low == high, 1, low)
            return torch.stack([high, low], dim=-1)
        if positive == m:
            return largest(key, m)
        high = largest(key, positive)
        low = largest((-key).scatter(-1, high, -torch.inf), m - positive)
        # The chosen ones in descending order of their coordinates, again ties by position.
        low = low.sort(dim=-1).values
        by_value = key.gather(-1, low).sort(dim=-1, descending=True, stable=True).indices
        return torch.cat([high, low.gather(-1, by_value)], dim=-1)

    def _candidates(self, high: int, low: int, k: int) -> tuple[Tensor, Tensor | None]:
        """Where the placed values of each candidate are among the coordinates that matter.

        Returns:
            `[P, m]` the rank of each value's coordinate, `[P, m]` its sign if signed.
        """
        positive = self._num_positive
        zeros = (0.0,) * (high + low - len(self._placed))
        top = (*map(float, self._placed[:positive]), *zeros, *map(float, self._placed[positive:]))
        # A minus sign pays only when fewer than k zeros are there to exchange it with.
        flips = self._signed and high == self._dim
        rank_of, sign_of = best_placements(top, self._groups, k, self._signed, flips)
        return rank_of, sign_of if self._signed else None

    def _best_candidates(
        self, z: Tensor, order: Tensor, rank_of: Tensor, sign_of: Tensor | None, k: int
    ) -> tuple[Tensor, Tensor]:
        coordinates, values = z.gather(-1, order), self._unit(z)
        if sign_of is not None:
            coordinates, values = coordinates.abs(), values * sign_of
        score = (coordinates[:, rank_of] * values).sum(-1)
        score, chosen = score.topk(k, dim=-1)
        positions = order.unsqueeze(1).expand(-1, k, -1).gather(-1, rank_of[chosen])
        negative = None
        if sign_of is not None:
            minus = z.unsqueeze(1).expand(-1, k, -1).gather(-1, positions) < 0
            negative = (minus ^ (sign_of[chosen] < 0)).long()
        return best_first(score, self._rank(positions, negative), k)

    def _quantize(self, z: Tensor) -> Tensor:
        positions = self._best_positions(z.abs() if self._signed else z)
        values = self._unit(z).expand_as(positions)
        if self._signed:
            values = values * torch.where(z.gather(-1, positions) < 0, -1, 1)
        return torch.zeros_like(z).scatter(-1, positions, values)

    # ---------------------------------------------------------------- partition function

    def _rates(self) -> tuple[float, ...]:
        """Rates of the `log_sums` that `_from_sums` takes; none where that is not enough."""
        rates = tuple(value / self._norm for value in self._placed)
        if len(rates) == 1:
            return (rates[0], -rates[0]) if self._signed else rates
        if len(rates) == 2 and rates[0] > 0 > rates[1] and not self._signed:
            return rates if rates[0] == -rates[1] else (*rates, rates[0] + rates[1])
        return ()

    def _from_sums(self, sums: Sequence[Tensor]) -> Tensor:
        """`[N]` log partition function from the `log_sums` of `_rates`."""
        if len(self._placed) == 1:
            return torch.logaddexp(*sums) if self._signed else sums[0]
        # All pairs less those on one coordinate. Large values of the one factor meet small
        # values of the other, so the part taken away is at most 1/dim (Chebyshev's sum
        # inequality): nothing cancels.
        pairs = sums[0] + sums[1]
        same = sums[2] if len(sums) > 2 else math.log(self._dim)
        return pairs + torch.log1p(-torch.exp(same - pairs))

    def _log_partition(self, u: Tensor, length: float) -> Tensor:
        rates = self._rates()
        if rates:
            return self._from_sums(log_sums(u, rates))
        if len(self._groups) == 1 and len(self._placed) == 2 and length < PAIR_LENGTH:
            return log_pair_sum(u, self._placed[0] / self._norm, self._signed)
        weights = []
        for value, _ in self._groups:
            w = u * (value / self._norm)
            weights.append(torch.logaddexp(w, -w) if self._signed else w)
        counts = [count for _, count in self._groups]
        spread = 2 * length * sum(abs(value) for value in self._placed) / self._norm
        fits = spread < WIDEST and math.log(self.size) < WIDEST
        if fits and u.device.type != "mps":
            return log_cumulative_sum(weights, counts)
        if self.num_states > FEW_STATES:
            return log_sequential_sum(weights, counts)
        states = list(itertools.product(*(range(count + 1) for count in counts)))
        number = {state: i for i, state in enumerate(states)}
        products = [_splits(state, number) for state in states]
        leaf: dict[int, Tensor] = {0: torch.zeros_like(u)}
        for i, w in enumerate(weights):
            leaf[number[tuple(int(j == i) for j in range(len(weights)))]] = w
        never = torch.full_like(u, NEVER)
        leaves = torch.stack([leaf.get(i, never) for i in range(len(states))], dim=-1)
        return log_tree_sum(leaves, products)

    # ---------------------------------------------------------------- geometry

    def _unit(self, like: Tensor) -> Tensor:
        return (torch.tensor(self._placed, dtype=torch.float64) / self._norm).to(like)

    def _largest_cosine(self) -> float:
        # The shortest step exchanges two neighboring levels, or flips the smallest value.
        levels = {abs(v) if self._signed else v for v in self._placed}
        if len(self._placed) < self._dim:
            levels.add(0)
        ladder = sorted(levels)
        steps = [2 * (b - a) ** 2 for a, b in itertools.pairwise(ladder)]
        if self._signed:
            steps.append(4 * min(self._placed) ** 2)
        return 1 - min(steps) / (2 * self._norm**2) if steps else -1.0

    def _representatives(self) -> tuple[Tensor, list[int]]:
        # Permutations and signs map any vector to any other.
        vector = torch.zeros(1, self._dim, dtype=torch.float64)
        vector[0, : len(self._placed)] = self._unit(vector)
        return vector, [self.size]


def find_ends(orbits: Sequence[Orbit], z: Tensor, k: int) -> dict[bool, Ends]:
    """The coordinates that the orbits' k nearest vectors need: for unsigned and signed ones.

    None for orbits that need nearly all coordinates, and none in a compiled graph, whose shapes
    cannot depend on ties.
    """
    found: dict[bool, Ends] = {}
    if torch.compiler.is_compiling():
        return found
    for signed in (False, True):
        reach = [orbit._reach(k) for orbit in orbits if orbit._signed == signed]
        if reach:
            high, low = (max(counts) for counts in zip(*reach, strict=True))
            if 2 * (high + low + 2) <= z.shape[1]:
                found[signed] = Ends(z.abs() if signed else z, high, low)
    return found


def best_order(key: Tensor, high: int, low: int) -> Tensor:
    """`[N, high + low]` positions of the largest and the smallest coordinates, descending."""
    order = largest(key, high)
    if low:
        rest = largest((-key).scatter(-1, order, -torch.inf), low).flip(-1)
        order = torch.cat([order, rest], dim=-1)
    return order


def largest(z: Tensor, m: int) -> Tensor:
    """Positions `[N, m]` of the m largest coordinates, best first, ties by smaller position."""
    if m > FEW:
        return z.sort(dim=-1, descending=True, stable=True).indices[:, :m]
    positions = []
    for i in range(m):
        position = z.argmax(dim=-1, keepdim=True)
        positions.append(position)
        if i < m - 1:
            z = z.scatter(-1, position, -torch.inf)
    return torch.cat(positions, dim=-1) if positions else z.new_empty((len(z), 0)).long()


def _splits(state: tuple[int, ...], number: Mapping[tuple[int, ...], int]) -> list[tuple[int, int]]:
    lefts = itertools.product(*(range(count + 1) for count in state))
    return [
        (number[left], number[tuple(a - b for a, b in zip(state, left, strict=True))])
        for left in lefts
    ]
