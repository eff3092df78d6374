"""`rootspace distill`: train a small network towards the embeddings of a larger one.

The teacher is a finished run (--teacher.run), a timm model (--teacher.timm, with --teacher.weights)
or a file of its embeddings (--teacher.embeddings). It embeds the training data once and leaves
memory; the student then trains towards prototypes or images' targets made of that
(--teacher.targets own, codes, means or images), without a contrastive stage.
"""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

from rootspace.config import Config
from rootspace.data.grown import for_another_run
from rootspace.distill.distillation import LOSS, distill
from rootspace.run import read_config
from rootspace.runs.folder import CONFIG
from rootspace.train.callbacks import StoppedByUser

from ._config import check_whole_data, config_parser, looked_ahead, parse, resumed
from ._parser import Parser, path
from .train import resumption

PROG = "rootspace distill"


def run(arguments: list[str]) -> int:
    first = Parser(
        prog=PROG,
        description=__doc__,
        epilog="All settings of `rootspace train` describe the student; its data are those of "
        "--teacher.run by default.",
    )
    first.parse_known_args(arguments)  # for --help
    folder, rest = resumption(arguments)
    if folder is not None:
        found = read_config(folder)
        more = ("teacher",) if found.teacher is not None else ()  # else `distill` refuses it
        config = resumed(rest, config_parser(PROG, found, more=more), PROG, found)
    else:
        check_whole_data(rest)
        base, problem = Config(loss=LOSS), None
        try:
            named = looked_ahead(rest, "teacher", "run")
            if named is not None:
                teacher = path(named)
                data = for_another_run(read_config(teacher).data, teacher)
                base = replace(base, data=data)
        except ValueError as error:
            problem = error  # of less importance than what the parser may find
        parser = config_parser(PROG, base, more=("teacher",), skip=("data",))
        config = parse(rest, parser, PROG, base)
        if problem is not None:
            raise ValueError(f"Argument 'teacher.run': {problem}") from problem
    try:
        distill(config, resume=folder is not None)
    except (StoppedByUser, KeyboardInterrupt):
        if (Path(config.run.dir) / CONFIG).is_file():
            print(
                f"Stopped. Continue with: {PROG} --resume --run.dir {config.run.dir}",
                file=sys.stderr,
            )
        return 130
    return 0
