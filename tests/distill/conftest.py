"""Small teachers, trained once, and the data they know."""

from __future__ import annotations

from pathlib import Path

import pytest
from distill_settings import SMALL

from rootspace.cli import main
from rootspace.data import Characters


def train(folder: Path, *options: str) -> Path:
    assert main(["train", *SMALL, *options, f"--run.dir={folder}"]) == 0
    return folder


@pytest.fixture(scope="session")
def learned(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A teacher with a learned head, dimension 20."""
    folder = tmp_path_factory.mktemp("teachers") / "learned"
    options = ("--loss.name=normalized_softmax", "--model.dim=20", "--train.epochs=2")
    return train(folder, *options)


@pytest.fixture(scope="session")
def code(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A teacher whose class vectors were chosen from the data."""
    options = ("--model.dim=24", "--train.epochs=2", "--warmup.epochs=1")
    return train(tmp_path_factory.mktemp("teachers") / "code", *options)


@pytest.fixture(scope="session")
def formula(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A teacher whose class vectors are a formula."""
    options = ("--classes.assignment=random", "--classes.seed=5", "--train.epochs=1")
    return train(tmp_path_factory.mktemp("teachers") / "formula", *options)


@pytest.fixture(scope="session")
def data() -> Characters:
    data = Characters(num_classes=30, image_size=16, batch_size=32)
    data.setup()
    return data
