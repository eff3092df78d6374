"""A small run on images in class folders, trained once, and galleries of it."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

import rootspace as rs
from image_folders import write_images
from rootspace.cli import main
from rootspace.gallery import Gallery
from rootspace.model_file import write_model
from rootspace.run import Run
from rootspace.runs.folder import MODEL, finish

CLASSES = ("a", "猫", "=d", "-e", "f")


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("gallery")
    write_images(root / "images/train", CLASSES, 12, 0)
    write_images(root / "images/val", CLASSES, 4, 1)
    options = ["--data=ImageFolder", f"--data.root={root / 'images'}", "--data.image_size=16"]
    options += ["--model.width=4", "--loader.batch_size=12", "--train.epochs=6", "--head.dim=16"]
    assert main(["train", *options, f"--run.dir={root / 'run'}"]) == 0
    return root / "run"


@pytest.fixture(scope="session")
def run(trained: Path) -> Run:
    return rs.load(trained)


@pytest.fixture(scope="session")
def extended(trained: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """The run with two classes more."""
    folder = shutil.copytree(trained, tmp_path_factory.mktemp("extended") / "run")
    model = rs.load(folder).model
    means = np.random.default_rng(0).standard_normal((2, 16)).astype(np.float32)
    model.head.extend(["x", "y"], torch.from_numpy(means))
    write_model(folder / MODEL, model)
    finish(folder)
    return rs.load(folder)


@pytest.fixture
def folder_run(trained: Path, tmp_path: Path) -> Path:
    """A copy of its own to change."""
    return shutil.copytree(trained, tmp_path / "run")


@pytest.fixture
def images(tmp_path: Path) -> Path:
    """Other images of its classes: 3 of each."""
    return write_images(tmp_path / "more", CLASSES, 3, 2)


@pytest.fixture
def gallery(run: Run, tmp_path: Path) -> Gallery:
    """An empty one."""
    return Gallery.create(tmp_path / "gallery", run)
