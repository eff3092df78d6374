"""Commands as a user calls them."""

from __future__ import annotations

import pytest

from rootspace.cli import main


def output(capsys: pytest.CaptureFixture[str], *arguments: object) -> str:
    """What a command prints that must succeed."""
    assert main([str(a) for a in arguments]) == 0
    return capsys.readouterr().out


def error(capsys: pytest.CaptureFixture[str], *arguments: object) -> str:
    """The message of a command that must fail as users like it."""
    assert main([str(a) for a in arguments]) == 2
    return capsys.readouterr().err
