"""`benchmarks/distillation.py` in its smallest form, and its baseline against a plain formula."""

from __future__ import annotations

import importlib
import json
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest
import torch
from torch.nn.functional import cross_entropy

from rootspace.heads import NormalizedHead


@pytest.fixture
def benchmark(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(Path(__file__).parents[2] / "benchmarks"))
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    return importlib.import_module("distillation")


def test_a_method_of_each_kind(
    benchmark: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    methods = ["ce", "logits, T=2", "images"]
    arguments = ["--quick", f"--out={tmp_path}", "--only", *methods]
    benchmark.main(arguments)
    found = json.loads((tmp_path / "distillation.json").read_text())
    assert [row["method"] for row in found["rows"]] == ["teacher/learned", *methods]
    assert list(found["step_ms"]) == methods and all(ms > 0 for ms in found["step_ms"].values())
    for row in found["rows"]:
        assert all(0 <= value <= 1 for value in row["accuracy"].values())
        assert row["peak_mb"] > 0 and row["seconds"] > 0 and len(row["curve"]) == 1
    assert capsys.readouterr().out == (tmp_path / "distillation.md").read_text()
    weights = tmp_path / "logits_t2_0/model.safetensors"
    before = weights.stat().st_mtime_ns
    benchmark.main(arguments)
    assert weights.stat().st_mtime_ns == before, "not trained again"
    names = [path.name for path in (tmp_path / "logits_t2_0").iterdir()]
    assert "targets" not in names


def test_logit_distillation(benchmark: ModuleType, monkeypatch: pytest.MonkeyPatch):
    """The soft part is a divergence: nothing where student and teacher agree."""
    logits, images = torch.randn(5, 7), torch.zeros(5, 1)
    head = NormalizedHead(7, 256)
    monkeypatch.setattr(head, "logits", lambda z: logits)
    teacher = SimpleNamespace(embedder=lambda images: images, head=head)
    loss = benchmark.LogitDistillation(teacher, SimpleNamespace(images=images), 3.0)
    assert [name for name, _ in loss.named_parameters()] == ["weight", "bias"]
    z, labels = torch.randn(5, 256), torch.tensor([0, 1, 2, 3, 6])
    own = loss.logits(z)
    wanted = (logits / 3).softmax(dim=-1)
    soft = cross_entropy(own / 3, wanted) - cross_entropy(logits / 3, wanted)
    expected = 0.9 * 9 * soft + 0.1 * cross_entropy(own, labels)
    torch.testing.assert_close(loss(z, labels), expected)
    loss.logits = lambda z: logits
    torch.testing.assert_close(loss(z, labels), 0.1 * cross_entropy(logits, labels))
