"""Damaged files of run folders: each is noticed and named, and none answers in silence."""

from __future__ import annotations

import random
from collections import Counter
from pathlib import Path

import pytest
from damaged import KINDS, Case, answer, commands_of, files_of, verdict
from small_runs import FINISHED, STOPPED, amount

ALLOWED = {"registry.sqlite"}
"""Without check sums, as it changes; SQLite sees what breaks its structure only."""


@pytest.mark.slow
@pytest.mark.parametrize("name", [*FINISHED, *STOPPED])
def test_damaged_files_are_noticed(name: str, root: Path, tmp_path: Path):
    cases = [
        Case(name, file, kind, command)
        for file in files_of(root / f"{name}0")
        for kind in KINDS
        for command in commands_of(name)
    ]
    work, expected = tmp_path / "work", dict[str, object]()
    counts, problems = Counter[str](), list[str]()
    for case in random.Random(name).sample(cases, min(amount(20), len(cases))):
        if case.command not in expected:
            whole = answer(root, work, case, damaged=False)
            assert isinstance(whole, tuple), whole
            expected[case.command] = whole[0]
        found = verdict(root, work, case, expected[case.command])
        counts[found.partition(":")[0]] += 1
        if found not in ("", "same", "noticed", "told") and case.file not in ALLOWED:
            problems.append(f"{case}: {found}")
    print(f"{name}: {dict(counts)}")
    assert not problems, "\n".join(problems)
