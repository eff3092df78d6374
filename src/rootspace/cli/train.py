"""`rootspace train`: from a config to a trained run with its report."""

from __future__ import annotations

import sys
from pathlib import Path

from rootspace.train import StoppedByUser, train
from rootspace.train.run_folder import read_config

from ._config import parse

PROG = "rootspace train"


def run(arguments: list[str]) -> int:
    settings = parse(arguments, prog=PROG, resumable=True)
    resume, folder = settings.pop("resume"), settings["run"]["dir"]
    if resume:
        settings = parse(arguments, read_config(Path(folder)), prog=PROG, resumable=True)
        settings.pop("resume")
        settings["run"]["dir"] = folder
    try:
        train(settings, resume=resume)
    except StoppedByUser:
        print(
            f"Stopped. Continue with: rootspace train --resume --run.dir {folder}", file=sys.stderr
        )
        return 130
    return 0
