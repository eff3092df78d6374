"""`benchmarks/unknowns.py` on small runs."""

from __future__ import annotations

import importlib.util
import json
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "unknowns.py"
BOTH = {"cosine", "probability among 10, fitted"}
LEARNED = {"maximum softmax probability", "maximum logit"}
NUMBERED = {"probability in the system, fitted", "cosine, none without a class"}


def rows_of(run: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    spec = importlib.util.spec_from_file_location("unknowns", SCRIPT)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    monkeypatch.setattr(sys, "argv", ["unknowns.py", str(run), "--unknown=60"])
    module.main()
    return json.loads(capsys.readouterr().out)


def test_scores_of_a_run_and_its_baseline(trained_code: Path, monkeypatch, capsys):
    rows = rows_of(trained_code, monkeypatch, capsys)
    assert len(rows) == 2 * (2 + 4)
    for method, names in (("cosine", BOTH), ("normalized_softmax", BOTH | LEARNED)):
        assert {row["score"] for row in rows if row["method"] == method} == names
    assert all((row["known"], row["unknown"]) == (40, 60) for row in rows)
    assert all(0 <= row["fpr95"] <= 1 and 0 <= row["accuracy"] <= 1 for row in rows)
    ours = [row["auroc"] for row in rows if row["method"] == row["score"] == "cosine"]
    assert min(ours) > 0.6


def test_scores_of_a_numbered_system(trained_formula: Path, monkeypatch, capsys):
    rows = rows_of(trained_formula, monkeypatch, capsys)
    assert {row["score"] for row in rows} == BOTH | NUMBERED
