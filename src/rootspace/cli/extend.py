"""`rootspace extend`: add the classes of new data to a trained run, in a new run folder.

The run itself is only read: it answers as before while the extension trains. Settings are those of
the run unless they are given; `--data.*` describe the new data. Classes that the run has already,
by name or alias, get more images.
"""

from __future__ import annotations

import argparse
import shlex
import sys
from pathlib import Path

from rootspace.continual import MemoryConfig
from rootspace.continual.extend import base_config, extend
from rootspace.train import StoppedByUser

from ._arguments import Parser
from ._config import option, parse, resumed

PROG = "rootspace extend"


def run(arguments: list[str]) -> int:
    parser = Parser(
        prog=PROG,
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog="Settings of `rootspace train`: --config, --run.dir, --data.*, --loss.*, --warmup.* "
        "and --train.*; beside them\n--memory.size, most images of old classes to keep for "
        "training (2000),\n--memory.policy, which: balanced, herding or reservoir, and "
        "--memory.share, their least\nshare of an epoch, for which they are repeated (0.5).",
    )
    parser.add_argument("run", type=Path, help="run folder that `rootspace train` wrote")
    parser.add_argument("--resume", action="store_true", help="continue the extension in --run.dir")
    options, rest = parser.parse_known_args(arguments)
    folder = option(rest, "run.dir")
    if folder is None:
        raise ValueError("Argument '--run.dir' must name the folder of the extended run.")
    if options.resume:
        config = resumed(rest, folder)
    else:
        more = {"memory": MemoryConfig}
        config = parse(rest, base_config(options.run), prog=f"{PROG} RUN", more=more)
    try:
        command = shlex.join([*PROG.split(), *arguments])
        extend(options.run, config, resume=options.resume, command=command)
    except StoppedByUser:
        print(
            f"Stopped. Continue with: {PROG} {options.run} --resume --run.dir {folder}",
            file=sys.stderr,
        )
        return 130
    return 0
