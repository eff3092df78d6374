"""What a command imports before it answers: no more than it needs."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

HEAVY = (
    *("lightning", "torchmetrics", "jsonargparse", "torchvision", "matplotlib", "scipy", "timm"),
    *("plotly", "tensorboard", "sklearn", "pyarrow", "onnx", "sympy", "torch._dynamo", "freetype"),
)

SCRIPT = """
import sys
from rootspace.cli import main
assert main(sys.argv[1:]) == 0
print("\\n".join(sys.modules))
"""


@pytest.mark.parametrize(
    "command",
    [
        "plan 1000",
        "predict RUN IMAGE",
        "predict RUN IMAGE --top 2 --format json",
        "embed RUN IMAGE --out OUT/x.npy",
        "classes RUN list",
        "evaluate --help",
        "evaluate RUN FOLDER",
        "calibrate RUN --known FOLDER --false_reject 0.2",
    ],
)
def test_only_what_is_needed(command: str, folder_run: Path, images: Path, tmp_path: Path):
    names = {
        "RUN": str(folder_run),
        "IMAGE": str(images / "a/0.png"),
        "FOLDER": str(images),
        "OUT/x.npy": str(tmp_path / "x.npy"),
    }
    arguments = [names.get(word, word) for word in command.split()]
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, *arguments], capture_output=True, text=True, check=True
    )
    assert not {*HEAVY} & {*done.stdout.splitlines()}


@pytest.mark.parametrize("argument", ["--help", "--version"])
def test_help_needs_no_torch(argument: str):
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, argument], capture_output=True, text=True, check=True
    )
    assert not {"torch", "numpy"} & {*done.stdout.splitlines()}
