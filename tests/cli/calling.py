"""Commands as a user calls them."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import pytest

from rootspace.cli import main

CLASSES = ("a", "猫", "=d", "-e", "f")


def call(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, str, str]:
    """Exit code, standard output and standard error of a command."""
    capsys.readouterr()
    code = main([str(a) for a in arguments])
    found = capsys.readouterr()
    return code, found.out, found.err


def output(capsys: pytest.CaptureFixture[str], *arguments: object) -> str:
    """What a command prints that must succeed."""
    code, out, err = call(capsys, *arguments)
    assert code == 0, err
    return out


def answer(capsys: pytest.CaptureFixture[str], *arguments: object) -> Any:
    """The same with --format json."""
    return json.loads(output(capsys, *arguments, "--format=json"))


def refusal(capsys: pytest.CaptureFixture[str], *arguments: object) -> str:
    """The one line of a command that must fail as users like it."""
    code, _, err = call(capsys, *arguments)
    lines = err.strip().splitlines()
    assert code == 2 and lines, (arguments, err)
    assert lines[-1].startswith(f"rootspace {arguments[0]}: error: "), err
    assert "Traceback" not in err
    return lines[-1]


def rows(path: Path) -> list[dict[str, str]]:
    """Of a CSV file."""
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))
