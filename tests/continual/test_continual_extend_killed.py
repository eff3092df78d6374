"""`rootspace extend` killed (SIGKILL) at random moments: nothing is lost, and it can go on."""

from __future__ import annotations

import os
import random
import shutil
import signal
import sys
import time
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from processes import PROCESSES
from rootspace.cli import main
from rootspace.continual import ClassEntry, ClassRegistry
from rootspace.continual.live import REGISTRY
from rootspace.data import StoredImages
from rootspace.extend import base_config
from rootspace.run import load

SETTINGS = ["--data=Characters", "--data.image_size=16", "--data.num_classes=20", "--data.seed=1"]
SETTINGS += ["--memory.size=100", "--train.epochs=2"]
SETTINGS += ["--memory.policy=herding", "--train.checkpoint_minutes=0.0005"]
KILLS = 8
"""At random moments, beside those below."""

WHEN = ["start.tmp", "start.tmp/replay", "start", "checkpoints/last.ckpt", "model.safetensors"]
WHEN += ["replay.tmp", "replay"]
"""Files at whose appearance it is killed too, as some stages take milliseconds."""


def extend(reports: Connection, run: Path, folder: Path) -> None:
    sys.stderr = open(os.devnull, "w")  # noqa: SIM115
    torch.set_num_threads(1)
    reports.send("begun")
    going_on = ["--resume"] if (folder / "config.yaml").exists() else SETTINGS
    reports.send(main(["extend", str(run), f"--run.dir={folder}", *going_on]))


def start(run: Path, folder: Path) -> tuple[BaseProcess, Connection]:
    mine, theirs = PROCESSES.Pipe(duplex=False)
    process = PROCESSES.Process(target=extend, args=(theirs, run, folder))
    process.start()
    theirs.close()
    assert mine.recv() == "begun"
    return process, mine


def finish(run: Path, folder: Path) -> float:
    """Let it run to its end; seconds that it took."""
    process, reports = start(run, folder)
    began = time.monotonic()
    assert reports.recv() == 0
    process.join()
    return time.monotonic() - began


def bytes_of(folder: Path) -> dict[str, bytes]:
    return {str(p): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def answers(folder: Path) -> list[list[int]]:
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(256, (40, 1, 16, 16), generator=generator, dtype=torch.uint8)
    return load(folder).predict(images, k=3).label.tolist()


def memory_of(folder: Path) -> list[np.ndarray]:
    memory = StoredImages(folder)
    images, labels = memory.batch(range(len(memory)))
    return [images.numpy(), labels.numpy(), memory.keys]


def check_same(folder: Path, other: Path) -> None:
    """Weights, vectors, memories and registries of two finished extensions."""
    weights, expected = (load_file(f / "model.safetensors") for f in (folder, other))
    assert weights.keys() == expected.keys()
    assert all(torch.equal(weights[name], expected[name]) for name in weights)
    maps = [load(f).class_map for f in (folder, other)]
    ids = [m.vector_ids(torch.arange(60)) for m in maps if m is not None]
    assert ids[0] == ids[1] and len(ids[0]) == 60
    for name in ("start/replay", "replay"):
        pairs = zip(memory_of(folder / name), memory_of(other / name), strict=True)
        assert all(np.array_equal(one, two) for one, two in pairs)
    assert entries(folder) == entries(other) and len(entries(folder)) == 60
    assert answers(folder) == answers(other)
    assert not list(folder.rglob("*.tmp"))


def entries(folder: Path) -> list[ClassEntry]:
    with ClassRegistry(folder / REGISTRY) as registry:
        return list(registry.entries())


def check_unfinished(folder: Path) -> str:
    """It is no run yet, but what is there is whole; how far it has come."""
    with pytest.raises(ValueError, match=r"is not a (finished run|run folder)"):
        base_config(load(folder))
    if (folder / "replay").exists():
        assert len(StoredImages(folder / "replay")) == 100
    if not (folder / "start").exists():
        return "preparing"
    begun = load(folder / "start")
    assert len(begun.names) == 60 and len(memory_of(folder / "start/replay")[0]) == 100
    assert len(entries(folder / "start")) == 60
    return "trained" if (folder / "model.safetensors").exists() else "training"


def kill(process: BaseProcess, moment: float | Path) -> None:
    """Kill it after some seconds or as soon as a file is there, if it is still running then."""
    if isinstance(moment, Path):
        while not moment.exists() and process.exitcode is None:
            time.sleep(0.0005)
    else:
        process.join(moment)
    if process.exitcode is None:
        process.kill()
        process.join()


def test_stopped_on_ctrl_c(code_run: Path, tmp_path: Path):
    assert main(["classes", str(code_run), "list"]) == 0
    folder = tmp_path / "new"
    process, reports = start(code_run, folder)
    while not (folder / "checkpoints/last.ckpt").exists():
        assert process.exitcode is None
        time.sleep(0.0005)
    os.kill(process.pid or 0, signal.SIGINT)
    assert reports.recv() == 130
    process.join()
    check_unfinished(folder)
    finish(code_run, folder)
    assert (folder / "manifest.json").exists() and len(StoredImages(folder / "replay")) == 100


@pytest.mark.slow
def test_killed_at_any_moment(code_run: Path, tmp_path: Path):
    assert main(["classes", str(code_run), "retire", "3", "--by_label"]) == 0
    unbroken = tmp_path / "unbroken"
    finish(code_run, unbroken)  # imports what is left to import
    shutil.rmtree(unbroken)
    seconds = finish(code_run, unbroken)
    before, expected, chance = bytes_of(code_run), answers(code_run), random.Random(0)
    moments: list[float | str] = [chance.uniform(0, 0.7 * seconds) for _ in range(KILLS)]
    moments += WHEN
    chance.shuffle(moments)
    number, folder, seen = 0, tmp_path / "0", set()
    while moments:
        process, _ = start(code_run, folder)
        moment = moments[-1]
        kill(process, folder / moment if isinstance(moment, str) else moment)
        assert bytes_of(code_run) == before and answers(code_run) == expected
        if (folder / "manifest.json").exists():  # it was faster: try again, and earlier
            finish(code_run, folder)  # its report, perhaps
            check_same(folder, unbroken)
            number, folder = number + 1, tmp_path / f"{number + 1}"
            if not isinstance(moment, str):
                moments[-1] = moment / 2
            continue
        assert process.exitcode == -signal.SIGKILL
        moments.pop()
        if (folder / "config.yaml").exists():
            seen.add(check_unfinished(folder))
        else:
            shutil.rmtree(folder, ignore_errors=True)
    finish(code_run, folder)
    check_same(folder, unbroken)
    assert bytes_of(code_run) == before
    assert seen == {"preparing", "training", "trained"}
