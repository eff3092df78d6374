"""The keyed permutation: a bijection, pinned, and well mixed."""

from __future__ import annotations

import pytest
import torch

from rootspace.classes import KeyedPermutation


@pytest.mark.parametrize("size", [1, 2, 3, 7, 64, 1000, 99_991, 1_000_000])
@pytest.mark.parametrize("seed", [0, 12345])
def test_bijection(size: int, seed: int):
    permutation, every = KeyedPermutation(size, seed), torch.arange(size)
    image = permutation(every)
    assert torch.equal(image.sort().values, every)
    assert torch.equal(permutation.inverse(image), every)


@pytest.mark.parametrize("size", [10**15, 2**62, 2**63 - 1])
def test_inverse_of_huge_ones(size: int):
    permutation = KeyedPermutation(size, 7)
    element = torch.randint(size, (20_000,))
    image = permutation(element)
    assert int(image.min()) >= 0 and int(image.max()) < size
    assert torch.equal(permutation.inverse(image), element)


def test_golden_values(golden):
    """Made by an implementation in plain integers: scripts/make_golden_permutation.py."""
    cases = golden["permutation"]
    cases = cases["cases"] if isinstance(cases, dict) else cases
    assert len(cases) > 10
    for case in cases:
        permutation = KeyedPermutation(case["size"], case["seed"])
        elements = torch.tensor(case["elements"])
        assert permutation(elements).tolist() == case["images"], case["size"]


def test_looks_random():
    """Images of consecutive elements fill ten equal bins evenly (chi-square, 9 degrees)."""
    size = 1_000_000
    for seed in range(5):
        image = KeyedPermutation(size, seed)(torch.arange(10_000))
        counts = torch.bincount(image * 10 // size, minlength=10).double()
        assert float(((counts - 1000) ** 2 / 1000).sum()) < 27.9  # p = 0.001
        steps = (image[1:] - image[:-1]).unique()
        assert len(steps) > 9_900


def test_seeds_differ():
    images = [tuple(KeyedPermutation(10**6, s)(torch.arange(5)).tolist()) for s in range(50)]
    assert len(set(images)) == 50


@pytest.mark.parametrize("size", [0, 2**63])
def test_bad_size(size: int):
    with pytest.raises(ValueError, match="'size' must lie in"):
        KeyedPermutation(size, 0)
