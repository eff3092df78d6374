"""What a user brings by import path: network, data, optimizer, schedule, logger, callback."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import yaml

import rootspace
from rootspace.runs import RunRecord

BROUGHT = """
import pathlib
import torch
from torch.utils.data import Dataset

class Blobs(Dataset):
    def __init__(self, per_class: int = 20):
        generator = torch.Generator().manual_seed(0)
        centers = 2 * torch.randn(12, 10, generator=generator)
        self.targets = [i % 12 for i in range(12 * per_class)]
        self.x = centers[self.targets] + torch.randn(len(self.targets), 10, generator=generator)

    def __len__(self):
        return len(self.targets)

    def __getitem__(self, index):
        return {"values": self.x[index]}, self.targets[index]

class Net(torch.nn.Module):
    def __init__(self, dim: int, width: int = 32):
        super().__init__()
        self.layers = torch.nn.Sequential(
            torch.nn.Linear(10, width), torch.nn.BatchNorm1d(width), torch.nn.ReLU(),
            torch.nn.Linear(width, dim),
        )

    def forward(self, x):
        return self.layers(x["values"])
"""


def command(folder: Path, *arguments: str, trust: bool = False) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": f"{folder}:{os.environ.get('PYTHONPATH', '')}"}
    environment.pop("ROOTSPACE_TRUST_CODE", None)
    if trust:
        environment["ROOTSPACE_TRUST_CODE"] = "1"
    return subprocess.run(
        [sys.executable, "-m", "rootspace", *arguments],
        env=environment, capture_output=True, text=True, check=False,
    )  # fmt: skip


@pytest.fixture(scope="module")
def brought(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a user's module and a run of it."""
    folder = tmp_path_factory.mktemp("brought")
    (folder / "brought.py").write_text(BROUGHT)
    done = command(
        folder, "train", "--data", "brought.Blobs", "--model", "brought.Net", "--model.width=24",
        "--head.dim=16", "--optimizer", "torch.optim.SGD", "--optimizer.momentum=0.9",
        "--train.lr=0.1", "--scheduler", "torch.optim.lr_scheduler.StepLR",
        "--scheduler.step_size=2", "--train.accumulate_grad_batches=2", "--train.epochs=6",
        "--loader.batch_size=32", "--loggers+", "CSVLogger",
        f"--loggers.save_dir={folder / 'logged'}", "--callbacks+", "LearningRateMonitor",
        f"--run.dir={folder / 'run'}",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return folder


def test_what_is_brought_trains(brought: Path):
    record = RunRecord.read(brought / "run")
    assert record.model == "Net" and record.dim == 16 and record.num_classes == 12
    assert record.test["test"].accuracy > 0.8  # chance is 0.08
    logged = (brought / "logged").rglob("metrics.csv")
    assert "train/loss" in next(iter(logged)).read_text()
    # Two batches a step.
    rows = (brought / "run" / "metrics.csv").read_text().splitlines()
    steps = [int(row.split(",")[1]) for row in rows[1:]]
    assert steps[0] == -(-7 // 2) and steps[-1] == 6 * steps[0]


def test_what_is_brought_is_imported_only_where_it_is_trusted(
    brought: Path, monkeypatch: pytest.MonkeyPatch
):
    done = command(brought, "evaluate", str(brought / "run"))
    assert done.returncode == 2 and "brought.Blobs" in done.stderr
    assert "ROOTSPACE_TRUST_CODE" in done.stderr
    assert command(brought, "evaluate", str(brought / "run"), trust=True).returncode == 0
    with pytest.raises(ValueError, match=r"brought\.Blobs"):
        rootspace.load(brought / "run")
    monkeypatch.syspath_prepend(str(brought))
    run = rootspace.load(brought / "run", trust_code=True)
    prediction = run.predict({"values": torch.randn(5, 10)}, k=3)
    assert prediction.label.shape == (5, 3) and len(prediction.name[0]) == 3


def test_settings_of_a_run_are_accepted_again(brought: Path):
    settings = yaml.safe_load((brought / "run" / "config.yaml").read_text())
    settings["train"]["epochs"] = 1
    (brought / "again.yaml").write_text(yaml.safe_dump(settings))
    folder = brought / "again"
    done = command(brought, "train", "--config", str(brought / "again.yaml"), f"--run.dir={folder}")
    assert done.returncode == 0, done.stderr
    resumed = command(brought, "train", "--resume", f"--run.dir={folder}")
    assert resumed.returncode == 2 and "ROOTSPACE_TRUST_CODE" in resumed.stderr
    resumed = command(brought, "train", "--resume", f"--run.dir={folder}", trust=True)
    assert resumed.returncode == 0 and "is complete" in resumed.stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--model", "brought.Nothing"], "model"),
        (["--model", "brought.Net", "--model.depth=3"], "depth"),
        (["--optimizer", "torch.nn.Linear"], "optimizer"),
    ],
)
def test_what_cannot_be_brought_is_named(brought: Path, arguments: list[str], message: str):
    folder = brought / "wrong"
    done = command(brought, "train", *arguments, f"--run.dir={folder}")
    assert done.returncode == 2 and message in done.stderr and "Traceback" not in done.stderr
    assert not folder.exists()
