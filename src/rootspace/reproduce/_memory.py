"""The largest batch that trains under a limit of memory: Table 10."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Mapping
from typing import Any

import torch

from ._memory_search import LARGEST, MIB, is_wide

SEARCH = "from rootspace.reproduce import _memory_search; _memory_search.main()"
"""Run in a process of its own, since a limit cannot be taken back, and which ends when memory does.
"""


def largest_batch(settings: Mapping[str, Any]) -> dict[str, float]:
    """`model_mib`, the float32 weights, and `largest_batch`, 0 where the model does not train.

    Args:
        settings: `method` (`lsc` or `ce`), `num_classes`, `model` (section of a config), `dim`,
            `image_shape`, `system` (for `lsc`), `limit_mib`, `device`.

    Raises:
        ValueError: there is no such device, or it has less memory.
    """
    check_device(settings)
    low, high = 0, LARGEST + 1
    size = 0.0
    while is_wide(low, high):
        given = {**settings, "low": low, "high": high}
        command = [sys.executable, "-c", SEARCH, json.dumps(given)]
        done = subprocess.run(command, check=False, capture_output=True, text=True)
        rows = [json.loads(line) for line in done.stdout.splitlines()]
        if not rows or done.returncode not in (0, -6, -9, -11):
            lines = done.stderr.strip().splitlines() or [f"exit code {done.returncode}"]
            raise ValueError(f"the search for the largest batch failed: {lines[-1]}")
        tried = None
        for row in rows:
            size = row.get("model_mib", size)
            tried = row.get("trying", tried)
            if "fits" in row:
                low, high = (tried, high) if row["fits"] else (low, tried)
                tried = None
        if tried is not None:
            high = tried  # the process ended where a library does when memory does
    return {"model_mib": size, "largest_batch": float(low)}


def check_device(settings: Mapping[str, Any]) -> None:
    """Raise unless the device of the search is there and large enough."""
    if settings["device"] != "cuda":
        return
    if not torch.cuda.is_available():
        raise ValueError("needs a CUDA device, and there is none")
    total = torch.cuda.get_device_properties(0).total_memory / MIB
    if total < settings["limit_mib"]:
        raise ValueError(
            f"needs {settings['limit_mib']:,} MiB on the CUDA device, which has {total:,.0f}"
        )
