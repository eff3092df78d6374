"""Exit codes: what a user can mend, what is ours, a closed pipe, a console without our letters."""

from __future__ import annotations

import io
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest

from rootspace.cli import _main, main


def command_that(raises: BaseException) -> Callable[..., SimpleNamespace]:
    """In the place of `importlib.import_module`: a command that fails."""

    def run(_: list[str]) -> int:
        raise raises

    return lambda _: SimpleNamespace(run=run)


@pytest.mark.parametrize(
    "error", [TypeError("x"), IndexError("x"), KeyError("x"), AssertionError(), RuntimeError("x")]
)
def test_a_bug_of_ours_shows_where_it_is(error: Exception, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(_main.importlib, "import_module", command_that(error))
    with pytest.raises(type(error)):
        main(["plan", "5"])


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (ValueError("Argument 'x'\nis wrong"), "Argument 'x' is wrong"),
        (FileNotFoundError(2, "No such file", "x.png"), "x.png"),
        (ModuleNotFoundError("No module", name="timm"), "` needs timm, which is not installed. In"),
        (ValueError("class \x1b[31m"), "class \\x1b[31m"),
        (MemoryError(), "not enough memory"),
        (RuntimeError("[enforce fail] can't allocate memory: 4 bytes"), "not enough memory"),
    ],
)
def test_what_the_user_can_mend_is_one_line(
    error: Exception,
    message: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
):
    monkeypatch.setattr(_main.importlib, "import_module", command_that(error))
    assert main(["plan", "5"]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("rootspace plan: error: ") and message in line


@pytest.mark.parametrize(
    ("arguments", "hint"),
    [
        (["train"], "Take smaller batches ('loader.batch_size')"),
        (["train", "--resume", "--run.dir=x"], "The batches of a run stay as they are"),
        (["evaluate", "x"], "Take smaller batches ('loader.batch_size')"),
        (["embed", "x"], "Compute it where there is more"),
    ],
)
def test_advice_where_memory_is_short(
    arguments: list[str],
    hint: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
):
    """Only what the command takes."""
    monkeypatch.setattr(_main.importlib, "import_module", command_that(MemoryError()))
    assert main(arguments) == 2
    assert hint in capsys.readouterr().err


def test_ctrl_c(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(_main.importlib, "import_module", command_that(KeyboardInterrupt()))
    assert main(["plan", "5"]) == 130


def test_unknown_commands(capsys: pytest.CaptureFixture[str]):
    assert main(["predcit"]) == 2
    assert "did you mean 'predict'?" in capsys.readouterr().err
    assert main(["--format"]) == 2 and main(["trains", "x"]) == 2


@pytest.mark.parametrize("unbuffered", ["", "1"])
@pytest.mark.parametrize("command", ["plan 1000", "--help", "predict --help"])
def test_a_closed_pipe_is_a_quiet_end(command: str, unbuffered: str):
    """Also where nothing is written before the interpreter ends."""
    read, write = os.pipe()
    os.close(read)
    done = subprocess.run(
        [sys.executable, "-m", "rootspace", *command.split()],
        stdout=write,
        stderr=subprocess.PIPE,
        text=True,
        check=False,
        env={**os.environ, "PYTHONUNBUFFERED": unbuffered},
    )
    os.close(write)
    assert done.stderr == ""
    # argparse passes over what goes wrong when it writes its help.
    assert done.returncode == 141 or (command == "predict --help" and done.returncode == 0)


@pytest.mark.parametrize("how", ["text", "csv", "json"])
def test_a_console_that_lacks_a_name(how: str, trained_folders: Path, images: Path):
    command = ["predict", str(trained_folders), str(images / "猫"), f"--format={how}"]
    done = subprocess.run(
        [sys.executable, "-m", "rootspace", *command],
        capture_output=True,
        check=False,
        env={**os.environ, "PYTHONIOENCODING": "cp1252"},
    )
    assert done.returncode == 0, done.stderr
    assert b"\\u732b/0.png" in done.stdout and done.stdout.count(b".png") == 3


def test_a_full_disk(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]):
    with open("/dev/full", "w", encoding="utf-8") as full:
        monkeypatch.setattr(sys, "stdout", full)
        assert main(["plan", "1000"]) == 2
    assert "No space left" in capfd.readouterr().err


def test_without_any_output(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(sys, "stdout", None)
    assert main(["--help"]) == 0
    monkeypatch.setattr(sys, "stdout", io.StringIO())
    assert main(["--help"]) == 0
