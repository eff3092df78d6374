"""Simplex, E8, Leech and binary codes against values made without the library, and each other."""

import json
from collections import Counter
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
import torch

from rootspace.systems import (
    BCH,
    Leech,
    LinearCode,
    Orthoplex,
    ReedMuller,
    RootE8,
    Simplex,
    Table,
    binary_codes,
    leech,
    system_from,
)
from rootspace.systems.binary_codes import generator_polynomial
from rootspace.systems.leech import MOST, golay

GOLDEN: dict[str, Any] = json.loads(
    (Path(__file__).parents[1] / "golden" / "codes.json").read_text(encoding="utf-8")
)


@pytest.fixture(scope="module")
def leech_table() -> torch.Tensor:
    return Leech().vectors(torch.arange(Leech().size), dtype=torch.float64)


@pytest.mark.parametrize("text", GOLDEN["order"])
def test_index_order(text: str) -> None:
    system, golden = system_from(text), GOLDEN["order"][text]
    assert system.size == golden["size"]
    index = torch.tensor(golden["index"])
    expected = torch.tensor(golden["vectors"], dtype=torch.float64)
    found = system.vectors(index, dtype=torch.float64)
    assert torch.allclose(found, expected, rtol=0, atol=1e-11)
    assert torch.equal(system.index(expected), index)


@pytest.mark.parametrize("text", GOLDEN["cosines"])
def test_inner_products_with_a_vector(text: str) -> None:
    system = system_from(text)
    table = system.vectors(torch.arange(system.size), dtype=torch.float64)
    for one in GOLDEN["order"][text]["index"]:
        cosines = ((table @ table[one]).round(decimals=6) + 0.0).tolist()
        assert Counter(f"{cosine:g}" for cosine in cosines) == GOLDEN["cosines"][text]


@pytest.mark.parametrize("text", GOLDEN["codes"])
def test_size_and_distance(text: str) -> None:
    code, golden = system_from(text), GOLDEN["codes"][text]
    assert isinstance(code, LinearCode)
    assert {key: getattr(code, key) for key in golden} == golden


@pytest.mark.parametrize("text", GOLDEN["polynomials"])
def test_generator_polynomial(text: str) -> None:
    m, distance = map(int, text.removeprefix("BCH(").removesuffix(")").split(", "))
    polynomial = generator_polynomial(m, distance)
    assert f"{polynomial:b}"[::-1] == GOLDEN["polynomials"][text]
    assert BCH(m, distance).generator[0].rstrip("0") == GOLDEN["polynomials"][text]


class TestGolay:
    def test_weights(self) -> None:
        code = LinearCode(GOLDEN["golay"]["generator"])
        signs = code.vectors(torch.arange(code.size)).sign()
        weights = Counter(((24 - signs.sum(-1)) / 2).int().tolist())
        assert {str(weight): count for weight, count in weights.items()} == GOLDEN["golay"][
            "weights"
        ]
        assert code.min_distance == 8

    def test_words_of_the_leech_lattice_are_those_of_the_code(self) -> None:
        code = LinearCode(GOLDEN["golay"]["generator"])
        index = 97_152 + 24 * torch.arange(4096)
        assert torch.equal(
            Leech().vectors(index).sign()[:, 1:], code.vectors(torch.arange(4096)).sign()[:, 1:]
        )

    def test_the_second_half_of_a_word_numbers_it_as_well(self) -> None:
        other = golay(torch.device("cpu")).other
        assert torch.equal(other[other], torch.arange(4096))

    def test_any_five_coordinates_lie_in_one_octad(self) -> None:
        """The Steiner system S(5, 8, 24)."""
        inside = golay(torch.device("cpu")).inside
        for _ in range(50):
            assert inside[torch.randperm(24)[:5]].all(dim=0).sum() == 1


class TestLeech:
    """By shape, against a table of all 196,560 vectors."""

    @pytest.mark.parametrize("k", [1, 2, 5, MOST, MOST + 1])
    def test_nearest(self, leech_table: torch.Tensor, k: int) -> None:
        z = torch.randn(20, 24, dtype=torch.float64)
        found = Leech().nearest(z, k)
        expected = (torch.nn.functional.normalize(z, dim=-1) @ leech_table.T).topk(k)
        assert torch.allclose(found.cosine, expected.values, rtol=0, atol=1e-13)
        assert torch.equal(found.index, expected.indices)

    @pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
    def test_ties_go_to_the_smallest_index(
        self, leech_table: torch.Tensor, dtype: torch.dtype
    ) -> None:
        integers = (leech_table * 32**0.5).round()
        z = torch.cat([torch.randint(-1, 3, (200, 24)), torch.eye(24).long()]).double()
        score = z @ integers.T
        tied = score == score.amax(dim=-1, keepdim=True)
        assert (tied.sum(-1) > 1).sum() > 50
        expected = tied.to(torch.uint8).argmax(dim=-1)
        assert torch.equal(Leech().nearest(z.to(dtype)).index[:, 0], expected)

    @pytest.mark.parametrize("scale", [0.0, 1.0, 10.0, 100.0, 1000.0, 1e5])
    def test_log_partition_and_its_gradient(self, leech_table: torch.Tensor, scale: float) -> None:
        random = torch.randn(6, 24, dtype=torch.float64)
        members = leech_table[torch.tensor([5, 90_000, 97_153, 150_001, 195_457, 196_559])]
        z = torch.cat([random, members, (members + members.roll(1, 0)) / 2, random.round()])
        z.requires_grad_()
        unit = torch.nn.functional.normalize(z, dim=-1)
        expected = torch.logsumexp(scale * unit @ leech_table.T, dim=-1)
        (slope,) = torch.autograd.grad(expected.sum(), z)
        for dtype, eps in ((torch.float64, 1e-13), (torch.float32, 2e-6)):
            some = z.detach().to(dtype).requires_grad_()
            found = Leech().log_partition(some, scale)
            (gradient,) = torch.autograd.grad(found.sum(), some)
            assert (found - expected).abs().max() <= eps * max(scale, 20)
            length = torch.linalg.vector_norm(z, dim=-1, keepdim=True)
            off = ((gradient - slope) * length).abs().max()
            assert off <= 100 * eps * max(scale, 1) * max(scale, 1)

    def test_nothing_is_scanned(self) -> None:
        with mock.patch.object(Leech, "_block", side_effect=AssertionError):
            Leech().nearest(torch.randn(3, 24), 5)
            Leech().log_partition(torch.randn(3, 24), 20.0)
            Leech().index(Leech().quantize(torch.randn(3, 24)))

    def test_min_angle(self) -> None:
        assert Leech().min_angle == pytest.approx(60)


class TestSmallSystems:
    def test_e8_is_not_beaten_by_the_roots_of_d8(self) -> None:
        assert RootE8().min_angle == pytest.approx(60)
        assert RootE8().size == 240

    @pytest.mark.parametrize("n", [1, 2, 7, 50])
    def test_simplex_cosines(self, n: int) -> None:
        table = Simplex(n).vectors(torch.arange(n + 1), dtype=torch.float64)
        expected = torch.full((n + 1, n + 1), -1 / n, dtype=torch.float64).fill_diagonal_(1)
        assert torch.allclose(table @ table.T, expected, rtol=0, atol=1e-14)
        assert table.sum(0).abs().max() < 1e-13

    def test_first_order_reed_muller_is_an_orthoplex(self) -> None:
        code = ReedMuller(1, 3)
        table = code.vectors(torch.arange(16), dtype=torch.float64)
        cross = Orthoplex(8).vectors(torch.arange(16), dtype=torch.float64)
        found, expected = ((rows @ rows.T).sort().values for rows in (table, cross))
        assert torch.allclose(found, expected, atol=1e-14)


class TestScan:
    """What `Enumerated` derives, in one block or in many."""

    @pytest.mark.parametrize("k", [1, 4, 30])
    def test_blocks_do_not_change_the_result(self, k: int) -> None:
        code, z = ReedMuller(2, 4), torch.randn(7, 16, dtype=torch.float64)
        twin = Table(code.vectors(torch.arange(code.size), dtype=torch.float64))
        with mock.patch("rootspace.systems.enumerated.SMALL_BLOCK", 16 * 13):
            found = code.nearest(z, k)
            assert code.log_partition(z, 9.0).sub(twin.log_partition(z, 9.0)).abs().max() < 1e-13
        expected = twin.nearest(z, k)
        assert torch.equal(found.index, expected.index)
        assert torch.allclose(found.cosine, expected.cosine, rtol=0, atol=1e-14)

    def test_largest_cosine_over_blocks(self) -> None:
        table = Table(torch.randn(300, 4))
        whole = table.min_angle
        with mock.patch("rootspace.systems.enumerated.CHUNK", 37**2):
            assert Table(table.table).min_angle == pytest.approx(whole, rel=1e-12)

    def test_gradients_of_many_blocks_are_computed_in_bounded_memory(self) -> None:
        table, z = Table(torch.randn(301, 5).double()), torch.randn(40, 5).double()
        z.requires_grad_()
        (expected,) = torch.autograd.grad(table.log_partition(z, 5.0).sum(), z)
        kept: list[int] = []

        def keep(tensor: torch.Tensor) -> torch.Tensor:
            kept.append(tensor.numel())
            return tensor

        with mock.patch("rootspace.systems.enumerated.CHUNK", 40 * 13):
            with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
                found = table.log_partition(z, 5.0)
            (gradient,) = torch.autograd.grad(found.sum(), z)
        assert torch.allclose(gradient, expected, rtol=1e-12, atol=1e-14)
        assert max(kept) <= 40 * 24  # a number for each block, not for each vector

    @pytest.mark.parametrize("system", [Leech(), BCH(4, 5)], ids=repr)
    def test_what_was_kept_in_inference_mode_does_for_training(self, system) -> None:
        leech._KEPT.clear()
        binary_codes._KEPT.clear()
        with torch.inference_mode():
            system.log_partition(torch.randn(2, system.dim), 3.0)
        z = torch.randn(2, system.dim, requires_grad=True)
        system.log_partition(z, 3.0).sum().backward()


@pytest.mark.parametrize("system", [Leech(), BCH(4, 5)], ids=repr)
def test_decoding_and_partition_function_are_single_graphs(system) -> None:
    torch.compiler.reset()
    z = torch.randn(4, system.dim)
    for method in (
        system.quantize,
        lambda z: system.nearest(z, 3).index,
        lambda z: system.log_partition(z, 10.0),
    ):
        compiled = torch.compile(method, fullgraph=True, backend="eager")
        assert torch.equal(compiled(z), method(z))
