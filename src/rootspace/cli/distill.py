"""`rootspace distill`: train a small network towards the embeddings of a larger one.

The teacher is a finished run (--teacher.run), a timm model (--teacher.timm, with --teacher.weights)
or a file of its embeddings (--teacher.embeddings). It embeds the training images once and leaves
memory; the student then trains towards class vectors or images' targets made of that
(--teacher.targets own, codes, means or images), without a warm-up.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

from rootspace.distill import TeacherConfig
from rootspace.distill.distillation import distill
from rootspace.runs.folder import CONFIG
from rootspace.train import StoppedByUser

from ._arguments import Parser
from ._config import option, parse, resumed

PROG = "rootspace distill"

LOSS, NEGATIVES = "in_batch_softmax", 4096
"""Defaults of `loss.name` and `loss.negatives`, measured: docs/distillation.md."""


def _base(arguments: list[str]) -> dict[str, Any]:
    """Defaults of a student: a softmax over as many classes as a step bears."""
    if option(arguments, "loss.name") not in (None, LOSS):
        return {}
    return {"loss": {"name": LOSS, "negatives": NEGATIVES}}


def run(arguments: list[str]) -> int:
    parser = Parser(
        prog=PROG,
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog="All settings of `rootspace train` describe the student: --run.*, --data.*, "
        "--model.*, --classes.system,\n--classes.seed, --loss.* and --train.*.",
    )
    parser.add_argument("--resume", action="store_true", help="continue the run in --run.dir")
    options, rest = parser.parse_known_args(arguments)
    if options.resume:
        folder = option(rest, "run.dir")
        if folder is None:
            raise ValueError("Argument '--run.dir' must name the folder of the run to resume.")
        config = resumed(rest, folder)
    else:
        config = parse(rest, _base(rest), prog=PROG, more={"teacher": TeacherConfig})
        folder = config["run"]["dir"]
    try:
        distill(config, resume=options.resume)
    except (StoppedByUser, KeyboardInterrupt):
        if (Path(folder) / CONFIG).is_file():
            print(f"Stopped. Continue with: {PROG} --resume --run.dir {folder}", file=sys.stderr)
        return 130
    return 0
