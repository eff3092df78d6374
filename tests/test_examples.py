"""The examples run, in a small form."""

from __future__ import annotations

import importlib.util
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
