"""Every public system keeps the contract that `rootspace.testing` checks."""

import inspect
from pathlib import Path

import pytest

import rootspace.systems
from cases import CASES, HUGE, LARGE, name_of
from rootspace.systems import (
    MAX_INDEX,
    Circle,
    Hyperplane,
    LinearCode,
    Orbit,
    Ordered,
    RootA,
    VectorSystem,
    system_from,
)
from rootspace.testing import PROPERTIES, SystemCase, check_property, properties_of


@pytest.mark.parametrize(
    ("name", "case"),
    [
        pytest.param(name, case, id=f"{name}-{name_of(case)}")
        for case in CASES
        for name in properties_of(case)
    ],
)
def test_property(name: str, case: SystemCase) -> None:
    check_property(name, case)


PUBLIC = {
    value
    for value in vars(rootspace.systems).values()
    if inspect.isclass(value) and issubclass(value, VectorSystem) and not inspect.isabstract(value)
}


def test_every_public_system_has_a_case() -> None:
    assert {type(case.system) for case in CASES} == PUBLIC


@pytest.mark.parametrize("system", sorted(PUBLIC, key=str), ids=lambda system: system.__name__)
def test_every_public_system_has_a_row_in_the_docs(system: type[VectorSystem]) -> None:
    docs = Path(__file__).parents[2] / "docs" / "systems.md"
    assert f"\n| `{system.__name__}(" in docs.read_text(encoding="utf-8")


def test_every_building_block_is_checked_at_a_size_that_shows_laziness() -> None:
    lazy = {type(case.system) for case in CASES if "lazy" in properties_of(case)}
    # A union is lazy where RootA is: that is one.
    assert {Circle, Hyperplane, LinearCode, Orbit, Ordered, RootA} <= lazy


def test_every_property_is_asked_of_some_case() -> None:
    assert {name for case in CASES for name in properties_of(case)} == set(PROPERTIES)


def test_huge_and_large_cases_are_huge_and_large() -> None:
    assert all(case.system.size > MAX_INDEX for case in HUGE)
    assert all(MAX_INDEX >= case.system.size > case.exhaustive for case in LARGE)


@pytest.mark.parametrize("case", [case for case in CASES if case.repr_round_trip], ids=name_of)
def test_system_from_inverts_repr(case: SystemCase) -> None:
    assert system_from(repr(case.system)) == case.system
