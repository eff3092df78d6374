"""`rootspace train`: from settings to a trained run with its report."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from rootspace.building import check_acting
from rootspace.config import Config
from rootspace.run import read_config
from rootspace.train.callbacks import StoppedByUser
from rootspace.train.training import check_resumed_here, train

from ._config import config_parser, looked_ahead, parse, resumed
from ._parser import path

PROG = "rootspace train"


def run(arguments: list[str]) -> int:
    resume, rest = resumption(arguments)
    base = Config()
    if resume is not None:
        base = read_config(resume)
        check_resumed_here(resume, base)
    parser = config_parser(PROG, base)
    parser.add_argument(
        "--resume",
        action="store_true",
        help="continue the run in --run.dir from its last checkpoint, with its settings",
    )
    if resume is not None:
        config = resumed(rest, parser, PROG, base, longer=True)
    else:
        config = parse(rest, parser, PROG, base)
        check_acting(config)
    try:
        train(config, resume=resume is not None)
    except StoppedByUser:
        print(
            f"Stopped. Continue with: {PROG} --resume --run.dir {config.run.dir}", file=sys.stderr
        )
        return 130
    return 0


def resumption(arguments: list[str]) -> tuple[Path | None, list[str]]:
    """The folder of the run to resume, None for a new run; and the other arguments."""
    first = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    first.add_argument("--resume", action="store_true")
    first.add_argument("--run.dir")
    found, rest = first.parse_known_args(arguments)
    if not found.resume:
        return None, arguments
    return path(looked_ahead(arguments, "run", "dir") or Config().run.dir), rest
