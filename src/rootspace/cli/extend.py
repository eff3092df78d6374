"""`rootspace extend`: add the classes of new data to a trained run, in a new run folder.

Classes are told apart by their names; those that the run has already get more images. The old
run is only read. Its network is trained on, and old classes keep their prototypes to the bit.
"""

from __future__ import annotations

import shlex
import sys
from dataclasses import replace

from rootspace.extend import base_config, extend
from rootspace.extend.extension import new_data, with_new_data
from rootspace.run import load, read_config
from rootspace.train.callbacks import StoppedByUser

from ._config import check_whole_data, config_parser, names_data, parse, resumed
from ._parser import Parser, path
from .train import resumption

PROG = "rootspace extend"


def run(arguments: list[str]) -> int:
    first = Parser(
        prog=PROG,
        description=__doc__,
        epilog="Settings of `rootspace train`: --config, --run.dir, --data, --loader.*, "
        "--transform, --optimizer and --train.*;\nbeside them --memory.size, most images of old "
        "classes to keep for training (2000),\n--memory.policy, which: balanced, herding or "
        "reservoir, --memory.share, their least\nshare of an epoch, for which they are repeated "
        "(0.5), and --memory.distillation, how firmly\ntheir embeddings are held where they were "
        "(4).",
    )
    first.add_argument("run", type=path, help="run folder that `rootspace train` wrote")
    options, rest = first.parse_known_args(arguments)
    folder, rest = resumption(rest)
    command = shlex.join([*PROG.split(), *arguments])
    if folder is not None:
        found = read_config(folder)
        shown = replace(found, data=new_data(found))  # of which --data.root is
        parser = config_parser(f"{PROG} RUN", shown, more=("memory",))
        config = with_new_data(found, resumed(rest, parser, PROG, shown))
    else:
        check_whole_data(rest)
        base = base_config(load(options.run))
        parser = config_parser(f"{PROG} RUN", base, more=("memory",), skip=("data",))
        config = parse(rest, parser, PROG, base)
        if config.data == base.data and not names_data(rest):
            raise ValueError(
                "Argument '--data' must name the data with the new classes, such as "
                "--data ImageFolder --data.root new."
            )
    try:
        extend(options.run, config, resume=folder is not None, command=command)
    except StoppedByUser:
        print(
            f"Stopped. Continue with: {PROG} {options.run} --resume --run.dir {config.run.dir}",
            file=sys.stderr,
        )
        return 130
    return 0
