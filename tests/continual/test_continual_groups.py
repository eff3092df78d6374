"""Groups of unknown inputs, and the classes proposed from them."""

from __future__ import annotations

import tracemalloc
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from sklearn.cluster import AgglomerativeClustering
from torch import Tensor
from torch.nn.functional import normalize
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from rootspace.classes import ClassMap
from rootspace.continual import group_by_cosine, group_by_vector, propose
from rootspace.systems import PermutationCode, RootA, RootE8, VectorSystem


def same_partition(one: Tensor, other: Tensor) -> bool:
    return torch.equal(one[:, None] == one[None], other[:, None] == other[None])


@given(
    number=st.integers(2, 30),
    dim=st.integers(2, 6),
    min_cosine=st.floats(-0.9, 0.99),
    seed=st.integers(0, 2**32),
)
def test_agglomeration_as_scikit_learn(number: int, dim: int, min_cosine: float, seed: int):
    z = torch.randn(number, dim, generator=torch.Generator().manual_seed(seed))
    found = group_by_cosine(7 * z, min_cosine)
    settings: dict[str, Any] = {"n_clusters": None, "distance_threshold": 1 - min_cosine}
    oracle = AgglomerativeClustering(metric="cosine", linkage="average", **settings).fit_predict(
        z.double().numpy()
    )
    assert same_partition(found, torch.from_numpy(oracle))
    # Numbers in the order of the first members.
    first = [int((found == g).nonzero()[0, 0]) for g in range(int(found.max()) + 1)]
    assert first == sorted(first)


def test_few_embeddings():
    assert group_by_cosine(torch.empty(0, 3), 0.5).tolist() == []
    assert group_by_cosine(torch.ones(1, 3), 0.5).tolist() == [0]
    assert group_by_cosine(torch.ones(3, 3), 1.0).tolist() == [0, 0, 0]
    assert group_by_vector(RootA(3), torch.empty(0, 3)).tolist() == []


def test_pairs_are_kept_once():
    z = torch.randn(1000, 8)
    group_by_cosine(z[:9], 0.5)  # scipy is imported at first
    tracemalloc.start()
    try:
        group_by_cosine(z, 0.5)
        assert tracemalloc.get_traced_memory()[1] < 6 * len(z) ** 2  # 8 bytes for each pair
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("system", [RootA(4), RootE8(), PermutationCode(12)], ids=repr)
def test_groups_of_one_nearest_vector(system: VectorSystem):
    centers = system.quantize(torch.randn(6, system.dim))
    which = torch.randint(6, (40,))
    z = centers[which] * torch.rand(40, 1).add(0.5) + 0.01 * torch.randn(40, system.dim)
    found = group_by_vector(system, z)
    nearest = system.quantize(z)
    assert same_partition(
        found, torch.unique(nearest.round(decimals=4), dim=0, return_inverse=True)[1]
    )


def test_bad_input():
    with pytest.raises(ValueError, match=r"'min_cosine' must lie in \[-1, 1\], not 1.5"):
        group_by_cosine(torch.ones(2, 2), 1.5)
    with pytest.raises(ValueError, match=r"'z' must hold at most 10,000 embeddings, .* not 10,001"):
        group_by_cosine(torch.ones(1, 2).expand(10_001, 2), 0.5)
    with pytest.raises(ValueError, match="row 1 is zero"):
        group_by_cosine(torch.tensor([[1.0, 0], [0, 0]]), 0.5)
    classes = ClassMap(RootA(3), 5)
    with pytest.raises(ValueError, match="'min_size' must be at least 1, not 0"):
        propose(torch.ones(2, 3), torch.zeros(2).long(), classes.predict, classes, 0)


MAPS = {
    "codes": lambda: ClassMap.assigned(
        PermutationCode(24), PermutationCode(24).quantize(torch.randn(20, 24))
    ),
    "numbers": lambda: ClassMap.assigned(RootA(6), torch.arange(20), [f"{i}" for i in range(20)]),
    "formula": lambda: ClassMap(RootA(6), 20, names=[f"{i}" for i in range(20)]),
}


@pytest.mark.parametrize("kind", MAPS)
def test_proposals(kind: str):
    classes: ClassMap = MAPS[kind]()
    centers = normalize(torch.randn(3, classes.dim), dim=-1)
    groups = torch.tensor([0, 1, 0, 2, 1, 0, 3])
    z = torch.cat([centers, centers[:1]])[groups] + 0.05 * torch.randn(7, classes.dim)
    found = propose(z, groups, classes.predict, classes)
    assert [set(p.members) for p in found] == [{0, 2, 5}, {1, 4}]
    assert len(propose(z, groups, classes.predict, classes, 1)) == 4
    assert propose(z, groups, classes.predict, classes, 4) == []
    vectors = [p.vector for p in found]
    taken = set(classes.vector_ids(torch.arange(20)))
    assert len({*vectors, *taken}) == 22, "free and different"
    for p in found:
        unit = normalize(z[list(p.members)], dim=-1)
        mean = normalize(unit.sum(0), dim=0)
        cosines = unit @ mean
        assert p.representative == p.members[int(cosines.argmax())]
        assert p.cohesion == pytest.approx(float(cosines.mean()), abs=1e-5)
        nearest = classes.predict(mean)
        assert p.nearest_label == int(nearest.label) and p.nearest_cosine == pytest.approx(
            float(nearest.cosine), abs=1e-5
        )
    means = torch.stack([normalize(z[list(p.members)], dim=-1).sum(0) for p in found])
    names = None if classes.names is None else ["a", "b"]
    if kind == "formula":
        grown = classes.extend(names or 2)
    else:
        grown = classes.extend_assigned(means, names)
    assert grown.vector_ids(torch.tensor([20, 21])) == vectors
    for p, vector, mean in zip(found, grown.vectors(torch.tensor([20, 21])), means, strict=True):
        assert p.vector_cosine == pytest.approx(float(normalize(mean, dim=0) @ vector), abs=1e-5)


class Work(TorchDispatchMode):
    """Counts the numbers that torch operations return."""

    elements = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        self.elements += sum(x.numel() for x in tree_leaves(result) if isinstance(x, Tensor))
        return result


def test_work_for_many_groups_grows_with_the_inputs():
    z, groups = torch.randn(4000, 3), torch.arange(2000).repeat(2)
    classes = ClassMap(RootA(3), 5)
    with Work() as work:
        found = propose(z, groups, classes.predict)
    assert [set(p.members) for p in found] == [{i, i + 2000} for i in range(2000)]
    assert work.elements < 1000 * len(z)  # each group with each input: 2000 times as many


def test_no_vector_left():
    z, groups = torch.randn(6, 3), torch.tensor([0, 0, 1, 1, 2, 2])
    classes = ClassMap(RootA(3), 11)  # of 12
    found = propose(z, groups, classes.predict, classes)
    assert [p.vector is None for p in found] == [False, True, True]
    assert [p.vector_cosine is None for p in found] == [False, True, True]
    assert all(p.vector is None for p in propose(z, groups, classes.predict, None))
