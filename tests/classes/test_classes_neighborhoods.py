"""Groups of similar vectors."""

from __future__ import annotations

import pytest
import torch
from torch.nn.functional import normalize

from rootspace.classes import neighborhoods


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
