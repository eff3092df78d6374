"""A training run in a process of its own: begun, continued, or found finished."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import cast

import yaml

from rootspace._files import write_text
from rootspace.config import Config

from .folder import CONFIG, HISTORY, is_finished
from .record import RunRecord

INTERRUPTED = 130
"""Exit code of a run that was stopped with Ctrl-C and saved its state."""

POLL_SECONDS = 1.0


def train_in_process(
    config: Config,
    *,
    log: Path | None = None,
    on_epochs: Callable[[int], None] | None = None,
    environment: Mapping[str, str] | None = None,
) -> RunRecord:
    """Run `rootspace train`, or go on with what a former call began; nothing where it is finished.

    A process of its own: its peak memory is that of the run, and nothing of it is left behind. The
    settings are kept beside the folder, as `FOLDER.yaml`, to tell the run by.

    Args:
        config: of the run.
        log: file to append the output to; by default it goes where that of this process goes.
        on_epochs: is told now and then how many epochs are finished.
        environment: variables of that process beside those of this one.

    Returns:
        The record of the run.

    Raises:
        ValueError: a run of other settings is there, or training failed.
        KeyboardInterrupt: it was stopped, after its state was saved.
    """
    folder = Path(config.run.dir)
    wanted = folder.with_name(f"{folder.name}.yaml")
    begun = (folder / CONFIG).is_file()
    if begun and _without_folder(_read(wanted)) != _without_folder(config.as_dict()):
        raise ValueError(
            f"{folder} holds a run with other settings. Name another folder with --out, or remove "
            "that run."
        )
    if is_finished(folder):
        return RunRecord.read(folder)
    if not begun:
        shutil.rmtree(folder, ignore_errors=True)  # killed before it had written anything
        wanted.parent.mkdir(parents=True, exist_ok=True)
        text = yaml.safe_dump(config.as_dict(), sort_keys=False, allow_unicode=True)
        write_text(wanted, text)
    command = [sys.executable, "-m", "rootspace", "train"]
    command += ["--resume", "--run.dir", str(folder)] if begun else ["--config", str(wanted)]
    code = _run(
        command, log, lambda: _tell(folder, on_epochs), {**os.environ, **(environment or {})}
    )
    if code == INTERRUPTED:
        raise KeyboardInterrupt
    if code:
        raise ValueError(f"training failed: {_reason(command, code, log)}")
    return RunRecord.read(folder)


def _read(wanted: Path) -> dict[str, object]:
    """The settings that a run was begun with; none where they are not there."""
    found = yaml.safe_load(wanted.read_text(encoding="utf-8")) if wanted.is_file() else None
    return found if isinstance(found, dict) else {}


def _without_folder(settings: Mapping[str, object]) -> dict[str, object]:
    """The same wherever the run lies: its folder may have been moved."""
    run = dict(cast(Mapping[str, object], settings.get("run", {})), dir="")
    # As a file gives them back: a tuple is a list there.
    return yaml.safe_load(yaml.safe_dump({**settings, "run": run}))


def _run(
    command: list[str], log: Path | None, wait: Callable[[], None], environment: dict[str, str]
) -> int:
    """Exit code of a command; `wait` is called while it runs."""
    output = None if log is None else log.open("ab")
    try:
        process = subprocess.Popen(command, stdout=output, stderr=output, env=environment)
        while True:
            try:
                return process.wait(POLL_SECONDS)
            except subprocess.TimeoutExpired:
                wait()
            except KeyboardInterrupt:
                # The terminal has told the run as well: it saves its state and ends.
                process.wait()
                raise
    finally:
        if output is not None:
            output.close()


def _tell(folder: Path, on_epochs: Callable[[int], None] | None) -> None:
    history = folder / HISTORY
    if on_epochs is not None and history.is_file():
        on_epochs(history.read_text(encoding="utf-8").count("\n") - 1)


def _reason(command: list[str], code: int, log: Path | None) -> str:
    """The last line of the log, or what was run where there is none."""
    lines = [] if log is None else log.read_text(encoding="utf-8").strip().splitlines()
    return lines[-1] if lines else f"`{' '.join(command)}` ended with exit code {code}"
