"""Runs that begin with the network of another, and the vectors of a file as they are."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from rootspace.cli import main
from rootspace.train import read_run

SMALL = [
    "train",
    "--data.num_classes=10",
    "--data.image_size=16",
    "--data.batch_size=32",
    "--model.width=4",
    "--classes.assignment=random",
    "--loss.name=cosine",
    "--train.epochs=1",
]


@pytest.fixture(scope="module")
def first(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("first") / "run"
    assert main([*SMALL, "--classes.system=RootA(5)", f"--run.dir={folder}"]) == 0
    return folder


def test_init(first: Path, tmp_path: Path):
    """With a rate of almost nothing the network stays that of the first run."""
    folder = tmp_path / "run"
    options = ["--data.num_classes=20", "--classes.system=RootA(5)", "--train.lr=1e-30"]
    assert main([*SMALL, *options, f"--run.init={first}", f"--run.dir={folder}"]) == 0
    old, new = read_run(first), read_run(folder)
    assert len(new.names) == 20
    for name, value in old.embedder.named_parameters():
        assert torch.allclose(value, new.embedder.get_parameter(name)), name
    assert torch.equal(old.embedder.mean, new.embedder.mean)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--run.init=nowhere"], "'run.init': nowhere is not a run folder"),
        (["--classes.system=RootA(6)"], "the network of"),
        (["--classes.system=RootA(5)", "--model.width=5"], "is another one: size mismatch"),
    ],
)
def test_init_errors(
    options: list[str],
    message: str,
    first: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
):
    init = [] if options[0].startswith("--run.init") else [f"--run.init={first}"]
    assert main([*SMALL, *init, *options, f"--run.dir={tmp_path / 'run'}"]) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


def test_vectors_of_a_file_as_they_are(tmp_path: Path):
    vectors = np.random.default_rng(0).normal(size=(10, 6)).astype(np.float32)
    np.save(tmp_path / "v.npy", vectors)
    folder = tmp_path / "run"
    options = ["--classes.assignment=file", f"--classes.vectors={tmp_path / 'v.npy'}"]
    options += ["--classes.system=Table", f"--run.dir={folder}"]
    assert main([*SMALL, *options]) == 0
    found = read_run(folder).objective.class_vectors(torch.arange(10)).numpy()
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    np.testing.assert_allclose(found, unit, atol=1e-6)
    assert main(["report", str(folder)]) == 0


def test_table_errors(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    assert main([*SMALL, "--classes.system=Table", f"--run.dir={tmp_path / 'run'}"]) == 2
    assert "'classes.system' = 'Table' needs 'classes.assignment' = 'file'" in (
        capsys.readouterr().err
    )
    np.save(tmp_path / "v.npy", np.ones((10, 6)))
    options = ["--classes.assignment=file", f"--classes.vectors={tmp_path / 'v.npy'}"]
    options += ["--classes.system=Table", f"--run.dir={tmp_path / 'run'}"]
    assert main([*SMALL, *options]) == 2
    assert "must hold different vectors; some are equal" in capsys.readouterr().err
