"""The search for the largest batch under a real limit of memory."""

from __future__ import annotations

import resource
from typing import Any

import pytest
import torch

from papers.lsc2510 import memory
from papers.lsc2510.memory import largest_batch
from rootspace.models import Encoder, num_parameters

SETTINGS = {
    "model": {"class_path": "rootspace.models.Encoder", "init_args": {"width": 4}},
    "dim": 8,
    "image_shape": [1, 32, 32],
    "system": "RootA(8)",
    "num_classes": 20,
    "method": "ce",
    "limit_mib": 60,
    "device": "cpu",
}


@pytest.mark.parametrize("method", ["lsc", "ce"])
def test_a_real_limit(method: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(memory, "CLOSE", 0.5)  # fewer processes
    before = resource.getrlimit(resource.RLIMIT_DATA)
    found = largest_batch({**SETTINGS, "method": method})
    assert resource.getrlimit(resource.RLIMIT_DATA) == before, "that of the search alone"
    layer = 9 * 20 if method == "ce" else 0
    assert found["model_mib"] == pytest.approx(
        4 * (num_parameters(Encoder(8, 1, 4)) + layer) / 2**20
    )
    assert 8 < found["largest_batch"] < 4000


def test_a_model_that_does_not_fit():
    found = largest_batch({**SETTINGS, "num_classes": 4_000_000})
    assert found["largest_batch"] == 0 and found["model_mib"] > 130


def test_bisection(monkeypatch: pytest.MonkeyPatch):
    """All batches up to the true one fit, found to 3 %."""
    tried: list[int] = []
    monkeypatch.setattr(memory, "set_limit", lambda device, limit: None)
    monkeypatch.setattr(torch, "set_num_threads", lambda number: None)
    rows: list[dict[str, Any]] = []
    monkeypatch.setattr(memory, "_say", lambda **row: rows.append(row))

    def trains(network: Any, loss: Any, optimizer: Any, batch: int, settings: Any) -> bool:
        tried.append(batch)
        return batch <= 1000

    monkeypatch.setattr(memory, "_trains", trains)
    low, high = 0, memory.LARGEST + 1
    while memory.is_wide(low, high):  # as `largest_batch` does with processes
        before = len(tried)
        memory.search({**SETTINGS, "low": low, "high": high})
        low = max([low, *(batch for batch in tried[before:] if batch <= 1000)])
        high = min([high, *(batch for batch in tried[before:] if batch > 1000)])
    fitting = max(batch for batch in tried if batch <= 1000)
    failing = min(batch for batch in tried if batch > 1000)
    assert failing - fitting <= 0.03 * fitting and len(tried) < 30
    assert rows[0].keys() == {"model_mib"}


@pytest.mark.skipif(torch.cuda.is_available(), reason="needs a machine without CUDA")
def test_no_device():
    with pytest.raises(ValueError, match="needs a CUDA device, and there is none"):
        largest_batch({**SETTINGS, "device": "cuda"})


def test_a_search_that_fails_says_why():
    with pytest.raises(ValueError, match=r"largest batch failed: .*Unknown vector system"):
        largest_batch({**SETTINGS, "method": "lsc", "system": "Nothing(3)"})
