"""Trying batches under a limit of memory that this process puts itself under.

Prints a line of JSON for each trial.
"""

from __future__ import annotations

import json
import re
import resource
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn

from rootspace.classes import ClassMap
from rootspace.losses import CosineLoss
from rootspace.models import num_parameters
from rootspace.systems import system_from
from rootspace.train import LinearCE, VectorObjective
from rootspace.train.build import build_network

MIB = 2**20
LARGEST = 2**16
"""Images of a batch that are tried, at most."""

LEAP = 4
"""From a batch that fits to the next, before one has not."""

CLOSE = 0.03
"""Where to stop: relative distance between a batch that fits and one that does not."""


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


def model_mib(settings: Mapping[str, Any]) -> float:
    """Of the float32 weights of network and objective, which are not made for this."""
    channels, size, _ = settings["image_shape"]
    with torch.device("meta"):
        network = build_network(settings["model"], settings["dim"], channels, size, False)
        parameters = num_parameters(network)
        if settings["method"] == "ce":
            parameters += num_parameters(LinearCE(settings["dim"], settings["num_classes"]))
    return 4 * parameters / MIB


def build(settings: Mapping[str, Any]) -> tuple[nn.Module, nn.Module]:
    """The network and its objective, on the device."""
    channels, size, _ = settings["image_shape"]
    network = build_network(settings["model"], settings["dim"], channels, size, pretrained=False)
    if settings["method"] == "ce":
        objective: nn.Module = LinearCE(settings["dim"], settings["num_classes"])
    else:
        classes = ClassMap(system_from(settings["system"]), settings["num_classes"])
        objective = VectorObjective(CosineLoss(classes))
    return network.to(settings["device"]), objective.to(settings["device"])


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an allocation failed, as each library says it in its own words."""
    words = "memory|bad_alloc|could not create a primitive|could not execute a primitive"
    return re.search(words, f"{type(error).__name__} {error}", re.IGNORECASE) is not None


def search(settings: Mapping[str, Any]) -> None:
    """Bisect between `low`, which fits, and `high`, which does not, printing each trial."""
    torch.set_num_threads(1)  # threads hold memory of their own
    low, high = settings["low"], settings["high"]
    _say(model_mib=model_mib(settings))
    set_limit(settings["device"], settings["limit_mib"])
    _say(trying=max(1, low))  # the model alone may be too large
    try:
        network, objective = build(settings)
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
        _say(fits=False)
        return
    parameters = [*network.parameters(), *objective.parameters()]
    optimizer = torch.optim.AdamW(parameters)
    batch = max(1, low)  # one that fits: from its step on, the moments of AdamW are there
    while is_wide(low, high):
        _say(trying=batch)
        fits = _trains(network, objective, optimizer, batch, settings)
        low, high = (batch, high) if fits else (low, batch)
        _say(fits=fits)
        # Upwards in leaps, until a batch has not fitted.
        batch = min(LEAP * batch, (low + high) // 2) if high > LARGEST else (low + high) // 2


def _trains(
    network: nn.Module,
    objective: nn.Module,
    optimizer: torch.optim.Optimizer,
    batch: int,
    settings: Mapping[str, Any],
) -> bool:
    device = settings["device"]
    try:
        images = torch.zeros(batch, *settings["image_shape"], device=device)
        labels = torch.arange(batch, device=device) % settings["num_classes"]
        objective(network(images), labels).backward()
        optimizer.step()
        optimizer.zero_grad()
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
        optimizer.zero_grad()
        if device == "cuda":
            torch.cuda.empty_cache()
        return False
    return True


def _say(**row: Any) -> None:
    print(json.dumps(row), flush=True)


def main() -> None:
    """Search with the settings of the command line, a JSON object."""
    search(json.loads(sys.argv[1]))
