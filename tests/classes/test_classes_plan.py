"""Which dimension holds how many classes."""

import contextlib
import math

import pytest
import torch

from rootspace import ClassMap, plan
from rootspace.planning import FAMILIES, FIXED, classifier_cost, smallest_dim

COUNTS = (1, 2, 3, 10, 20, 21, 97, 1000, 5000)


@pytest.mark.parametrize("family", FAMILIES)
class TestSmallestDimension:
    @pytest.mark.parametrize("count", COUNTS)
    def test_suffices_and_one_less_does_not(self, family: str, count: int) -> None:
        make = FAMILIES[family]
        n = plan(count).row(family).n_min
        assert n is not None
        assert make(n).size >= count
        if n > 1:
            with contextlib.suppress(ValueError):  # where the family begins at n
                assert make(n - 1).size < count

    def test_exact_fit(self, family: str) -> None:
        size = FAMILIES[family](12).size
        assert smallest_dim(FAMILIES[family], size) == 12
        assert smallest_dim(FAMILIES[family], size + 1) == 13

    def test_row_is_that_of_the_family(self, family: str) -> None:
        row = plan(1000).row(family)
        assert row.system is not None and row.scale is not None and row.n_min is not None
        assert row.system == FAMILIES[family](row.n_min)
        z = ClassMap(row.system, 1000).vectors(torch.arange(50), dtype=torch.float64)
        share = torch.exp(row.scale - row.system.log_partition(z, row.scale))
        assert float(share.mean()) == pytest.approx(0.9, abs=0.05)


@pytest.mark.parametrize(
    ("family", "count", "n"),
    [
        # n(n+1) >= count, and the n_min of the comparison of systems (A_n there counts n(n-1)).
        ("A_n", 10**6, 1000),
        ("A_n isometric", 10**5, 316),
        ("A_np", 10**6, 1414),
        ("A_n, 1 interpolation", 621_350, 85),
        ("D_n", 10**5, 225),
        ("D_n", 10**6, 708),
        ("V_n^21", 10**6, 127),
        ("V_n^21", 10**8, 586),
        ("signed 3-hot", 10**6, 92),
        ("V_n^22", 10**6, 47),
        ("V_n^22", 10**8, 143),
        ("signed 4-hot", 10**7, 64),
    ],
)
def test_published_dimensions(family: str, count: int, n: int) -> None:
    assert smallest_dim(FAMILIES[family], count) == n


class TestPlan:
    def test_a_given_dimension(self) -> None:
        found = plan(1000, dim=40)
        assert all(row.system is None or row.system.dim == 40 for row in found.rows)
        assert found.row("A_n").system is not None
        assert found.row("A_np").n_min == 45 and found.row("A_np").system is None

    def test_classifier_bytes(self) -> None:
        # Weights, gradient and two moments of AdamW, in float32.
        assert plan(1000).classifier_bytes(384) == 4 * 4 * 384 * 1000

    def test_table(self) -> None:
        lines = str(plan(1000, dim=40)).splitlines()
        assert lines[0].split()[:4] == ["family", "n_min", "system", "vectors"]
        assert set(lines[1]) == {"-"}
        end = lines.index("")
        assert end == 2 + len(FAMILIES)
        row = ["A_n", "32", "RootA(40)", "1,640", "45.0", "deg", "14.2", "0", "80", "0.6", "MB"]
        assert lines[2].split() == row
        lines = lines[:end]
        assert any("too small" in line and line.startswith("A_np") for line in lines)
        assert len({len(line) for line in lines if "deg" in line}) == 1, "columns are aligned"

    def test_rows_are_those_of_the_families(self) -> None:
        assert [row.family for row in plan(10).rows] == [*FAMILIES, *FIXED]
        assert [row.family for row in plan(1000).rows] == [*FAMILIES, "Leech"]
        assert [row.family for row in plan(100, dim=8).rows] == [*FAMILIES, "E8"]

    def test_cost(self) -> None:
        found = plan(100_000, dim=128)
        code = found.row("3-level code")
        assert code.bytes_per_class == 3 * 128 / 8
        assert found.row("signed n/2-hot").bytes_per_class == 128 / 4
        assert found.row("V_n^21").bytes_per_class == 0
        assert (code.decode_operations or 0) > 1000 * (found.row("V_n^21").decode_operations or 0)
        labels = torch.arange(20)
        assert code.system is not None
        vectors = code.system.quantize(torch.randn(20, 128))
        stored = ClassMap.assigned(code.system, vectors)
        assert stored.bytes_per_class == code.bytes_per_class
        assert torch.allclose(stored.vectors(labels), vectors)

    def test_sizes_grow_with_the_dimension(self) -> None:
        # `smallest_dim` bisects.
        for make in FAMILIES.values():
            sizes = []
            for n in range(1, 40):
                try:
                    sizes.append(make(n).size)
                except ValueError:
                    assert not sizes
            assert sizes == sorted(sizes)

    @pytest.mark.parametrize("value", [0, -5, 1.5, True])
    def test_wrong_numbers(self, value: float) -> None:
        with pytest.raises(ValueError, match="'num_classes' must be a positive integer"):
            plan(value)  # pyright: ignore[reportArgumentType]
        with pytest.raises(ValueError, match="'dim' must be a positive integer"):
            plan(10, dim=value)  # pyright: ignore[reportArgumentType]

    def test_numbers_that_nothing_has(self) -> None:
        for number in (10**10 + 1, 10**150):
            with pytest.raises(ValueError, match="'num_classes' must be at most 10,000,000,000"):
                plan(number)
        with pytest.raises(ValueError, match="'dim' must be at most 65,536"):
            plan(10, dim=99_999_999_999)
        with pytest.raises(ValueError, match="no dimension up to 2,097,152"):
            smallest_dim(FAMILIES["simplex"], 3_000_000)

    def test_unknown_family(self) -> None:
        with pytest.raises(ValueError, match=r"'family' must be one of \[.*'A_n'.*not 'C_n'"):
            plan(10).row("C_n")

    def test_one_class(self) -> None:
        assert plan(1).row("A_n").n_min == 1
        assert math.isfinite(plan(1).row("A_np").scale or math.nan)


class TestClassifierCost:
    @pytest.mark.parametrize(
        ("num_classes", "megabytes"),
        [(0, 943), (1000, 943), (10_000, 973), (100_000, 1237), (10**6, 3873), (10**7, 30281)],
    )
    def test_model_sizes_of_table_10(self, num_classes: int, megabytes: int) -> None:
        assert classifier_cost(num_classes).model_mib == pytest.approx(megabytes, rel=0.01)

    def test_parameters_of_table_9(self) -> None:
        for count in (0, 10, 1000, 100_000, 1_000_000):
            cost = classifier_cost(count, "ViT-S/16")
            assert cost.parameters == pytest.approx(22e6 + 384 * count, rel=0.02)

    def test_against_torch(self) -> None:
        layer = torch.nn.Linear(768, 500)
        cost = classifier_cost(500)
        assert cost.layer_parameters == sum(p.numel() for p in layer.parameters())
        optimizer = torch.optim.AdamW(layer.parameters())
        layer(torch.randn(2, 768)).sum().backward()
        optimizer.step()
        states = [s for state in optimizer.state.values() for k, s in state.items() if k != "step"]
        held = sum(t.numel() for t in states) + sum(
            p.grad.numel() for p in layer.parameters() if p.grad is not None
        )
        assert cost.optimizer_mib == pytest.approx(4 * held / 2**20)

    def test_wrong(self) -> None:
        with pytest.raises(ValueError, match=r"'backbone' must be one of .*not 'ResNet'"):
            classifier_cost(10, "ResNet")
        with pytest.raises(ValueError, match="'num_classes' must be an integer of at least 0"):
            classifier_cost(-1)
