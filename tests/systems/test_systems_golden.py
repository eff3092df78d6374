"""Sizes, index order, inner products and scales against values made without the library."""

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import torch

from rootspace.systems import RootA, system_from

GOLDEN: dict[str, Any] = json.loads(
    (Path(__file__).parents[1] / "golden" / "systems.json").read_text(encoding="utf-8")
)


@pytest.mark.parametrize("text", GOLDEN["order"])
def test_index_order(text: str) -> None:
    system, golden = system_from(text), GOLDEN["order"][text]
    assert system.size == golden["size"]
    first = torch.tensor(golden["first"], dtype=torch.float64)
    last = torch.tensor(golden["last"], dtype=torch.float64)
    found = system.vectors(torch.arange(len(first)), dtype=torch.float64)
    assert torch.allclose(found, first, rtol=0, atol=1e-11)
    assert torch.equal(system.index(found), torch.arange(len(first)))
    found = system.vectors(torch.tensor(system.size - 1), dtype=torch.float64)
    assert torch.allclose(found, last, rtol=0, atol=1e-11)


@pytest.mark.parametrize("text", GOLDEN["histograms"])
def test_inner_products(text: str) -> None:
    system = system_from(text)
    table = system.vectors(torch.arange(system.size), dtype=torch.float64)
    gram = (table @ table.T)[~torch.eye(len(table), dtype=torch.bool)]
    found = Counter(f"{x:.6f}" for x in (gram.round(decimals=6) + 0.0).tolist())
    assert found == GOLDEN["histograms"][text]


@pytest.mark.parametrize("text", GOLDEN["sizes"])
def test_size(text: str) -> None:
    assert system_from(text).size == GOLDEN["sizes"][text]


@pytest.mark.parametrize("text", GOLDEN["scales"])
def test_scale(text: str) -> None:
    for p, scale in GOLDEN["scales"][text].items():
        assert system_from(text).scale_for(float(p)) == pytest.approx(scale, rel=1e-6)


@pytest.mark.parametrize(
    ("text", "scale"),
    [
        ("Orbit(384, {1: 1, -1: 1})", 17.7),
        ("Orbit(384, {1: 2}, signed=True)", 19.1),
        ("Orbit(384, {1: 2, -1: 1})", 27.8),
        ("Orbit(384, {1: 3}, signed=True)", 29.8),
        ("Orbit(384, {1: 2, -1: 2})", 38.2),
    ],
)
def test_scale_of_the_comparison_of_systems(text: str, scale: float) -> None:
    assert round(system_from(text).scale_for(0.9), 1) == scale


def test_mean_and_smallest_angle_between_dropped_roots() -> None:
    """Table 1 of arXiv 2510.04090: 60 and 45 degrees."""
    system = RootA(40)
    assert system.min_angle == pytest.approx(45)
    table = system.vectors(torch.arange(system.size), dtype=torch.float64)
    cosines = table @ table.T
    neighbors = cosines[(cosines > 1e-9) & (cosines < 1 - 1e-9)]
    assert float(torch.rad2deg(torch.acos(neighbors)).mean()) == pytest.approx(60, abs=1)
