"""Every long command killed (SIGKILL) at random moments: the next step loses nothing."""

from __future__ import annotations

import random
import signal
import time
from pathlib import Path

import pytest
from jobs import COMMANDS, prepared
from small_runs import Command, amount, run


@pytest.mark.slow
@pytest.mark.parametrize("name", COMMANDS)
def test_killed_at_any_moment(name: str, root: Path, tmp_path: Path):
    """Killed, told to go on, killed again, until it has come to its end."""
    work = tmp_path / "work"
    job = prepared(root, work, name)
    began = time.monotonic()
    assert run(job.first, tmp_path).code == 0
    seconds, expected = time.monotonic() - began, job.answer()
    chance, kills, wanted = random.Random(name), 0, amount(2)
    while kills < wanted:
        job = prepared(root, work, name)
        share = 1.0
        while kills < wanted:
            command = Command(job.arguments, tmp_path)
            outcome = command.wait(share * chance.uniform(0, seconds)) or command.kill()
            if outcome.code != -signal.SIGKILL:  # it was faster
                assert outcome.code == 0, outcome.err
                break
            kills, share = kills + 1, 0.7
        else:
            outcome = run(job.arguments, tmp_path)
            assert outcome.code == 0, outcome.err
        assert job.answer() == expected
        assert not list(work.rglob("*.tmp"))
    print(f"{name}: {kills} kills")
