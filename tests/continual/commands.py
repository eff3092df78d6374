"""Commands as a user calls them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from rootspace.cli import main
from rootspace.runs.folder import finish, read_config, write_config


def output(capsys: pytest.CaptureFixture[str], *arguments: object) -> str:
    """What a command prints that must succeed."""
    assert main([str(a) for a in arguments]) == 0
    return capsys.readouterr().out


def error(capsys: pytest.CaptureFixture[str], *arguments: object) -> str:
    """The message of a command that must fail as users like it."""
    assert main([str(a) for a in arguments]) == 2
    return capsys.readouterr().err


def change_data(folder: Path, **arguments: Any) -> None:
    """Settings of a run's data as somebody would change them in its config.yaml."""
    config = read_config(folder)
    data = replace(config.data, init_args={**config.data.init_args, **arguments})
    write_config(folder, replace(config, data=data))
    finish(folder)
