"""Links of an index in a file."""

import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from search_cases import (
    assert_exact,
    clusters,
    make,
    queries,
)

from rootspace.search import CertifiedIndex
from rootspace.search._linking import link
from rootspace.search._rows import Rows


class TestLists:
    @pytest.mark.parametrize(("start", "dim"), [(0, 24), (700, 24), (4999, 24), (0, 1030)])
    def test_nearest_rows_and_what_is_beyond(self, start: int, dim: int) -> None:
        number, width = 5000, 8  # several blocks and parts, the last ones not whole
        rows = Rows.of_vectors(clusters(number, dim))
        alive = torch.rand(number) < 0.9
        shares: list[float] = []
        lists, horizon = link(rows, alive, start, width, shares.append)
        assert shares == sorted(shares) and shares[-1] == pytest.approx(1) and shares[0] > 0
        scores = rows.rounded.double() @ rows.rounded.double().T
        scores[:, ~alive] = -torch.inf
        scores = scores.fill_diagonal_(-torch.inf)[start:]
        best = scores.topk(width, dim=-1).values
        assert torch.equal(scores.gather(-1, lists.long()), best)  # in their order
        assert all(len(set(row)) == width for row in lists.tolist())
        beyond = scores.scatter(-1, lists.long(), -torch.inf).amax(-1) * rows.step**2
        assert bool((horizon >= beyond + rows.slack - 1e-6).all())
        assert float((horizon - beyond).mean()) < 0.1  # not trivially

    def test_few_rows(self) -> None:
        rows = Rows.of_vectors(clusters(3, 24))
        lists, _ = link(rows, torch.tensor([True, False, True]), 0, 8)
        assert lists.sort(-1).values[:, -2:].tolist() == [[-1, 2], [0, 2], [-1, 0]]


class TestLinks:
    def test_saved_and_loaded(self, tmp_path: Path) -> None:
        vectors = clusters(1500, 16)
        made = make(vectors[:1200])
        before = made.nbytes
        made.search(vectors[:5])
        assert made.nbytes == before, "whatever a search makes ready"
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
        outside, short = arrays["lists"].copy(), arrays["cell"][1:]
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
        for change in ({"lists": outside}, {"cell": short}, {"horizon": arrays["cell"]}):
            np.savez(path, **{**arrays, **change})
            with pytest.raises(ValueError, match="does not hold what an index has built: its arr"):
                made.load(path)
