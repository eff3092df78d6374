"""`rootspace train`: from a config to a trained run with its report."""

from __future__ import annotations

import sys
from pathlib import Path

from rootspace.train import StoppedByUser, train
from rootspace.train.run_folder import read_config

from ._config import parse


def run(arguments: list[str]) -> int:
    resume = "--resume" in arguments
    arguments = [argument for argument in arguments if argument != "--resume"]
    settings = parse(arguments, prog="rootspace train [--resume]")
    if resume:
        folder = Path(settings["run"]["dir"])
        settings = parse(arguments, base=read_config(folder), prog="rootspace train [--resume]")
        settings["run"]["dir"] = str(folder)
    try:
        train(settings, resume=resume)
    except StoppedByUser:
        folder = settings["run"]["dir"]
        print(
            f"Stopped. Continue with: rootspace train --resume --run.dir {folder}", file=sys.stderr
        )
        return 130
    return 0
