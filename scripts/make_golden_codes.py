"""Golden values of the simplex, E8, the Leech lattice and binary codes, by enumeration.

Written from the definitions, without the library. The index order is public API, because
checkpoints store indices: it is spelled out here once more.

Sources of the numbers that are asserted below:
- J. H. Conway, N. J. A. Sloane, Sphere Packings, Lattices and Groups (SPLAG), 3rd ed.: E8 has 240
  minimal vectors (ch. 4, sec. 8.1), the Leech lattice 196,560 of three shapes (ch. 4, sec. 11) with
  inner products 4, 2, 1, 0, ... for 1, 4600, 47104, 93150, ... of them (ch. 10, table 10.4 and
  ch. 14); the extended Golay code has weights 0, 8, 12, 16, 24 for 1, 759, 2576, 759, 1 words
  (ch. 3, sec. 2.8.2).
- F. J. MacWilliams, N. J. A. Sloane, The Theory of Error-Correcting Codes, ch. 13: RM(r, m) has
  distance 2**(m - r). W. W. Peterson, E. J. Weldon, Error-Correcting Codes, table 9.1: dimensions
  of binary BCH codes. Generator polynomials: the package `galois`, which only this script needs.

Run: pip install galois; python scripts/make_golden_codes.py
"""

import itertools
import json
import math
from collections import Counter
from pathlib import Path

import galois
import numpy as np


def colex(dim: int, count: int) -> list[tuple[int, ...]]:
    return sorted(itertools.combinations(range(dim), count), key=lambda subset: subset[::-1])


def pairs(dim: int, value: int) -> list[list[int]]:
    """+-value at two places; colexicographic, the signs as the lowest digit."""
    rows = []
    for places in colex(dim, 2):
        for bits in range(4):
            row = [0] * dim
            for i, place in enumerate(places):
                row[place] = -value if bits >> i & 1 else value
            rows.append(row)
    return rows


def even(bits: int, count: int) -> list[int]:
    """Signs of bits, the last one such that the number of minus signs is even."""
    signs = [-1 if bits >> i & 1 else 1 for i in range(count - 1)]
    return [*signs, math.prod(signs)]


def linear(rows: list[list[int]]) -> np.ndarray:
    """Words in the order of their messages, bit i of which selects row i."""
    messages = np.arange(2 ** len(rows))[:, None] >> np.arange(len(rows)) & 1
    return messages @ np.array(rows) % 2


def simplex(dim: int) -> np.ndarray:
    """Corners less their center, in the basis (1, ..., 1, -k, 0, ..., 0)."""
    corners = np.eye(dim + 1) - 1 / (dim + 1)
    basis = np.zeros((dim, dim + 1))
    for k in range(1, dim + 1):
        basis[k - 1, :k], basis[k - 1, k] = 1, -k
    basis /= np.linalg.norm(basis, axis=1, keepdims=True)
    return corners @ basis.T


def root_e8() -> np.ndarray:
    return np.array(pairs(8, 2) + [even(bits, 8) for bits in range(128)])


def golay_rows() -> list[list[int]]:
    first = [int(bit) for bit in "11011100010"]
    border = [[0] + [1] * 11] + [[1, *first[i:], *first[:i]] for i in range(11)]
    return [[int(i == j) for j in range(12)] + row for i, row in enumerate(border)]


def leech(words: np.ndarray) -> np.ndarray:
    rows = []
    for octad in words[words.sum(1) == 8]:
        places = np.flatnonzero(octad)
        for bits in range(128):
            row = np.zeros(24, dtype=np.int8)
            row[places] = 2 * np.array(even(bits, 8))
            rows.append(row)
    for word in words:
        for place in range(24):
            row = (1 - 2 * word).astype(np.int8)
            row[place] *= -3
            rows.append(row)
    return np.array(rows + pairs(24, 4), dtype=np.int8)


def reed_muller(order: int, m: int) -> np.ndarray:
    monomials = [c for degree in range(order + 1) for c in itertools.combinations(range(m), degree)]
    points = range(2**m)
    return linear([[math.prod(j >> i & 1 for i in some) for j in points] for some in monomials])


PRIMITIVE = {
    3: "x^3 + x + 1",
    4: "x^4 + x + 1",
    5: "x^5 + x^2 + 1",
    6: "x^6 + x + 1",
    7: "x^7 + x + 1",
    8: "x^8 + x^4 + x^3 + x^2 + 1",
}


def bch(m: int, distance: int) -> tuple[list[int], int]:
    """Coefficients of the generator polynomial, lowest first, and the message bits."""
    field = galois.GF(2**m, irreducible_poly=PRIMITIVE[m])
    assert field.is_primitive_poly
    alpha = field("x")
    code = galois.BCH(2**m - 1, d=distance, field=galois.GF(2), extension_field=field, alpha=alpha)
    return [int(c) for c in code.generator_poly.coeffs[::-1]], code.k


def bch_words(m: int, distance: int) -> np.ndarray:
    polynomial, k = bch(m, distance)
    n = 2**m - 1
    return linear([[0] * i + polynomial + [0] * (n - i - len(polynomial)) for i in range(k)])


def unit_rows(rows: np.ndarray) -> list[list[float]]:
    rows = rows / np.linalg.norm(rows.astype(float), axis=1, keepdims=True)
    return (rows.round(12) + 0.0).tolist()


def order_entry(rows: np.ndarray, places: list[int] | None = None) -> dict:
    index = places or sorted({*range(min(6, len(rows))), len(rows) // 2, len(rows) - 1})
    return {"size": len(rows), "index": index, "vectors": unit_rows(rows[index])}


def counts(rows: np.ndarray, one: int) -> dict[str, int]:
    """How many vectors have which cosine with one of them, itself included."""
    rows = rows.astype(np.int64)
    found = Counter((rows @ rows[one]).tolist())
    norm = int(rows[one] @ rows[one])
    return {f"{product / norm:g}": found[product] for product in sorted(found, reverse=True)}


def distance(words: np.ndarray) -> int:
    return int(words[1:].sum(1).min())


E8_COUNTS = {"1": 1, "0.5": 56, "0": 126, "-0.5": 56, "-1": 1}
LEECH_COUNTS = {"1": 1, "0.5": 4600, "0.25": 47104, "0": 93150}
LEECH_COUNTS |= {"-0.25": 47104, "-0.5": 4600, "-1": 1}
BCH_CODES = [(3, 3), (4, 3), (4, 5), (4, 7), (5, 7), (5, 11), (6, 23), (6, 31), (7, 47), (8, 127)]


if __name__ == "__main__":
    e8, words = root_e8(), linear(golay_rows())
    minimal = leech(words)
    weights = Counter(words.sum(1).tolist())
    assert weights == {0: 1, 8: 759, 12: 2576, 16: 759, 24: 1}
    assert len(e8) == 240 and all(counts(e8, i) == E8_COUNTS for i in range(240))
    assert len(minimal) == 196_560 == len(np.unique(minimal, axis=0))
    starts = [0, 97_152, 195_456]
    leech_places = [*range(4), 127, 128, 50_000, 97_151, *range(97_152, 97_156), 97_175, 97_176]
    leech_places += [150_000, 195_455, *range(195_456, 195_462), 196_000, 196_559]
    assert all(counts(minimal, i) == LEECH_COUNTS for i in leech_places)
    muller = {(r, m): reed_muller(r, m) for m in (3, 4) for r in range(m)} | {
        (1, 6): reed_muller(1, 6),
        (2, 5): reed_muller(2, 5),
    }
    assert all(distance(some) == 2 ** (m - r) for (r, m), some in muller.items())
    codes = {f"ReedMuller({r}, {m})": some for (r, m), some in muller.items()}
    codes |= {f"BCH({m}, {d})": bch_words(m, d) for m, d in BCH_CODES}
    content = {
        "order": {
            **{f"Simplex({n})": order_entry(simplex(n)) for n in (1, 2, 5)},
            "RootE8()": order_entry(e8, [*range(6), 111, 112, 113, 114, 200, 239]),
            "Leech()": order_entry(minimal, leech_places),
            **{
                name: order_entry(1 - 2 * codes[name])
                for name in ("ReedMuller(1, 3)", "ReedMuller(2, 4)", "BCH(4, 5)", "BCH(5, 7)")
            },
        },
        "cosines": {"RootE8()": E8_COUNTS, "Leech()": LEECH_COUNTS},
        "shapes": {"Leech()": starts},
        "golay": {
            "generator": ["".join(map(str, row)) for row in golay_rows()],
            "weights": {str(weight): count for weight, count in sorted(weights.items())},
        },
        "codes": {
            name: {"size": len(some), "dim": some.shape[1], "min_distance": distance(some)}
            for name, some in codes.items()
        },
        "polynomials": {f"BCH({m}, {d})": "".join(map(str, bch(m, d)[0])) for m, d in BCH_CODES},
    }
    target = Path(__file__).parents[1] / "tests" / "golden" / "codes.json"
    target.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
