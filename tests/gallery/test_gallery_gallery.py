"""What a gallery takes, refuses and answers."""

from __future__ import annotations

import io
import os
import shutil
import weakref
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import faiss
import numpy as np
import pytest
import torch
from PIL import Image

import rootspace as rs
from processes import repeating
from rootspace.cli import main
from rootspace.data import ImagePreprocessing
from rootspace.gallery import (
    Condition,
    Gallery,
    Pin,
    UnknownItemError,
    incoming,
    is_gallery,
    lance,
)
from rootspace.gallery.lance import LanceStore, run_of, unit
from rootspace.run import Run


def vectors(number: int, dim: int = 16, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((number, dim)).astype(np.float32)


def test_images_are_found_again(gallery: Gallery, run: Run, images: Path):
    files = sorted(images.rglob("*.png"))
    labels = [file.parent.name for file in files]
    payloads = [{"number": i, "even": i % 2 == 0} for i in range(len(files))]
    report = gallery.add(files, labels=labels, payloads=payloads)
    assert report.ids == report.added == tuple(range(len(files))) and not report.rejected
    assert len(gallery) == len(files)
    expected = run.embed(files).numpy()
    np.testing.assert_allclose(gallery.embeddings(report.added), unit(expected), atol=1e-6)
    for i, hits in enumerate(gallery.search(files, k=3)):
        assert hits[0].id == i and hits[0].cosine > 0.9999
        assert (hits[0].path, hits[0].label) == (str(files[i]), labels[i])
        assert hits[0].payload == payloads[i]
    bytes_of = files[4].read_bytes()
    assert gallery.search(bytes_of, k=1)[0][0].id == 4
    assert gallery.search([Image.open(files[4])], k=1)[0][0].id == 4
    assert gallery.search(torch.from_numpy(expected[4:5]), k=1)[0][0].id == 4
    thumbnail = gallery.thumbnails([4, 99])
    assert list(thumbnail) == [4] and Image.open(io.BytesIO(thumbnail[4])).size == (16, 16)


def test_each_input_has_its_answer(gallery: Gallery, images: Path, tmp_path: Path):
    file = images / "a/0.png"
    copy = shutil.copy(file, tmp_path / "copy.png")
    broken = tmp_path / "broken.png"
    broken.write_bytes(b"no image")
    report = gallery.add([file, broken, tmp_path / "gone.png", copy, b"x", images / "a/1.png"])
    assert report.ids == (0, None, None, 0, None, 1) and report.added == (0, 1)
    assert [(one.index, one.reason, one.id) for one in report.rejected] == [
        (1, "unreadable", None),
        (2, "unreadable", None),
        (3, "duplicate", 0),
        (4, "unreadable", None),
    ]
    assert "broken.png" in report.rejected[0].message
    again = gallery.add([copy])
    assert again.ids == (0,) and again.added == ()
    assert again.rejected[0].message == "the same content as item 0"
    bad = vectors(4)
    bad[1] = 0
    bad[2, 3] = np.nan
    report = gallery.add(bad)
    assert report.ids == (2, None, None, 3)
    assert [one.reason for one in report.rejected] == ["embedding", "embedding"]
    assert gallery.add([]).ids == () and len(gallery) == 4


def test_what_is_deleted_while_the_network_runs_is_added(
    gallery: Gallery, images: Path, monkeypatch: pytest.MonkeyPatch
):
    """Its content was there when the call began, and so it was not embedded."""
    files = sorted(images.rglob("*.png"))[:2]
    gallery.add(files[:1])
    embed = Run.embed_batch

    def slowly(self: Run, batch: torch.Tensor) -> torch.Tensor:
        monkeypatch.setattr(Run, "embed_batch", embed)
        Gallery.open(gallery.store.name).delete([0])
        return embed(self, batch)

    monkeypatch.setattr(Run, "embed_batch", slowly)
    report = gallery.add(files)
    assert not report.rejected and report.ids == report.added == (1, 2)
    assert gallery.ids().tolist() == [1, 2]
    assert [row[0].path for row in gallery.search(files, 1)] == [str(file) for file in files]


def test_an_iterator_is_several_inputs(gallery: Gallery, images: Path):
    assert gallery.add(images.rglob("*.png"), labels="x").ids == (*range(15),)


def test_pixels_of_a_part_alone_are_in_memory(
    gallery: Gallery, images: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(incoming, "BATCH", 2)
    held = weakref.WeakSet[torch.Tensor]()
    read, most = ImagePreprocessing.__call__, list[int]()

    def counted(self: ImagePreprocessing, image: object) -> torch.Tensor:
        pixels = read(self, image)
        held.add(pixels)
        most.append(len(held))
        return pixels

    monkeypatch.setattr(ImagePreprocessing, "__call__", counted)
    files = sorted(images.rglob("*.png"))
    report = gallery.add([*files, files[0], files[9]])
    assert report.added == (*range(15),) and report.ids[15:] == (0, 9)
    assert len(most) == 17 and max(most) <= 4  # of one part, and of that before it


def test_changes(gallery: Gallery):
    ids = gallery.add(vectors(6), labels="x", payloads={"n": 1}).added
    gallery.update(ids[:2], label="y")
    gallery.update(ids[2:4], label=["z", None], payload=[{"n": 2}, {}])
    gallery.update([ids[4]], payload={"m": "it's"})
    assert [item.label for item in gallery.get(ids)] == ["y", "y", "z", None, "x", "x"]
    assert [dict(item.payload) for item in gallery.get(ids)] == [
        *({"n": 1}, {"n": 1}, {"n": 2}, {}, {"m": "it's"}, {"n": 1})
    ]
    assert gallery.ids("label = y").tolist() == [0, 1]
    assert gallery.ids("n >= 1").tolist() == [0, 1, 2, 5]
    assert gallery.ids([Condition("m", "=", "it's")]).tolist() == [4]
    gallery.delete([1, 5, 5])
    assert gallery.ids().tolist() == [0, 2, 3, 4] and len(gallery) == 4
    assert gallery.ids("label in (x, y)").tolist() == [0, 4]
    assert gallery.add(vectors(6)).ids == (0, 6, 2, 3, 4, 7)  # ids are not given again
    gallery.delete([7])
    other = Gallery.open(str(gallery.store.name), gallery.run)
    assert other.add(vectors(1, seed=3)).ids == (8,)
    assert gallery.ids().tolist() == other.ids().tolist() == [0, 2, 3, 4, 6, 8]


def test_search_keeps_to_filter_and_least_cosine(gallery: Gallery):
    x = vectors(40)
    gallery.add(x, labels=["even" if i % 2 == 0 else "odd" for i in range(40)])
    cosine = unit(x) @ unit(x).T
    for i, hits in enumerate(gallery.search(x, k=40, where="label = odd", min_cosine=0.1)):
        expected = {j for j in range(1, 40, 2) if cosine[i, j] >= 0.1}
        assert {hit.id for hit in hits} == expected
        assert [hit.cosine for hit in hits] == sorted((h.cosine for h in hits), reverse=True)
    assert gallery.search(x[:2], where="label = none") == [[], []]
    assert gallery.search(np.empty((0, 16), np.float32)) == []


def test_an_empty_gallery_answers(gallery: Gallery, images: Path, tmp_path: Path):
    assert len(gallery) == 0 and gallery.search(images / "a/0.png") == [[]]
    assert gallery.ids("label = x").tolist() == [] and list(gallery.scan()) == []
    gallery.compact()
    gallery.delete([])
    assert np.load(gallery.export_faiss(tmp_path / "x.faiss")).shape == (0,)


def test_half_precision(run: Run, tmp_path: Path):
    gallery = Gallery.create(tmp_path / "half", run, float16=True)
    x = vectors(50)
    gallery.add(x)
    np.testing.assert_allclose(gallery.embeddings(range(50)), unit(x), atol=1e-3)
    hits = gallery.search(x, k=1)
    assert [row[0].id for row in hits] == [*range(50)]
    again = Gallery.open(tmp_path / "half", run)
    assert again.search(x, k=5) == gallery.search(x, k=5)


def test_faiss_finds_the_same(gallery: Gallery, tmp_path: Path):
    gallery.add(vectors(300))
    gallery.delete(range(0, 300, 7))
    ids = np.load(gallery.export_faiss(tmp_path / "x.faiss"))
    index = faiss.read_index(str(tmp_path / "x.faiss"))
    assert type(index).__name__ == "IndexFlatIP" and index.ntotal == len(ids) == len(gallery)
    queries = unit(vectors(20, seed=1))
    cosine, rows = index.search(queries, 5)
    for hits, own, cosines in zip(gallery.search(queries, 5), ids[rows], cosine, strict=True):
        assert [hit.id for hit in hits] == own.tolist()
        np.testing.assert_allclose([hit.cosine for hit in hits], cosines, atol=1e-6)


def test_pieces_stay_few(gallery: Gallery, monkeypatch: pytest.MonkeyPatch):
    assert isinstance(gallery.store, LanceStore)
    monkeypatch.setattr(lance, "CHANGES", 24)
    most = 0
    for x in vectors(80)[:, None]:
        id = gallery.add(x).added[0]
        if id % 5 == 0:
            gallery.update([id], label="x")
        if id % 7 == 0:
            gallery.delete([id])
        most = max(most, *gallery.store.pieces)
    assert 10 < most <= 24
    # Those that come and go count what others have left.
    for x in vectors(10, seed=1)[:, None]:
        Gallery.open(gallery.store.name, gallery.run).add(x)
    gallery.compact()
    assert gallery.store.pieces == (1, 1)
    left = [id for id in range(90) if id % 7 or id >= 80]
    assert gallery.ids().tolist() == left
    data = [p for p in Path(gallery.store.name).rglob("*.lance") if p.is_file()]
    assert len(data) == 1


def test_threads(gallery: Gallery):
    """Each thread's own items are right at every moment, whatever the others do."""
    errors = []

    def work(number: int) -> None:
        try:
            own = vectors(12, seed=number)
            for i in range(0, 12, 3):
                ids = gallery.add(own[i : i + 3], labels=f"t{number}").added
                hits = gallery.search(own[i : i + 3], 1, where=f"label = t{number}")
                assert [row[0].id for row in hits] == [*ids]
                gallery.update(ids[:1], payload={"n": number})
                gallery.delete(ids[1:2])
                assert len(gallery.ids(f"label = t{number}")) == 2 * (i // 3 + 1)
        except BaseException as error:
            errors.append(error)

    with ThreadPoolExecutor(6) as pool:
        list(pool.map(work, range(6)))
    assert not errors, errors[0]
    assert len(gallery) == 6 * 8 and len(gallery.ids("n >= 0")) == 6 * 4


def test_readers_see_whole_changes(gallery: Gallery):
    """Items that are added, relabeled and deleted together are seen so."""
    other = Gallery.open(gallery.store.name, gallery.run)

    def read() -> None:
        for one in (gallery, other):
            assert len(one.ids()) % 5 == 0
            assert len(one.ids("label = x")) % 5 == 0
            assert len(one.search(vectors(1), 50)[0]) % 5 == 0

    with repeating(read):
        for number in range(12):
            ids = gallery.add(vectors(5, seed=number), labels="x").added
            gallery.update(ids, label="y")
            if number % 3:
                gallery.delete(ids)
            if number % 4 == 0:
                gallery.compact()


def test_many_are_deleted_at_once(gallery: Gallery, monkeypatch: pytest.MonkeyPatch):
    """In one commit: a process that is killed meanwhile has deleted all or none."""
    monkeypatch.setattr(lance, "LISTED", 4)
    other = Gallery.open(gallery.store.name, gallery.run)
    gallery.add(vectors(50), labels="x")
    assert isinstance(gallery.store, LanceStore)
    seen, changed = list[int](), gallery.store._changed
    monkeypatch.setattr(gallery.store, "_changed", lambda: (seen.append(len(other)), changed()))
    gallery.delete(range(0, 50, 2))
    assert seen == [25]
    for one in (gallery, other, Gallery.open(gallery.store.name)):
        assert one.ids("label = x").tolist() == [*range(1, 50, 2)]
        hits = one.search(one.embeddings(range(1, 50, 2)), 1)
        assert [row[0].id for row in hits] == [*range(1, 50, 2)]
    gallery.update([1], label="y")
    assert other.get([1])[0].label == "y"


def test_another_model_is_refused(gallery: Gallery, trained: Path, tmp_path: Path):
    gallery.add(vectors(2))
    data = ["--data=ImageFolder", f"--data.root={trained.parent / 'images'}"]
    small = [*data, "--data.image_size=16", "--model.width=4", "--loader.batch_size=12"]
    options = [*small, "--train.epochs=2", "--head.dim=16"]
    assert main(["train", *options, "--train.seed=5", f"--run.dir={tmp_path / 'other'}"]) == 0
    with pytest.raises(ValueError, match=r"embeddings of another model than .*other"):
        Gallery.open(gallery.store.name, rs.load(tmp_path / "other"))
    teacher = [f"--teacher.run={trained}", "--teacher.targets=own"]
    student = tmp_path / "student"
    assert main(["distill", *small, "--train.epochs=2", *teacher, f"--run.dir={student}"]) == 0
    taken = Gallery.open(gallery.store.name, rs.load(student))
    file = min((trained.parent / "images/val/a").iterdir())
    assert taken.add([file]).added == (2,)
    assert gallery.search(taken.embed([file]), k=1)[0][0].id == 2


def test_without_a_run(gallery: Gallery, images: Path):
    gallery.add(vectors(3), labels="a")
    other = Gallery.open(gallery.store.name)
    assert other.search(vectors(1), k=1)[0][0].id == 0
    other.update([0], label="b")
    with pytest.raises(ValueError, match="Adding needs the run whose embeddings"):
        other.add(vectors(3))
    with pytest.raises(ValueError, match="Embedding images needs the run"):
        other.search(images / "a/0.png")


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda g: g.add(vectors(2, 5)), ValueError, r"float embeddings \[N, 16\]"),
        (lambda g: g.add(torch.zeros(2, 3, 5, 5)), ValueError, "float embeddings"),
        (lambda g: g.add(torch.zeros(2, 3, 5, 5, dtype=torch.uint8)), ValueError, "uint8 batch"),
        (lambda g: g.add(vectors(2), labels=["a"]), ValueError, "'labels' must hold 2 values"),
        (lambda g: g.add(vectors(2), paths=["a"]), ValueError, "'paths' must hold 2 paths"),
        (lambda g: g.add(vectors(2), labels=3), TypeError, "'labels' must be a text"),
        (lambda g: g.add(vectors(2), labels=""), ValueError, "'labels' must be a text"),
        (lambda g: g.add(vectors(2), labels="\ud800"), ValueError, "valid Unicode"),
        (lambda g: g.add(vectors(1), payloads={"a b": 1}), ValueError, "must have keys"),
        (lambda g: g.add(vectors(1), payloads={"label": 1}), ValueError, "must have keys"),
        (lambda g: g.add(vectors(1), payloads={"a": [1]}), TypeError, "finite number"),
        (lambda g: g.add(vectors(1), payloads={"a": float("nan")}), TypeError, "finite number"),
        (lambda g: g.add(vectors(1), payloads={"a": 2**70}), TypeError, "64 bits"),
        (lambda g: g.add(vectors(1), payloads=[3]), TypeError, "must map names"),
        (lambda g: g.search(vectors(1), 0), ValueError, "'k' must be a positive integer, not 0"),
        (lambda g: g.search(vectors(1), min_cosine=2), ValueError, "'min_cosine'"),
        (lambda g: g.search(np.zeros((1, 16), np.float32)), ValueError, "that of input 0 is not"),
        (lambda g: g.search("nothing.png"), ValueError, "does not exist"),
        (lambda g: g.update([0], label="a"), UnknownItemError, "has no item 0"),
        (lambda g: g.update([0]), ValueError, "'label' or 'payload' must be given"),
        (lambda g: g.update([3, 1, 3], label="a"), ValueError, "different ids, not 3 twice"),
        (lambda g: g.delete([0]), UnknownItemError, "has no item 0"),
        (lambda g: g.get([True]), TypeError, "whole numbers"),
        (lambda g: g.embeddings([0]), UnknownItemError, "has no item 0"),
    ],
)
def test_what_cannot_be(gallery: Gallery, call, error: type[Exception], message: str):
    with pytest.raises(error, match=message):
        call(gallery)
    assert len(gallery) == 0


def test_folders(run: Run, tmp_path: Path):
    with pytest.raises(ValueError, match="is not a gallery"):
        Gallery.open(tmp_path, run)
    (tmp_path / "full").mkdir()
    (tmp_path / "full/x").touch()
    with pytest.raises(FileExistsError, match="exists already and is not empty"):
        Gallery.create(tmp_path / "full", run)
    with pytest.raises(ValueError, match="does not exist"):
        Gallery.create(tmp_path / "no/where", run)
    (tmp_path / "empty").mkdir()
    with Gallery.create(tmp_path / "empty", run) as gallery:
        gallery.add(vectors(3))
    assert is_gallery(tmp_path / "empty")
    assert run_of(tmp_path / "empty").resolve() == run.folder.resolve()
    moved = tmp_path / "moved"
    os.rename(tmp_path / "empty", moved)
    assert len(Gallery.open(moved, run)) == 3
    about = moved / "gallery.json"
    text = about.read_text()
    for wrong in (
        "{",
        "[]",
        text.replace('"format": 2', '"format": 9'),
        text.replace("16,", '"x",'),
    ):
        about.write_text(wrong)
        with pytest.raises(ValueError, match=r"gallery\.json is (damaged|not JSON)"):
            Gallery.open(moved, run)
    about.write_text(text)
    shutil.rmtree(moved / "items.lance")
    with pytest.raises(ValueError, match="is damaged"):
        Gallery.open(moved, run)


def test_pin(run: Run):
    pin = Pin.of(run)
    assert Pin.from_dict(pin.as_dict()) == pin and pin.num_classes == 5
    with pytest.raises(ValueError, match="'dim' must be int"):
        Pin.from_dict({**pin.as_dict(), "dim": "x"})
    with pytest.raises(ValueError, match="it has not model"):
        Pin.from_dict({"a": 1})


def test_a_large_gallery_is_grouped(gallery: Gallery):
    near = vectors(20)[np.arange(3000) % 20] + 0.1 * vectors(3000, seed=1)
    gallery.add(near)
    before = gallery.search(near[:7], 5)
    store = gallery.store
    assert isinstance(store, LanceStore)
    served = Gallery.open(store.folder, gallery.run)  # by a process that goes on meanwhile
    assert isinstance(served.store, LanceStore)
    gallery.build_index()
    assert not (store.folder / "groups.npz").exists()  # few are searched one by one
    store._index._index.least = 1
    store._index.remove(np.empty(0, np.int64))
    gallery.build_index()
    assert (store.folder / "groups.npz").exists()
    assert gallery.search(near[:7], 5) == before
    again = Gallery.open(store.folder, gallery.run)
    for other in (served.store, again.store):
        assert isinstance(other, LanceStore)
        assert other._snapshot().index.pending == 0
    assert served.search(near[:7], 5) == before
    again.delete([before[0][0].id])
    found = [hit.id for hit in gallery.search(near[:1], 4)[0]]
    assert found == [hit.id for hit in before[0][1:]]
    (store.folder / "groups.npz").write_bytes(b"damaged")
    third = Gallery.open(store.folder, gallery.run)
    assert [hit.id for hit in third.search(near[:1], 4)[0]] == found


def test_an_extended_run_is_taken(gallery: Gallery, extended: Run):
    gallery.add(vectors(2))
    again = Gallery.open(gallery.store.name, extended)
    assert again.add(vectors(1, seed=1)).added == (2,)


def test_items_are_those_of_now(gallery: Gallery):
    """What another has changed is seen by whoever asks for items by their ids."""
    other = Gallery.open(gallery.store.name)
    gallery.add(vectors(2), labels="x")
    assert other.get([0])[0].label == "x"
    gallery.update([0], label="y")
    assert other.get([0])[0].label == "y"
    gallery.delete([0])
    with pytest.raises(UnknownItemError):
        other.get([0])


def test_a_reading_that_failed_is_made_again(gallery: Gallery, monkeypatch: pytest.MonkeyPatch):
    other = Gallery.open(gallery.store.name)
    gallery.add(vectors(2))

    def fail(*_: object) -> None:
        raise OSError("no such file")

    with monkeypatch.context() as broken:
        broken.setattr(LanceStore, "_rows_since", fail)
        with pytest.raises(ValueError, match="no such file"):
            other.ids()
    assert other.ids().tolist() == [0, 1]


def test_items_come_in_the_order_that_was_asked_for(gallery: Gallery):
    gallery.add(vectors(6))
    gallery.update([0, 2], payload={"n": 1})
    gallery.update([5], label="x")
    assert [*gallery.store.items([3, 0, 9, 5, 2, 1])] == [3, 0, 5, 2, 1]
