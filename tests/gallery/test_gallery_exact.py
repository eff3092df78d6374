"""The index in memory answers as brute force in float64 does, whatever is deleted or added."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from rootspace.gallery.exact import ExactIndex
from rootspace.gallery.items import Found
from rootspace.gallery.lance import unit

BLOCK = 4096
"""Rows that the index looks at together."""


def brute_force(
    queries: np.ndarray, vectors: np.ndarray, ids: np.ndarray, k: int
) -> list[tuple[list[int], list[float]]]:
    found = []
    for query in queries:
        cosine = (vectors.astype(np.float64) * query.astype(np.float64)).sum(axis=-1).clip(-1, 1)
        best = np.lexsort((ids, -cosine))[:k]
        found.append((ids[best].tolist(), cosine[best].tolist()))
    return found


def answers(found: Found) -> list[tuple[list[int], list[float]]]:
    return [(i.tolist(), c.tolist()) for i, c in zip(found.ids, found.cosines, strict=True)]


def some_vectors(number: int, dim: int, seed: int, copies: int = 0) -> np.ndarray:
    """Unit vectors around a few centers; some of them are there several times."""
    generator = np.random.default_rng(seed)
    centers = generator.standard_normal((7, dim))
    vectors = centers[generator.integers(0, 7, number)] + 0.3 * generator.standard_normal(
        (number, dim)
    )
    for _ in range(copies):
        vectors[generator.integers(0, number)] = vectors[generator.integers(0, number)]
    return unit(vectors)


@pytest.mark.parametrize(("number", "dim"), [(1, 1), (50, 3), (BLOCK, 16), (3 * BLOCK + 17, 33)])
@pytest.mark.parametrize("k", [1, 10, 100])
def test_equals_brute_force(number: int, dim: int, k: int):
    vectors = some_vectors(number, dim, 0, copies=number // 3)
    ids = np.arange(number) * 3 + 5
    queries = np.concatenate([some_vectors(20, dim, 1), vectors[:20]])
    index = ExactIndex(dim)
    index.append(ids, vectors)
    found = index.snapshot().search(queries, k)
    assert answers(found) == brute_force(queries, vectors, ids, k)
    assert index.nbytes > 0


def test_one_query_has_the_answer_that_it_has_among_many():
    vectors, queries = some_vectors(5000, 24, 0, 500), some_vectors(300, 24, 1)
    index = ExactIndex(24)
    index.append(np.arange(5000), vectors)
    snapshot = index.snapshot()
    together = answers(snapshot.search(queries, 7))
    for query, answer in zip(queries[::29], together[::29], strict=True):
        assert answers(snapshot.search(query[None], 7)) == [answer]


def test_settings_of_torch_do_not_change_answers():
    vectors, queries = some_vectors(5000, 24, 0, 500), some_vectors(30, 24, 1)
    index = ExactIndex(24)
    index.append(np.arange(5000), vectors)
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("medium")
    try:
        found = index.snapshot().search(queries, 7)
    finally:
        torch.set_float32_matmul_precision(before)
    assert answers(found) == brute_force(queries, vectors, np.arange(5000), 7)


steps = st.lists(
    st.one_of(
        st.tuples(st.just("append"), st.integers(1, 60)),
        st.tuples(st.just("remove"), st.integers(1, 40)),
    ),
    max_size=12,
)


@given(steps=steps, seed=st.integers(0, 1000))
def test_growth_and_deletion(steps: list[tuple[str, int]], seed: int):
    generator = np.random.default_rng(seed)
    vectors, queries = some_vectors(720, 8, seed, 100), some_vectors(3, 8, seed + 1)
    index, there, start = ExactIndex(8), list[int](), 0
    seen = []
    for what, number in steps:
        if what == "append":
            ids = np.arange(start, start + number)
            index.append(ids, vectors[ids])
            there += ids.tolist()
            start += number
        elif there:
            gone = generator.choice(there, min(number, len(there)), replace=False)
            index.remove(gone)
            there = sorted({*there} - {*gone.tolist()})
        ids = np.array(there, np.int64)
        seen.append((index.snapshot(), brute_force(queries, vectors[ids], ids, 5)))
        assert len(index.snapshot()) == len(there)
    # Snapshots that were taken before answer as they did.
    for snapshot, expected in seen:
        found = snapshot.search(queries, 5)
        assert answers(found) == expected


@pytest.mark.parametrize("share", [0.0, 0.001, 0.5, 1.0])
def test_only_what_is_kept_is_found(share: float):
    vectors, queries = some_vectors(9000, 12, 0, 900), some_vectors(9, 12, 1)
    index = ExactIndex(12)
    index.append(np.arange(9000), vectors)
    index.remove(np.arange(100, 200))
    keep = np.random.default_rng(0).random(9000) < share
    found = index.snapshot().search(queries, 10, keep)
    keep[100:200] = False
    ids = np.flatnonzero(keep)
    assert answers(found) == brute_force(queries, vectors[ids], ids, 10)


def test_vectors_that_are_not_copied():
    vectors, ids = some_vectors(100, 4, 0), np.arange(100) * 2
    index = ExactIndex.of(ids, vectors)
    found = index.snapshot().search(vectors[:5], 3)
    assert answers(found) == brute_force(vectors[:5], vectors, ids, 3)
    index.append(np.array([500]), vectors[:1])
    found = index.snapshot().search(vectors[:1], 2)
    assert answers(found)[0][0] == [0, 500]


def test_groups_change_no_answer(tmp_path: Path):
    vectors, queries = some_vectors(40_000, 8, 0), some_vectors(20, 8, 1)
    ids, path = np.arange(40_000) * 2, tmp_path / "groups.npz"
    index = ExactIndex.of(ids, vectors)
    index.snapshot().save_groups(path)
    index.load(path)
    assert index.snapshot().index.pending == 0
    assert answers(index.snapshot().search(queries, 9)) == brute_force(queries, vectors, ids, 9)
    index.append(np.array([90_000]), queries[:1])
    index.remove(ids[:11_000])
    later = index.snapshot()
    assert later.index.pending == 1
    now = np.append(ids[11_000:], 90_000)
    rows = np.concatenate([vectors[11_000:], queries[:1]])
    expected = brute_force(queries, rows, now, 9)
    assert answers(later.search(queries, 9)) == expected
    again = ExactIndex.of(now, rows)
    again.load(path)
    assert again.snapshot().index.pending == 1
    assert answers(again.snapshot().search(queries, 9)) == expected
    few = ExactIndex.of(ids[:9], vectors[:9])
    few.snapshot().save_groups(tmp_path / "none.npz")
    assert not (tmp_path / "none.npz").exists()
