"""The largest batch that trains under a limit of memory: Table 10.

`largest_batch` starts processes that try batches under a limit that they put themselves under:
a limit cannot be taken back, and such a process may end when its memory does.
"""

from __future__ import annotations

import ctypes
import json
import re
import resource
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn

from rootspace.classes import ClassMap
from rootspace.config import ClassSpec
from rootspace.losses import CosineLoss
from rootspace.models import num_parameters
from rootspace.systems import system_from

from .training import linear_classifier

ROOT = Path(__file__).parents[2]
"""Folder that `papers` is imported from, in a process of its own too."""

SEARCH = "from papers.lsc2510.memory import main; main()"
"""What such a process runs, with settings as its argument."""

MIB = 2**20
LARGEST = 2**16
"""Images of a batch that are tried, at most."""

LEAP = 4
"""From a batch that fits to the next, before one has not."""

CLOSE = 0.03
"""Where to stop: relative distance between a batch that fits and one that does not."""


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
        done = subprocess.run(command, check=False, capture_output=True, text=True, cwd=ROOT)
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


def is_wide(low: int, high: int) -> bool:
    """Whether to go on between a batch that fits and one that does not."""
    return high - low > max(1, CLOSE * low)


def set_limit(device: str, limit_mib: float) -> None:
    """Refuse this process more than `limit_mib` beyond what it holds now."""
    if device == "cuda":
        total = torch.cuda.get_device_properties(0).total_memory / MIB
        torch.cuda.set_per_process_memory_fraction(limit_mib / total)
        return
    match = re.search(r"VmData:\s+(\d+) kB", Path("/proc/self/status").read_text())
    if match is None:
        raise OSError("needs /proc/self/status, which Linux has")
    _, most = resource.getrlimit(resource.RLIMIT_DATA)
    resource.setrlimit(resource.RLIMIT_DATA, (int(match[1]) * 1024 + int(limit_mib * MIB), most))


def make_network(settings: Mapping[str, Any]) -> nn.Module:
    """The network alone, without weights that anyone has trained."""
    channels, size, _ = settings["image_shape"]
    spec = ClassSpec(**settings["model"])
    filled = {"dim": settings["dim"], "in_channels": channels, "image_size": size}
    return spec.build(nn.Module, "model", **filled)


def model_mib(settings: Mapping[str, Any]) -> float:
    """Of the float32 weights of network and loss, which are not made for this."""
    with torch.device("meta"):
        parameters = num_parameters(make_network(settings))
        if settings["method"] == "ce":
            parameters += num_parameters(
                linear_classifier(settings["dim"], settings["num_classes"])
            )
    return 4 * parameters / MIB


def build(settings: Mapping[str, Any]) -> tuple[nn.Module, nn.Module]:
    """The network and its loss of embeddings and labels, on the device."""
    network = make_network(settings)
    if settings["method"] == "ce":
        loss: nn.Module = linear_classifier(settings["dim"], settings["num_classes"])
    else:
        loss = CosineLoss(ClassMap(system_from(settings["system"]), settings["num_classes"]))
    return network.to(settings["device"]), loss.to(settings["device"])


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an allocation failed, as each library says it in its own words."""
    words = "memory|bad_alloc|could not create a primitive|could not execute a primitive"
    return re.search(words, f"{type(error).__name__} {error}", re.IGNORECASE) is not None


def search(settings: Mapping[str, Any]) -> None:
    """Bisect between `low`, which fits, and `high`, which does not, until a batch does not fit.

    What such a batch leaves in memory would decide about smaller ones: the next process goes on.
    Prints a line of JSON for each trial.
    """
    torch.set_num_threads(1)  # threads hold memory of their own
    low, high = settings["low"], settings["high"]
    _say(model_mib=model_mib(settings))
    # The first optimizer imports much of torch, which is no part of training.
    torch.optim.AdamW([nn.Parameter(torch.zeros(1))])
    set_limit(settings["device"], settings["limit_mib"])
    _say(trying=max(1, low))  # the model alone may be too large
    try:
        network, loss = build(settings)
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
        _say(fits=False)
        return
    parameters = [*network.parameters(), *loss.parameters()]
    optimizer = torch.optim.AdamW(parameters)
    batch = max(1, low)  # one that fits: from its step on, the moments of AdamW are there
    while is_wide(low, high):
        _say(trying=batch)
        fits = _trains(network, loss, optimizer, batch, settings)
        low, high = (batch, high) if fits else (low, batch)
        _say(fits=fits)
        if not fits:
            return
        # Upwards in leaps, until a batch has not fitted.
        batch = min(LEAP * batch, (low + high) // 2) if high > LARGEST else (low + high) // 2


def _trains(
    network: nn.Module,
    loss: nn.Module,
    optimizer: torch.optim.Optimizer,
    batch: int,
    settings: Mapping[str, Any],
) -> bool:
    device = settings["device"]
    try:
        images = torch.zeros(batch, *settings["image_shape"], device=device)
        labels = torch.arange(batch, device=device) % settings["num_classes"]
        loss(network(images), labels).backward()
        optimizer.step()
        optimizer.zero_grad()
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
        optimizer.zero_grad()
        fits = False
    else:
        fits = True
    images = labels = None
    _give_back(device)
    return fits


def _give_back(device: str) -> None:
    """Return freed memory, or what is left of one batch would decide whether the next one fits."""
    if device == "cuda":
        torch.cuda.empty_cache()
    elif sys.platform == "linux":
        ctypes.CDLL(None).malloc_trim(0)


def _say(**row: Any) -> None:
    print(json.dumps(row), flush=True)


def main() -> None:
    """Search with the settings of the command line, a JSON object."""
    search(json.loads(sys.argv[1]))
