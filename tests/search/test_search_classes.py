"""An index makes class maps and heads faster and changes nothing else."""

import copy
import pickle
from pathlib import Path
from unittest import mock

import pytest
import torch

from rootspace import ClassMap, PrototypeHead
from rootspace.search import index
from rootspace.systems import PermutationCode, PermutationSystem, RootA


@pytest.fixture(scope="module")
def classes() -> ClassMap:
    """More classes than are scanned."""
    torch.manual_seed(0)
    system = PermutationCode(28)
    vectors = system.quantize(torch.randn(33_500, 28)).unique(dim=0)
    assert len(vectors) > index.LEAST
    return ClassMap.assigned(system, vectors)


@pytest.fixture(scope="module")
def indexed(classes: ClassMap) -> ClassMap:
    other = copy.copy(classes)
    other.build_index()
    assert other.index is not None and other.index.pending == 0
    return other


def embeddings(classes: ClassMap, dtype: torch.dtype = torch.float32) -> torch.Tensor:
    torch.manual_seed(1)
    near = classes.vectors(torch.arange(0, classes.num_classes, 500)) + 0.05 * torch.randn(1, 28)
    return torch.cat([near, torch.randn(20, 28)]).to(dtype)


@pytest.mark.parametrize("k", [1, 5, 40])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.float16])
def test_same_predictions(classes: ClassMap, indexed: ClassMap, k: int, dtype: torch.dtype) -> None:
    z = embeddings(classes, dtype)
    found, wanted = indexed.predict(z, k), classes.predict(z, k)
    assert torch.equal(found.label, wanted.label) and torch.equal(found.cosine, wanted.cosine)
    assert found.cosine.dtype == dtype


def test_gradients(classes: ClassMap, indexed: ClassMap) -> None:
    z = embeddings(classes)[-10:].requires_grad_()
    found = indexed.predict(z, 3)
    (grad,) = torch.autograd.grad(found.cosine.sum(), z)
    score = torch.nn.functional.cosine_similarity(z[:, None], indexed.vectors(found.label), dim=-1)
    (wanted,) = torch.autograd.grad(score.sum(), z)
    assert torch.allclose(grad, wanted, atol=1e-5)


def test_same_rejections(classes: ClassMap, indexed: ClassMap) -> None:
    z = embeddings(classes)
    for cosine, unassigned in ((0.9, False), (None, True)):
        found = indexed.predict(z, 2, min_cosine=cosine, reject_unassigned=unassigned)
        wanted = classes.predict(z, 2, min_cosine=cosine, reject_unassigned=unassigned)
        assert torch.equal(found.label, wanted.label) and bool((wanted.label == -1).any())


def test_classes_near_their_prototypes_need_no_scan(indexed: ClassMap) -> None:
    labels = torch.arange(indexed.num_classes)
    with mock.patch.object(index, "scan") as scan:
        assert torch.equal(indexed.predict(indexed.vectors(labels)).label[:, 0], labels)
    assert not scan.called


def test_new_classes_are_found(classes: ClassMap, indexed: ClassMap) -> None:
    means = torch.randn(2, 3, 28, generator=torch.Generator().manual_seed(5))
    once, other = indexed.extend_assigned(means[0]), indexed.extend_assigned(means[1])
    for extended, some in ((once, means[0]), (other, means[1])):
        assert extended.index is not None and extended.index.pending == 3
        z = torch.cat([some, embeddings(classes)])
        wanted = classes.extend_assigned(some).predict(z, 3)
        assert torch.equal(extended.predict(z, 3).label, wanted.label)
        assert extended.predict(some).label[:, 0].tolist() == [
            classes.num_classes + i for i in range(3)
        ]
    once.build_index()
    assert once.index is not None and once.index.pending == 0
    assert torch.equal(once.predict(means[0]).label[:, 0] - classes.num_classes, torch.arange(3))


def test_another_width_is_another_index(classes: ClassMap) -> None:
    some = ClassMap.assigned(classes.system, classes.vectors(torch.arange(100)))
    some.build_index()
    first = some.index
    some.build_index()
    assert some.index is first
    some.build_index(width=4)
    assert some.index is not None and some.index.width == 4
    with pytest.raises(ValueError, match="'width' must be a positive integer, not 0"):
        some.build_index(width=0)


def test_links_are_kept(indexed: ClassMap, tmp_path: Path) -> None:
    path = tmp_path / "links.npz"
    assert indexed.index is not None
    indexed.index.save(path)
    again = ClassMap.assigned(indexed.system, indexed.vectors(torch.arange(indexed.num_classes)))
    with mock.patch.object(index.Graph, "of") as build:
        again.build_index(links=path)
    assert not build.called and again.index is not None and again.index.pending == 0
    before = path.read_bytes()
    other = again.extend_assigned(torch.randn(1, 28))
    other.build_index(links=path)
    assert other.index is not None and other.index.pending == 0 and path.read_bytes() != before


def test_numbered_vectors() -> None:
    system = PermutationSystem(24, 6, 6)
    vectors = system.quantize(torch.randn(500, 24)).unique(dim=0)
    plain, other = ClassMap.assigned(system, vectors), ClassMap.assigned(system, vectors)
    other.build_index()
    extended = other.extend_assigned(torch.ones(1, 24) + torch.arange(24))
    assert extended.index is not None and len(extended.index) == len(vectors) + 1
    z = torch.randn(50, 24)
    assert torch.equal(plain.predict(z, 3).label, other.predict(z, 3).label)


def test_formulas_need_none() -> None:
    with pytest.raises(ValueError, match="finds classes in closed form and needs no index"):
        ClassMap(RootA(30), 500).build_index()


def test_not_saved(indexed: ClassMap, tmp_path: Path) -> None:
    assert indexed.state().keys() == ClassMap(RootA(3), 2).state().keys()
    assert pickle.loads(pickle.dumps(indexed)).index is None
    indexed.save(tmp_path / "map.json")
    assert ClassMap.load(tmp_path / "map.json").index is None


def test_head(classes: ClassMap) -> None:
    head = PrototypeHead.from_map(
        ClassMap.assigned(classes.system, classes.vectors(torch.arange(99)))
    )
    before = head.state_dict().keys()
    head.build_index(width=5)
    assert head.class_map is not None and head.class_map.index is not None
    assert head.class_map.index.width == 5 and head.state_dict().keys() == before
    with pytest.raises(RuntimeError, match="no prototypes yet"):
        PrototypeHead(10, 28).build_index()
