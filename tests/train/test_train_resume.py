"""A run that was killed or stopped continues to the very weights of an unbroken one."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from rootspace.run import load
from rootspace.runs import EpochRow
from rootspace.runs.folder import read_config
from rootspace.train.callbacks import AGREE_EVERY
from rootspace.train.training import train

SETTINGS = [
    "--data.num_classes=40",
    "--data.image_size=16",
    "--loader.batch_size=8",
    "--model.width=4",
    "--train.lr=3e-3",
    "--prototypes.source=formula",
    "--train.epochs=4",
    "--train.checkpoint_minutes=0.0002",
]


# The tensors are small: a second thread costs more than it does.
ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1"}


def command(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "rootspace", "train", *arguments]


def finish(*arguments: str) -> None:
    subprocess.run(
        command(*arguments), check=True, capture_output=True, timeout=300, env=ENVIRONMENT
    )


def stop_within_an_epoch(folder: Path, how: signal.Signals, *settings: str) -> int:
    """Start a run, send it a signal in its second epoch; returns its exit code."""
    said = folder.with_name("said.txt")
    with said.open("w") as file:
        process = subprocess.Popen(
            command(*SETTINGS, *settings, f"--run.dir={folder}"),
            stdout=subprocess.DEVNULL,
            stderr=file,
            env=ENVIRONMENT,
        )
    try:
        wait_for_another(folder / "metrics.csv", process)
        for _ in range(2):  # the first may be that of the end of the first epoch
            wait_for_another(folder / "checkpoints/last.ckpt", process)
        process.send_signal(how)
        code = process.wait(timeout=120)
        assert ("Stopping after this step" in said.read_text()) == (how != signal.SIGKILL)
        return code
    finally:
        process.kill()


def wait_for_another(path: Path, process: subprocess.Popen[bytes]) -> None:
    """Until a file is written, or replaced."""

    def written() -> int:
        return path.stat().st_mtime_ns if path.exists() else 0

    before, until = written(), time.monotonic() + 120
    while written() == before:
        assert process.poll() is None, "the run ended before it could be stopped"
        assert time.monotonic() < until
        time.sleep(0.002)


@pytest.fixture(scope="module")
def unbroken(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("unbroken") / "run"
    finish(*SETTINGS, f"--run.dir={folder}")
    return folder


@pytest.mark.parametrize(
    ("how", "code"),
    [(signal.SIGKILL, -signal.SIGKILL), (signal.SIGINT, 130), (signal.SIGTERM, 130)],
    ids=["killed", "ctrl-c", "terminated"],
)
def test_resume_gives_the_same_weights(
    how: signal.Signals, code: int, unbroken: Path, tmp_path: Path
):
    folder = tmp_path / "run"
    assert stop_within_an_epoch(folder, how) == code
    assert not (folder / "manifest.json").exists(), "stopped too late to test anything"
    state = torch.load(folder / "checkpoints/last.ckpt", weights_only=True)
    steps_an_epoch = state["loops"]["fit_loop"]["epoch_loop.batch_progress"]["total"]["ready"]
    assert steps_an_epoch, "the checkpoint knows where it is"
    with pytest.raises(ValueError, match=r"not a finished run.*--resume"):
        load(folder)
    finish("--resume", f"--run.dir={folder}")
    expected, resumed = (load_file(f / "model.safetensors") for f in (unbroken, folder))
    assert expected.keys() == resumed.keys()
    for name in expected:
        assert torch.equal(expected[name], resumed[name]), name
    assert _without_seconds(unbroken) == _without_seconds(folder)


@pytest.mark.slow
def test_augmented_images_with_unique_labels_too(tmp_path: Path):
    folder, whole = tmp_path / "run", tmp_path / "unbroken"
    settings = ["--transform=rootspace.data.Light1", "--loader.unique_labels=240"]
    worker = "--loader.num_workers=1"
    assert stop_within_an_epoch(folder, signal.SIGKILL, *settings, worker) == -signal.SIGKILL
    assert not (folder / "manifest.json").exists(), "stopped too late to test anything"
    state = torch.load(folder / "checkpoints/last.ckpt", weights_only=True)
    assert 0 < state["global_step"] < 120
    finish("--resume", f"--run.dir={folder}")
    finish(*SETTINGS, *settings, f"--run.dir={whole}")  # without a worker
    expected, resumed = (load_file(f / "model.safetensors") for f in (whole, folder))
    assert all(torch.equal(expected[name], resumed[name]) for name in expected)
    assert _without_seconds(whole) == _without_seconds(folder)


def test_two_processes_do_not_train_one_run(tmp_path: Path):
    """A run whose parent was killed may still train: who resumes it then is told so."""
    folder = tmp_path / "run"
    process = subprocess.Popen(
        command(*SETTINGS, "--train.epochs=1000", f"--run.dir={folder}"),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env=ENVIRONMENT,
    )
    try:
        while not (folder / "metrics.csv").exists():
            assert process.poll() is None, "the run ended before it could be resumed"
            time.sleep(0.05)
        second = subprocess.run(
            command("--resume", f"--run.dir={folder}"),
            check=False,
            capture_output=True,
            text=True,
            timeout=120,
            env=ENVIRONMENT,
        )
        assert process.poll() is None, "the first one goes on"
    finally:
        process.kill()
        process.wait()
    assert second.returncode == 2
    assert "another process trains" in second.stderr


def test_the_figures_of_an_epoch_are_its_own(unbroken: Path) -> None:
    for row in EpochRow.read(unbroken):
        right = row.accuracy * 400
        assert right == pytest.approx(round(right), abs=1e-3)


def test_resuming_a_finished_run_changes_nothing(unbroken: Path):
    before = (unbroken / "model.safetensors").read_bytes()
    finish("--resume", f"--run.dir={unbroken}")
    assert (unbroken / "model.safetensors").read_bytes() == before


def test_two_processes_train_and_evaluate_every_image(tmp_path: Path):
    """DistributedDataParallel on gloo: odd numbers of images, none counted twice.

    The classes get their vectors after the first epoch, and refined ones after the second.
    """
    folder = tmp_path / "run"
    finish(
        "--data.num_classes=15",
        "--data.image_size=16",
        "--loader.batch_size=7",
        "--model.width=4",
        "--train.epochs=2",
        "--train.devices=2",
        "--train.accelerator=cpu",
        f"--run.dir={folder}",
    )
    lines = (folder / "metrics.csv").read_text().splitlines()
    names, _, values = (line.split(",") for line in lines)
    row = dict(zip(names, values, strict=True))
    assert row["step"] == "22"  # 150 images in two shares of 75, batches of 7: 75 = 10 * 7 + 5
    tests = [float(value) for name, value in row.items() if name.startswith("test/")]
    assert len(tests) == 2
    assert all(abs(value * 15 - round(value * 15)) < 1e-6 for value in tests)
    final = json.loads((folder / "metrics.json").read_text())["test"].values()
    assert [test["accuracy"] for test in final] == pytest.approx(tests)


@pytest.mark.slow
def test_two_processes_stop_and_save_together(tmp_path: Path):
    """A signal that reaches one of them stops both, at a step that both have taken."""
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    both = ["--train.devices=2", "--train.accelerator=cpu", "--data.num_classes=80"]
    assert stop_within_an_epoch(broken, signal.SIGTERM, *both) == 130
    assert not (broken / "manifest.json").exists(), "stopped too late to test anything"
    state = torch.load(broken / "checkpoints/last.ckpt", weights_only=True)
    assert state["global_step"] % 50 % AGREE_EVERY == 0, "between two questions, or epochs"
    finish("--resume", f"--run.dir={broken}")
    finish(*SETTINGS, *both, f"--run.dir={whole}")
    expected, resumed = (load_file(f / "model.safetensors") for f in (whole, broken))
    assert all(torch.equal(expected[name], resumed[name]) for name in expected)


def test_a_helper_process_concludes_nothing(unbroken: Path, monkeypatch: pytest.MonkeyPatch):
    """Of a complete run that is resumed: the first process may still be writing a baseline."""
    monkeypatch.setenv("LOCAL_RANK", "1")
    assert train(read_config(unbroken), resume=True) is None


def _without_seconds(folder: Path) -> list[list[str]]:
    rows = [line.split(",") for line in (folder / "metrics.csv").read_text().splitlines()]
    column = rows[0].index("seconds")
    return [row[:column] + row[column + 1 :] for row in rows]
