"""What the index finds is what brute force finds, whatever it holds and however it came there."""

import threading
import zipfile
from collections.abc import Callable
from pathlib import Path
from unittest import mock

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from rootspace.search import CertifiedIndex, Found, _scan, index, scan_levels
from rootspace.search._graph import Graph
from rootspace.search._groups import Groups


def unit(x: Tensor) -> Tensor:
    return torch.nn.functional.normalize(x, dim=-1)


def clusters(number: int, dim: int, spread: float = 0.5) -> Tensor:
    """Unit vectors around one center for each ten of them."""
    centers = unit(torch.randn(max(1, number // 10), dim))
    return unit(
        centers[torch.arange(number) % len(centers)] + spread * unit(torch.randn(number, dim))
    )


def axes(number: int, dim: int) -> Tensor:
    """Vectors with two coordinates that are not zero: very many equal cosines."""
    vectors = torch.zeros(number, dim)
    vectors[torch.arange(number), torch.randint(dim, (number,))] = 1.0
    vectors[torch.arange(number), torch.randint(dim, (number,))] += 1.0
    return unit(vectors)


DATA = {
    "clusters": clusters,
    "isotropic": lambda number, dim: unit(torch.randn(number, dim)),
    "one direction": lambda number, dim: unit(torch.ones(dim) + 0.01 * torch.randn(number, dim)),
    "axes": axes,
    "few, many times": lambda number, dim: unit(torch.randn(7, dim))[torch.randint(7, (number,))],
}


def make(vectors: Tensor, width: int = 8) -> CertifiedIndex:
    """An index with links whatever the number of vectors."""
    made = CertifiedIndex(vectors.shape[1], width=width, least=1)
    made.add(vectors)
    made.build()
    return made


def assert_exact(
    found: Found, z: Tensor, vectors: Tensor, k: int, allowed: Tensor | None = None
) -> None:
    """By score in float64, since brute force may order nearly equal ones otherwise."""
    scores = unit(z.double()) @ unit(vectors.double()).T
    if allowed is not None:
        scores[:, ~allowed] = -torch.inf
    number = min(k, len(vectors) if allowed is None else int(allowed.sum()))
    best = scores.topk(number, dim=-1).values
    assert found.cosine.shape == found.index.shape == (len(z), k)
    assert torch.equal(found.index < 0, (torch.arange(k) >= number).expand(len(z), k))
    assert bool((found.cosine[:, number:] == -torch.inf).all())
    assert all(len(set(row)) == number for row in found.index[:, :number].tolist())
    # float32 vectors are of length one to within their rounding.
    assert torch.allclose(found.cosine[:, :number].double(), best, rtol=0, atol=3e-7)
    own = scores.gather(-1, found.index[:, :number])
    assert torch.allclose(own, best, rtol=0, atol=3e-7)


def queries(vectors: Tensor, number: int = 40) -> Tensor:
    """Embeddings near vectors and in any direction."""
    some = vectors[torch.randint(len(vectors), (number,))]
    noise = unit(torch.randn(number, vectors.shape[1]))
    return torch.cat([some + 0.1 * noise, some + noise, noise, some[:3]])


def assert_exact_through(
    steps: list[tuple[str, int]],
    made: CertifiedIndex,
    vectors: Tensor,
    some: Callable[[int], Tensor],
) -> None:
    """Change an index of 12 dimensions step by step, and hold it against brute force.

    Args:
        steps: add, delete, links, groups or compact, and how many vectors.
        made: the index.
        vectors: what it holds.
        some: makes so many new ones.
    """
    alive = torch.ones(len(vectors), dtype=torch.bool)
    for step, number in steps:
        if step == "add":
            new = some(number)
            assert made.add(new).tolist() == list(range(len(vectors), len(vectors) + number))
            vectors = torch.cat([vectors, new])
            alive = torch.cat([alive, torch.ones(number, dtype=torch.bool)])
        elif step == "delete" and len(vectors):
            places = torch.randint(len(vectors), (number,))
            made.delete(places)
            alive[places] = False
        elif step == "links":
            made.build("links")
            assert made.pending == 0
        elif step == "groups":
            made.build("groups")
        else:
            kept = made.compact()
            assert torch.equal(kept, alive.nonzero()[:, 0])
            vectors, alive = vectors[kept], alive[kept]
        assert len(made) == int(alive.sum()) and made.size == len(vectors)
    z = torch.cat([some(20), unit(torch.randn(5, 12))])
    for k in (1, 4):
        assert_exact(made.search(z, k), z, vectors, k, alive)


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
        monkeypatch.setattr(torch, "get_float32_matmul_precision", lambda: precision)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            assert_exact(made.search(z, 2), z, vectors, 2)

    @pytest.mark.parametrize("dim", [24, 1024, 1025])
    def test_products_are_whole_numbers_on_every_processor(
        self, dim: int, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        a, b = torch.full((3, dim), -127, dtype=torch.int8), torch.randint(-127, 128, (5, dim))
        b[0] = 127
        for int8 in (True, False):
            monkeypatch.setattr(_scan, "has_int8", lambda int8=int8: int8)
            found = _scan.int8_products(a, b.to(torch.int8))
            assert found.dtype == torch.int32
            assert torch.equal(found.long(), a.long() @ b.T)

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


class TestChange:
    @settings(max_examples=30, deadline=None)
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
        wrong: list[int] = []
        done = threading.Event()

        def look() -> None:
            while not done.is_set():
                found = made.search(vectors[:50]).index[:, 0]
                wrong.extend(torch.flatten(found[found != torch.arange(50)]).tolist())

        thread = threading.Thread(target=look)
        thread.start()
        for start in range(1000, 3000, 100):
            made.add(vectors[start : start + 100])
            made.delete(torch.arange(start - 50, start))
            if start % 500 == 0:
                made.build()
        done.set()
        thread.join()
        assert not wrong

    def test_inference_mode(self) -> None:
        with torch.inference_mode():
            made = make(clusters(500, 8))
        made.add(clusters(500, 8))
        made.delete(torch.tensor([1]))
        made.build()
        assert len(made) == 999

    def test_memory(self) -> None:
        made = make(clusters(6400, 32), width=8)
        entries = 6400 // 64
        per_row = 32 * 5 + 1 + 4 * 8 + 4 + 16
        assert made.nbytes == 6400 * per_row + entries * 32 + 8 * (entries + 1)


class TestLinks:
    def test_saved_and_loaded(self, tmp_path: Path) -> None:
        vectors = clusters(1500, 16)
        made = make(vectors[:1200])
        made.save(tmp_path / "links.npz")
        again = CertifiedIndex(16, width=8, least=1)
        again.add(vectors)
        again.load(tmp_path / "links.npz")
        assert again.pending == 300
        z = queries(vectors)
        assert_exact(again.search(z, 3), z, vectors, 3)
        again.build()
        assert_exact(again.search(z, 3), z, vectors, 3)
        assert bool(again.search(vectors).certified.all())

    def test_not_of_these_rows(self, tmp_path: Path) -> None:
        vectors, path = clusters(400, 16), tmp_path / "links.npz"
        made = CertifiedIndex(16, width=8, least=1)
        with pytest.raises(ValueError, match="has nothing to be saved: call 'build' first"):
            made.save(path)
        made.add(vectors)
        made.delete(torch.tensor([3]))
        made.build()
        made.save(path)
        for rows, message in (
            (vectors, "holds links without rows that"),
            (vectors[:399], "holds the links of other rows"),
            (vectors.flip(0), "holds the links of other rows"),
        ):
            other = CertifiedIndex(16, width=8)
            other.add(rows)
            with pytest.raises(ValueError, match=message):
                other.load(path)
            assert other.pending == len(rows)
        other = CertifiedIndex(16)
        other.add(vectors)
        other.delete(torch.tensor([3]))
        with pytest.raises(ValueError, match="holds 8 links a row, not 32"):
            other.load(path)

    def test_damaged(self, tmp_path: Path) -> None:
        made, path = make(clusters(400, 16)), tmp_path / "links.npz"
        made.save(path)
        whole, arrays = path.read_bytes(), dict(np.load(path))
        outside, short = arrays["lists"].copy(), arrays["cells"][1:]
        outside[5, 2] = 400
        for content in (b"", b"links", whole[:-50], whole[:3000] + b"x" + whole[3001:]):
            path.write_bytes(content)
            with pytest.raises(ValueError, match="does not hold what an index has built"):
                made.load(path)
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
            file.writestr("lists.npy", b"x" * 1000)
        packed = path.read_bytes()
        entry, end = packed.rindex(b"PK\x01\x02"), packed.rindex(b"PK\x05\x06")
        # Encrypted, packed in a way of its own, no data, not in its place.
        for place, value in ((entry + 8, 1), (entry + 10, 99), (41, 0xFF), (end + 17, 1)):
            content = bytearray(packed)
            content[place] = value
            path.write_bytes(content)
            with pytest.raises(ValueError, match="does not hold what an index has built"):
                made.load(path)
        for change in ({"lists": outside}, {"cells": short}, {"horizon": arrays["cells"]}):
            np.savez(path, **{**arrays, **change})
            with pytest.raises(ValueError, match="does not hold what an index has built: its arr"):
                made.load(path)


def grouped(vectors: Tensor) -> CertifiedIndex:
    """An index with groups whatever the number of vectors, where they lie together."""
    made = CertifiedIndex(vectors.shape[1], least=1)
    made.add(vectors)
    made.build("groups")
    return made


def crowds(number: int, dim: int, spread: float = 0.4) -> Tensor:
    """Unit vectors around one center for each forty of them, and some alone."""
    centers = unit(torch.randn(max(1, number // 40), dim))
    spreads = spread * torch.rand(number, 1) ** 2
    vectors = centers[torch.randint(len(centers), (number,))] + spreads * unit(
        torch.randn(number, dim)
    )
    vectors[::50] = torch.randn(len(vectors[::50]), dim)
    return unit(vectors)


class TestGroups:
    @pytest.mark.parametrize("data", [*DATA, "crowds"])
    @pytest.mark.parametrize(("number", "dim"), [(1, 3), (30, 4), (700, 16), (5000, 40)])
    def test_data(self, data: str, number: int, dim: int) -> None:
        vectors = crowds(number, dim) if data == "crowds" else DATA[data](number, dim)
        made, z = grouped(vectors), queries(vectors)
        for k in (1, 2, 7, 100):
            assert_exact(made.search(z, k), z, vectors, k)

    def test_what_lies_together_is_certified(self) -> None:
        vectors = crowds(6000, 48)
        made = grouped(vectors)
        z = vectors[1::7] + 0.2 * unit(torch.randn(len(vectors[1::7]), 48))
        for k in (1, 10):
            found = made.search(z, k)
            assert float(found.certified.float().mean()) > 0.95
            assert_exact(found, z, vectors, k)
        with mock.patch.object(index, "scan") as scan:
            near = made.search(z, 5, exact=False)
        assert not scan.called
        share = (near.index == made.search(z, 5).index).float().mean()
        assert 0.9 < float(share) <= 1

    def test_none_where_nothing_lies_together(self) -> None:
        vectors = unit(torch.randn(3000, 48))
        made = grouped(vectors)
        assert made.pending == 3000
        z = queries(vectors)
        assert_exact(made.search(z, 2), z, vectors, 2)

    def test_levels(self) -> None:
        levels = torch.randint(-1, 2, (40, 32), dtype=torch.int8)
        levels[:, :16] = levels[:, 16:].abs() - 1
        levels = levels.repeat(50, 1)
        made = CertifiedIndex.of_levels(levels, 4.0, least=1)
        made.build("groups")
        z = queries(levels.float() / 4)
        assert made.pending == 0 and bool(made.search(z[-3:], 3).certified.all())
        assert_exact_up_to_copies(made.search(z, 3), z, levels.float(), 3)

    @pytest.mark.parametrize("share", [0.0, 0.001, 0.03, 0.3, 0.9, 1.0])
    def test_filter(self, share: float) -> None:
        vectors = crowds(4000, 24)
        made, z = grouped(vectors), queries(vectors)
        allowed = torch.rand(4000) < share
        for k in (1, 5):
            assert_exact(made.search(z, k, allowed=allowed), z, vectors, k, allowed)

    @settings(max_examples=30, deadline=None)
    @given(
        st.lists(
            st.tuples(
                st.sampled_from(["add", "delete", "groups", "links", "compact"]),
                st.integers(1, 300),
            ),
            min_size=1,
            max_size=12,
        ),
        st.integers(0, 2**16),
    )
    def test_any_order_of_changes(self, steps: list[tuple[str, int]], seed: int) -> None:
        torch.manual_seed(seed)
        centers = unit(torch.randn(40, 12))

        def some(number: int) -> Tensor:
            return unit(centers[torch.randint(40, (number,))] + 0.05 * torch.randn(number, 12))

        vectors = some(1500)
        made = grouped(vectors)
        assert made.pending == 0
        assert_exact_through(steps, made, vectors, some)

    def test_no_row_is_farther_than_the_radius(self) -> None:
        vectors = crowds(3000, 24)
        made = grouped(vectors[:2000])
        made.add(vectors[2000:])
        made.build("groups")
        groups = made._state.built
        assert isinstance(groups, Groups) and len(groups) == 3000
        assert groups.centers.exact is not None
        own = groups.centers.exact[torch.from_numpy(groups.owner).long()].double()
        angle = (unit(vectors.double()) * own).sum(-1).clamp(-1, 1).arccos()
        assert bool((angle <= torch.from_numpy(groups.radius[groups.owner])).all())
        assert sorted(groups.order.tolist()) == list(range(3000))

    def test_saved_and_loaded_after_changes(self, tmp_path: Path) -> None:
        vectors, path = crowds(3000, 16), tmp_path / "groups.npz"
        made = grouped(vectors[:2500])
        names = 3 * torch.arange(3000) + 7
        made.save(path, names[:2500])
        kept = torch.rand(3000) < 0.8
        now = CertifiedIndex(16, least=1)
        now.add(vectors[kept])
        now.load(path, names[kept])
        assert now.pending == int(kept[2500:].sum())
        z = queries(vectors)
        assert_exact(now.search(z, 3), z, vectors[kept], 3)
        assert float(now.search(vectors[kept][1::9]).certified.float().mean()) > 0.8
        now.load(path, names[: len(now)])  # of other rows: slower, not wrong
        assert_exact(now.search(z, 3), z, vectors[kept], 3)
        for keys in (names[kept] + 1, torch.arange(len(now))):
            with pytest.raises(ValueError, match="its keys are not those of the rows"):
                now.load(path, keys)
        made.save(path)
        with pytest.raises(ValueError, match="does not hold what an index has built"):
            now.load(path, names[kept])
        arrays = dict(np.load(path))
        for change in ({"centers": arrays["owner"]}, {"owner": arrays["owner"] + 10**6}):
            np.savez(path, **{**arrays, **change})
            with pytest.raises(ValueError, match="does not hold what an index has built: its arr"):
                now.load(path)

    def test_kind(self) -> None:
        with pytest.raises(ValueError, match="'kind' must be 'links' or 'groups', not 'cells'"):
            make(torch.randn(50, 8)).build("cells")  # pyright: ignore[reportArgumentType]


def assert_exact_up_to_copies(found: Found, z: Tensor, vectors: Tensor, k: int) -> None:
    best = (unit(z.double()) @ unit(vectors.double()).T).topk(k, dim=-1).values
    assert torch.allclose(found.cosine.double(), best, rtol=0, atol=3e-7)


class TestArguments:
    @pytest.mark.parametrize(
        ("z", "k", "error", "message"),
        [
            (torch.ones(2, 7), 1, ValueError, r"'z' must have last dimension 8, not \[2, 7\]"),
            (torch.tensor(1.0), 1, ValueError, r"'z' must have last dimension 8, not \[\]"),
            (torch.ones(2, 8), 0, ValueError, "'k' must be a positive integer, not 0"),
            (torch.ones(2, 8), True, ValueError, "'k' must be a positive integer, not True"),
            (torch.zeros(2, 8), 1, ValueError, "'z' must not hold zero.*row 0"),
            (torch.full((2, 8), torch.nan), 1, ValueError, "'z' must be finite; row 0 holds NaN"),
            (torch.full((2, 8), -torch.inf), 1, ValueError, "'z' must be finite"),
            (torch.ones(2, 8, dtype=torch.int64), 1, TypeError, "'z' must be of a float dtype"),
        ],
    )
    def test_search(self, z: Tensor, k: int, error: type[Exception], message: str) -> None:
        with pytest.raises(error, match=message):
            make(torch.randn(50, 8)).search(z, k)

    def test_allowed(self) -> None:
        made, z = make(torch.randn(50, 8)), torch.ones(1, 8)
        with pytest.raises(ValueError, match=r"'allowed' must have shape \[50\], not \[49\]"):
            made.search(z, allowed=torch.ones(49, dtype=torch.bool))
        with pytest.raises(TypeError, match=r"'allowed' must be bool, not torch\.int64"):
            made.search(z, allowed=torch.arange(50))

    @pytest.mark.parametrize(
        ("vectors", "error", "message"),
        [
            (torch.ones(2, 7), ValueError, r"'vectors' must have shape \[M, 8\], not \[2, 7\]"),
            (torch.ones(8), ValueError, r"'vectors' must have shape \[M, 8\], not \[8\]"),
            (torch.zeros(2, 8), ValueError, "'vectors' must not hold zero"),
            (torch.full((2, 8), torch.nan), ValueError, "'vectors' must be finite"),
            (torch.ones(2, 8, dtype=torch.int8), TypeError, "'vectors' must be floats"),
        ],
    )
    def test_add(self, vectors: Tensor, error: type[Exception], message: str) -> None:
        made = make(torch.randn(50, 8))
        with pytest.raises(error, match=message):
            made.add(vectors)
        assert len(made) == 50

    def test_others(self) -> None:
        made = make(torch.randn(50, 8))
        for places in (torch.tensor([3, 50]), torch.tensor([-1])):
            with pytest.raises(IndexError, match=r"'places' must lie in \[0, 50\), not (50|-1)"):
                made.delete(places)
        levels = CertifiedIndex.of_levels(torch.ones(3, 8, dtype=torch.int8), 8**0.5)
        with pytest.raises(TypeError, match="'vectors' must be int8 levels"):
            levels.add(torch.ones(2, 8))
        with pytest.raises(ValueError, match=r"length 2\.82843; that of row 1 is 5\.65685"):
            levels.add(torch.tensor([[1], [2]], dtype=torch.int8).expand(-1, 8))
        with pytest.raises(TypeError, match=r"'levels' must be int8 .*, not torch\.float32 of"):
            CertifiedIndex.of_levels(torch.ones(3, 8), 8**0.5)
        with pytest.raises(IndexError, match=r"'places' must lie in \[0, 50\), not 50"):
            made.vectors(torch.tensor([50]))
        for name in ("dim", "width", "least"):
            with pytest.raises(ValueError, match=f"'{name}' must be a positive integer, not 0"):
                CertifiedIndex(**{"dim": 4, name: 0})

    def test_empty(self) -> None:
        made = CertifiedIndex(8)
        made.build()
        made.compact()
        assert made.add(torch.empty(0, 8)).shape == (0,)
        found = made.search(torch.ones(2, 8), 3)
        assert found.index.tolist() == [[-1] * 3] * 2 and len(made) == 0
        made.add(torch.ones(1, 8))
        made.delete(torch.tensor([0]))
        assert made.search(torch.ones(2, 8)).index.tolist() == [[-1], [-1]]
        assert repr(made) == "<CertifiedIndex: 0 vectors, dim 8, 1 pending>"


@given(st.integers(0, 2**16), st.integers(1, 9), st.integers(2, 200), st.integers(2, 200))
@settings(max_examples=40, deadline=None)
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
