"""Small runs on characters, trained once."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from rootspace.cli import main

SMALL = ["--data.num_classes=40", "--data.image_size=16", "--data.batch_size=64"]
SMALL += ["--model.width=4", "--train.lr=4e-3", "--run.baselines=[normalized_softmax]"]


@pytest.fixture(scope="session")
def trained_code(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Vectors chosen from the data, in a system too large to be numbered."""
    folder = tmp_path_factory.mktemp("runs") / "code"
    warmup = ["--classes.assignment=warmup", "--warmup.epochs=2", "--model.dim=64"]
    arguments = ["train", *SMALL, *warmup, "--train.epochs=5", "--loss.name=cosine"]
    assert main([*arguments, f"--run.dir={folder}"]) == 0
    return folder


@pytest.fixture(scope="session")
def trained_formula(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Vectors by a formula: 40 of the 42 roots of A_6."""
    folder = tmp_path_factory.mktemp("runs") / "formula"
    formula = ["--classes.assignment=random", "--run.baselines=[]"]
    arguments = ["train", *SMALL, *formula, "--train.epochs=3"]
    assert main([*arguments, f"--run.dir={folder}"]) == 0
    return folder


@pytest.fixture
def code_run(trained_code: Path, tmp_path: Path) -> Path:
    """A copy of its own to change."""
    return shutil.copytree(trained_code, tmp_path / "code")


@pytest.fixture
def formula_run(trained_formula: Path, tmp_path: Path) -> Path:
    """A copy of its own to change."""
    return shutil.copytree(trained_formula, tmp_path / "formula")
