"""Random systems against an enumeration written from the mathematical definition."""

import itertools
import math
from collections import Counter

import pytest
import torch
from hypothesis import assume, given
from hypothesis import strategies as st

from rootspace.systems import Circle, Hyperplane, Orbit, Ordered, RootA, Union, VectorSystem

Row = tuple[float, ...]
LARGEST = 5000

values = st.sampled_from([1, 2, 3, 5, -1, -2, -4, 0.5, -1.5, 0.3, 2.25])


# ---------------------------------------------------------------------------- enumeration


def permuted(base: Row, signed: bool) -> set[Row]:
    """All distinct permutations of a vector, with all changes of sign if signed."""
    rows = set(itertools.permutations(base))
    if signed:
        signs = list(itertools.product((1, -1), repeat=len(base)))
        rows = {
            tuple(a * s for a, s in zip(row, some, strict=True)) for row in rows for some in signs
        }
    return {tuple(a + 0.0 for a in row) for row in rows}


def in_order(dim: int, word: Row) -> set[Row]:
    """All rows whose non-zero entries, read from left to right, are the word."""
    levels = {0.0, *word}
    return {
        row
        for row in itertools.product(levels, repeat=dim)
        if tuple(value for value in row if value) == word
    }


def roots(n: int, isometric: bool, positive: bool, interpolations: int) -> set[Row]:
    """A_n in n + 1 coordinates, the dyadic points of its edges, halved, projected."""
    base = permuted((1, -1, *(0,) * (n - 1)), signed=False)
    rows = set(base)
    parts = 2**interpolations
    for v, w in itertools.permutations(base, 2):
        if sum(a * b for a, b in zip(v, w, strict=True)) == 1:  # at 60 degrees
            for step in range(1, parts):
                mixed = ((parts - step) * a + step * b for a, b in zip(v, w, strict=True))
                rows.add(tuple(value / parts for value in mixed))
    if positive:
        rows = {row for row in rows if next(value for value in row if value) > 0}
    return rows if isometric else {row[:-1] for row in rows}


def normal(rows: set[Row]) -> torch.Tensor:
    table = torch.tensor(sorted(rows), dtype=torch.float64)
    return torch.nn.functional.normalize(table, dim=-1)


# ---------------------------------------------------------------------------- comparison


def assert_same_vectors(system: VectorSystem, rows: set[Row]) -> None:
    """The system consists of these rows, made unit vectors, and nothing else."""
    assert system.size == len(rows)
    assert system.dim == len(next(iter(rows)))
    found = system.vectors(torch.arange(system.size), dtype=torch.float64)
    ours, theirs = (
        sorted(map(tuple, t.round(decimals=9).add(0.0).tolist())) for t in (found, normal(rows))
    )
    assert ours == theirs


def assert_same_gram(system: VectorSystem, rows: set[Row]) -> None:
    """Up to a rotation: the same inner products of each vector with all others."""
    assert system.size == len(rows)
    found = system.vectors(torch.arange(system.size), dtype=torch.float64)
    ours, theirs = (
        Counter(map(tuple, (t @ t.T).sort(dim=-1).values.round(decimals=7).add(0.0).tolist()))
        for t in (found, normal(rows))
    )
    assert ours == theirs


def assert_smallest_angle(system: VectorSystem, rows: set[Row]) -> None:
    table = normal(rows)
    if len(table) == 1:
        assert system.min_angle == 180
        return
    cosines = table @ table.T - 3 * torch.eye(len(table))
    angle = math.degrees(math.acos(max(-1.0, min(1.0, float(cosines.max())))))
    assert system.min_angle == pytest.approx(angle, abs=1e-5)


def assert_nearest_and_partition(system: VectorSystem, rows: set[Row]) -> None:
    table = normal(rows)
    z = torch.randn(20, system.dim, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    cosines = torch.nn.functional.normalize(z, dim=-1) @ table.T
    k = min(7, system.size)
    assert torch.allclose(system.nearest(z, k).cosine, cosines.topk(k).values, atol=1e-12)
    for scale in (3.0, 40.0):
        expected = torch.logsumexp(scale * cosines, dim=-1)
        assert torch.allclose(system.log_partition(z, scale), expected, rtol=1e-10, atol=1e-10)


# ---------------------------------------------------------------------------- tests


@st.composite
def orbits(draw: st.DrawFn) -> tuple[Orbit, set[Row]]:
    dim = draw(st.integers(1, 7))
    signed = draw(st.booleans())
    base = draw(st.lists(values.map(abs) if signed else values, min_size=1, max_size=dim))
    system = Orbit(dim, Counter(base), signed=signed)
    assume(system.size <= LARGEST)
    return system, permuted((*base, *(0,) * (dim - len(base))), signed)


@given(orbits())
def test_orbit(drawn: tuple[Orbit, set[Row]]) -> None:
    system, rows = drawn
    assert_same_vectors(system, rows)
    assert_smallest_angle(system, rows)
    assert_nearest_and_partition(system, rows)


@st.composite
def words(draw: st.DrawFn) -> tuple[Ordered, set[Row]]:
    dim = draw(st.integers(1, 7))
    word = tuple(draw(st.lists(values, min_size=1, max_size=min(dim, 4))))
    return Ordered(dim, word), in_order(dim, word)


@given(words())
def test_ordered(drawn: tuple[Ordered, set[Row]]) -> None:
    system, rows = drawn
    assert_same_vectors(system, rows)
    assert_smallest_angle(system, rows)
    assert_nearest_and_partition(system, rows)


@st.composite
def unions(draw: st.DrawFn) -> tuple[Union, set[Row]]:
    dim = draw(st.integers(2, 5))
    kinds = draw(st.lists(st.sampled_from(["orbit", "signed", "ordered"]), min_size=2, max_size=3))
    parts, rows = [], []
    for kind in kinds:
        base = draw(st.lists(st.sampled_from([1, 2, -1, -3]), min_size=1, max_size=min(dim, 3)))
        if kind == "ordered":
            parts.append(Ordered(dim, base))
            rows.append(in_order(dim, tuple(base)))
        else:
            base = [abs(value) for value in base] if kind == "signed" else base
            parts.append(Orbit(dim, Counter(base), signed=kind == "signed"))
            rows.append(permuted((*base, *(0,) * (dim - len(base))), kind == "signed"))
    everything = set().union(*rows)
    different = normal(everything).round(decimals=9).add(0.0).unique(dim=0)
    if len(different) < sum(map(len, rows)):
        with pytest.raises(ValueError, match=r"must be disjoint"):
            Union(parts)
        assume(False)
    return Union(parts), everything


@given(unions())
def test_union(drawn: tuple[Union, set[Row]]) -> None:
    system, rows = drawn
    assert_same_vectors(system, rows)
    assert_smallest_angle(system, rows)
    assert_nearest_and_partition(system, rows)


@pytest.mark.parametrize("interpolations", [0, 1, 2])
@pytest.mark.parametrize("positive", [False, True], ids=["all", "positive"])
@pytest.mark.parametrize("n", [1, 2, 3, 4, 5])
class TestRoots:
    def test_drop(self, n: int, positive: bool, interpolations: int) -> None:
        system = RootA(n, positive=positive, interpolations=interpolations)
        rows = roots(n, False, positive, interpolations)
        assert_same_vectors(system, rows)
        assert_smallest_angle(system, rows)
        assert_nearest_and_partition(system, rows)

    def test_isometric(self, n: int, positive: bool, interpolations: int) -> None:
        system = RootA(n, "isometric", positive, interpolations)
        rows = roots(n, True, positive, interpolations)
        assert_same_gram(system, rows)
        assert_smallest_angle(system, rows)

    def test_sizes(self, n: int, positive: bool, interpolations: int) -> None:
        size = n * (n + 1) + n * (n * n - 1) * (2**interpolations - 1)
        for projection in ("drop", "isometric"):
            system = RootA(n, projection, positive, interpolations)
            assert system.size == (size // 2 if positive else size)


@given(st.lists(st.sampled_from([1, 2, 3, 0.5]), min_size=1, max_size=3), st.integers(0, 2))
def test_hyperplane_keeps_inner_products(half: list[float], zeros: int) -> None:
    base = [*half, *(-value for value in half)]
    system = Orbit(len(base) + zeros, Counter(base))
    assume(system.size <= 1000)
    flat = Hyperplane(system)
    every = torch.arange(system.size)
    v, w = (s.vectors(every, dtype=torch.float64) for s in (system, flat))
    assert torch.allclose(v @ v.T, w @ w.T, atol=1e-12)


@pytest.mark.parametrize("doublings", range(6))
def test_circle(doublings: int) -> None:
    size = 4 * 2**doublings
    turns = [2 * math.pi * i / size for i in range(size)]
    rows = {(math.cos(turn), math.sin(turn)) for turn in turns}
    assert_same_vectors(Circle(doublings), rows)
    assert Circle(doublings).min_angle == pytest.approx(360 / size)
    assert_nearest_and_partition(Circle(doublings), rows)
