"""Wrong arguments of constructors and methods are named in the error."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from rootspace.heads import PrototypeHead
from rootspace.systems import (
    BCH,
    IMPLICIT_SYSTEMS,
    Circle,
    Hypercube,
    Hyperplane,
    LinearCode,
    Orbit,
    Ordered,
    Orthoplex,
    PermutationSystem,
    ReedMuller,
    RootA,
    RootB,
    RootD,
    SignedKHot,
    Simplex,
    Sphere,
    Table,
    Union,
    VectorSystem,
    register_system,
    system_from,
)

NAN = float("nan")


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Orbit(0, {1: 1}), "Argument 'dim' must be a positive integer, not 0"),
        (lambda: Orbit(True, {1: 1}), "Argument 'dim' must be a positive integer, not True"),
        (lambda: Orbit(2.0, {1: 1}), "Argument 'dim' must be a positive integer, not 2.0"),  # pyright: ignore[reportArgumentType]
        (lambda: Orbit(3, {}), "'multiplicities' must hold at least one value"),
        (lambda: Orbit(3, {0: 1}), "'multiplicities' must hold non-zero numbers, not 0"),
        (lambda: Orbit(3, {NAN: 1}), "'multiplicities' must hold non-zero numbers, not nan"),
        (lambda: Orbit(3, {float("inf"): 1}), "must hold non-zero numbers, not inf"),
        (lambda: Orbit(3, {"1": 1}), "must hold non-zero numbers, not '1'"),  # pyright: ignore[reportArgumentType]
        (lambda: Orbit(3, {True: 1}), "must hold non-zero numbers, not True"),
        (lambda: Orbit(3, {1: 0}), "must map to positive integers, not 0 for value 1"),
        (lambda: Orbit(3, {1: 1.0}), "must map to positive integers, not 1.0"),  # pyright: ignore[reportArgumentType]
        (lambda: Orbit(3, {1: True}), "must map to positive integers, not True"),
        (lambda: Orbit(3, {1: 2, 2: 2}), "must place at most dim = 3 values, not 4"),
        (lambda: Orbit(3, {1: 1, -1: 1}, signed=True), "positive values when signed=True, not -1"),
        (lambda: Ordered(3, ()), "'values' must hold at least one value"),
        (lambda: Ordered(3, (1, 0)), "'values' must hold non-zero numbers, not 0"),
        (lambda: Ordered(2, (1, 1, 1)), "must place at most dim = 2 values, not 3"),
        (lambda: Union([]), "'parts' must hold at least two systems, not 0"),
        (lambda: Union([Orbit(3, {1: 1})]), "must hold at least two systems, not 1"),
        (lambda: Union([Orbit(3, {1: 1}), Orbit(4, {1: 1})]), "must share one dimension"),
        (lambda: Union([Orbit(2, {1: 1}), Circle(1)]), r"Ordered, Table or Union, not Circle\(1\)"),
        (lambda: Union([Orbit(3, {1: 1}), Orbit(3, {2: 1})]), "must be disjoint"),
        (lambda: Union([Orbit(3, {1: 2}), Orbit(3, {1: 2}, signed=True)]), "must be disjoint"),
        (lambda: Union([Orbit(3, {1: 1}), Table(torch.eye(3)[:1])]), "must be disjoint"),
        (lambda: Union([Ordered(4, (1, -1)), Orbit(4, {1: 1, -1: 1})]), "must be disjoint"),
        (lambda: Table(torch.zeros(2, 3)), "must be finite and not zero; row 0 is not"),
        (lambda: Table([[1.0, 0.0], [NAN, 1.0]]), "must be finite and not zero; row 1 is not"),
        (lambda: Table(torch.ones(3)), r"must have shape \[size, dim\], not \(3,\)"),
        (lambda: Table(torch.ones(0, 3)), r"must have shape \[size, dim\], not \(0, 3\)"),
        (lambda: Table([[1.0, 0.0], [2.0, 0.0]]), "must hold different vectors; some are equal"),
        (lambda: Hyperplane(Orbit(3, {1: 1})), "vectors with coordinate sum zero, not Orbit"),
        (lambda: Hyperplane(Orbit(4, {1: 2}, signed=True)), "with coordinate sum zero"),
        (lambda: Circle(-1), "'doublings' must be an integer from 0 to 20, not -1"),
        (lambda: Circle(21), "'doublings' must be an integer from 0 to 20, not 21"),
        (lambda: Circle(1.0), "'doublings' must be an integer from 0 to 20, not 1.0"),  # pyright: ignore[reportArgumentType]
        (lambda: RootA(0), "Argument 'n' must be a positive integer, not 0"),
        (lambda: RootA(3, "flat"), "'projection' must be 'drop' or 'isometric', not 'flat'"),  # pyright: ignore[reportArgumentType]
        (lambda: RootA(3, interpolations=9), "must be an integer from 0 to 8, not 9"),
        (lambda: RootA(3, interpolations=True), "must be an integer from 0 to 8, not True"),
        (lambda: Simplex(0), "Argument 'dim' must be a positive integer, not 0"),
        (lambda: Simplex(2.0), "Argument 'dim' must be a positive integer, not 2.0"),  # pyright: ignore[reportArgumentType]
        (lambda: Sphere(1, 5), "Argument 'dim' must be an integer of at least 2, not 1"),
        (lambda: Sphere(3, 0), "Argument 'num' must be a positive integer, not 0"),
        (lambda: Sphere(3, 5, "even"), "'method' must be 'random' or 'energy', not 'even'"),  # pyright: ignore[reportArgumentType]
        (lambda: SignedKHot(4, 5), r"Argument 'k' must be an integer in \[1, 4\], not 5"),
        (lambda: SignedKHot(4, 0), r"Argument 'k' must be an integer in \[1, 4\], not 0"),
        (lambda: PermutationSystem(4, 3, 3), "Arguments 'plus' and 'minus' .* dim = 4 .* 3 and 3"),
        (lambda: PermutationSystem(4, 3, 0), "Argument 'minus' must be a positive integer, not 0"),
        (lambda: RootD(1), "Argument 'dim' must be an integer of at least 2, not 1"),
        (lambda: RootB(1), "Argument 'dim' must be an integer of at least 2, not 1"),
        (lambda: Hypercube(0), "Argument 'dim' must be a positive integer, not 0"),
        (lambda: Orthoplex(0), "Argument 'dim' must be a positive integer, not 0"),
        (lambda: LinearCode(()), r"must hold rows of one positive length, not \(\)"),
        (lambda: LinearCode(("10", "1")), "must hold rows of one positive length"),
        (lambda: LinearCode(("12",)), "must hold rows of bits, not '12'"),
        (
            lambda: LinearCode(("10", "01", "11")),
            r"independent rows; .* zero: \['10', '01', '11'\]",
        ),
        (lambda: LinearCode(f"{1 << i:025b}" for i in range(25)), "at most 24 rows.*not 25"),
        (lambda: ReedMuller(3, 2), "Argument 'order' must be at most m = 2, not 3"),
        (lambda: ReedMuller(-1, 2), "'order' must be an integer of at least 0, not -1"),
        (lambda: ReedMuller(2, 7), "at most 24 message bits.* 2 leaves 29"),
        (lambda: BCH(1, 2), "Argument 'm' must be an integer from 2 to 12, not 1"),
        (lambda: BCH(4, 1), "'distance' must be an integer from 2 to 15, not 1"),
        (lambda: BCH(6, 3), "at most 24 message bits.* 3 leaves 57"),
    ],
)
def test_constructor(make: Callable[[], VectorSystem], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Orbit(4, [1, 2]), "'multiplicities' must be {value: how often .*, not list"),  # pyright: ignore[reportArgumentType]
        (lambda: RootA(9, positive="yes"), "'positive' must be True or False, not 'yes'"),  # pyright: ignore[reportArgumentType]
        (lambda: Hyperplane(3), "'system' must be a vector system, not 3"),  # pyright: ignore[reportArgumentType]
        (lambda: LinearCode("10"), "'generator' must be rows of bits, .*, not '10'"),
        (lambda: Table("x.npy"), "'vectors' must be a tensor or rows of numbers, not 'x.npy'"),  # pyright: ignore[reportArgumentType]
        (lambda: Table(Path("x.npy")), "'vectors' must be a tensor or rows .*, not PosixPath"),  # pyright: ignore[reportArgumentType]
    ],
)
def test_constructor_with_the_wrong_kind(make: Callable[[], VectorSystem], message: str) -> None:
    with pytest.raises(TypeError, match=message):
        make()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("RootA", "Expected a vector system such as 'RootA(384)', not 'RootA'"),
        ("RootA(384", "Expected a vector system such as 'RootA(384)', not 'RootA(384'"),
        ("", "Expected a vector system"),
        (
            "RootZ(3)",
            "Unknown vector system 'RootZ'; expected one that `register_system` has made known, "
            "or one of BCH, Circle",
        ),
        ("Table(3)", "Unknown vector system 'Table'"),
        ("__import__('os')", "Unknown vector system '__import__'"),
        ("RootA(3).size", "Expected a vector system"),
        ("RootA(3, color=1)", "Wrong arguments in 'RootA(3, color=1)'"),
        ("RootA(**{'n': 3})", "Expected plain arguments"),
        ("RootA(3 * 3)", "Expected a literal, not '3 * 3'"),
        ("Hyperplane(RootZ(3))", "Unknown vector system 'RootZ'"),
        ("RootA(0)", "Argument 'n' must be a positive integer"),
    ],
)
def test_system_from(text: str, message: str) -> None:
    with pytest.raises(ValueError, match=re.escape(message)):
        system_from(text)


@pytest.mark.parametrize(
    ("call", "kind", "message"),
    [
        (lambda s: s.vectors(torch.tensor([20])), IndexError, r"lie in \[0, 20\), not 20 \(Root"),
        (lambda s: s.vectors(torch.tensor([0, -3])), IndexError, r"not -3 \(RootA\(4\)\)"),
        (lambda s: s.vectors(torch.tensor([True])), TypeError, "integer tensor, not torch.bool"),
        (lambda s: s.index(torch.eye(4)[:, :3]), ValueError, r"dimension 4, not shape \(4, 3\)"),
        (lambda s: s.index(torch.ones(2, 4)), ValueError, r"members of RootA\(4\); row 0 is not"),
        (
            lambda s: s.nearest(torch.ones(4), k=21),
            ValueError,
            r"'k' must lie in \[1, 20\], not 21",
        ),
        (
            lambda s: s.nearest(torch.ones(4).long()),
            TypeError,
            "floating-point tensor, not torch.int",
        ),
        (
            lambda s: s.quantize(torch.full((2, 4), NAN)),
            ValueError,
            "'z' must be finite; row 0 holds",
        ),
        (
            lambda s: s.log_partition(torch.ones(3), 1.0),
            ValueError,
            r"dimension 4, not shape \(3,\)",
        ),
        (lambda s: s.scale_for(0.05), ValueError, r"between 1/size = 0.05 and 1, not 0.05"),
        (lambda s: s.scale_for(1.5), ValueError, "'p' must lie between"),
    ],
)
def test_method(call: Callable[[VectorSystem], Any], kind: type[Exception], message: str) -> None:
    with pytest.raises(kind, match=message):
        call(RootA(4))


def test_a_huge_system_says_what_works() -> None:
    message = r"about 2\*\*\d+ vectors.*'nearest' does not work, 'quantize' and 'log_partition' do"
    with pytest.raises(OverflowError, match=message):
        Orbit(100, {1: 25, -1: 1}).nearest(torch.ones(100))


@pytest.mark.parametrize("text", ["Orbit(3, 5)", "Hyperplane(5)"])
def test_system_from_with_arguments_of_another_kind(text: str) -> None:
    with pytest.raises(ValueError, match="Wrong arguments"):
        system_from(text)


def test_fractional_interpolations() -> None:
    with pytest.raises(ValueError, match="'interpolations' must be an integer"):
        RootA(3, interpolations=1.0)  # pyright: ignore[reportArgumentType]


def test_numbers_of_numpy_give_a_repr_that_can_be_read() -> None:
    system = Orbit(3, {np.float64(0.5): 1})
    assert system_from(repr(system)) == system


def test_table_with_two_rows_of_one_direction() -> None:
    with pytest.raises(ValueError, match="must hold different vectors"):
        Table([[1.0, 2.0, 3.0], [3.0, 6.0, 9.0]])


def test_a_system_of_ones_own_is_known_by_its_name():
    class Signs(Hypercube):
        def __repr__(self) -> str:
            return f"Signs({self.dim})"

    with pytest.raises(ValueError, match=r"Unknown vector system 'Signs'; .* `register_system`"):
        system_from("Signs(4)")
    try:
        assert register_system(Signs) is Signs
        register_system(Signs)  # as a module that is imported again does
        found = system_from("Signs(4)")
        assert type(found) is Signs and found.dim == 4
        head = PrototypeHead(3, system=Signs(4))
        head.choose(torch.eye(3, 4))
        again = PrototypeHead.from_state_dict(head.state_dict())
        assert torch.equal(again.vectors(torch.arange(3)), head.vectors(torch.arange(3)))
        with pytest.raises(ValueError, match=r"There is a vector system RootA already"):
            register_system(type("RootA", (Hypercube,), {}))
    finally:
        IMPLICIT_SYSTEMS.pop("Signs", None)


@pytest.mark.parametrize(
    "text",
    [
        "RootA(1000000000)",
        "RootA(99999999999999999999)",
        "RootB(100000000)",
        "RootD(100000000)",
        "Hypercube(100000000)",
        "Orthoplex(100000000)",
        "Simplex(100000000)",
        "PermutationCode(100000000)",
        "PermutationSystem(100000000, 2, 1)",
        "Orbit(5, {1: 99999999999})",
        "Sphere(1000000000, 3)",
        "Sphere(2000000, 100)",
        "Hyperplane(RootA(1000000000))",
        f"{'(' * 5000}RootA(3){')' * 5000}",
        f"{'Union([' * 3000}RootA(3){'])' * 3000}",
    ],
    ids=lambda text: text[:40],
)
def test_systems_that_would_fill_the_memory(text: str):
    with pytest.raises(ValueError) as caught:
        system_from(text)
    assert len(str(caught.value)) < 400
