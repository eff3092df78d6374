"""Small teachers, trained once, and the data they know."""

from __future__ import annotations

from pathlib import Path

import pytest
from distill_settings import SMALL

from rootspace.cli import main
from rootspace.config import LoaderConfig
from rootspace.data import Characters, DataModule


def train(folder: Path, *options: str) -> Path:
    assert main(["train", *SMALL, *options, f"--run.dir={folder}"]) == 0
    return folder


@pytest.fixture(scope="session")
def learned(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A teacher with a learned head, dimension 20."""
    folder = tmp_path_factory.mktemp("teachers") / "learned"
    options = ("--head=NormalizedHead", "--head.dim=20", "--train.epochs=2")
    return train(folder, *options)


@pytest.fixture(scope="session")
def code(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A teacher whose prototypes were chosen from the data."""
    options = ("--head.dim=24", "--train.epochs=2", "--prototypes.after=0.5")
    return train(tmp_path_factory.mktemp("teachers") / "code", *options)


@pytest.fixture(scope="session")
def formula(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A teacher whose prototypes are a formula."""
    options = ("--prototypes.source=formula", "--prototypes.seed=5", "--train.epochs=1")
    return train(tmp_path_factory.mktemp("teachers") / "formula", *options)


@pytest.fixture(scope="session")
def data() -> DataModule:
    data = DataModule(Characters(num_classes=30, image_size=16), LoaderConfig(batch_size=32))
    data.setup()
    return data
