"""A gallery on PostgreSQL with pgvector answers as one in a folder does."""

from __future__ import annotations

import json
import threading
import time
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from databases import binaries, postgres

import rootspace as rs
from rootspace._errors import BusyError
from rootspace.cli import main
from rootspace.gallery import Gallery, Identities, UnknownItemError
from rootspace.gallery import postgres as postgres_module
from rootspace.gallery.lance import unit
from rootspace.gallery.postgres import PostgresStore, is_postgres
from rootspace.run import Run
from rootspace.serve.own_gallery import OwnGallery

PLACE = binaries()

pytestmark = pytest.mark.skipif(
    PLACE is None, reason="no PostgreSQL with pgvector: see `binaries` in databases.py"
)


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    assert PLACE is not None
    with postgres(PLACE) as address:
        yield address


@pytest.fixture
def address(server: str) -> str:
    """Of a table of its own."""
    return f"{server}#t{uuid.uuid4().hex[:12]}"


@pytest.fixture
def remote(address: str, run: Run) -> Iterator[Gallery]:
    """An empty one on the server."""
    with Gallery.create(address, run) as found:
        yield found


def vectors(number: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((number, 16)).astype(np.float32)


PAYLOADS = [
    *({"a": 1}, {"a": 1.0, "b": "x"}, {"a": True}, {"a": 2, "b": "y"}, {"a": "x"}, {"b": "é"}),
    *({}, {"a": -0.5}, {"a": 2**62}, {"a": "it's"}),
]
FILTERS = [
    *("a = 1", "a != 1", "a < 2", "a <= 1", "a > 0", "a >= 1 and b = y", "a = true", "a < 'y'"),
    *("a >= true", "a in (1, 'x', true)", "b > 'x'", "b = 3", "missing = 1", "a != 'x'"),
    *("label = l0", "label != l0", "label > l0", "label in (l0, l1, 3)", "label = 3", "label != 3"),
    *("path = '/p/3'", "id in (1, 3, 'x')", "id >= 7", "id != 2", "id < 'x'", "id = true"),
    *('b = "it\'s"', 'a = "it\'s"', f"a >= {2**62}", "a < 1e-3"),
]


def test_same_answers_as_in_a_folder(address: str, remote: Gallery, gallery: Gallery, run: Run):
    other = remote
    x = vectors(200)
    x[50:60] = x[40]  # ties
    x[50:60] += np.arange(10, dtype=np.float32)[:, None] * 1e-9
    for one in (gallery, other):
        report = one.add(
            x,
            labels=[f"l{i % 3}" if i % 4 else None for i in range(200)],
            paths=[f"/p/{i}" for i in range(200)],
            payloads=[PAYLOADS[i % len(PAYLOADS)] for i in range(200)],
        )
        one.update(report.added[:20:3], label="l9", payload={"n": 1})
        one.update(report.added[20:30], label=[None, "q"] * 5)
        one.delete(report.added[::9])
    assert len(other) == len(gallery) and other.ids().tolist() == gallery.ids().tolist()
    assert other.get(other.ids().tolist()) == gallery.get(gallery.ids().tolist())
    for text in FILTERS:
        assert other.ids(text).tolist() == gallery.ids(text).tolist(), text
    queries = np.concatenate([vectors(10, 1), x[38:44]])
    for where in (None, "a >= 1", "label = none"):
        assert other.search(queries, 7, where=where) == gallery.search(queries, 7, where=where)
    mine, theirs = gallery.store.labels(), other.store.labels()
    assert theirs.ids.tolist() == mine.ids.tolist() and theirs.names == mine.names
    assert theirs.decided.tolist() == mine.decided.tolist()
    np.testing.assert_array_equal(other.embeddings([1, 5, 1]), gallery.embeddings([1, 5, 1]))
    mine, theirs = ([i for some, _ in one.scan() for i in some] for one in (other, gallery))
    assert mine == theirs
    other.compact()
    with Gallery.open(address, run) as again:
        assert again.search(queries, 7) == gallery.search(queries, 7)


def test_images_and_reports(address: str, run: Run, images: Path):
    with Gallery.create(address, run, float16=True) as gallery:
        files = sorted(images.rglob("*.png"))
        report = gallery.add([*files, "/no.png", files[0]], labels="x")
        assert report.added == tuple(range(15)) and len(report.rejected) == 2
        assert [row[0].id for row in gallery.search(files, 1)] == [*range(15)]
        assert gallery.thumbnails([3])[3].startswith(b"RIFF")
        with pytest.raises(UnknownItemError):
            gallery.delete([99])
    with pytest.raises(FileExistsError, match="has a table"):
        Gallery.create(address, run)


def test_half_precision_is_searched_exactly(address: str, run: Run):
    """Rows that lie closer together than halves are rounded."""
    with Gallery.create(address, run, float16=True) as gallery:
        gallery.add(vectors(1) + 0.02 * vectors(1000, 1))
        ids = gallery.ids()
        rows = gallery.embeddings(ids.tolist()).astype(np.float64)
        queries = unit(vectors(1) + 0.02 * vectors(20, 2))
        cosine = queries.astype(np.float64) @ rows.T
        for hits, own in zip(gallery.search(queries, 10), cosine, strict=True):
            assert [hit.id for hit in hits] == ids[np.lexsort((ids, -own))[:10]].tolist()


def test_items_come_in_the_order_that_was_asked_for(remote: Gallery):
    remote.add(vectors(6))
    remote.update([0, 2], payload={"n": 1})
    assert [*remote.store.items([3, 0, 9, 5, 2, 1])] == [3, 0, 5, 2, 1]


def test_an_enrollment_and_back(remote: Gallery, run: Run, images: Path):
    remote.add(vectors(2))
    one = Identities(remote)
    done = one.enroll("new", sorted(images.rglob("*.png"))[:3], review=False)
    assert done.ids == (2, 3, 4) and done.identity.images == 3
    assert all(item.decided for item in remote.get(done.ids))
    one.undo()
    assert remote.ids().tolist() == [0, 1]
    assert remote.add(vectors(3)).ids == (0, 1, 5)


def test_threads_add_each_content_once(remote: Gallery):
    x = vectors(30)

    def add(number: int) -> int:
        return sum(len(remote.add(x[start : start + 5]).added) for start in range(0, 30, 5))

    with ThreadPoolExecutor(4) as pool:
        assert sum(pool.map(add, range(4))) == 30
    assert sorted(row[0].id for row in remote.search(x, 1)) == remote.ids().tolist()


def test_a_lock_that_somebody_holds(
    address: str, remote: Gallery, run: Run, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(postgres_module, "LOCK_SECONDS", 1)
    with Gallery.open(address, run) as other, remote.store.writing():
        began = time.monotonic()
        with pytest.raises(BusyError, match=r"#t\w+ is being written by another process"):
            other.add(vectors(1))
        assert 0.9 < time.monotonic() - began < 30
    with Gallery.open(address, run) as other:
        assert other.add(vectors(1)).ids == (0,)


def test_threads_that_have_ended_hold_no_connection(remote: Gallery):
    for _ in range(5):
        thread = threading.Thread(target=remote.ids)
        thread.start()
        thread.join()
    assert isinstance(remote.store, PostgresStore)
    assert len(remote.store._all) == 2  # of this thread and of the last one


def test_identities(address: str, remote: Gallery, run: Run):
    center = vectors(1)
    remote.add(center + 0.05 * vectors(6, 1))
    one = Identities(remote)
    one.label([0], "new")
    assert {*remote.store.labels().names} == {"new"}
    # Another way to write the address of the same table has the same history.
    with Gallery.open(address.replace("postgresql://", "postgres://"), run) as again:
        Identities(again).undo()
    assert {*remote.store.labels().names} == {None}


def test_commands(
    capsys: pytest.CaptureFixture[str],
    address: str,
    folder_run: Path,
    images: Path,
    monkeypatch: pytest.MonkeyPatch,
):
    assert main(["index", str(folder_run), str(images), f"--gallery={address}"]) == 0
    assert main(["index", str(folder_run), str(images), f"--gallery={address}"]) == 0
    assert "15 known" in capsys.readouterr().out
    monkeypatch.setattr("rootspace.cli.index.LEAST", 1)
    other = f"--gallery={folder_run / 'other'}"
    for place, told in ((f"--gallery={address}x", False), (other, True)):
        assert main(["index", str(folder_run), str(images), place]) == 0
        assert ("Grouping" in capsys.readouterr().err) == told  # the server does not group
    query = images / "a/0.png"
    assert main(["search", address, str(query), "--top=1", "--format=json"]) == 0
    (row,) = json.loads(capsys.readouterr().out)
    assert row["hits"][0]["path"] == str(query)
    assert main(["identities", address, "list"]) == 0
    assert main(["inspect", address]) == 0
    with Gallery.open(address, rs.load(folder_run)) as gallery:
        assert len(gallery) == 15


def test_what_cannot_be(server: str, address: str, run: Run, capsys: pytest.CaptureFixture[str]):
    with pytest.raises(ValueError, match="is not a gallery"):
        Gallery.open(address, run)
    with pytest.raises(ValueError, match="must name a table of small letters"):
        Gallery.open(f"{server}#a;drop", run)
    with pytest.raises(OSError, match="does not answer"):
        Gallery.open("postgresql://x:secret@/nothing?host=/nowhere", run)
    assert main(["search", "postgresql://x:secret@/nothing?host=/nowhere", "x.png"]) == 2
    assert "secret" not in capsys.readouterr().err
    assert not is_postgres("runs/demo")


def test_a_server_makes_its_table(address: str, run: Run) -> None:
    own = OwnGallery(run, address)
    assert own.gallery is not None and len(own.gallery) == 0, "made when it starts"
    own.gallery.add(vectors(3))
    own.close()
    again = OwnGallery(run, address)
    assert again.gallery is not None and len(again.gallery) == 3
    again.close()
