"""The tables and figures of arXiv 2510.04090, at a desk or at the paper's scale."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from .experiment import SCALES
from .experiments import EXPERIMENTS
from .results import JSON, PAGE
from .runner import QUICK_MINUTES, Store, describe_plan, describe_results, plan, reproduce

PROG = "python -m papers.lsc2510"
DEBUG = "ROOTSPACE_DEBUG"
"""Environment variable: set it to see where an error comes from, as for `rootspace`."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the experiments that the options name.

    Args:
        arguments: without the program's name; those of the process by default.

    Returns:
        The exit code: 0; 2 where the user can mend it, with one line on stderr; 130 on Ctrl-C.
    """
    options = _parser().parse_args(arguments)
    try:
        _run(options)
    except KeyboardInterrupt:
        return 130
    except (ValueError, OSError, ImportError) as error:
        if os.environ.get(DEBUG):
            raise
        print(f"{PROG}: error: {' '.join(str(error).split())}", file=sys.stderr)
        return 2
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog=PROG, description=__doc__)
    parser.add_argument(
        "--only", nargs="+", metavar="NAME", help=f"some of {', '.join(EXPERIMENTS)}"
    )
    parser.add_argument(
        "--scale",
        choices=SCALES,
        default=SCALES[0],
        help="desk: two cores, no downloads; paper: the paper's data and a GPU",
    )
    parser.add_argument("--seeds", type=int, help="of each part, instead of its own number")
    parser.add_argument(
        "--out", type=Path, help="folder of the results; runs/reproduction/SCALE by default"
    )
    parser.add_argument(
        "--data",
        type=Path,
        default=Path(os.environ.get("ROOTSPACE_DATA", "data")),
        help="folder that holds imagenet, cinic10 and CIFAR-10, for --scale paper; "
        "$ROOTSPACE_DATA or data by default",
    )
    parser.add_argument(
        "--quick",
        action="store_true",
        help=f"only parts of at most {QUICK_MINUTES:g} minutes at a desk, with one seed",
    )
    parser.add_argument("--list", action="store_true", help="show the plan and run nothing")
    return parser


def _run(options: argparse.Namespace) -> None:
    out = options.out or Path("runs", "reproduction", options.scale)
    if options.quick and (options.scale != "desk" or options.seeds is not None):
        raise ValueError("Argument '--quick' goes with neither '--scale paper' nor '--seeds'.")
    tasks = plan(EXPERIMENTS, options.only, options.seeds, quick=options.quick)
    if options.list:
        print(describe_plan(EXPERIMENTS, tasks, Store(out, options.scale, options.data)))
        return
    results = reproduce(
        EXPERIMENTS,
        out,
        scale=options.scale,
        only=options.only,
        seeds=options.seeds,
        quick=options.quick,
        data=options.data.absolute(),
    )
    wanted = {task.experiment for task in tasks}
    print(describe_results([result for result in results if result.experiment in wanted]))
    print(f"\nRows: {out / JSON}. Page: {out / PAGE}", file=sys.stderr)


if __name__ == "__main__":
    sys.exit(main())
