"""Every public vector system in small, large and huge instances, with what to expect of them.

A new system needs one entry here; a guard in systems/test_systems_contract.py asks for it.
"""

import torch

from rootspace.systems import (
    BCH,
    Circle,
    Hypercube,
    Hyperplane,
    Leech,
    LinearCode,
    Orbit,
    Ordered,
    Orthoplex,
    PermutationCode,
    PermutationSystem,
    ReedMuller,
    RootA,
    RootB,
    RootD,
    RootE8,
    SignedKHot,
    Simplex,
    Sphere,
    Table,
    Union,
)
from rootspace.testing import SystemCase

FLOATS = (torch.float64, torch.float32)


def _random_rows(size: int, dim: int, dtype: torch.dtype) -> torch.Tensor:
    generator = torch.Generator().manual_seed(7)
    return torch.randn(size, dim, generator=generator, dtype=torch.float64).to(dtype)


def _orbit(*arguments, signed: bool = False, **expectations) -> SystemCase:
    system = Orbit(*arguments, signed=signed)
    return SystemCase(system, permutations=True, sign_flips=signed, **expectations)


def _table(rows: torch.Tensor) -> SystemCase:
    # A matrix product rounds equal scores differently, so ties are not exact.
    return SystemCase(
        Table(rows),
        exact_ties=False,
        repr_round_trip=False,
        stored=True,
        precision=rows.dtype,
        index_dtypes=FLOATS,
    )


ORBITS = [
    _orbit(1, {1: 1}),
    _orbit(6, {1: 1}),
    _orbit(6, {1: 3}),
    _orbit(3, {2: 3}),  # all coordinates alike: one vector
    _orbit(2, {1: 1, -1: 1}),
    _orbit(5, {1: 1, -1: 1}),
    _orbit(5, {1: 1, -2: 1}),
    _orbit(7, {2: 1, -1: 2}),
    _orbit(6, {1: 2, -1: 2}),
    _orbit(6, {3: 1, 2: 2, 1: 1}),
    _orbit(4, {4: 1, 1: 1, -2: 1, -3: 1}),  # no zeros
    _orbit(5, {0.5: 2, -1.5: 3}),  # no zeros, two levels
    _orbit(5, {-1: 2}),  # negative only
    _orbit(5, {-1: 1, -2.5: 1}),
    _orbit(1, {1: 1}, signed=True),
    _orbit(4, {1: 1}, signed=True),  # orthoplex
    _orbit(5, {1: 2}, signed=True),  # D_5
    _orbit(6, {1: 6}, signed=True),  # hypercube
    _orbit(5, {2: 1, 1: 2}, signed=True),
    _orbit(4, {3: 1, 2: 2, 1: 1}, signed=True),  # no zeros, three levels
]

ORDERED = [
    SystemCase(Ordered(4, (1,))),
    SystemCase(Ordered(3, (1, 2, 3))),  # one vector
    SystemCase(Ordered(6, (1, -1))),
    SystemCase(Ordered(7, (-1, -2))),
    SystemCase(Ordered(6, (2, -1, -1))),
    SystemCase(Ordered(8, (3, 1, -2))),
]

UNIONS = [
    SystemCase(
        Union([Orbit(4, {1: 1, -1: 1}), Orbit(4, {1: 1}), Orbit(4, {-1: 1})]), permutations=True
    ),
    SystemCase(
        Union([Orbit(5, {1: 1}, signed=True), Orbit(5, {1: 5}, signed=True)]),
        permutations=True,
        sign_flips=True,
    ),
    SystemCase(Union([Orbit(4, {1: 1}), Orbit(4, {1: 4}, signed=True)]), permutations=True),
    SystemCase(Union([Ordered(5, (1, -1)), Ordered(5, (2, 1, 1)), Orbit(5, {-1: 1})])),
    SystemCase(
        Union([Orbit(4, {1: 2}, signed=True), Table(_random_rows(9, 4, torch.float64))]),
        exact_ties=False,
        repr_round_trip=False,
        stored=True,
        index_dtypes=FLOATS,
    ),
]

TABLES = [
    _table(_random_rows(60, 7, torch.float32)),
    _table(_random_rows(60, 7, torch.float64)),
    _table(_random_rows(1, 3, torch.float64)),
]

# In an orthonormal basis of a hyperplane coordinates are irrational, so ties are not exact.
HYPERPLANES = [
    SystemCase(Hyperplane(Orbit(5, {1: 1, -1: 1})), exact_ties=False),
    SystemCase(Hyperplane(Orbit(5, {2: 1, -1: 2})), exact_ties=False),
    SystemCase(Hyperplane(Ordered(6, (1, -1))), exact_ties=False),
    SystemCase(
        Hyperplane(Union([Ordered(5, (2, -1, -1)), Orbit(5, {1: 2, -1: 2})])), exact_ties=False
    ),
]

CIRCLES = [
    SystemCase(Circle(0), sign_flips=True, permutations=True),
    SystemCase(Circle(1), sign_flips=True, permutations=True),
    SystemCase(Circle(2), exact_ties=False, sign_flips=True, permutations=True),
    SystemCase(
        Circle(7), exact_ties=False, sign_flips=True, permutations=True, index_dtypes=FLOATS
    ),
]

ROOTS = [SystemCase(RootA(n), permutations=True) for n in (1, 2, 3, 6)] + [
    SystemCase(
        RootA(n, projection, positive, interpolations),
        exact_ties=projection == "drop" and not positive,
        permutations=projection == "drop" and not positive,
    )
    for n, projection, positive, interpolations in (
        (1, "isometric", False, 0),
        (1, "drop", True, 0),
        (1, "drop", False, 1),
        (2, "isometric", False, 0),
        (2, "drop", True, 0),
        (2, "drop", False, 1),
        (2, "isometric", True, 1),
        (3, "isometric", False, 1),
        (3, "drop", True, 1),
        (3, "drop", False, 2),
        (6, "isometric", False, 0),
        (6, "drop", True, 0),
        (5, "drop", False, 1),
        (5, "drop", True, 1),
        (4, "isometric", True, 2),
        (5, "isometric", False, 2),
    )
]

NAMED = [
    SystemCase(PermutationSystem(6, 2, 1), permutations=True),
    SystemCase(PermutationCode(6), permutations=True, sign_flips=True),
    SystemCase(PermutationCode(5, levels=1), permutations=True, sign_flips=True),
    SystemCase(SignedKHot(6, 3), permutations=True, sign_flips=True),
    SystemCase(RootD(5), permutations=True, sign_flips=True),
    SystemCase(RootB(4), permutations=True, sign_flips=True),
    SystemCase(Orthoplex(4), permutations=True, sign_flips=True),
    SystemCase(Hypercube(5), permutations=True, sign_flips=True),
]

# A scan rounds equal scores differently, as for a table. Helmert's basis is irrational.
SIMPLICES = [SystemCase(Simplex(n), exact_ties=False) for n in (1, 2, 3, 10, 200)]

SPHERES = [
    SystemCase(system, exact_ties=False, precision=torch.float32, stored=True, index_dtypes=FLOATS)
    for system in (Sphere(5, 40), Sphere(3, 1), Sphere(4, 30, "energy", seed=2))
]

CODES = [
    SystemCase(system, exact_ties=False)
    for system in (
        LinearCode(("1",)),
        LinearCode(("111",)),
        LinearCode(("1000011", "0100101", "0010110", "0001111")),
        LinearCode(("110100", "011010", "101011")),
        ReedMuller(0, 2),
        ReedMuller(1, 4),
        ReedMuller(2, 4),
        ReedMuller(3, 3),
        BCH(3, 2),
        BCH(4, 5),
        BCH(4, 7),
        BCH(4, 15),
    )
]

LATTICES = [SystemCase(RootE8(), exact_ties=False, permutations=True)]

LARGE = [
    _orbit(384, {1: 2, -1: 1}),
    _orbit(60, {1: 20}, index_dtypes=FLOATS),
    _orbit(24, {2: 4, 1: 5}, signed=True),
    SystemCase(Ordered(200, (1, 2, -3)), scale_error=0.05),
    SystemCase(Hyperplane(Orbit(600, {1: 1, -1: 1})), exact_ties=False),
    SystemCase(RootA(150, interpolations=1), permutations=True),
    SystemCase(RootA(600, projection="isometric"), exact_ties=False),
    SystemCase(Circle(16), exact_ties=False, index_dtypes=(torch.float64,), scale_error=1e-3),
    SystemCase(Leech(), exact_ties=False, max_k=100),
    # One parity bit: what a system of 2**18 vectors may make while it looks at all of them.
    SystemCase(LinearCode(f"{1 << i:018b}1" for i in range(18)), exact_ties=False, samples=4),
]
"""Large against the work for a few embeddings: these show that a system is lazy."""

HUGE = [
    _orbit(160, {1: 14}),
    _orbit(200, {2: 1, -1: 11}),
    _orbit(100, {1: 13}, signed=True),
]
"""More vectors than int64 can number."""

CASES = [
    *ORBITS,
    *ORDERED,
    *UNIONS,
    *TABLES,
    *HYPERPLANES,
    *CIRCLES,
    *ROOTS,
    *NAMED,
    *SIMPLICES,
    *SPHERES,
    *CODES,
    *LATTICES,
    *LARGE,
    *HUGE,
]


LONGEST_NAME = 120


def name_of(case: SystemCase) -> str:
    """Identifies a case in the output of pytest."""
    kind = f", {str(case.precision).removeprefix('torch.')}" if case.stored else ""
    text = repr(case.system)
    text = text if len(text) <= LONGEST_NAME else f"{text[:LONGEST_NAME]}...)"
    return f"{text.split(', sha256')[0]}{kind}" if text.startswith("Table") else text
