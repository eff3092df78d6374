"""Golden values of the vector systems, by enumeration in pure Python.

Written from the definitions, without the library. The order of the vectors and of the parts is
public API, because checkpoints store indices: it is spelled out here once more.

Sources of the numbers that are asserted below:
- J. H. Conway, N. J. A. Sloane, Sphere Packings, Lattices and Groups, 3rd ed., ch. 4: A_n has
  n(n+1) minimal vectors (6.1), D_n has 2n(n-1) (7.1).
- J. E. Humphreys, Introduction to Lie Algebras and Representation Theory, sec. 9.4 and 12.1: angles
  of roots; in A_n each root has 2(n-1) others at 60 degrees, as many at 120 and one opposite.
- N. Gabdullin, arXiv 2510.04090, Table 1: n(n+1) roots, n(n^2-1) interpolated vectors; the sizes
  A_67 = 305,252, A_85 = 621,350, A_109 = 1,306,910 and A_384 = 56,770,560 with one interpolation.

Run: python scripts/make_golden_systems.py
"""

import itertools
import json
import math
from collections import Counter
from collections.abc import Iterator, Sequence
from fractions import Fraction
from pathlib import Path

Row = tuple[float, ...]


# ---------------------------------------------------------------------------- index order


def colex(positions: Sequence[int], count: int) -> list[tuple[int, ...]]:
    """Subsets in colexicographic order: by the largest position, then the next one, ..."""
    return sorted(itertools.combinations(positions, count), key=lambda subset: subset[::-1])


def orbit(dim: int, multiplicities: dict[float, int], signed: bool = False) -> Iterator[Row]:
    """Largest value first; within a value colexicographic; the signs are the lowest digit."""
    values = sorted(multiplicities, reverse=True)

    def place(row: dict[int, float], left: list[float]) -> Iterator[dict[int, float]]:
        if not left:
            yield row
            return
        free = [p for p in range(dim) if p not in row]
        for subset in colex(free, multiplicities[left[0]]):
            yield from place(row | dict.fromkeys(subset, left[0]), left[1:])

    for row in place({}, values):
        placed = list(row)  # in the order of placing
        for bits in range(2 ** len(placed) if signed else 1):
            signs = {p: -1 if bits >> i & 1 else 1 for i, p in enumerate(placed)}
            yield tuple(row.get(p, 0) * signs.get(p, 1) for p in range(dim))


def ordered(dim: int, values: Sequence[float]) -> Iterator[Row]:
    for subset in colex(range(dim), len(values)):
        row = dict(zip(subset, values, strict=True))
        yield tuple(row.get(p, 0) for p in range(dim))


def circle(doublings: int) -> Iterator[Row]:
    turns = [Fraction(i, 4) for i in range(4)]
    for t in range(doublings):
        turns += [turn + Fraction(1, 8 * 2**t) for turn in turns]
    for turn in turns:
        yield math.cos(2 * math.pi * turn), math.sin(2 * math.pi * turn)


def hyperplane(rows: Iterator[Row]) -> Iterator[Row]:
    """In the basis that Gram-Schmidt makes of e_1 - e_2, e_1 - e_3, ... (Helmert)."""
    for row in rows:
        dim, basis = len(row), []
        for k in range(1, dim):
            vector = [1.0 if i == 0 else -1.0 if i == k else 0.0 for i in range(dim)]
            for other in basis:
                along = sum(a * b for a, b in zip(vector, other, strict=True))
                vector = [a - along * b for a, b in zip(vector, other, strict=True)]
            length = math.sqrt(sum(a * a for a in vector))
            basis.append([a / length for a in vector])
        yield tuple(sum(a * b for a, b in zip(row, other, strict=True)) for other in basis)


def union(*parts: Iterator[Row]) -> Iterator[Row]:
    return itertools.chain(*parts)


SYSTEMS = {
    "Orbit(5, {1: 1})": orbit(5, {1: 1}),
    "Orbit(4, {1: 1, -1: 1})": orbit(4, {1: 1, -1: 1}),
    "Orbit(6, {1: 2, -1: 1})": orbit(6, {1: 2, -1: 1}),
    "Orbit(5, {3: 1, 2: 2, -1: 1})": orbit(5, {3: 1, 2: 2, -1: 1}),
    "Orbit(4, {-1: 1, -2: 1})": orbit(4, {-1: 1, -2: 1}),
    "Orbit(4, {1: 2}, signed=True)": orbit(4, {1: 2}, True),
    "Orbit(4, {2: 1, 1: 2}, signed=True)": orbit(4, {2: 1, 1: 2}, True),
    "Ordered(5, (1, -1))": ordered(5, (1, -1)),
    "Ordered(6, (2, -1, 3))": ordered(6, (2, -1, 3)),
    "Union([Orbit(3, {1: 2}), Ordered(3, (1, -1))])": union(orbit(3, {1: 2}), ordered(3, (1, -1))),
    "Hyperplane(Orbit(4, {1: 1, -1: 1}))": hyperplane(orbit(4, {1: 1, -1: 1})),
    "Circle(0)": circle(0),
    "Circle(3)": circle(3),
    "RootA(1)": union(orbit(1, {1: 1}), orbit(1, {-1: 1})),
    "RootA(3)": union(orbit(3, {1: 1, -1: 1}), orbit(3, {1: 1}), orbit(3, {-1: 1})),
    "RootA(3, projection='isometric')": hyperplane(orbit(4, {1: 1, -1: 1})),
    "RootA(3, positive=True)": union(ordered(3, (1, -1)), ordered(3, (1,))),
    "RootA(3, interpolations=1)": union(
        orbit(3, {1: 1, -1: 1}),
        orbit(3, {1: 1}),
        orbit(3, {-1: 1}),
        orbit(3, {2: 1, -1: 2}),
        orbit(3, {2: 1, -1: 1}),
        orbit(3, {-1: 2}),
        orbit(3, {-2: 1, 1: 2}),
        orbit(3, {1: 2}),
        orbit(3, {-2: 1, 1: 1}),
    ),
    "RootA(3, positive=True, interpolations=1)": union(
        ordered(3, (1, -1)),
        ordered(3, (1,)),
        ordered(3, (2, -1, -1)),
        ordered(3, (1, 1, -2)),
        ordered(3, (1, -2, 1)),
        ordered(3, (2, -1)),
        ordered(3, (1, 1)),
        ordered(3, (1, -2)),
    ),
}


def unit(row: Row) -> Row:
    length = math.sqrt(sum(a * a for a in row))
    return tuple(a / length for a in row)


def order_entry(rows: Iterator[Row]) -> dict:
    units = [unit(row) for row in rows]
    return {
        "size": len(units),
        "first": [[round(a, 12) + 0.0 for a in row] for row in units[:12]],
        "last": [round(a, 12) + 0.0 for a in units[-1]],
    }


# ---------------------------------------------------------------------------- inner products


def histogram(rows: Iterator[Row]) -> dict[str, int]:
    """How many ordered pairs of different vectors have which cosine."""
    units = [unit(row) for row in rows]
    cosines = (
        sum(a * b for a, b in zip(v, w, strict=True)) for v, w in itertools.permutations(units, 2)
    )
    counts = Counter(f"{cosine:.6f}".replace("-0.000000", "0.000000") for cosine in cosines)
    return dict(sorted(counts.items(), key=lambda item: float(item[0])))


HISTOGRAMS = {
    "RootA(5, projection='isometric')": orbit(6, {1: 1, -1: 1}),
    "RootA(4)": union(orbit(4, {1: 1, -1: 1}), orbit(4, {1: 1}), orbit(4, {-1: 1})),
    "RootA(3, projection='isometric', interpolations=1)": union(
        orbit(4, {1: 1, -1: 1}), orbit(4, {2: 1, -1: 2}), orbit(4, {-2: 1, 1: 2})
    ),
    "Orbit(5, {1: 2}, signed=True)": orbit(5, {1: 2}, True),
    "Orbit(6, {1: 2, -1: 1})": orbit(6, {1: 2, -1: 1}),
    "Orbit(5, {1: 3}, signed=True)": orbit(5, {1: 3}, True),
    "Circle(2)": circle(2),
}


# ---------------------------------------------------------------------------- sizes

SIZES = {
    "RootA(9)": 90,
    "RootA(384)": 147_840,
    "RootA(384, projection='isometric')": 147_840,
    "RootA(384, positive=True)": 73_920,
    "RootA(67, interpolations=1)": 305_252,
    "RootA(85, interpolations=1)": 621_350,
    "RootA(109, interpolations=1)": 1_306_910,
    "RootA(384, interpolations=1)": 56_770_560,
    "RootA(384, positive=True, interpolations=1)": 28_385_280,
    "RootA(10, interpolations=2)": 10 * 11 + 10 * 99 * 3,
    "RootA(10, interpolations=3)": 10 * 11 + 10 * 99 * 7,
    "Orbit(384, {1: 2}, signed=True)": 2 * 384 * 383,  # D_n
    "Orbit(384, {1: 2, -1: 1})": math.comb(384, 2) * 382,  # V_n^21
    "Orbit(384, {1: 3}, signed=True)": 8 * math.comb(384, 3),
    "Orbit(384, {1: 2, -1: 2})": math.comb(384, 2) * math.comb(382, 2),  # V_n^22
    "Circle(20)": 4 * 2**20,
    "Orbit(200, {1: 100})": math.comb(200, 100),
}
for n, size in ((67, 305_252), (85, 621_350), (109, 1_306_910), (384, 56_770_560)):
    assert size == n * (n + 1) + n * (n * n - 1)


# ---------------------------------------------------------------------------- scales


def neighbors(dim: int, plus: int, minus: int) -> Counter[Fraction]:
    """How many vectors with so many 1 and -1 have which cosine with one of them."""
    counts: Counter[Fraction] = Counter()
    zeros, norm = dim - plus - minus, plus + minus
    # Of the other vector's 1s, i lie on our 1s and j on our -1s; of its -1s k and l.
    for i, j, k, extra in itertools.product(*(range(count + 1) for count in (plus, minus) * 2)):
        if i + j > plus or k + extra > minus or i + k > plus or j + extra > minus:
            continue
        ways = math.comb(plus, i) * math.comb(plus - i, k)
        ways *= math.comb(minus, j) * math.comb(minus - j, extra)
        ways *= math.comb(zeros, plus - i - j)
        ways *= math.comb(zeros - (plus - i - j), minus - k - extra)
        counts[Fraction(i - j - k + extra, norm)] += ways
    assert sum(counts.values()) == math.comb(dim, plus) * math.comb(dim - plus, minus)
    return counts


def signed_neighbors(dim: int, hot: int) -> Counter[Fraction]:
    """How many signed k-hot vectors have which cosine with one of them."""
    counts: Counter[Fraction] = Counter()
    for common in range(hot + 1):
        places = math.comb(hot, common) * math.comb(dim - hot, hot - common) * 2 ** (hot - common)
        for same in range(common + 1):
            counts[Fraction(2 * same - common, hot)] += places * math.comb(common, same)
    assert sum(counts.values()) == math.comb(dim, hot) * 2**hot
    return counts


def scale_for(p: float, counts: Counter[Fraction]) -> float:
    """Where a vector gets probability p in the softmax over all, by bisection."""

    def probability(scale: float) -> float:
        terms = (n * math.exp(scale * (float(c) - 1)) for c, n in counts.items())
        return 1 / math.fsum(terms)

    low, high = 0.0, 1000.0
    for _ in range(100):
        middle = (low + high) / 2
        low, high = (middle, high) if probability(middle) < p else (low, middle)
    return high


SCALES = {
    "Orbit(384, {1: 1, -1: 1})": neighbors(384, 1, 1),
    "Orbit(384, {1: 2}, signed=True)": signed_neighbors(384, 2),
    "Orbit(384, {1: 2, -1: 1})": neighbors(384, 2, 1),
    "Orbit(384, {1: 3}, signed=True)": signed_neighbors(384, 3),
    "Orbit(384, {1: 2, -1: 2})": neighbors(384, 2, 2),
    "Orbit(384, {1: 4}, signed=True)": signed_neighbors(384, 4),
}


if __name__ == "__main__":
    a5 = histogram(orbit(6, {1: 1, -1: 1}))
    assert a5 == {"-1.000000": 30, "-0.500000": 30 * 8, "0.000000": 30 * 12, "0.500000": 30 * 8}
    content = {
        "order": {name: order_entry(rows) for name, rows in SYSTEMS.items()},
        "histograms": {name: histogram(rows) for name, rows in HISTOGRAMS.items()},
        "sizes": SIZES,
        "scales": {
            name: {str(p): round(scale_for(p, counts), 9) for p in (0.5, 0.9, 0.99)}
            for name, counts in SCALES.items()
        },
    }
    target = Path(__file__).parents[1] / "tests" / "golden" / "systems.json"
    text = json.dumps(content, indent=1)
    target.write_text(text + "\n", encoding="utf-8")
