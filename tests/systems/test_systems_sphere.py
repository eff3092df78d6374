"""Spread points: better than random ones, and the best where those are known."""

import math
from pathlib import Path

import pytest
import torch

from rootspace import ClassMap
from rootspace.systems import Orthoplex, Simplex, Sphere, Table, VectorSystem, system_from
from rootspace.systems import sphere as sphere_module


def energy(system: VectorSystem) -> float:
    """Mean over pairs of 1 / |v - w|**2."""
    table = system.vectors(torch.arange(system.size), dtype=torch.float64)
    squares = 2 - 2 * table @ table.T
    return float((1 / squares[~torch.eye(system.size, dtype=torch.bool)]).mean())


@pytest.mark.parametrize(
    ("num", "cosine"),
    [(4, -1 / 3), (6, 0.0), (12, 1 / math.sqrt(5))],
    ids=["tetrahedron", "octahedron", "icosahedron"],
)
@pytest.mark.parametrize("seed", [0, 1])
def test_platonic_solids(num: int, cosine: float, seed: int) -> None:
    found = Sphere(3, num, "energy", seed).min_angle
    assert found == pytest.approx(math.degrees(math.acos(cosine)), abs=1e-3)


@pytest.mark.parametrize("best", [Simplex(6), Orthoplex(5)], ids=repr)
def test_the_energy_is_that_of_the_best(best: VectorSystem) -> None:
    found = energy(Sphere(best.dim, best.size, "energy"))
    assert found == pytest.approx(energy(best), rel=1e-6)
    assert energy(Sphere(best.dim, best.size)) > 1.1 * found


def test_energies_in_closed_form() -> None:
    assert energy(Simplex(6)) == pytest.approx(1 / (2 + 2 / 6))
    # Of the 9 others one is opposite, at distance 2; the rest are at sqrt(2).
    assert energy(Orthoplex(5)) == pytest.approx((8 / 2 + 1 / 4) / 9)


@pytest.mark.parametrize(("dim", "num"), [(2, 9), (8, 100), (16, 200)])
def test_the_smallest_angle_grows(dim: int, num: int) -> None:
    assert Sphere(dim, num, "energy").min_angle > 1.3 * Sphere(dim, num).min_angle


def test_on_the_circle_points_are_equally_far() -> None:
    assert Sphere(2, 9, "energy").min_angle == pytest.approx(40, abs=1e-3)


def test_the_energy_is_that_of_all_pairs_and_the_force_its_gradient() -> None:
    points = Sphere(4, 30).table.double().requires_grad_()
    unit = torch.nn.functional.normalize(points, dim=-1)
    total = (2 - 2 * unit @ unit.T + torch.eye(30) * 1e9).reciprocal().sum()
    (slope,) = torch.autograd.grad(total, points)
    found, forces = sphere_module.energy(unit.detach())
    assert found == pytest.approx(float(total.detach()), rel=1e-6)
    assert torch.allclose(forces, -slope / 2, rtol=1e-5, atol=1e-6)


def test_chunks_do_not_change_the_energy(monkeypatch: pytest.MonkeyPatch) -> None:
    points = torch.nn.functional.normalize(torch.randn(31, 4).double(), dim=-1)
    whole = sphere_module.energy(points)
    monkeypatch.setattr(sphere_module, "CHUNK", 4 * 31 * 7)
    parts = sphere_module.energy(points)
    assert parts[0] == pytest.approx(whole[0], rel=1e-12)
    assert torch.allclose(parts[1], whole[1], rtol=1e-10, atol=1e-12)


def test_the_seed_decides() -> None:
    for method in ("random", "energy"):
        same, again, other = (Sphere(3, 10, method, seed) for seed in (4, 4, 5))
        assert torch.equal(same.table, again.table)
        assert not torch.equal(same.table, other.table)
        assert system_from(repr(same)) == same != other


@pytest.mark.parametrize("method", ["random", "energy"])
def test_a_saved_map_keeps_the_vectors(tmp_path: Path, method) -> None:
    classes = ClassMap(Sphere(5, 30, method, seed=3), 20, seed=1)
    classes.save(tmp_path / "classes.json")
    again = ClassMap.load(tmp_path / "classes.json")
    assert type(again.system) is Table
    labels = torch.arange(20)
    assert torch.equal(again.vectors(labels), classes.vectors(labels))
    again.save(tmp_path / "again.json")
    assert ClassMap.load(tmp_path / "again.json").system == again.system
