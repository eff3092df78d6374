"""Runs in processes of their own: begun, continued, found finished, or told apart."""

from __future__ import annotations

import stat
import sys
from pathlib import Path

import pytest
import yaml
from test_runs_record import RECORD

import rootspace
from rootspace.config import Config, RunConfig, TrainConfig
from rootspace.runs import process
from rootspace.runs.process import train_in_process

SRC = str(Path(rootspace.__file__).parent.parent)
STAND_IN = f"""#!{sys.executable}
import os, pathlib, sys, time, yaml
arguments = sys.argv[4:]
print("called", *arguments)
folder = pathlib.Path(arguments[-1])
if "--config" in arguments:
    settings = yaml.safe_load(folder.read_text())
    folder = pathlib.Path(settings["run"]["dir"])
    folder.mkdir()
    (folder / "config.yaml").write_text(yaml.safe_dump(settings))
settings = yaml.safe_load((folder / "config.yaml").read_text())
(folder / "metrics.csv").write_text("epoch\\n1\\n2\\n")
time.sleep(float(os.environ.get("STAND_IN_SLEEP", "0")))
if code := int((folder.parent / "code").read_text()):
    print("error: no luck")
    sys.exit(code)
(folder / "metrics.json").write_text((folder.parent / "record.json").read_text())
sys.path.insert(0, {SRC!r})
from rootspace.runs.folder import finish
finish(folder)
"""


@pytest.fixture
def stand_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder for runs, with a program in the place of `python -m rootspace`."""
    path = tmp_path / "python"
    path.write_text(STAND_IN)
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setattr(process.sys, "executable", str(path))
    RECORD.write(tmp_path)
    (tmp_path / "metrics.json").rename(tmp_path / "record.json")
    (tmp_path / "code").write_text("0")
    return tmp_path


def settings(folder: Path, epochs: int = 2) -> Config:
    return Config(run=RunConfig(dir=str(folder / "run")), train=TrainConfig(epochs=epochs))


def test_a_run_is_made_once(stand_in: Path):
    log = stand_in / "run.log"
    for _ in range(2):
        assert train_in_process(settings(stand_in), log=log) == RECORD
    (call,) = log.read_text().splitlines()
    assert "--config" in call and "--resume" not in call
    kept = yaml.safe_load((stand_in / "run.yaml").read_text())
    assert Config.from_dict(kept) == settings(stand_in)


def test_an_interrupted_run_is_continued(stand_in: Path):
    log = stand_in / "run.log"
    (stand_in / "code").write_text("130")
    with pytest.raises(KeyboardInterrupt):
        train_in_process(settings(stand_in), log=log)
    (stand_in / "code").write_text("0")
    assert train_in_process(settings(stand_in), log=log) == RECORD
    calls = [line for line in log.read_text().splitlines() if line.startswith("called")]
    assert ["--resume" in call for call in calls] == [False, True]


def test_another_run_is_told_apart(stand_in: Path):
    train_in_process(settings(stand_in))
    with pytest.raises(ValueError, match="run holds a run with other settings"):
        train_in_process(settings(stand_in, epochs=3))
    moved = stand_in / "moved"
    moved.mkdir()
    for name in ("run", "run.yaml"):
        (stand_in / name).rename(moved / name)
    assert train_in_process(settings(moved)) == RECORD
    (moved / "run.yaml").unlink()
    with pytest.raises(ValueError, match="run holds a run with other settings"):
        train_in_process(settings(moved))


def test_what_was_left_before_the_config_was_written_goes(stand_in: Path):
    (stand_in / "run").mkdir()
    (stand_in / "run" / ".lock").touch()
    assert train_in_process(settings(stand_in)) == RECORD


def test_a_failure_says_why(stand_in: Path):
    (stand_in / "code").write_text("2")
    with pytest.raises(ValueError, match="training failed: error: no luck"):
        train_in_process(settings(stand_in), log=stand_in / "run.log")
    with pytest.raises(
        ValueError, match=r"training failed: `.* --resume .*` ended with exit code 2"
    ):
        train_in_process(settings(stand_in))


def test_epochs_are_told(stand_in: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(process, "POLL_SECONDS", 0.05)
    monkeypatch.setenv("STAND_IN_SLEEP", "1.5")
    told: list[int] = []
    train_in_process(settings(stand_in), on_epochs=told.append)
    assert told and set(told) == {2}
