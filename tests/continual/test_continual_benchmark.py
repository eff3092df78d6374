"""`benchmarks/unknowns.py` on small runs, `benchmarks/growing.py` in its smallest form."""

from __future__ import annotations

import importlib.util
import json
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from rootspace.data import StoredImages

SCRIPTS = Path(__file__).parents[2] / "benchmarks"
BOTH = {"cosine", "probability among 10, fitted"}
LEARNED = {"maximum softmax probability", "maximum logit"}
NUMBERED = {"probability in the system, fitted", "cosine, none without a class"}


def script(name: str, monkeypatch: pytest.MonkeyPatch) -> Any:
    spec = importlib.util.spec_from_file_location(name, SCRIPTS / f"{name}.py")
    assert spec is not None and spec.loader is not None
    monkeypatch.syspath_prepend(str(SCRIPTS))
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, name, module)  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


def rows_of(run: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    module = script("unknowns", monkeypatch)
    monkeypatch.setattr(sys, "argv", ["unknowns.py", str(run), "--unknown=60"])
    module.main()
    return json.loads(capsys.readouterr().out)


def test_scores_of_a_run_and_its_baseline(
    trained_code: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    rows = rows_of(trained_code, monkeypatch, capsys)
    assert len(rows) == 2 * (2 + 4)
    for method, names in (("CosineLoss", BOTH), ("NormalizedHead", BOTH | LEARNED)):
        assert {row["score"] for row in rows if row["method"] == method} == names
    assert all((row["known"], row["unknown"]) == (40, 60) for row in rows)
    assert all(0 <= row["fpr95"] <= 1 and 0 <= row["accuracy"] <= 1 for row in rows)
    ours = [
        row["auroc"] for row in rows if row["method"] == "CosineLoss" and row["score"] == "cosine"
    ]
    assert min(ours) > 0.6


def test_scores_of_a_numbered_system(
    trained_formula: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    rows = rows_of(trained_formula, monkeypatch, capsys)
    assert {row["score"] for row in rows} == BOTH | NUMBERED


def test_growing_in_steps(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    methods = ["prototypes", "learned_imprinted"]
    arguments = ["--quick", f"--out={tmp_path}", "--only", *methods]
    script("growing", monkeypatch).main(arguments)
    rows = json.loads((tmp_path / "growing.json").read_text())
    for method in methods:
        own = [row for row in rows if row["method"] == method]
        assert [(row["step"], row["epoch"]) for row in own][1:] == [
            (step, epoch) for step in (1, 2, 3, 4) for epoch in (0, 1)
        ]
        assert all(0 <= row[group] <= 1 for row in own[1:] for group in ("first", "old", "new"))
    assert capsys.readouterr().out == (tmp_path / "growing.md").read_text()
    # Both heads repeat the same images: the comparison is at the same memory.
    for step in (1, 4):
        one, other = (
            StoredImages(tmp_path / f"{method}_0.1_0_{step}" / "start/replay") for method in methods
        )
        assert len(one) == 60 and torch.equal(one.labels, other.labels)
        assert torch.equal(one.batch(range(60))[0], other.batch(range(60))[0])
    number = len(StoredImages(tmp_path / "prototypes_0.1_0_4/replay").class_names)
    assert number == 80, "twice as many classes"
    with pytest.raises(SystemExit, match="holds results of other settings"):
        script("growing", monkeypatch).main([*arguments, "--memory=50"])
