"""Processes that write and are killed: no change that was accepted is lost, and readers go on."""

from __future__ import annotations

import json
import os
import random
import signal
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import rootspace as rs
from processes import PROCESSES
from rootspace.cli import main
from rootspace.gallery import Gallery, lance
from rootspace.run import Run

KILLS = int(os.environ.get("ROOTSPACE_FAULTS") or 3)


def write_for_ever(folder: str, run: str, log: str, seed: int) -> None:
    """Add, relabel and delete; what is done is logged before the next begins."""
    lance.CHANGES = 12  # that it is killed while it tidies up too
    gallery = Gallery.open(folder, rs.load(run))
    generator = np.random.default_rng(seed)
    with Path(log).open("a") as file:

        def note(**content: object) -> None:
            file.write(json.dumps(content) + "\n")
            file.flush()

        while True:
            x = generator.standard_normal((3, 16)).astype(np.float32)
            note(begun="add")
            ids = gallery.add(x, labels="new").added
            note(added=list(ids))
            note(begun="update", ids=list(ids[:2]))
            gallery.update(ids[:2], label="old")
            note(updated=list(ids[:2]))
            note(begun="delete", ids=list(ids[1:2]))
            gallery.delete(ids[1:2])
            note(deleted=list(ids[1:2]))


def test_killed_writers_lose_nothing(gallery: Gallery, run: Run, tmp_path: Path):
    log, clock = tmp_path / "log", random.Random(0)
    log.touch()
    folder = gallery.store.name
    for number in range(KILLS):
        before = log.stat().st_size
        arguments = (folder, str(run.folder), str(log), number)
        process = PROCESSES.Process(target=write_for_ever, args=arguments)
        process.start()
        while log.stat().st_size == before:
            assert process.is_alive()
            time.sleep(0.01)
        time.sleep(clock.uniform(0.05, 0.9))
        assert process.pid is not None
        os.kill(process.pid, signal.SIGKILL)
        process.join()

        label: dict[int, str] = {}
        open_ids = set[int]()
        for line in log.read_text().splitlines():
            done = json.loads(line)
            open_ids = set(done.get("ids", ()))
            label |= dict.fromkeys(done.get("added", ()), "new")
            label |= dict.fromkeys(done.get("updated", ()), "old")
            for id in done.get("deleted", ()):
                del label[id]
        again = Gallery.open(folder, run)
        found = {item.id: item.label for items, _ in again.scan() for item in items}
        # What was going on when it was killed is done or not, for all its items.
        sure = {id: name for id, name in label.items() if id not in open_ids}
        assert {id: found.get(id) for id in sure} == sure
        extra = found.keys() - label.keys()
        assert len(extra) in (0, 3)
        label |= dict.fromkeys(extra, "new")
        touched = {(id in found, found.get(id)) for id in open_ids}
        assert len(touched) <= 1
        # Table and index agree, here and in a gallery that was open all the time.
        for one in (again, gallery):
            ids = one.ids()
            assert ids.tolist() == sorted(found)
            hits = one.search(one.embeddings(ids.tolist()), 1)
            assert [row[0].id for row in hits] == ids.tolist()
        again.compact()
        with log.open("a") as file:  # as it stands now
            for id, name in found.items():
                key = "updated" if name == "old" else "added"
                file.write(json.dumps({key: [id]}) + "\n")
            gone = [id for id in label if id not in found]
            file.write(json.dumps({"deleted": gone}) + "\n")


def write_some(folder: str, run: str, seed: int) -> None:
    gallery = Gallery.open(folder, rs.load(run))
    generator = np.random.default_rng(seed)
    for _ in range(8):
        x = generator.standard_normal((2, 16)).astype(np.float32)
        ids = gallery.add(x, labels=str(seed)).added
        gallery.update(ids[:1], payload={"seed": seed})


def test_processes_take_turns(gallery: Gallery, run: Run):
    arguments = [(gallery.store.name, str(run.folder), seed) for seed in range(3)]
    writers = [PROCESSES.Process(target=write_some, args=each) for each in arguments]
    for writer in writers:
        writer.start()
    while any(writer.is_alive() for writer in writers):
        ids = gallery.ids()  # readers go on
        assert (np.diff(ids) > 0).all()
        time.sleep(0.05)
    assert [writer.exitcode for writer in writers] == [0, 0, 0]
    assert gallery.ids().tolist() == [*range(48)]
    for seed in range(3):
        assert len(gallery.ids(f"label = '{seed}'")) == 16
        assert len(gallery.ids(f"seed = {seed}")) == 8


@pytest.mark.parametrize("task", ["0", "1"])
def test_a_busy_gallery_says_so(gallery: Gallery, monkeypatch: pytest.MonkeyPatch, task: str):
    monkeypatch.setenv("SLURM_PROCID", task)  # each task of `srun` writes by itself
    monkeypatch.delenv("RANK", raising=False)
    monkeypatch.setattr(lance, "WAIT", 0.2)
    other = Gallery.open(gallery.store.name, gallery.run)
    with (
        gallery.store.writing(),
        pytest.raises(ValueError, match="is being written by another process"),
    ):
        other.delete([])


def test_two_processes_make_one_gallery(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """One begins and ends while the other makes the table: the slower one is told."""
    folder, write = tmp_path / "gallery", lance.write_json

    def slowly(path: Path, content: object) -> None:
        monkeypatch.setattr(lance, "write_json", write)
        Gallery.create(folder, run).add(np.eye(3, 16, dtype=np.float32))
        write(path, content)

    monkeypatch.setattr(lance, "write_json", slowly)
    with pytest.raises(FileExistsError, match="exists already and is not empty"):
        Gallery.create(folder, run)
    assert len(Gallery.open(folder, run)) == 3
    assert [path.name for path in tmp_path.iterdir()] == ["gallery"]


def test_a_command_goes_on_in_a_gallery_that_came_meanwhile(
    folder_run: Path, images: Path, monkeypatch: pytest.MonkeyPatch
):
    create = lance.LanceStore.create

    def twice(*arguments: Any, **settings: Any) -> None:
        create(*arguments, **settings)
        create(*arguments, **settings)

    monkeypatch.setattr(lance.LanceStore, "create", staticmethod(twice))
    assert main(["index", str(folder_run), str(images)]) == 0
    assert len(Gallery.open(folder_run / "gallery")) == 15
