"""An index that rows are added to and deleted from stays exact."""

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from search_cases import assert_exact, assert_exact_through, clusters, crowds, make, queries, unit
from torch import Tensor

from fuzzing import examples
from processes import repeating
from rootspace.search import CertifiedIndex, index
from rootspace.search._graph import Graph


class TestChange:
    @settings(max_examples=examples(30))
    @given(
        st.lists(
            st.tuples(st.sampled_from(["add", "delete", "links", "compact"]), st.integers(1, 300)),
            min_size=1,
            max_size=12,
        ),
        st.integers(0, 2**16),
        st.integers(1, 12),
    )
    def test_any_order_of_changes(
        self, steps: list[tuple[str, int]], seed: int, width: int
    ) -> None:
        torch.manual_seed(seed)
        centers = unit(torch.randn(20, 12))

        def some(number: int) -> Tensor:
            return unit(centers[torch.randint(20, (number,))] + 0.3 * torch.randn(number, 12))

        made = CertifiedIndex(12, width=width, least=1)
        vectors = some(150)
        made.add(vectors)
        made.build()
        assert_exact_through(steps, made, vectors, some)

    def test_much_growth_draws_more_cells(self) -> None:
        vectors = clusters(6000, 16)
        made = make(vectors[:700])
        for stop in (1300, 2500, 4900, 6000):
            made.add(vectors[made.size : stop])
            made.build()
        z = queries(vectors)
        found = made.search(z)
        assert_exact(found, z, vectors, 1)
        assert bool(made.search(vectors).certified.all())

    def test_vectors_with_larger_coordinates_are_rounded_anew(self) -> None:
        vectors = torch.cat([unit(torch.randn(800, 64)), torch.eye(64), unit(torch.randn(300, 64))])
        made = make(vectors[:800])
        made.add(vectors[800:864])
        made.add(vectors[864:])
        made.build()
        z = queries(vectors)
        assert_exact(made.search(z, 3), z, vectors, 3)

    def test_copies_do_not_share_what_is_added(self) -> None:
        vectors = clusters(1000, 16)
        first = make(vectors[:900])
        first.add(vectors[900:910])
        second = first.copy()
        first.add(vectors[910:950])
        second.add(vectors[950:])
        z = queries(vectors)
        assert_exact(first.search(z), z, vectors[:950], 1)
        assert_exact(second.search(z), z, torch.cat([vectors[:910], vectors[950:]]), 1)

    def test_levels_that_were_given_are_not_written_to(self) -> None:
        levels = torch.ones(20, 4, dtype=torch.int8)
        made = CertifiedIndex.of_levels(levels[:10], 2.0, least=1)
        made.add(-levels[:5])
        assert bool((levels == 1).all()) and len(made) == 15

    def test_search_while_it_changes(self) -> None:
        vectors = clusters(3000, 16)
        made = make(vectors[:1000])

        def look() -> None:
            found = made.search(vectors[:50]).index[:, 0]
            assert found.equal(torch.arange(50))

        with repeating(look):
            for start in range(1000, 3000, 100):
                made.add(vectors[start : start + 100])
                made.delete(torch.arange(start - 50, start))
                if start % 500 == 0:
                    made.build()

    def test_inference_mode(self) -> None:
        with torch.inference_mode():
            made = make(clusters(500, 8))
        made.add(clusters(500, 8))
        made.delete(torch.tensor([1]))
        made.build()
        assert len(made) == 999

    def test_memory(self) -> None:
        made = make(clusters(6400, 32), width=8)
        vectors_and_levels, links = 6400 * 32 * 5, 6400 * 8 * 4
        assert 1 < made.nbytes / (vectors_and_levels + links) < 1.15


@given(st.integers(0, 2**16), st.integers(1, 9), st.integers(2, 200), st.integers(2, 200))
@settings(max_examples=examples(40))
def test_no_row_is_nearer_than_the_horizon(seed: int, width: int, first: int, more: int) -> None:
    torch.manual_seed(seed)
    vectors = torch.from_numpy(np.random.default_rng(seed).normal(size=(first + more, 6))).float()
    vectors = unit(vectors.round(decimals=1) + 1e-3)
    made = CertifiedIndex(6, width=width, least=1)
    made.add(vectors[:first])
    made.build()
    made.add(vectors[first:])
    made.build()
    graph = made._state.built
    assert isinstance(graph, Graph) and len(graph) == first + more
    scores = vectors.double() @ vectors.double().T
    for row, (near, horizon) in enumerate(zip(graph.lists.tolist(), graph.horizon, strict=True)):
        inside = [place for place in near if place >= 0]
        assert len(set(inside)) == len(inside) and row not in inside
        others = torch.ones(len(vectors), dtype=torch.bool)
        others[[row, *inside]] = False
        assert bool((scores[row, others] <= horizon + 1e-6).all())


@pytest.mark.parametrize("kind", ["links", "groups"])
@pytest.mark.parametrize("forget", [False, True])
def test_an_index_whose_rows_are_all_gone(kind: index.Kind, forget: bool, tmp_path: Path) -> None:
    torch.manual_seed(0)
    vectors = crowds(400, 12)
    made = CertifiedIndex(12, width=8, least=1)
    made.delete(made.add(vectors))
    made.build(kind)  # of no row
    assert bool((made.search(vectors[:3]).index < 0).all())
    made.add(vectors)
    made.build(kind)
    made.delete(torch.arange(made.size))
    if forget:
        assert len(made.compact()) == 0
    first = int(made.add(vectors[:50])[0])
    for _ in range(2):
        assert_exact(made.search(vectors, 3), vectors, made.vectors(torch.arange(made.size)), 3,
                     torch.arange(made.size) >= first)  # fmt: skip
        made.build(kind)


@pytest.mark.parametrize("kind", ["links", "groups"])
def test_new_rows_that_are_gone_before_they_are_built(kind: index.Kind) -> None:
    torch.manual_seed(0)
    vectors = crowds(400, 12)
    made = CertifiedIndex(12, width=8, least=1)
    made.add(vectors)
    made.build(kind)
    made.delete(made.add(vectors[:2]))
    made.build(kind)
    assert_exact(made.search(vectors, 3), vectors, vectors, 3)


def test_an_index_of_a_part_of_a_tensor_leaves_the_rest_alone() -> None:
    torch.manual_seed(0)
    whole = unit(torch.randn(300, 12))
    kept = whole.clone()
    made = CertifiedIndex.of_unit(whole[100:200])
    made.add(unit(torch.randn(50, 12)))
    assert whole.equal(kept)
    assert made.search(kept[100:200]).index[:, 0].equal(torch.arange(100))
    levels = torch.randint(-1, 2, (12, 40), dtype=torch.int8)
    levels[:4], levels[4:] = 1, 0
    made = CertifiedIndex.of_levels(levels.T, 2.0)
    made.add(levels.T[:3])
    assert made.size == 43
