"""Prediction without some classes against brute force."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from rootspace.classes import ClassMap, Prediction
from rootspace.continual import predict_without
from rootspace.systems import PermutationCode, RootA, RootE8

MAPS = {
    "formula": ClassMap(RootA(6), 42),
    "part of a formula": ClassMap(RootA(9), 30),
    "numbers": ClassMap.assigned(RootA(6), torch.arange(3, 40)),
    "codes": ClassMap.assigned(PermutationCode(8), PermutationCode(8).vectors(torch.arange(50))),
    "search": ClassMap(RootE8(), 60),
}


@pytest.mark.parametrize("name", MAPS)
@given(data=st.data())
def test_exact(name: str, data: st.DataObject):
    classes = MAPS[name]
    number = classes.num_classes
    left = data.draw(st.integers(1, number), label="left")
    k = data.draw(st.integers(1, left), label="k")
    generator = torch.Generator().manual_seed(data.draw(st.integers(0, 2**32)))
    excluded = torch.randperm(number, generator=generator)[left:]
    z = torch.randn(7, classes.dim, generator=generator, dtype=torch.float64)
    # Some embeddings sit on vectors of excluded classes, as those of a retired class do.
    if len(excluded):
        z[:3] = classes.vectors(excluded[torch.arange(3) % len(excluded)], dtype=z.dtype)
    found = predict_without(classes.predict, z, k, excluded, number)
    scores = (
        torch.nn.functional.normalize(z, dim=-1)
        @ classes.vectors(torch.arange(number), dtype=z.dtype).T
    )
    scores[:, excluded] = -torch.inf
    torch.testing.assert_close(found.cosine, scores.topk(k, dim=-1).values)
    # Ties may fall either way: compare by score.
    torch.testing.assert_close(scores.gather(-1, found.label), found.cosine)
    assert all(len(set(row)) == k for row in found.label.tolist())


def test_nothing_excluded_asks_once():
    asked = []

    def predict(z: torch.Tensor, k: int) -> Prediction:
        asked.append((len(z), k))
        return MAPS["formula"].predict(z, k)

    z = MAPS["formula"].vectors(torch.arange(10))
    none = torch.empty(0, dtype=torch.int64)
    predict_without(predict, z, 2, none, 42)
    assert asked == [(10, 2)]
    asked.clear()
    found = predict_without(predict, z.reshape(2, 5, 6), 1, torch.tensor([3]), 42)
    assert asked == [(10, 1), (1, 2)]  # only the embedding of the retired class is asked again
    assert found.label.shape == (2, 5, 1)


@pytest.mark.parametrize("k", [0, 41])
def test_too_many_wanted(k: int):
    with pytest.raises(ValueError, match=rf"'k' must lie in \[1, 40\], .*, not {k}"):
        predict_without(MAPS["formula"].predict, torch.ones(1, 6), k, torch.tensor([1, 5]), 42)
