"""Runs that begin with the network of another, and the vectors of a file as they are."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from rootspace import load
from rootspace.cli import main

SMALL = [
    "train",
    "--data.num_classes=10",
    "--data.image_size=16",
    "--loader.batch_size=32",
    "--model.width=4",
    "--loss=CosineLoss",
    "--train.epochs=1",
]
FORMULA = "--prototypes.source=formula"


@pytest.fixture(scope="module")
def first(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("first") / "run"
    assert main([*SMALL, FORMULA, "--head.system=RootA(5)", f"--run.dir={folder}"]) == 0
    return folder


def test_init(first: Path, tmp_path: Path) -> None:
    """With a rate of almost nothing the network stays that of the first run."""
    folder = tmp_path / "run"
    options = [FORMULA, "--data.num_classes=20", "--head.system=RootA(5)", "--train.lr=1e-30"]
    assert main([*SMALL, *options, f"--run.init={first}", f"--run.dir={folder}"]) == 0
    old, new = load(first), load(folder)
    assert len(new.names) == 20
    for name, value in old.model.embedder.named_parameters():
        assert torch.allclose(value, new.model.embedder.get_parameter(name)), name
    means = old.model.embedder.mean, new.model.embedder.mean
    assert means[0] is not None and means[1] is not None
    assert torch.equal(means[0], means[1])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--run.init=nowhere"], "'run.init': nowhere is not a run folder"),
        (["--head.system=RootA(6)"], "the network of"),
        (["--head.system=RootA(5)", "--model.width=5"], "is another one: size mismatch"),
    ],
)
def test_init_errors(
    options: list[str],
    message: str,
    first: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    init = [] if options[0].startswith("--run.init") else [f"--run.init={first}"]
    assert main([*SMALL, FORMULA, *init, *options, f"--run.dir={tmp_path / 'run'}"]) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


def test_vectors_of_a_file_as_they_are(tmp_path: Path) -> None:
    vectors = np.random.default_rng(0).normal(size=(10, 6)).astype(np.float32)
    np.save(tmp_path / "v.npy", vectors)
    folder = tmp_path / "run"
    options = ["--prototypes.source=file", f"--prototypes.vectors={tmp_path / 'v.npy'}"]
    options += ["--head.system=Table", f"--run.dir={folder}"]
    assert main([*SMALL, *options]) == 0
    found = load(folder).model.head.vectors(torch.arange(10)).numpy()
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    np.testing.assert_allclose(found, unit, atol=1e-6)
    assert main(["report", str(folder)]) == 0


@pytest.mark.parametrize("source", ["data", "formula"])
def test_a_table_without_a_file(
    source: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options = ["--head.system=Table", f"--prototypes.source={source}"]
    assert main([*SMALL, *options, f"--run.dir={tmp_path / 'run'}"]) == 2
    assert "'head.system' = 'Table' needs 'prototypes.source' = 'file'" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


def test_a_table_of_equal_vectors(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    np.save(tmp_path / "v.npy", np.ones((10, 6)))
    options = ["--prototypes.source=file", f"--prototypes.vectors={tmp_path / 'v.npy'}"]
    options += ["--head.system=Table", f"--run.dir={tmp_path / 'run'}"]
    assert main([*SMALL, *options]) == 2
    assert "must hold different vectors; some are equal" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()
