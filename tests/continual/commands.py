"""Commands as a user calls them, and processes that begin at once."""

from __future__ import annotations

import multiprocessing

import pytest

from rootspace.cli import main

# A server that has imported everything forks the processes: a start takes milliseconds. It is one
# for all tests, with the modules that were named last.
PROCESSES = multiprocessing.get_context("forkserver")
PROCESSES.set_forkserver_preload(
    [
        *("commands", "hypothesis", "rootspace.cli.extend", "rootspace.continual"),
        *("jsonargparse", "plotly.graph_objects"),
    ]
)


def output(capsys: pytest.CaptureFixture[str], *arguments: object) -> str:
    """What a command prints that must succeed."""
    assert main([str(a) for a in arguments]) == 0
    return capsys.readouterr().out


def error(capsys: pytest.CaptureFixture[str], *arguments: object) -> str:
    """The message of a command that must fail as users like it."""
    assert main([str(a) for a in arguments]) == 2
    return capsys.readouterr().err
