"""What a user can get wrong: one line that says what to do, exit code 2, nothing half-written."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import torch
from PIL import Image

from rootspace.cli import main
from rootspace.config import Config
from rootspace.runs.folder import write_config

TRAIN = ["train", "--data.num_classes=20", "--data.image_size=16", "--model.width=4"]


def fails(capsys: pytest.CaptureFixture[str], *arguments: str | Path) -> str:
    """Run a command that must fail as users like it; returns its message."""
    assert main([str(a) for a in arguments]) == 2
    captured = capsys.readouterr()
    # Progress may come first; the error is the last line, and has a command and a reason.
    lines = captured.err.strip().splitlines()
    assert lines and lines[-1].startswith("rootspace"), captured.err
    assert ": error: " in lines[-1] and "Traceback" not in captured.err
    return lines[-1]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--head.system=RootZ(3)"], "Unknown vector system 'RootZ'"),
        (["--head.system=RootA(3"], "Expected a vector system"),
        (["--head.system=RootA(n=-1)"], "'n' must be a positive integer, not -1"),
        (["--head.system=__import__('os').system('true')"], "Unknown vector system"),
        (
            ["--head.system=RootA(2)", "--prototypes.source=formula"],
            "'num_classes' must be at most 6",
        ),
        (["--head.system=RootA(9)", "--head.dim=8"], "must agree"),
        (["--head.dim=2"], "'dim' must be at least 4 where no 'system' is given, not 2"),
        (["--loss=SystemSoftmaxLoss"], "has 187,620 states, more than 16,384"),
        (["--data.num_classes=1000000"], "'num_classes' must be at most"),
        (["--data.test_fonts=[NoSuchFont]"], "NoSuchFont"),
        (["--data.ranges=Latin"], "ranges"),
        (["--data=mnist"], "mnist"),
        (["--data.nmae=characters"], "nmae"),
        (["--model=TimmBackbone", "--model.name=resnet_fifty"], "must be a timm model"),
        (["--loss=SphereFace"], "SphereFace"),
        (["--run.baselines=[Softmax]"], "rootspace.heads.Softmax cannot be imported"),
        (["--train.epochs=0"], "'train.epochs' must be at least 1, not 0"),
        (["--train.epochs=many"], "epochs"),
        (["--train.lr=-1"], "'train.lr' must be positive"),
        (["--train.precision=8"], "'train.precision' must be one of 32, bf16, 16, 32-true, bf16-m"),
        (["--train.precision=fp32"], "must be one of 32, bf16, 16, 32-true, bf16-mixed"),
        (["--train.seed=-1"], "'train.seed' must lie in [0, 2**31), not -1"),
        (["--train.accelerator=abacus"], "of this machine, not 'abacus', 1 and 'auto'"),
        (["--train.strategy=banana"], "of this machine, not 'auto', 1 and 'banana'"),
        (["--train.devices=9999", "--train.accelerator=cpu"], "a process each, and there are"),
        (["--train.epochs=99999999999999999999"], "must be at most 2147483647"),
        (["--loader.num_workers=99999999"], "'loader.num_workers' must be at most"),
        (["--data.image_size=100000000"], "'image_size' must be at most 8192 pixels"),
        (
            ["--optimizer=torch.optim.SGD", "--optimizer.momentum=-1"],
            "'optimizer': torch.optim.SGD",
        ),
        (
            ["--scheduler=torch.optim.lr_scheduler.StepLR", "--scheduler.step_size=0"],
            "'scheduler': torch.optim.lr_scheduler.StepLR",
        ),
        (["--transform=torchvision.transforms.ToTensor"], "ToTensor cannot take a uint8 tensor"),
        (["--model.width=10000000"], "not enough memory"),
        pytest.param(
            ["--train.accelerator=gpu", "--train.devices=3"],
            "of this machine, not 'gpu', 3 and 'auto'",
            marks=pytest.mark.skipif(torch.cuda.device_count() > 2, reason="there are three"),
        ),
        (
            ["--loss=SystemSoftmaxLoss", "--loss.margin=-1", "--head.system=RootA(9)"],
            "'margin' must not be negative",
        ),
        (["--loss=InBatchSoftmaxLoss", "--loss.scale=-1"], "'scale' must be"),
        (["--config=missing.yaml"], "missing.yaml does not exist"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_settings(
    options: list[str], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "run"
    arguments = [a for a in TRAIN if not any(a.split("=")[0] == o.split("=")[0] for o in options)]
    if "--model.name=resnet_fifty" in options:
        arguments.remove("--model.width=4")
    assert message in fails(capsys, *arguments, *options, f"--run.dir={folder}")
    assert not folder.exists()


def test_config_that_is_no_yaml(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "config.yaml"
    path.write_text("data: [")
    assert "config" in fails(capsys, "train", f"--config={path}")
    path.write_text("just text")
    assert "config" in fails(capsys, "train", f"--config={path}")


def test_run_folder_in_use(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    assert "must be new or empty" in fails(capsys, *TRAIN, f"--run.dir={tmp_path}")
    assert [p.name for p in tmp_path.iterdir()] == ["notes.txt"]
    file = tmp_path / "notes.txt"
    assert "must be a folder" in fails(capsys, *TRAIN, f"--run.dir={file}")
    assert "must be writable" in fails(capsys, *TRAIN, f"--run.dir={file / 'run'}")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_run_folder_without_permission(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    tmp_path.chmod(0o500)
    assert "must be writable" in fails(capsys, *TRAIN, f"--run.dir={tmp_path / 'run'}")


def test_resume_without_a_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    message = fails(capsys, "train", "--resume", f"--run.dir={tmp_path}")
    assert "is not a run folder" in message


@pytest.mark.parametrize("option", ["--prototypes.seed=1", "--train.epochs=9"])
def test_resume_with_other_settings(
    option: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Where it is computed may change, and not what."""
    write_config(tmp_path, Config())
    options = [f"--run.dir={tmp_path}", "--train.accelerator=cpu", option]
    message = fails(capsys, "train", "--resume", *options)
    assert option.split("=", maxsplit=1)[0] in message and "hold" in message


@pytest.mark.parametrize("command", ["evaluate", "predict", "embed", "calibrate", "unknowns"])
@pytest.mark.parametrize("device", ["gpu", "cuda:99"])
def test_devices(
    command: str, device: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    message = fails(capsys, command, tmp_path, f"--device={device}")
    assert "--device" in message and f"such as cpu, not '{device}'" in message


def test_empty_folder_and_corrupt_image(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    train = [
        "train",
        "--data=ImageFolder",
        "--model.width=4",
        f"--run.dir={tmp_path / 'run'}",
    ]
    root = tmp_path / "images"
    root.mkdir()
    assert str(root) in fails(capsys, *train, f"--data.root={root}")
    for name in ("a", "b"):
        (root / name).mkdir()
        for i in range(12):
            Image.new("RGB", (40, 30), (i, i, i)).save(root / name / f"{i}.png")
    (root / "b" / "broken.png").write_bytes(b"not a picture")
    assert "broken.png" in fails(capsys, *train, f"--data.root={root}", "--train.epochs=1")


@pytest.mark.parametrize(
    "command",
    [
        "evaluate",
        "predict",
        "classes",
        "calibrate",
        "unknowns",
        "embed",
        "export",
        "report",
    ],
)
def test_commands_without_a_run(
    command: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    more = {
        "predict": ["x.png"],
        "embed": ["x.png", "--out=x.npy"],
        "export": ["--out=x.onnx"],
        "classes": ["list"],
        "unknowns": ["x.png", "--out=x.json"],
    }
    message = fails(capsys, command, tmp_path / "none", *more.get(command, []))
    assert "none" in message and "run folder" in message


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["traim"], "unknown command 'traim'"),
        (["plan"], "num_classes"),
        (["plan", "-5"], "'num_classes' must be a positive integer, not -5"),
        (["plan", "many"], "Argument 'num_classes' must be an integer, not 'many'"),
        (["plan", "10", "--dim=0"], "'dim' must be a positive integer"),
    ],
)
def test_command_line(
    arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert message in fails(capsys, *arguments)
