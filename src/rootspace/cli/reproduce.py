"""`rootspace reproduce`: the paper's tables and figures, at a desk or at the paper's scale."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from rootspace._terminal import table
from rootspace.reproduce import EXPERIMENTS, SCALES, Result, Store, describe_plan, plan, reproduce

from ._arguments import Parser

PROG = "rootspace reproduce"


def run(arguments: list[str]) -> int:
    parser = Parser(prog=PROG, description=__doc__)
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
    parser.add_argument("--list", action="store_true", help="show the plan and run nothing")
    options = parser.parse_args(arguments)
    out = options.out or Path("runs", "reproduction", options.scale)
    tasks = plan(EXPERIMENTS, options.only, options.seeds)
    if options.list:
        print(describe_plan(EXPERIMENTS, tasks, Store(out, options.scale, options.data)))
        return 0
    results = reproduce(
        EXPERIMENTS,
        out,
        scale=options.scale,
        only=options.only,
        seeds=options.seeds,
        data=options.data.absolute(),
    )
    wanted = {task.experiment for task in tasks}
    print(text([result for result in results if result.experiment in wanted]))
    print(
        f"\nRows: {out / 'reproduction.json'}. Page: {out / 'reproduction.html'}", file=sys.stderr
    )
    return 0


def text(results: list[Result]) -> str:
    """The results as a table for a terminal."""
    return table(
        ["where", "setting", "figure", "the paper", "ours", "verdict"],
        [
            [cells[3], cells[0], cells[1], cells[2], cells[4], cells[7]]
            for cells in (result.cells() for result in results)
        ],
    )
