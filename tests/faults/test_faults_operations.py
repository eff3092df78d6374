"""The file system fails, or the process dies, at any one of the operations of a command."""

from __future__ import annotations

import errno
import os
import random
import signal
import sys
from functools import partial
from pathlib import Path

import pytest
from jobs import prepared
from small_runs import amount, run

WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT
CHANGES = {"os.rename": 1, "os.mkdir": 0, "os.link": 1, "os.remove": 0, "os.rmdir": 0}
CHANGES |= {"sqlite3.connect": 0}
"""Audit event -> which of its arguments is the path that changes."""

NAMES = ("train", "baselines", "extend", "distill")
NAMES += ("codes-stopped", "extended-stopped", "distilled-stopped")


def break_at(number: int, how: str, folder: Path, count: Path) -> None:
    """Let the operation of that number on files below a folder fail, from 1.

    Args:
        number: of the operation.
        how: `killed` before it, or `refused`, as by a full disk.
        folder: of the files.
        count: file that gets a byte for each operation.
    """
    opened = os.open(count, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    seen = [0]

    def look(event: str, arguments: tuple[object, ...]) -> None:
        if event == "open":
            path, _, flags = arguments
            if not isinstance(flags, int) or not flags & WRITES:
                return
        elif event in CHANGES:
            path = arguments[CHANGES[event]]
        else:
            return
        if not isinstance(path, str | os.PathLike) or not str(path).startswith(str(folder)):
            return
        os.write(opened, b".")
        seen[0] += 1
        if seen[0] == number:
            if how == "killed":
                os.kill(os.getpid(), signal.SIGKILL)
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))

    sys.addaudithook(look)


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_broken_off_at_any_operation(name: str, root: Path, tmp_path: Path):
    """No other answer in between, and the next step comes to the same end."""
    work, count = tmp_path / "work", tmp_path / "count"
    job = prepared(root, work, name)
    assert run(job.arguments, tmp_path, partial(break_at, 0, "", work, count)).code == 0
    expected, total = job.answer(), count.stat().st_size
    pictures = ["predict", str(job.folder), str(root / "strange/val"), "--format=csv"]
    answers = run(pictures, tmp_path).out
    cases = [(number, how) for number in range(1, total + 1) for how in ("killed", "refused")]
    # The first writes always, and some of the others.
    chosen = cases[:4] + random.Random(name).sample(cases[4:], min(amount(2), len(cases) - 4))
    problems = []
    for number, how in chosen:
        job = prepared(root, work, name)
        outcome = run(job.arguments, tmp_path, partial(break_at, number, how, work, count))
        case = f"operation {number} of {total} {how}: "
        if how == "killed":
            # Checkpoints go by the clock: it may have had fewer operations this time.
            assert outcome.code in (-signal.SIGKILL, 0), (case, outcome)
        elif outcome.code != 0 and not outcome.complaint:
            problems.append(case + outcome.err[-1500:])
        between = run(pictures, tmp_path)
        if between.code == 0 and between.out != answers:
            problems.append(case + "other answers in between")
        elif between.code != 0 and not between.complaint:
            problems.append(case + "in between: " + between.err[-500:])
        after = run(job.arguments, tmp_path)
        if after.code != 0:
            problems.append(case + "then " + after.err[-500:])
        elif job.answer() != expected:
            problems.append(case + "then another result")
        left = [str(path.relative_to(work)) for path in work.rglob("*.tmp")]
        if left:
            problems.append(f"{case}{left} are left")
    print(f"{name}: {len(chosen)} of {len(cases)} cases, {len(problems)} problems")
    assert not problems, "\n".join(problems)
