"""`rootspace compare`: every method and seed once, resumable, in one table."""

from __future__ import annotations

import json
from pathlib import Path
from unittest import mock

import pytest

from rootspace._terminal import table
from rootspace.cli import main
from rootspace.cli.compare import _complete, merged, read_recipe
from rootspace.runs import process
from rootspace.train import comparison

RECIPE = """
data: {name: characters, num_classes: 20, image_size: 16, batch_size: 32}
model: {name: encoder, width: 4}
train: {epochs: 2, lr: 3.0e-3}
warmup: {epochs: 1}
compare:
  seeds: [0, 1]
  methods:
    linear: {model: {dim: 24}, loss: {name: linear_ce}}
    code:
      classes: {assignment: warmup, system: PermutationCode(24)}
      loss: {name: cosine}
    contrastive:
      classes: {assignment: warmup, system: PermutationCode(24)}
      loss: {name: cosine}
      warmup: {epochs: 2}
"""


@pytest.fixture
def recipe(tmp_path: Path) -> Path:
    path = tmp_path / "recipe.yaml"
    path.write_text(RECIPE)
    return path


@pytest.mark.slow
def test_comparison(recipe: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]):
    out = tmp_path / "out"
    arguments = ["compare", "--config", str(recipe), "--out", str(out)]
    assert main([*arguments, "--only", "linear", "code", "--seeds", "1"]) == 0
    first = (out / "runs" / "code" / "seed1" / "metrics.json").read_bytes()
    assert main([*arguments, "--seeds", "1"]) == 0  # what is there is kept
    assert (out / "runs" / "code" / "seed1" / "metrics.json").read_bytes() == first
    rows = json.loads((out / comparison.COMPARISON).read_text())
    assert len(rows) == 3 * 2  # methods, test sets
    assert [row["method"] for row in rows[::2]] == ["linear", "code", "contrastive"]
    for row in rows:
        assert row["seed"] == 1 and row["epochs"] == 2 and row["dim"] == 24
        assert 0 <= row["accuracy"] <= 1 and 0 <= row["mean_accuracy"] <= 1
        assert row["peak_memory_mb"] > 0 and row["seconds"] > 0
    linear, code = rows[0], rows[2]
    assert linear["bytes_per_class_in_training"] == 16 * 24 and linear["k"] is None
    assert code["bytes_per_class_in_training"] == code["bytes_per_class"] == 8
    # A 3-level code over 24 coordinates leaves a quarter of them zero.
    assert code["k"] == 18
    assert rows[4]["train_accuracy"] is None  # no class had a vector in training
    assert (out / comparison.REPORT).stat().st_size > 100_000
    assert "| contrastive | 1 |" in (out / comparison.TABLE).read_text()
    assert "contrastive" in capfd.readouterr().out
    with pytest.raises(ValueError, match="holds a run with other settings"):
        comparison.compare([planned(recipe, "linear", 1, epochs=1)], out)


def planned(recipe: Path, method: str, seed: int, **train: int) -> comparison.PlannedRun:
    base, methods, _ = read_recipe(recipe)
    options = [f"--train.{key}={value}" for key, value in train.items()]
    return comparison.PlannedRun(method, seed, _complete(base, methods[method], seed, options))


def test_settings_of_a_run(recipe: Path):
    settings = planned(recipe, "contrastive", 7, epochs=3).settings
    assert settings["train"]["seed"] == settings["classes"]["seed"] == 7
    assert settings["train"]["epochs"] == 3 and settings["train"]["lr"] == 3e-3
    assert settings["warmup"]["epochs"] == 2 and settings["data"]["num_classes"] == 20


def test_a_failed_run_is_named(recipe: Path, tmp_path: Path):
    run = planned(recipe, "linear", 0)
    with (
        mock.patch.object(process.sys, "executable", "false"),
        pytest.raises(ValueError, match=r"training failed: `false -m rootspace train .*code 1"),
    ):
        comparison.compare([run], tmp_path)


def test_a_section_of_another_kind_begins_anew():
    base = {"loss": {"name": "cosface", "margin": 0.2}, "train": {"lr": 1, "epochs": 5}}
    changed = merged(base, {"loss": {"name": "cosine"}, "train": {"lr": 2}})
    assert changed == {"loss": {"name": "cosine"}, "train": {"lr": 2, "epochs": 5}}
    assert merged(base, {"loss": {"margin": 0.1}})["loss"] == {"name": "cosface", "margin": 0.1}
    assert base["train"]["lr"] == 1


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("data: {name: characters}", "must have a section `compare` with `methods`"),
        ("compare: {methods: []}", "must have a section `compare` with `methods`"),
        ("compare: {methods: {a: {}}, sseeds: [1]}", r"unknown keys \['sseeds'\]"),
        ("[", "is not YAML"),
    ],
)
def test_wrong_recipes(tmp_path: Path, content: str, message: str):
    path = tmp_path / "r.yaml"
    path.write_text(content)
    with pytest.raises(ValueError, match=message):
        read_recipe(path)


def test_wrong_arguments(recipe: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    arguments = ["compare", "--config", str(recipe), "--out", str(tmp_path / "out")]
    assert main([*arguments, "--only", "cosface"]) == 2
    assert "'--only' must name some of ['linear', 'code', 'contrastive']" in capsys.readouterr().err
    assert main([*arguments, "--train.epochz", "3"]) == 2
    assert "epochz" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_spread():
    rows = [
        {"method": "a", "seed": seed, "test_set": "t", "accuracy": x, "mean_accuracy": x}
        | {"seconds_per_epoch": 1, "peak_memory_mb": 5}
        | {"bytes_per_class": 8, "bytes_per_class_in_training": 8}
        for seed, x in enumerate((0.5, 0.6, 0.7))
    ]
    assert "| a | 3 | 60.00 ± 10.00 | 60.00 ± 10.00 | 1.0 | 8 | 8 | 5 |" in table(
        *comparison.cells(rows), markdown=True
    )
