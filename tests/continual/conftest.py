"""Small runs on characters, trained once."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from rootspace.cli import main

CHARACTERS = ["--data=Characters", "--data.image_size=16"]
SMALL = [*CHARACTERS, "--data.num_classes=40", "--loader.batch_size=64"]
SMALL += ["--model.width=4", "--train.lr=4e-3", "--run.baselines=[NormalizedHead]"]


@pytest.fixture(scope="session")
def trained_code(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Prototypes chosen from the data, in a system too large to be numbered."""
    folder = tmp_path_factory.mktemp("runs") / "code"
    chosen = ["--prototypes.source=data", "--prototypes.after=0.4", "--head.dim=64"]
    arguments = ["train", *SMALL, *chosen, "--train.epochs=5", "--loss=CosineLoss"]
    assert main([*arguments, f"--run.dir={folder}"]) == 0
    return folder


@pytest.fixture(scope="session")
def trained_formula(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Prototypes by a formula: 40 of the 42 roots of A_6."""
    folder = tmp_path_factory.mktemp("runs") / "formula"
    formula = ["--prototypes.source=formula", "--run.baselines=[]"]
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
