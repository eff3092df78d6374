"""`benchmarks/incremental.py` in its smallest form, and its metrics against plain formulas."""

from __future__ import annotations

import importlib
import importlib.util
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from rootspace.data import StoredImages

ROOT = Path(__file__).parents[2]
METHODS = ["fine_tuning", "replay", "prototypes_formula", "prototypes", "prototypes_joint"]


@pytest.fixture
def script(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    return importlib.import_module("incremental")


def test_metrics_by_hand(script: Any):
    found = script.metrics([[0.8], [0.9, 0.7], [0.5, 0.6, 1.0]])
    assert found == pytest.approx(
        {
            "average": (0.8 + 0.8 + 0.7) / 3,
            "last": 0.7,
            "forgetting": ((0.9 - 0.5) + (0.7 - 0.6)) / 2,
            "since_first": ((0.8 - 0.5) + (0.7 - 0.6)) / 2,
        }
    )
    assert script.metrics([[0.4]])["forgetting"] == 0


def test_metrics_against_arrays(script: Any):
    rng = np.random.default_rng(0)
    full = rng.random((6, 6))
    known = np.tril(np.ones((6, 6), dtype=bool))
    found = script.metrics([full[i, : i + 1].tolist() for i in range(6)])
    below = np.where(known, full, -np.inf)
    assert found["average"] == pytest.approx(np.mean(np.nanmean(np.where(known, full, np.nan), 1)))
    assert found["last"] == pytest.approx(full[-1].mean())
    # Chaudhry et al., eqs. 2 and 3: before k = 6, the largest of what was.
    f = below[:-1].max(axis=0)[:-1] - full[-1, :-1]
    assert found["forgetting"] == pytest.approx(f.mean())


@pytest.mark.skipif(importlib.util.find_spec("avalanche") is None, reason="needs avalanche-lib")
@pytest.mark.filterwarnings("ignore")
def test_metrics_against_avalanche(script: Any):
    forgetting = importlib.import_module("avalanche.evaluation.metrics").Forgetting()
    matrix = [[0.8], [0.9, 0.7], [0.5, 0.6, 1.0]]
    for i, row in enumerate(matrix):
        for j, accuracy in enumerate(row):
            forgetting.update(j, accuracy, initial=i == j)
    values = forgetting.result().values()
    assert script.metrics(matrix)["since_first"] == pytest.approx(sum(values) / len(values))


def test_quick(script: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    arguments = ["--quick", f"--out={tmp_path}", "--data", "characters", "--only", *METHODS]
    script.main(arguments)
    rows = json.loads((tmp_path / "incremental.json").read_text())
    assert [row["method"] for row in rows] == METHODS
    for row in rows:
        joint = row["method"].endswith("joint")
        assert [len(line) for line in row["matrix"]] == ([1] if joint else [1, 2, 3])
        assert ("by_means" in row) == (row["method"] in METHODS[1:4])
        assert all(0 <= accuracy <= 1 for line in row["matrix"] for accuracy in line)
    assert capsys.readouterr().out == (tmp_path / "incremental.md").read_text()
    # Prototypes and the learned head repeat the same images.
    one, other = (
        StoredImages(tmp_path / f"characters/{name}_0.3_0_2/start/replay")
        for name in ("prototypes", "replay")
    )
    assert len(one) == 16 and torch.equal(one.labels, other.labels)
    assert torch.equal(one.batch(range(16))[0], other.batch(range(16))[0])
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("metrics.json")}
    script.main(arguments)
    assert before == {path: path.stat().st_mtime_ns for path in before}, "nothing was trained again"


def test_the_best_rate_is_that_of_the_first_seed(script: Any):
    rows = [
        {"seed": seed, "rate": rate, "metrics": {"average": average}}
        for seed, rate, average in [(0, 0.1, 0.5), (0, 0.3, 0.7), (1, 0.1, 0.9)]
    ]
    assert script.best_rate(rows) == 0.3


@pytest.mark.skipif(
    importlib.util.find_spec("avalanche") is not None, reason="says what to install without it"
)
def test_without_avalanche(script: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    arguments = ["--quick", f"--out={tmp_path}", "--data", "characters", "--avalanche"]
    script.main([*arguments, "--only", "prototypes_joint", "avalanche_replay"])
    assert "install avalanche-lib" in capsys.readouterr().err
    assert [row["method"] for row in json.loads((tmp_path / "incremental.json").read_text())] == [
        "prototypes_joint"
    ]
