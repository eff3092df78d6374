"""Synthetic run folders."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from report_runs import CSV, MakeRun, metrics

from rootspace.runs.folder import finish


@pytest.fixture
def make_run(tmp_path: Path) -> MakeRun:
    """`make_run(name, arrays=..., **changes of metrics.json)` writes a run folder."""

    def make(
        name: str = "run", *, arrays: dict[str, Any] | None = None, csv: str = CSV, **changes: Any
    ) -> Path:
        path = tmp_path / name
        path.mkdir(parents=True)
        (path / "metrics.json").write_text(json.dumps(metrics(**changes)))
        (path / "metrics.csv").write_text(csv)
        (path / "config.yaml").write_text("data: <fonts>\nseed: 0\n")
        if arrays is not None:
            np.savez(path / "evaluation.npz", **arrays)
        finish(path)
        return path

    return make
