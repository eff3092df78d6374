"""`rootspace train`: from a config to a trained run with its report."""

from __future__ import annotations

import sys
from pathlib import Path

from rootspace.train import RunConfig, StoppedByUser, train
from rootspace.train.run_folder import read_config

from ._config import option, parse, refuse_others

PROG = "rootspace train"

WHEN_RESUMED = (
    *("run.dir", "train.accelerator", "train.devices", "train.checkpoint_minutes"),
    "data.num_workers",
)
"""Settings that may differ in the rest of a run: where it is computed, not what."""


def run(arguments: list[str]) -> int:
    base = None
    if "--resume" in arguments:
        refuse_others(arguments, WHEN_RESUMED)
        folder = option(arguments, "run.dir") or RunConfig.dir
        base = read_config(Path(folder))
        base["run"]["dir"] = folder  # wherever it has been moved to
    settings = parse(arguments, base, prog=PROG, resumable=True)
    resume, folder = settings.pop("resume"), settings["run"]["dir"]
    try:
        train(settings, resume=resume)
    except StoppedByUser:
        print(
            f"Stopped. Continue with: rootspace train --resume --run.dir {folder}", file=sys.stderr
        )
        return 130
    return 0
