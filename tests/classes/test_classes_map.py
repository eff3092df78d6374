"""ClassMap: formula maps, exact prediction in every situation, growth, files, errors."""

from __future__ import annotations

import json
import tracemalloc
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
import torch
from torch.nn.functional import normalize

from rootspace import ClassMap
from rootspace.systems import Circle, Orbit, PermutationCode, RootA, Table, VectorSystem

LARGE = RootA(384, interpolations=1)


def dense(classes: ClassMap, z: torch.Tensor) -> torch.Tensor:
    """Cosines to all class vectors, by matrix product."""
    vectors = classes.vectors(torch.arange(classes.num_classes), dtype=z.dtype)
    return normalize(z, dim=-1) @ vectors.T


def inputs(classes: ClassMap) -> torch.Tensor:
    """Random embeddings, and some near class vectors."""
    labels = torch.randint(classes.num_classes, (60,))
    near = classes.vectors(labels, dtype=torch.float64)
    noise = torch.randn(120, classes.dim, dtype=torch.float64)
    return torch.cat([noise[:60], near + 0.1 * noise[60:]])


@pytest.mark.parametrize("order", ["natural", "shuffled"])
@pytest.mark.parametrize("system", [RootA(12), RootA(6, interpolations=1), Circle(4)], ids=repr)
@pytest.mark.parametrize("share", [0.02, 0.2, 0.6, 0.95, 1.0])
@pytest.mark.parametrize("k", [1, 3])
def test_predict_is_exact(system: VectorSystem, order, share: float, k: int):
    classes = ClassMap(system, max(k, int(share * system.size)), order, seed=5)
    z = inputs(classes)
    prediction, cosines = classes.predict(z, k), dense(classes, z)
    torch.testing.assert_close(prediction.cosine, cosines.topk(k).values)
    torch.testing.assert_close(cosines.gather(1, prediction.label), prediction.cosine)


def test_both_searches_agree():
    classes = ClassMap(RootA(15), 150)
    z = inputs(classes)
    walked = classes.predict(z, 2)
    with mock.patch.object(ClassMap, "_next_width", return_value=0):
        scored = classes.predict(z, 2)
    assert torch.equal(walked.label, scored.label)
    torch.testing.assert_close(walked.cosine, scored.cosine)


def test_whole_system_is_decoded_without_a_search():
    classes = ClassMap(RootA(40), RootA(40).size)
    with mock.patch.object(ClassMap, "_search", side_effect=AssertionError):
        labels = torch.arange(classes.num_classes)
        assert torch.equal(classes.predict(classes.vectors(labels)).label[:, 0], labels)


def test_leading_shapes_and_dtypes():
    classes = ClassMap(RootA(9), 50)
    z = classes.vectors(torch.arange(6)).reshape(2, 3, 9)
    for dtype in (torch.float64, torch.float32, torch.bfloat16, torch.float16):
        prediction = classes.predict(z.to(dtype), 2)
        assert prediction.label.shape == prediction.cosine.shape == (2, 3, 2)
        assert prediction.cosine.dtype == dtype
        assert torch.equal(prediction.label[..., 0], torch.arange(6).reshape(2, 3))
    assert classes.predict(torch.empty(0, 9)).label.shape == (0, 1)


def test_vectors_and_labels_are_inverse():
    classes = ClassMap(RootA(20), 300, seed=3)
    labels = torch.randperm(300).reshape(30, 10)
    assert torch.equal(classes.labels(classes.indices(labels)), labels)
    every = classes.labels(torch.arange(classes.capacity))
    assert sorted(every[every >= 0].tolist()) == list(range(300))


def test_fifty_million_classes_take_no_memory():
    tracemalloc.start()
    classes = ClassMap(LARGE, 50_000_000)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 1e6
    labels = torch.randint(50_000_000, (4096,))
    assert torch.equal(classes.predict(classes.vectors(labels)).label[:, 0], labels)


def test_unknowns():
    classes = ClassMap(RootA(10), 40)
    index = torch.arange(classes.capacity)
    vectors = classes.system.vectors(index)
    owner = classes.labels(index)
    rejecting = classes.predict(vectors, reject_unassigned=True)
    assert torch.equal(rejecting.label[:, 0], owner)
    assert bool((classes.predict(vectors).label >= 0).all())
    strict = classes.predict(vectors, min_cosine=0.99)
    assert torch.equal(strict.label[:, 0], owner)


def test_extend_keeps_old_vectors():
    classes = ClassMap(RootA(20), 100, seed=9)
    more = classes.extend(50)
    assert more.num_classes == 150
    labels = torch.arange(100)
    assert torch.equal(more.vectors(labels), classes.vectors(labels))
    named = ClassMap(RootA(20), 2, names=["a", "b"]).extend(["c"])
    assert named.names == ["a", "b", "c"]


def test_natural_and_shuffled_orders():
    """A_n uses the same first coordinates over and over; A_nr spreads (lesson of Table 7)."""
    first = ClassMap(RootA(40), 40, "natural").vectors(torch.arange(39))
    assert bool((first[:, 0] > 0).all())
    spread = ClassMap(RootA(40), 40, "shuffled").vectors(torch.arange(39))
    assert int((spread != 0).any(0).sum()) > 25
    other = ClassMap(RootA(40), 40, "shuffled", seed=1).vectors(torch.arange(39))
    assert not torch.equal(spread, other)


@pytest.mark.parametrize(
    "classes",
    [
        ClassMap(LARGE, 50_000_000),
        ClassMap(RootA(9), 12, "natural", names=list("abcdefghijkl")),
        ClassMap(Orbit(6, {2: 1, -1: 2}), 20, seed=2**64 - 1),
        ClassMap(Table(torch.eye(5)), 4),
    ],
    ids=repr,
)
def test_save_and_load(classes: ClassMap, tmp_path: Path):
    path = tmp_path / "classes.json"
    classes.save(path)
    again = ClassMap.load(path)
    labels = torch.arange(min(classes.num_classes, 100))
    assert repr(again) == repr(classes) and again.names == classes.names
    assert torch.equal(again.vectors(labels), classes.vectors(labels))
    assert path.stat().st_size < 1000


def test_files_that_are_no_class_maps(tmp_path: Path):
    path = tmp_path / "classes.json"
    ClassMap(RootA(9), 12).save(path)
    content = json.loads(path.read_text())
    for text, message in (
        ("{", "is not a class map"),
        ("[]", "is not a class map"),
        (json.dumps(content | {"format": 2}), "'format' must be 1"),
        (json.dumps(content | {"system": "os.system('true')"}), "Unknown vector system"),
        (json.dumps({k: v for k, v in content.items() if k != "order"}), "is not a class map"),
        (json.dumps(content | {"num_classes": 91}), "at most 90"),
    ):
        path.write_text(text)
        with pytest.raises(ValueError, match=message):
            ClassMap.load(path)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((RootA(3), 13), "'num_classes' must be at most 12"),
        ((RootA(3), 0), "must be a positive integer, not 0"),
        ((RootA(3), 2.0), "must be a positive integer"),
        ((RootA(3), 5, "random"), "'order' must be 'shuffled' or 'natural', not 'random'"),
        ((RootA(3), 2, "natural", 0, ["a"]), "must hold 2 names"),
        ((RootA(3), 2, "shuffled", "x"), "'seed' must be an integer, not 'x'"),
        ((PermutationCode(128), 5), r"at most 2\*\*63 - 1 vectors"),
    ],
)
def test_bad_maps(arguments, message: str):
    with pytest.raises(ValueError, match=message):
        ClassMap(*arguments)


@pytest.mark.parametrize("system", ["RootA(3)", RootA])
def test_what_is_no_system(system: Any):
    with pytest.raises(TypeError, match="'system' must be a vector system such as RootA"):
        ClassMap(system, 5)


def test_bad_questions():
    classes = ClassMap(RootA(9), 50)
    with pytest.raises(TypeError, match=r"'index' must be an integer tensor, not torch\.float32"):
        classes.labels(torch.tensor([1.7]))
    with pytest.raises(IndexError, match=r"'labels' must lie in \[0, 50\), not 50"):
        classes.vectors(torch.tensor([3, 50]))
    with pytest.raises(IndexError, match="not -1"):
        classes.vectors(torch.tensor([-1]))
    with pytest.raises(TypeError, match="must be an integer tensor"):
        classes.vectors(torch.tensor([1.0]))
    with pytest.raises(ValueError, match="'embeddings' must have last dimension 9, not shape"):
        classes.predict(torch.randn(4, 8))
    with pytest.raises(TypeError, match="floating-point"):
        classes.predict(torch.ones(4, 9, dtype=torch.int64))
    with pytest.raises(ValueError, match=r"must not hold zero embeddings.*row 1 is zero"):
        classes.predict(torch.stack([torch.ones(9), torch.zeros(9)]))
    with pytest.raises(ValueError, match="must be finite; row 0 holds NaN"):
        classes.predict(torch.full((1, 9), torch.nan))
    for k in (0, 51):
        with pytest.raises(ValueError, match=rf"'k' must be an integer in \[1, 50\], not {k}"):
            classes.predict(torch.ones(1, 9), k)
    for least in (-1.1, 2, float("nan")):
        with pytest.raises(ValueError, match=rf"'min_cosine' must lie in \[-1, 1\], not {least}"):
            classes.predict(torch.ones(1, 9), min_cosine=least)
    with pytest.raises(ValueError, match="have no names"):
        classes.extend(["x"])
    with pytest.raises(ValueError, match="at most 90"):
        classes.extend(41)


def test_vector_ids_tell_vectors_apart():
    labels = torch.tensor([4, 0, 4])
    formula = ClassMap(RootA(6), 30, seed=3)
    assert formula.vector_ids(labels) == formula.indices(labels).tolist()
    numbers = ClassMap.assigned(RootA(6), torch.tensor([9, 8, 7, 6, 5]))
    assert numbers.vector_ids(labels) == [5, 9, 5]
    system = PermutationCode(128)
    codes = ClassMap.assigned(system, system.quantize(torch.randn(5, 128)))
    first, second, third = codes.vector_ids(labels)
    assert isinstance(first, bytes) and len(first) == 48 and first == third != second
    with pytest.raises(IndexError, match=r"'labels' must lie in \[0, 5\), not 5"):
        codes.vector_ids(torch.tensor([5]))
