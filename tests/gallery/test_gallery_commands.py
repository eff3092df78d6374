"""`rootspace index` and `rootspace search` as a user calls them."""

from __future__ import annotations

import csv
import io
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import rootspace as rs
from image_folders import write_images
from rootspace.cli import main
from rootspace.gallery import Gallery, indexing


def call(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, str, str]:
    capsys.readouterr()
    code = main([str(a) for a in arguments])
    found = capsys.readouterr()
    return code, found.out, found.err


def answer(capsys: pytest.CaptureFixture[str], *arguments: object) -> Any:
    code, out, err = call(capsys, *arguments, "--format=json")
    assert code == 0, err
    return json.loads(out)


def refusal(capsys: pytest.CaptureFixture[str], *arguments: object) -> str:
    code, _, err = call(capsys, *arguments)
    line = err.strip().splitlines()[-1]
    assert code == 2 and line.startswith(f"rootspace {arguments[0]}: error: "), err
    return line


def counts(found: dict[str, Any]) -> tuple[int, ...]:
    return tuple(found[name] for name in ("added", "changed", "known", "duplicates", "deleted"))


def test_index_takes_what_is_new(
    capsys: pytest.CaptureFixture[str],
    folder_run: Path,
    images: Path,
    monkeypatch: pytest.MonkeyPatch,
):
    monkeypatch.setattr(indexing, "PART", 4)
    found = answer(capsys, "index", folder_run, images)
    assert counts(found) == (15, 0, 0, 0, 0) and found["images"] == 15
    gallery = Gallery.open(folder_run / "gallery", rs.load(folder_run))
    items = [item for some, _ in gallery.scan() for item in some]
    assert {item.label for item in items} == {"a", "猫", "=d", "-e", "f"}
    assert all(item.path and Path(item.path).parent.name == item.label for item in items)

    assert counts(answer(capsys, "index", folder_run, images)) == (0, 0, 15, 0, 0)
    shutil.copy(images / "a/0.png", images / "a/copy.png")
    (images / "f/2.png").write_bytes((images / "f/1.png").read_bytes()[:40])
    shutil.copy(images / "-e/0.png", images / "-e/1.png")  # the content of another item
    write_images(images, ["new"], 1, 7)
    (images / "=d/0.png").unlink()
    write_images(images / "x", ["=d"], 1, 8)
    os.replace(images / "x/=d/0.png", images / "=d/0.png")
    os.utime(images / "=d/1.png", (1, 1))  # touched
    code, out, err = call(capsys, "index", folder_run, images, "--format=json")
    found = json.loads(out)
    # f/2.png is half written: its item stays until it can be read again.
    assert code == 2 and "f/2.png" in err and "1 of 17 inputs cannot be read" in err
    assert counts(found) == (2, 2, 12, 2, 0), found
    assert {Path(one["path"]).name for one in found["rejected"]} == {"copy.png", "1.png", "2.png"}
    assert found["images"] == 15 + 2 - 2
    assert len(gallery.ids("label = new")) == 1
    (images / "f/2.png").unlink()
    found = answer(capsys, "index", folder_run, images, "--delete_missing")
    assert found["deleted"] == 1 and found["added"] == 0


def test_missing_files_are_deleted_after_moved_ones_are_followed(
    capsys: pytest.CaptureFixture[str], folder_run: Path, images: Path
):
    answer(capsys, "index", folder_run, images)
    gallery = Gallery.open(folder_run / "gallery", rs.load(folder_run))
    (id,) = gallery.ids(f"path = '{images / 'a/0.png'}'").tolist()
    os.rename(images / "a/0.png", images / "f/moved.png")
    (images / "a/1.png").unlink()
    found = answer(capsys, "index", folder_run, images, "--delete_missing")
    assert counts(found) == (0, 0, 14, 0, 1) and found["images"] == 14
    (item,) = gallery.get([id])
    assert (item.path, item.label) == (str(images / "f/moved.png"), "f")


def test_index_the_data_of_the_run(capsys: pytest.CaptureFixture[str], folder_run: Path):
    assert counts(answer(capsys, "index", folder_run)) == (60, 0, 0, 0, 0)
    assert counts(answer(capsys, "index", folder_run)) == (0, 0, 60, 0, 0)
    gallery = Gallery.open(folder_run / "gallery", rs.load(folder_run))
    items = [item for some, _ in gallery.scan() for item in some]
    assert all(Path(item.path or "").is_file() for item in items)
    assert {item.label for item in items} == {"a", "猫", "=d", "-e", "f"}
    other = folder_run.parent / "other"
    data = ["--data=Characters", "--data.num_classes=4", "--data.image_size=16"]
    assert "images of 3 x 16 x 16" in refusal(
        capsys, "index", folder_run, f"--gallery={other}", *data
    )
    assert not other.exists()


def test_data_of_files_that_have_changed(
    capsys: pytest.CaptureFixture[str],
    folder_run: Path,
    images: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
):
    """Given relative to another folder than the first time."""
    monkeypatch.chdir(tmp_path)
    data = ["--data=ImageFolder", "--data.image_size=16", "--data.test_fraction=0"]
    arguments = ("index", folder_run, *data, f"--data.root={images.name}")
    assert counts(answer(capsys, *arguments)) == (15, 0, 0, 0, 0)
    shutil.copy(write_images(tmp_path / "x", ["a"], 1, 8) / "a/0.png", images / "a/0.png")
    with monkeypatch.context() as counted:
        read, add = list[object](), Gallery.add
        counted.setattr(
            Gallery, "add", lambda self, x, **rest: (read.extend(x), add(self, x, **rest))[1]
        )
        monkeypatch.chdir("/")
        arguments = (*arguments[:-1], f"--data.root={images}")
        found = answer(capsys, *arguments)
    assert counts(found) == (1, 1, 14, 0, 0) and found["images"] == 15
    assert [Path(str(one)).name for one in read] == ["0.png"]
    (images / "a/1.png").unlink()
    assert answer(capsys, "index", folder_run, "--delete_missing")["deleted"] == 1


def test_payload_and_filters(
    capsys: pytest.CaptureFixture[str], folder_run: Path, images: Path, tmp_path: Path
):
    table = images / "about.csv"
    table.write_text("\ufeffpath,year,source,ok\na/0.png,2020,web,true\na/1.png,2021.5,,false\n")
    answer(capsys, "index", folder_run, images, f"--payload={table}")
    gallery = Gallery.open(folder_run / "gallery", rs.load(folder_run))
    (id,) = gallery.ids("year = 2020")
    (item,) = gallery.get([id])
    assert item.payload == {"year": 2020, "source": "web", "ok": True}
    assert dict(gallery.get(gallery.ids("year > 2021").tolist())[0].payload) == {
        "year": 2021.5,
        "ok": False,
    }
    table.write_text("path,year\na/0.png,1999\n")
    assert answer(capsys, "index", folder_run, images, f"--payload={table}")["known"] == 15
    assert gallery.ids("year = 1999").tolist() == [id]
    found = answer(capsys, "index", folder_run, "--delete", "label in (a, f)")
    assert counts(found) == (0, 0, 0, 0, 6) and found["images"] == 9
    for text, message in (
        ("year\n3\n", "must have the column path"),
        ("path,year\na\n", "not as many cells as names"),
        ("path,bad key\na/0.png,3\n", "must have keys"),
        ("path,n\na/0.png,3\na/../a/0.png,4\n", "not two for a/../a/0.png"),
    ):
        table.write_text(text)
        assert message in refusal(capsys, "index", folder_run, images, f"--payload={table}")
    table.write_bytes(b"path\n\xff\n")
    assert "is not UTF-8" in refusal(capsys, "index", folder_run, images, f"--payload={table}")


def test_rows_without_an_image_are_named(
    capsys: pytest.CaptureFixture[str], folder_run: Path, images: Path
):
    table = images / "about.csv"
    rows = ["a/0.png,3", "a/typo.png,4", *(f"{i},5" for i in range(12))]
    table.write_text("path,n\n" + "\n".join(rows) + "\n")
    code, out, err = call(capsys, "index", folder_run, images, f"--payload={table}")
    assert code == 2 and "15 images" in out and "... and 3 more" in err
    assert f"{images / '0'} is none of the images" in err
    assert "13 rows of" in err.strip().splitlines()[-1]
    gallery = Gallery.open(folder_run / "gallery")
    assert len(gallery.ids("n = 3")) == 1 and not len(gallery.ids("n > 3"))


def test_only_what_is_written_as_a_number_is_one(
    capsys: pytest.CaptureFixture[str], folder_run: Path, images: Path
):
    cells = {"007": "007", "1_000": "1_000", "nan": "nan", "inf": "inf", "1e5": "1e5", " 1": " 1"}
    cells |= {"٣": "٣", "-": "-", "1.": "1.", "9" * 18: 10**18 - 1, "9" * 19: "9" * 19}
    cells |= {"0": 0, "-12": -12, "0.50": 0.5, "true": True, "True": "True"}
    table = images / "about.csv"
    names = [f"c{i}" for i in range(len(cells))]
    table.write_text(f"path,{','.join(names)}\na/0.png,{','.join(cells)}\n", encoding="utf-8")
    answer(capsys, "index", folder_run, images / "a", f"--payload={table}")
    gallery = Gallery.open(folder_run / "gallery", rs.load(folder_run))
    (item,) = (item for some, _ in gallery.scan() for item in some if item.payload)
    assert item.payload == dict(zip(names, cells.values(), strict=True))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["{images}", "--delete=id >= 3", "--payload={images}/bad.csv"], "must have the column"),
        (["{images}", "--delete=id >= 3", "--payload={images}/key.csv"], "'--payload' must have"),
        (["{images}", "{images}/none", "--delete=id >= 3"], "none does not exist"),
        (["{images}", "--delete=id >="], "Argument '--delete' must be conditions"),
    ],
)
def test_nothing_is_deleted_or_made_where_an_argument_is_wrong(
    capsys: pytest.CaptureFixture[str],
    folder_run: Path,
    images: Path,
    arguments: list[str],
    message: str,
):
    (images / "bad.csv").write_text("year\n3\n")
    (images / "key.csv").write_text("path,bad key\na/0.png,3\n")
    wrong = [argument.format(images=images) for argument in arguments]
    assert message in refusal(capsys, "index", folder_run, *wrong)
    assert not (folder_run / "gallery").exists()
    answer(capsys, "index", folder_run, images / "a", images / "f")
    assert message in refusal(capsys, "index", folder_run, *wrong)
    assert len(Gallery.open(folder_run / "gallery", rs.load(folder_run))) == 6


def test_search(capsys: pytest.CaptureFixture[str], folder_run: Path, images: Path, tmp_path: Path):
    answer(capsys, "index", folder_run, images)
    query = images / "a/1.png"
    (row,) = answer(capsys, "search", folder_run, query, "--top=3")
    assert row["path"] == str(query) and len(row["hits"]) == 3
    best = row["hits"][0]
    assert (best["path"], best["label"]) == (str(query), "a") and best["cosine"] > 0.9999
    # By the gallery's folder, which knows its run.
    by_gallery = answer(capsys, "search", folder_run / "gallery", query, "--top=3")
    assert by_gallery == [row]
    (row,) = answer(capsys, "search", folder_run, query, "--where", "label != a")
    assert len(row["hits"]) == 10 and all(hit["label"] != "a" for hit in row["hits"])
    (row,) = answer(capsys, "search", folder_run, query, "--min_cosine=0.9999")
    assert [hit["id"] for hit in row["hits"]] == [best["id"]]
    code, out, _ = call(capsys, "search", folder_run, images, "--top=2", "--format=csv")
    rows = list(csv.DictReader(io.StringIO(out)))
    assert code == 0 and len(rows) == 30 and {row["label"] for row in rows} >= {"'=d", "'-e"}
    code, out, _ = call(capsys, "search", folder_run, images, "--top=2", "--format=jsonl")
    assert [len(json.loads(line)["hits"]) for line in out.splitlines()] == [2] * 15
    code, out, _ = call(capsys, "search", folder_run, query, "--top=1")
    assert code == 0 and out.splitlines()[0] == str(query) and "1.000" in out
    bad = tmp_path / "bad.png"
    bad.write_bytes(b"x")
    code, out, err = call(capsys, "search", folder_run, bad, query, "--top=1")
    assert code == 2 and str(query) in out and "bad.png" in err


def test_faiss(capsys: pytest.CaptureFixture[str], folder_run: Path, images: Path, tmp_path: Path):
    answer(capsys, "index", folder_run, images)
    found = answer(capsys, "index", folder_run, f"--faiss={tmp_path / 'x.faiss'}")
    assert counts(found) == (0, 0, 0, 0, 0)
    assert np.load(tmp_path / "x.faiss.ids.npy").tolist() == [*range(15)]


def test_what_cannot_be(
    capsys: pytest.CaptureFixture[str], folder_run: Path, images: Path, tmp_path: Path
):
    assert "has no gallery: make one" in refusal(capsys, "search", folder_run, images)
    assert "does not exist" in refusal(capsys, "index", folder_run, tmp_path / "no")
    assert "leave out FOLDER" in refusal(capsys, "index", folder_run, images, "--data=Characters")
    assert "is for image files" in refusal(capsys, "index", folder_run, "--payload=x.csv")
    assert "'--delete' must be conditions" in refusal(capsys, "index", folder_run, "--delete=x")
    assert "must not be negative" in refusal(capsys, "index", folder_run, "--show=-1")
    assert "does not exist" in refusal(capsys, "index", folder_run, "--faiss=no/x")
    for change in ("--delete=id = 1", "--delete_missing", f"--faiss={tmp_path / 'x'}"):
        line = refusal(capsys, "index", folder_run, f"--gallery={tmp_path / 'typo'}", change)
        assert "typo has no gallery that could be changed" in line
    assert not (tmp_path / "typo").exists()
    answer(capsys, "index", folder_run, images)
    line = refusal(capsys, "index", folder_run, images, "--float16")
    assert "'--float16' is for a new gallery" in line
    assert "'--top'" in refusal(capsys, "search", folder_run, images, "--top=0")
    assert "'--where' must be" in refusal(capsys, "search", folder_run, images, "--where=a or b")
    (tmp_path / "full").mkdir()
    (tmp_path / "full/x").touch()
    line = refusal(capsys, "index", folder_run, images, f"--gallery={tmp_path / 'full'}")
    assert "exists already and is not empty" in line


SLOWLY = """
import signal, sys, time
signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background job ignores it
from rootspace.cli import main
from rootspace.gallery import Gallery, indexing
indexing.PART = 3
add = Gallery.add
def slowly(*arguments, **settings):
    report = add(*arguments, **settings)
    time.sleep(1.0)
    return report
Gallery.add = slowly
sys.exit(main(sys.argv[1:]))
"""


def test_a_stopped_call_goes_on(capsys: pytest.CaptureFixture[str], folder_run: Path, images: Path):
    command = [sys.executable, "-c", SLOWLY, "index", str(folder_run), str(images)]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        versions = folder_run / "gallery/items.lance/_versions"
        while not versions.is_dir() or len(list(versions.iterdir())) < 4:
            assert process.poll() is None
            time.sleep(0.02)
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=60)
    assert process.returncode == 130 and "the same command adds the others" in err, err
    found = answer(capsys, "index", folder_run, images)
    assert found["images"] == 15 and found["known"] + found["added"] == 15
    assert found["known"] >= 3 and found["duplicates"] == 0
