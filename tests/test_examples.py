"""Every example runs, in a small form, and learns."""

from __future__ import annotations

import ast
import importlib.util
import re
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

from rootspace.cli import main
from rootspace.run import load as load_run
from rootspace.runs.record import RunRecord

EXAMPLES = Path(__file__).parents[1] / "examples"


def example(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, EXAMPLES / f"{name}.py")
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_plain_loop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    accuracy = example("plain_loop").main(epochs=3, num_classes=40)
    assert min(accuracy.values()) > 0.5  # chance is 0.025


def test_plain_loop_is_short():
    tree = ast.parse((EXAMPLES / "plain_loop.py").read_text(encoding="utf-8"))
    (main,) = (node for node in tree.body if getattr(node, "name", "") == "main")
    assert isinstance(main, ast.FunctionDef) and main.end_lineno
    assert main.end_lineno - main.lineno <= 30


def test_distributed(tmp_path: Path):
    """In two processes, and once more from the checkpoint of the first epochs."""
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
    command += ["--nproc_per_node", "2", str(EXAMPLES / "distributed.py"), "--num_classes", "40"]
    lines = []
    for epochs in ("2", "4"):
        done = subprocess.run(
            [*command, "--epochs", epochs],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr[-2000:]
        lines += done.stdout.splitlines()
    accuracy = [float(re.findall(r"([\d.]+)%", line)[0]) for line in lines]
    assert [line.split(":")[0] for line in lines] == ["epoch 2", "epoch 3", "epoch 4"]
    assert accuracy[-1] > 50  # chance is 2.5


@pytest.mark.filterwarnings("ignore")  # Lightning's own
def test_lightning_module():
    assert example("lightning_module").main(num_classes=40, epochs=5) > 0.3  # chance is 0.025


def test_timm_network():
    pytest.importorskip("timm")
    assert example("timm_network").main(num_classes=20, epochs=4) > 0.3  # chance is 0.05


def test_text():
    assert example("text").main(epochs=4) > 0.1  # chance is 0.02


def test_million_classes():
    assert example("million_classes").main(num_classes=10_000) > 0.5  # chance is 0.0001


def test_metric_learning():
    accuracy = example("metric_learning").main(num_classes=40, epochs=12)
    assert min(accuracy.values()) > 0.4  # chance is 0.025


@pytest.mark.filterwarnings("ignore")  # Lightning's own
def test_own_data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.syspath_prepend(EXAMPLES)
    monkeypatch.delitem(sys.modules, "own_data", raising=False)
    folder = tmp_path / "shapes"
    arguments = ["--data", "own_data.Shapes", "--data.num_classes", "20", "--model", "own_data.Net"]
    arguments += ["--model.width", "8", "--head.dim", "32", "--train.epochs", "4"]
    arguments += ["--loader.batch_size", "64", "--train.lr", "0.005", "--run.dir", str(folder)]
    assert main(["train", *arguments]) == 0
    assert RunRecord.read(folder).test["test"].accuracy > 0.5  # chance is 0.05
    samples = sorted((folder / "samples").iterdir())
    assert main(["predict", str(folder), str(samples[0])]) == 2  # own code must be allowed
    trained = load_run(folder, trust_code=True)
    assert len(trained.predict(samples, k=3).name[0]) == 3
