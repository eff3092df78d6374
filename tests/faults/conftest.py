"""Small runs, trained once."""

from __future__ import annotations

from pathlib import Path

import pytest
from small_runs import make_all


@pytest.fixture(scope="session")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of all runs."""
    folder = tmp_path_factory.mktemp("faults")
    make_all(folder)
    return folder
