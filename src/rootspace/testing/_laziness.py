"""Nothing is proportional to the size: neither the object nor any tensor made on the way."""

from __future__ import annotations

import pickle
import tracemalloc
from collections.abc import Callable

import torch

from rootspace.systems import MAX_INDEX

from ._memory import LargestTensor
from ._objects import rebuild
from ._probe import Probe, ensure

LAZY_FROM = 250_000
"""Smaller systems are not checked: the work of a few embeddings would look like a table."""


def lazy(probe: Probe) -> None:
    """No method makes a tensor of a tenth of the size, nor Python objects of a byte a vector."""
    system, z = probe.system, probe.random(2).float()
    calls: dict[str, Callable[[], object]] = {
        "log_partition": lambda: system.log_partition(z, 20.0),
        "quantize": lambda: system.quantize(z),
        "min_angle": lambda: system.min_angle,
        "scale_for": lambda: system.scale_for(0.9),
        "str": lambda: str(system),
    }
    if probe.case.repr_round_trip:
        calls["the constructor"] = lambda: rebuild(system)
    if system.size <= MAX_INDEX:
        ends = torch.tensor([0, system.size - 1])
        calls["vectors"] = lambda: system.vectors(ends)
        calls["index"] = lambda: system.index(system.vectors(ends))
        calls["nearest"] = lambda: system.nearest(z, 3)
    _cost(calls["log_partition"])  # torch imports more of itself at first
    for name, call in calls.items():
        elements, operation, python_bytes = _cost(call)
        ensure(
            elements <= system.size // 10,
            f"{name} makes a tensor of {elements:,} elements ({operation}) for "
            f"{system.size:,} vectors",
        )
        ensure(
            python_bytes <= system.size,
            f"{name} allocates {python_bytes:,} bytes in Python for {system.size:,} vectors",
        )
    stored = len(pickle.dumps(system))
    ensure(stored <= system.size // 10, f"the object stores {stored:,} bytes")


def _cost(call: Callable[[], object]) -> tuple[int, str, int]:
    """Largest tensor, the operation that made it, and peak of Python's own memory."""
    tracemalloc.start()
    try:
        with LargestTensor() as largest:
            call()
        return largest.elements, largest.operation, tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
