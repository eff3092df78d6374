"""The examples and the benchmark run, in a small form."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from pathlib import Path
from types import ModuleType

from rootspace.data import Characters

ROOT = Path(__file__).parents[1]


def load(path: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(Path(path).stem, ROOT / path)
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_plain_pytorch():
    data = Characters(num_classes=20, image_size=16, batch_size=16)
    assert load("examples/plain_pytorch.py").main(data, epochs=8) > 0.3  # chance is 0.05


def test_metric_learning():
    accuracy = load("examples/metric_learning.py").main(num_classes=40, epochs=3)
    assert accuracy["precision_at_1"] > 0.3


def test_benchmark_cell():
    command = [sys.executable, str(ROOT / "benchmarks/loss.py"), "--seconds=0.05", "--cell"]
    done = subprocess.run(
        [*command, "SystemSoftmaxLoss", "50000000"], capture_output=True, text=True, check=True
    )
    cell = json.loads(done.stdout)
    assert cell["ms"] > 0 and cell["mb"] < 1000  # a table of that many classes would be 77 GB
