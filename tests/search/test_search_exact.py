"""What the index finds is what brute force finds, and what it certifies."""

from unittest import mock

import pytest
import torch
from search_cases import DATA, assert_exact, clusters, make, queries, unit

from rootspace.search import CertifiedIndex, _scan, index, scan_levels


class TestExact:
    @pytest.mark.parametrize("data", DATA)
    @pytest.mark.parametrize(("number", "dim"), [(1, 3), (5, 4), (700, 16), (3000, 40)])
    def test_data(self, data: str, number: int, dim: int) -> None:
        vectors = DATA[data](number, dim)
        made, z = make(vectors), queries(vectors)
        for k in (1, 2, 7, 30):
            assert_exact(made.search(z, k), z, vectors, k)

    @pytest.mark.parametrize("dim", [1, 2])
    def test_one_and_two_dimensions(self, dim: int) -> None:
        vectors = torch.randn(400, dim)
        made, z = make(vectors), torch.randn(50, dim)
        for k in (1, 3):
            assert_exact(made.search(z, k), z, vectors, k)

    @pytest.mark.parametrize("share", [0.0, 0.001, 0.03, 0.3, 0.9, 1.0])
    def test_filter(self, share: float) -> None:
        vectors = clusters(4000, 24)
        made, z = make(vectors), queries(vectors)
        allowed = torch.rand(4000) < share
        for k in (1, 5):
            assert_exact(made.search(z, k, allowed=allowed), z, vectors, k, allowed)

    @pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
    def test_dtypes(self, dtype: torch.dtype) -> None:
        vectors = clusters(1500, 24)
        z = queries(vectors).to(dtype)
        found = make(vectors.double()).search(z, 2)
        assert found.cosine.dtype == (torch.float64 if dtype == torch.float64 else torch.float32)
        assert_exact(found, z.float(), vectors, 2)
        halves = vectors.to(dtype)
        assert_exact(make(halves).search(z, 2), z.float(), halves.float(), 2)

    def test_length_and_shape_do_not_matter(self) -> None:
        vectors = clusters(1200, 16)
        made, z = make(vectors), queries(vectors, 8)[:24]
        found = made.search(z, 3)
        for factor in (1e-30, 1e30):
            assert torch.equal(make(factor * vectors).search(factor * z, 3).index, found.index)
        shaped = made.search(z.view(2, 3, 4, 16), 3)
        assert torch.equal(shaped.index.flatten(0, 2), found.index)
        assert shaped.certified.shape == (2, 3, 4)
        assert made.search(z[0], 3).index.tolist() == found.index[0].tolist()
        assert made.search(z[:0], 3).index.shape == (0, 3)

    def test_equal_vectors_come_in_the_order_of_their_places(self) -> None:
        vectors = clusters(2000, 16)
        vectors[[1900, 700, 50, 1234]] = vectors[3].clone()
        made = make(vectors)
        for z in (vectors[3:4], vectors[3:4] + 0.02 * torch.randn(1, 16), -vectors[3:4]):
            found = made.search(z, 2000).index[0].tolist()
            places = [found.index(place) for place in (3, 50, 700, 1234, 1900)]
            assert places == list(range(places[0], places[0] + 5))
        assert made.search(vectors[3:4], 3).index.tolist() == [[3, 50, 700]]
        assert made.search(vectors[3:4], 2).index.tolist() == [[3, 50]]

    def test_more_than_a_list_of_equal_vectors(self) -> None:
        vectors = torch.cat([unit(torch.randn(1, 16)).expand(300, -1), clusters(900, 16)])
        made = make(vectors)
        found = made.search(vectors[:1], 2)
        assert found.index.tolist() == [[0, 1]] and not found.certified

    def test_levels(self) -> None:
        levels = torch.randint(-1, 2, (3000, 32), dtype=torch.int8)
        levels[:, :16] = levels[:, 16:].abs() - 1  # of one length: 16 coordinates are not zero
        made = CertifiedIndex.of_levels(levels[:2000], 4.0, width=8, least=1)
        made.build()
        assert made.add(levels[2000:]).tolist() == list(range(2000, 3000))
        for _ in range(2):
            z = queries(levels.float() / 4)
            assert_exact(made.search(z, 3), z, levels.float(), 3)
            made.build()

    @pytest.mark.parametrize("precision", ["medium", "high"])
    @pytest.mark.parametrize("int8", [True, False])
    def test_settings_of_torch_do_not_round(
        self, precision: str, int8: bool, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(_scan, "has_int8", lambda: int8)
        vectors = clusters(2000, 24)
        made, z = make(vectors), queries(vectors)
        before = torch.get_float32_matmul_precision()
        torch.set_float32_matmul_precision(precision)
        try:
            with torch.autocast("cpu", dtype=torch.bfloat16):
                assert_exact(made.search(z, 2), z, vectors, 2)
        finally:
            torch.set_float32_matmul_precision(before)

    @pytest.mark.parametrize("dim", [24, 1024, 1025])
    def test_products_are_whole_numbers_on_every_processor(
        self, dim: int, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        a, b = torch.full((3, dim), -127, dtype=torch.int8), torch.randint(-127, 128, (5, dim))
        b[0] = 127
        for int8 in (True, False):
            monkeypatch.setattr(_scan, "has_int8", lambda int8=int8: int8)
            for rows in (b.to(torch.int8), _scan.ready(b.to(torch.int8))):
                assert torch.equal(_scan.int8_products(a, rows).long(), a.long() @ b.T)

    def test_scan_of_levels(self) -> None:
        levels = torch.randint(0, 2, (9000, 40), dtype=torch.int8)
        levels = torch.cat([levels, 1 - levels], dim=-1)
        z = unit(torch.randn(600, 80, dtype=torch.float64))
        cosine, place = scan_levels(z, levels, 40**0.5, 3)
        best = (z @ levels.double().T / 40**0.5).topk(3, dim=-1)
        assert cosine.dtype == torch.float64 and torch.allclose(cosine, best.values, atol=1e-12)
        assert torch.allclose((z @ levels.double().T / 40**0.5).gather(-1, place), best.values)


class TestCertificate:
    def test_embeddings_near_their_vectors_need_no_scan(self) -> None:
        vectors = clusters(3000, 48)
        made = make(vectors)
        z = vectors + 0.1 * unit(torch.randn(3000, 48))
        with mock.patch.object(index, "scan") as scan:
            found = made.search(z)
        assert not scan.called and bool(found.certified.all())
        assert torch.equal(found.index[:, 0], torch.arange(3000))

    def test_random_directions_are_scanned(self) -> None:
        vectors = unit(torch.randn(3000, 48))
        z = unit(torch.randn(100, 48))
        found = make(vectors).search(z)
        assert not bool(found.certified.any())
        assert_exact(found, z, vectors, 1)

    def test_a_deleted_vector_certifies_what_is_near_it(self) -> None:
        vectors = clusters(3000, 48, spread=0.2)
        made = make(vectors, width=16)
        made.delete(torch.tensor([5]))
        found = made.search(vectors[5:6], 2)
        assert bool(found.certified.all()) and 5 not in found.index
        alive = torch.arange(3000) != 5
        assert_exact(found, vectors[5:6], vectors, 2, alive)

    def test_not_exact_gives_what_it_came_across(self) -> None:
        vectors = clusters(3000, 24)
        made, z = make(vectors), queries(vectors, 200)
        with mock.patch.object(index, "scan") as scan:
            near = made.search(z, exact=False)
        assert not scan.called
        found = made.search(z)
        assert torch.equal(near.certified, found.certified)
        assert torch.equal(near.index[near.certified], found.index[near.certified])
        assert 0.8 < float((near.index == found.index).float().mean()) < 1
        assert bool((near.cosine <= found.cosine).all())

    def test_few_vectors_are_scanned(self) -> None:
        made = CertifiedIndex(8, least=100)
        made.add(torch.randn(99, 8))
        made.build()
        assert made.pending == 99
        made.add(torch.randn(1, 8))
        made.build()
        assert made.pending == 0


def test_cosines_that_rounding_makes_greater_than_one_are_equal() -> None:
    """Copies of one row within rounding are found in their order, built or not."""
    for seed in range(8):
        torch.manual_seed(seed)
        copies = unit(unit(torch.randn(1, 32)) + 1e-7 * torch.randn(6, 32))
        made = CertifiedIndex(32, width=8, least=1)
        made.add(torch.cat([copies[:3], unit(torch.randn(500, 32)), copies[3:]]))
        z = copies[:1].double()
        before = made.search(z, 6)
        made.build("links")
        after = made.search(z, 6)
        assert before.index.equal(after.index)
        for found in (before, after):
            same = found.cosine[0, 1:] == found.cosine[0, :-1]
            assert bool((found.index[0, 1:] > found.index[0, :-1])[same].all())
