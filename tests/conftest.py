"""Settings of the property tests, and files of golden values."""

import json
from pathlib import Path
from typing import Any

import hypothesis
import pytest

from fuzzing import FUZZ, examples

# No tests: --doctest-modules would import each once more, all under one name.
collect_ignore_glob = ["*conftest.py"]

hypothesis.settings.register_profile(
    "rootspace",
    deadline=None,
    derandomize=FUZZ is None,
    max_examples=examples(40),
    print_blob=True,
)
hypothesis.settings.load_profile("rootspace")


@pytest.fixture(scope="session")
def golden() -> dict[str, Any]:
    """Contents of tests/golden, by name of the file."""
    folder = Path(__file__).parent / "golden"
    return {
        path.stem: json.loads(path.read_text(encoding="utf-8"))
        for path in sorted(folder.glob("*.json"))
    }
