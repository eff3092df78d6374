"""The class registry under processes that are killed, and processes that write at once."""

from __future__ import annotations

import random
import sqlite3
import time
from collections.abc import Callable
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

from processes import PROCESSES
from rootspace.continual import ClassRegistry, StaleRegistryError

MANY = 20_000


def start(act: Callable[..., None], *arguments: Any) -> tuple[BaseProcess, Connection]:
    """A process, and the end of a pipe on which it reports."""
    mine, theirs = PROCESSES.Pipe(duplex=False)
    process = PROCESSES.Process(target=act, args=(theirs, *arguments))
    process.start()
    theirs.close()
    return process, mine


def kill_after(act: Callable[..., None], path: Path, seconds: float) -> Any:
    """Kill a process some time after its first report; returns its last one."""
    process, reports = start(act, path)
    last = reports.recv()
    time.sleep(seconds)
    process.kill()
    process.join()
    try:
        while True:
            last = reports.recv()
    except EOFError:
        return last


def check_integrity(path: Path) -> None:
    connection = sqlite3.connect(path)
    assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
    assert connection.execute("PRAGMA foreign_key_check").fetchall() == []
    connection.close()


def write_steps(reports: Connection, path: Path) -> None:
    """Steps that each change every table they can, and are reported when they are done."""
    registry = ClassRegistry(path)
    step = len(registry) // 2
    while True:
        reports.send(step)
        with registry.change(source=str(step)):
            first, second = registry.add([f"a{step}", f"b{step}"], [2 * step, 2 * step + 1])
            registry.alias(second, f"alias{step}")
            registry.retire(first)
            registry.rename(first, f"renamed{step}")
            registry.count_images({second: step})
        step += 1


def check_steps(registry: ClassRegistry, steps: int) -> None:
    """The registry is exactly as `steps` whole steps leave it."""
    assert len(registry) == 2 * steps and registry.generation == 1 + 5 * steps
    for entry in registry.entries():
        step, second = divmod(entry.label, 2)
        assert entry.vector == entry.label
        assert entry.retired == (not second)
        assert entry.name == (f"b{step}" if second else f"renamed{step}")
        assert entry.aliases == ((f"alias{step}",) if second else ())
        assert entry.images == (step if second else 0)


def test_killed_writers_leave_the_old_or_the_new_state(tmp_path: Path):
    path, chance = tmp_path / "registry.sqlite", random.Random(0)
    ClassRegistry.create(path, []).close()
    in_the_middle = 0
    for _ in range(30):
        done = kill_after(write_steps, path, chance.uniform(0, 0.1))
        in_the_middle += path.with_name(path.name + "-journal").exists()
        with ClassRegistry(path) as registry:
            # The step after the last that was reported may be done and not yet reported.
            steps = len(registry) // 2
            assert steps in (done, done + 1)
            check_steps(registry, steps)
        check_integrity(path)
    assert in_the_middle >= 5, "too few writers were killed inside a transaction"


def create_many(reports: Connection, path: Path) -> None:
    names = [f"class {i}" for i in range(MANY)]
    reports.send("begun")
    try:
        ClassRegistry.create(path, names, range(MANY)).close()
        reports.send("done")
    except FileExistsError:
        reports.send("exists")


def test_killed_creation(tmp_path: Path):
    path, chance = tmp_path / "registry.sqlite", random.Random(1)
    seen = set()
    for _ in range(10):
        said = kill_after(create_many, path, chance.uniform(0, 0.4))
        try:
            with ClassRegistry(path) as registry:
                assert len(registry) == MANY
            seen.add("new")
            check_integrity(path)
            path.unlink()
        except FileNotFoundError as error:
            assert said != "done"
            assert "does not exist" in str(error) or "cut off" in str(error)
            seen.add("old")
    assert "old" in seen
    path.unlink(missing_ok=True)
    ClassRegistry.create(path, ["a"]).close()


def add_and_check(reports: Connection, path: Path, who: str, steps: int) -> None:
    registry = ClassRegistry(path)
    refused = 0
    for step in range(steps):
        registry.add([f"{who} {step}"])
        registry.count_images({"common": 1})
        while True:  # decides by what it read, so that must not have changed
            generation, images = registry.generation, registry.entry("common").images
            time.sleep(0.005)
            try:
                with registry.change(expected=generation, source=who):
                    assert registry.entry("common").images == images
                    registry.rename("checked", "being checked")
                    registry.rename("being checked", "checked")
                break
            except StaleRegistryError:
                refused += 1
    reports.send(refused)


def test_two_writers_at_once(tmp_path: Path):
    path, steps, both = tmp_path / "registry.sqlite", 30, ("left", "right")
    ClassRegistry.create(path, ["common", "checked"]).close()
    writers = [start(add_and_check, path, who, steps) for who in both]
    refused = [reports.recv() for _, reports in writers]
    for process, _ in writers:
        process.join()
    with ClassRegistry(path) as registry:
        names = {entry.name for entry in registry.entries()}
        assert names == {
            "common",
            "checked",
            *(f"{who} {step}" for who in both for step in range(steps)),
        }
        assert registry.entry("common").images == 2 * steps
        history = registry.history()
        assert [change.generation for change in history] == list(range(1, 2 + 2 * steps * 4))
        # The two renames of a group follow one another, with nothing between.
        pairs = [c for c in history if c.action == "rename"]
        for one, other in zip(pairs[::2], pairs[1::2], strict=True):
            assert one.source == other.source and one.generation + 1 == other.generation
    check_integrity(path)
    assert any(refused), "the writers did not meet"


def test_two_creators_at_once(tmp_path: Path):
    path = tmp_path / "registry.sqlite"
    creators = [start(create_many, path) for _ in range(2)]
    said = [[reports.recv(), reports.recv()][1] for _, reports in creators]
    for process, _ in creators:
        process.join()
    assert sorted(said) == ["done", "exists"]
    with ClassRegistry(path) as registry:
        assert len(registry) == MANY and registry.generation == 1
    check_integrity(path)
