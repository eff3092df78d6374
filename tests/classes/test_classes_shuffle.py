"""The keyed permutation where it is hardest, and whether it shuffles."""

import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from rootspace.classes import KeyedPermutation
from rootspace.testing import LargestTensor

GOLDEN: list[dict[str, Any]] = json.loads(
    (Path(__file__).parents[1] / "golden" / "permutation.json").read_text(encoding="utf-8")
)
LARGEST = 2**63 - 1


@pytest.mark.parametrize("golden", GOLDEN, ids=lambda g: f"{g['size']}-seed{g['seed']}")
def test_elements_that_leave_the_domain_at_first(
    golden: dict[str, Any],
) -> None:
    permutation = KeyedPermutation(golden["size"], golden["seed"])
    elements = torch.tensor(golden["walkers"], dtype=torch.int64)
    images = torch.tensor(golden["walker_images"], dtype=torch.int64)
    assert torch.equal(permutation(elements), images)
    assert torch.equal(permutation.inverse(images), elements)


def test_golden_values_contain_such_elements() -> None:
    assert sum(len(golden["walkers"]) for golden in GOLDEN) > 50


@given(st.integers(1, 2**62), st.integers(-(2**70), 2**70), st.data())
def test_inverse_at_any_size(size: int, seed: int, data: st.DataObject) -> None:
    permutation = KeyedPermutation(size, seed)
    elements = torch.tensor(data.draw(st.lists(st.integers(0, size - 1), min_size=1, max_size=20)))
    images = permutation(elements)
    assert bool(((images >= 0) & (images < size)).all())
    assert torch.equal(permutation.inverse(images), elements)


def test_only_the_low_64_bits_of_the_seed_matter() -> None:
    every = torch.arange(1000)
    first, *others = (KeyedPermutation(1000, seed)(every) for seed in (-1, 2**64 - 1, 2**65 - 1))
    assert all(torch.equal(first, other) for other in others)


def test_shapes() -> None:
    permutation = KeyedPermutation(1000, 0)
    elements = torch.randint(1000, (2, 3, 4))
    assert torch.equal(permutation(elements).reshape(-1), permutation(elements.reshape(-1)))
    assert permutation(torch.tensor(5)).shape == ()
    assert permutation(torch.empty(0, dtype=torch.int64)).shape == (0,)


def test_memory_does_not_grow_with_the_size() -> None:
    with LargestTensor() as largest:
        permutation = KeyedPermutation(10**12, 0)
        permutation.inverse(permutation(torch.arange(10)))
    assert largest.elements == 10


class TestShuffle:
    """Chi-square statistics in standard deviations; the seeds are fixed."""

    @staticmethod
    def excess(bins: torch.Tensor, count: int) -> float:
        counts = torch.bincount(bins, minlength=count).double()
        statistic = ((counts - counts.mean()) ** 2 / counts.mean()).sum()
        return float((statistic - (count - 1)) / math.sqrt(2 * (count - 1)))

    @pytest.mark.parametrize("size", [60, 100, 131])
    def test_each_element_goes_everywhere(self, size: int) -> None:
        images = torch.stack([KeyedPermutation(size, s)(torch.arange(size)) for s in range(400)])
        for element in (0, 1, size // 2, size - 1):
            assert self.excess(images[:, element], size) < 5

    def test_neighbors_part(self) -> None:
        size = 10**6
        images = KeyedPermutation(size, 7)(torch.arange(size))
        assert self.excess((images[1:] - images[:-1]) % size * 50 // size, 50) < 5

    @pytest.mark.parametrize("seed", range(4))
    def test_elements_that_share_a_digit_part(self, seed: int) -> None:
        size = 10**6
        permutation = KeyedPermutation(size, seed)
        for elements in (torch.arange(1000), torch.arange(0, size, 1000)):
            assert self.excess(permutation(elements) * 40 // size, 40) < 5

    def test_fixed_points_are_those_of_a_random_permutation(self) -> None:
        every = torch.arange(1000)
        fixed = [int((KeyedPermutation(1000, s)(every) == every).sum()) for s in range(200)]
        assert sum(fixed) / len(fixed) == pytest.approx(1, abs=0.35)  # Poisson

    def test_seeds_agree_nowhere(self) -> None:
        images = torch.stack([KeyedPermutation(10_000, s)(torch.arange(10_000)) for s in range(20)])
        agreements = (images[:, None] == images).sum(-1) - 10_000 * torch.eye(20).long()
        assert int(agreements.max()) < 10
