"""Where numbers are hard: extreme values, sizes and angles, and half precision."""

import math
from unittest import mock

import pytest
import torch

from rootspace.systems import Circle, Hyperplane, Orbit, Ordered, RootA, Table, Union
from rootspace.systems import orbit as orbit_module


def softmax_share(system, scale: float) -> float:
    """Mean probability of the vectors in the softmax over all of them, by brute force."""
    table = system.vectors(torch.arange(system.size), dtype=torch.float64)
    cosines = table @ table.T
    return float(torch.exp(scale - torch.logsumexp(scale * cosines, dim=-1)).mean())


class TestPaths:
    """The closed forms are used where they are meant to be."""

    @pytest.mark.parametrize("multiplicities", [{1: 1}, {1: 1, -1: 1}, {3: 1, -2: 1}])
    def test_roots_need_no_states(self, multiplicities: dict[float, int]) -> None:
        with (
            mock.patch.object(orbit_module, "log_tree_sum") as tree,
            mock.patch.object(orbit_module, "log_cumulative_sum") as running,
        ):
            Orbit(6, multiplicities).log_partition(torch.randn(3, 6), 10.0)
        tree.assert_not_called()
        running.assert_not_called()

    @pytest.mark.parametrize(("scale", "in_log_domain"), [(10.0, False), (1000.0, True)])
    def test_large_scales_stay_in_the_log_domain(self, scale: float, in_log_domain: bool) -> None:
        system, z = Orbit(6, {2: 1, -1: 2}), torch.randn(3, 6)
        with mock.patch.object(
            orbit_module, "log_tree_sum", wraps=orbit_module.log_tree_sum
        ) as tree:
            system.log_partition(z, scale)
        assert tree.called is in_log_domain

    def test_both_ways_agree_where_they_meet(self) -> None:
        system, z = Orbit(7, {2: 1, 1: 2}, signed=True), torch.randn(50, 7).double()
        running = system.log_partition(z, 100.0)
        with mock.patch.object(orbit_module, "WIDEST", 0.0):
            assert torch.allclose(system.log_partition(z, 100.0), running, rtol=1e-13)

    def test_few_largest_coordinates_are_found_without_sorting(self) -> None:
        z = torch.randn(3, 50)
        with mock.patch.object(torch.Tensor, "sort", side_effect=AssertionError):
            orbit_module.largest(z, 3)


class TestCompile:
    """Decoding and the partition function are single graphs."""

    @pytest.mark.parametrize(
        "system",
        [
            RootA(6, interpolations=1),
            Orbit(6, {2: 1, 1: 2}, signed=True),
            Hyperplane(Orbit(7, {1: 1, -1: 1})),
        ],
        ids=repr,
    )
    def test_quantize_and_log_partition(self, system) -> None:
        torch.compiler.reset()
        z = torch.randn(4, 6)
        for method in (system.quantize, lambda z: system.log_partition(z, 10.0)):
            compiled = torch.compile(method, fullgraph=True, backend="eager")
            # A matrix product may round otherwise where its operands lie otherwise in memory.
            torch.testing.assert_close(compiled(z), method(z))


class TestHuge:
    def test_log_partition_of_dense_codes(self) -> None:
        system = Orbit(256, {1: 128}, signed=True)
        log_size = math.log(system.size)
        found = system.log_partition(torch.randn(2, 256).double(), 1e-9)
        assert torch.allclose(found, torch.full_like(found, log_size), rtol=1e-9)

    def test_log_partition_beyond_the_largest_float64(self) -> None:
        found = Orbit(1100, {1: 550}).log_partition(torch.randn(1, 1100).double(), 1.0)
        assert float(found) == pytest.approx(math.log(math.comb(1100, 550)), rel=1e-2)

    def test_union_of_huge_orbits(self) -> None:
        system = Union([Orbit(200, {1: 50}), Orbit(200, {1: 60})])
        z = torch.randn(3, 200)
        assert torch.isfinite(system.quantize(z)).all()

    def test_a_huge_ordered_system_is_refused(self) -> None:
        with pytest.raises(ValueError, match=r"at most 2\*\*63 - 1 vectors"):
            Ordered(80, (1.0, -1.0) * 12)


class TestCircle:
    @pytest.mark.parametrize("doublings", [0, 5, 12])
    def test_min_angle(self, doublings: int) -> None:
        assert Circle(doublings).min_angle == pytest.approx(360 / 4 / 2**doublings, rel=1e-9)

    @pytest.mark.parametrize("doublings", [16, 20])
    def test_min_angle_of_many(self, doublings: int) -> None:
        assert Circle(doublings).min_angle == pytest.approx(360 / 4 / 2**doublings, rel=1e-9)

    @pytest.mark.parametrize("doublings", [10, 20])
    def test_rank_in_float64(self, doublings: int) -> None:
        circle = Circle(doublings)
        index = torch.randint(circle.size, (1000,))
        assert torch.equal(circle.index(circle.vectors(index, dtype=torch.float64)), index)

    def test_right_angles_are_exact(self) -> None:
        expected = torch.tensor([[1.0, 0], [0, 1], [-1, 0], [0, -1]])
        assert torch.equal(Circle(0).vectors(torch.arange(4)), expected)

    def test_cluster_radius(self) -> None:
        assert [Circle(t).cluster_radius(1.0) for t in range(3)] == [1.0, 0.5, 0.25]

    @pytest.mark.parametrize("scale", [1.0, 30.0, 200.0, 500.0])
    def test_bessel_form_is_exact(self, scale: float) -> None:
        circle, z = Circle(9), torch.randn(20, 2, dtype=torch.float64)
        table = circle.vectors(torch.arange(circle.size), dtype=torch.float64)
        dense = torch.logsumexp(scale * torch.nn.functional.normalize(z, dim=-1) @ table.T, dim=-1)
        assert torch.allclose(circle.log_partition(z, scale), dense, rtol=1e-12)


class TestValues:
    def test_only_ratios_of_the_values_matter(self) -> None:
        z = torch.randn(10, 5)
        small, large = Orbit(5, {1: 2, 2: 1}), Orbit(5, {1000: 2, 2000: 1})
        assert torch.equal(small.nearest(z, 7).index, large.nearest(z, 7).index)

    def test_ratios_of_tiny_values(self) -> None:
        z = torch.randn(10, 5)
        small, large = Orbit(5, {1e-10: 2, 2e-10: 1}), Orbit(5, {1: 2, 2: 1})
        assert torch.equal(small.nearest(z, 7).index, large.nearest(z, 7).index)

    @pytest.mark.parametrize("value", [1e-200, 1e200])
    def test_extreme_values_are_refused(self, value: float) -> None:
        with pytest.raises(ValueError, match="magnitudes from 1e-12"):
            Orbit(3, {value: 1})


class TestHalf:
    @pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
    @pytest.mark.parametrize(
        "interpolations",
        [
            1,
            2,
            3,
        ],
    )
    def test_rank_gives_the_right_index_or_none(
        self, dtype: torch.dtype, interpolations: int
    ) -> None:
        system = RootA(6, interpolations=interpolations)
        index = torch.arange(system.size)
        assert torch.equal(system.index(system.vectors(index, dtype=dtype)), index)


class TestScaleRule:
    def test_parts_of_a_union_have_their_share(self) -> None:
        system = RootA(16, positive=True)
        _, counts = system._representatives()
        # 120 roots e_i - e_j and 16 roots e_i.
        assert sum(counts[:64]) / sum(counts) == pytest.approx(120 / 136, abs=0.02)

    def test_positive_roots(self) -> None:
        system = RootA(10, positive=True)
        assert softmax_share(system, system.scale_for(0.9)) == pytest.approx(0.9, abs=1e-6)

    @pytest.mark.parametrize("p", [0.06, 0.5, 0.999999])
    def test_any_probability(self, p: float) -> None:
        system = RootA(4, projection="isometric")
        assert softmax_share(system, system.scale_for(p)) == pytest.approx(p, abs=1e-7)


class TestTable:
    def test_is_the_slow_twin_of_any_system(self) -> None:
        system = RootA(7)
        twin = Table(system.vectors(torch.arange(system.size), dtype=torch.float64))
        z = torch.randn(50, 7).double()
        assert torch.allclose(twin.nearest(z, 5).cosine, system.nearest(z, 5).cosine)
        assert torch.allclose(twin.log_partition(z, 9.0), system.log_partition(z, 9.0))
        assert twin.min_angle == pytest.approx(system.min_angle)

    def test_chunks_do_not_change_the_result(self) -> None:
        table, z = Table(torch.randn(301, 5)), torch.randn(40, 5)
        whole = table.nearest(z, 9), table.log_partition(z, 5.0)
        with mock.patch("rootspace.systems.enumerated.CHUNK", 40 * 13):
            parts = table.nearest(z, 9), table.log_partition(z, 5.0)
        assert torch.equal(whole[0].index, parts[0].index)
        assert torch.allclose(whole[1], parts[1])

    def test_later_changes_of_the_argument_do_not_matter(self) -> None:
        rows = torch.eye(3)
        table = Table(rows)
        rows.zero_()
        assert torch.equal(table.vectors(torch.arange(3)), torch.eye(3))

    def test_equality_goes_by_content(self) -> None:
        assert Table(torch.eye(3)) == Table(2 * torch.eye(3))
        assert Table(torch.eye(3)) != Table(torch.eye(3).flip(0))
        assert Table(torch.eye(3)) != Table(torch.eye(3).double())


class TestUnion:
    def test_nested_unions_are_flattened(self) -> None:
        parts = [Orbit(4, {1: 1}), Orbit(4, {-1: 1}), Orbit(4, {1: 2})]
        assert Union([Union(parts[:2]), parts[2]]) == Union(parts)
        assert Union(parts).parts == tuple(parts)
