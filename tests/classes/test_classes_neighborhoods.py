"""Groups of similar vectors."""

from __future__ import annotations

import importlib

import pytest
import torch
from torch.nn.functional import normalize

from rootspace.classes import neighborhoods
from rootspace.classes.neighborhoods import regions
from rootspace.testing import LargestTensor


@pytest.mark.parametrize("count", [1, 7, 8, 9, 10_000])
def test_neighborhoods_hold_every_vector_once(count: int) -> None:
    vectors = normalize(torch.randn(count, 4))
    groups = neighborhoods(vectors, 8, torch.Generator().manual_seed(0))
    assert sorted(torch.cat(groups).tolist()) == list(range(count))
    assert max(len(group) for group in groups) <= 8
    # Groups are tight: no worse than a quarter of the squared distance of vectors drawn at random.
    if count > 1000:
        inner = [vectors[group].var(dim=0, correction=0).sum() for group in groups]
        assert torch.stack(inner).mean() < 0.25 * vectors.var(dim=0).sum()


def test_equal_vectors() -> None:
    groups = neighborhoods(torch.ones(5000, 3), 8, torch.Generator().manual_seed(0))
    assert sorted(torch.cat(groups).tolist()) == list(range(5000))


def test_no_copy_of_many_vectors(monkeypatch: pytest.MonkeyPatch) -> None:
    vectors = normalize(torch.randn(300, 40), dim=-1)
    expected = list(regions(vectors, 20, torch.Generator().manual_seed(0)))
    # The package has a function of the module's name.
    module = importlib.import_module("rootspace.classes.neighborhoods")
    monkeypatch.setattr(module, "BLOCK", 10 * 40)
    with LargestTensor() as largest:
        found = list(regions(vectors, 20, torch.Generator().manual_seed(0)))
    assert largest.elements <= 30 * 40, largest.operation  # sums of thirty blocks
    assert all(map(torch.equal, found, expected))
