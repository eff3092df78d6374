"""`rootspace calibrate`: from which score on an input is known, for `rootspace predict --unknown`.

Known inputs are the run's test images. Without --unknown the rate is that of known inputs reported
as unknown (false rejects); with --unknown it is that of unknown inputs taken for known (false
accepts). The result is rejector.json in the run folder.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch
from torch import Tensor
from torch.nn.functional import normalize

from rootspace.continual import (
    KINDS,
    KnownScore,
    LiveClasses,
    Rejector,
    auroc,
    fit_score,
    fpr_at_tpr,
)
from rootspace.continual.live import REJECTOR
from rootspace.data import make_data
from rootspace.run import Run, load
from rootspace.runs.folder import check_finished, record

from ._arguments import Parser, add_run, image_files
from ._embedding import embed_files, embed_tests

DEFAULT_RATE = 0.05


def run(arguments: list[str]) -> int:
    options = _parser().parse_args(arguments)
    accept = options.false_accept is not None
    if accept and options.unknown is None:
        raise ValueError("Argument '--false_accept' needs '--unknown' with images to measure it.")
    if options.unknown is not None and options.false_reject is not None:
        raise ValueError(
            "Argument '--false_reject' is for calibration on known inputs: leave out '--unknown'."
        )
    files = None if options.unknown is None else image_files(options.unknown)
    check_finished(options.run)
    trained = load(options.run, options.device)
    classes = trained.classes()
    if options.top < 2:
        raise ValueError(f"Argument '--top' must be at least 2, not {options.top}.")
    data = make_data(trained.config)
    data.setup()
    z, labels = embed_tests(trained, data, "Known inputs")
    kept = ~torch.isin(labels, classes.retired)
    z, labels = z[kept], labels[kept].to(z.device)
    prediction = classes.predict(z, min(options.top, classes.num_active))
    own = _own_cosines(trained, z, labels)
    score = fit_score(
        options.score,
        prediction,
        z,
        labels,
        own,
        classes=trained.class_map,
        reject_unassigned=options.reject_unassigned,
    )
    known = _scores(classes, score, z)
    unknown, source = None, f"known: {len(z)} test images of {', '.join(data.test_datasets)}"
    if files is not None:
        shown = ", ".join(map(str, options.unknown or []))
        unknown = _scores(classes, score, embed_files(trained, files, "Unknown inputs"))
        source += f"; unknown: {len(files)} images of {shown}"
    rates = [r for r in (options.false_accept, options.false_reject) if r is not None]
    rejector = Rejector.calibrate(
        score,
        known,
        unknown,
        rate=rates[0] if rates else DEFAULT_RATE,
        known_cosine=float(own.median()),
        source=source,
    )
    rejector.save(options.run / REJECTOR)
    record(options.run, REJECTOR)
    print(f"{options.run / REJECTOR}: {rejector}")
    if unknown is not None:
        print(
            f"AUROC {auroc(known, unknown):.4f}, unknown accepted at 95 % known accepted "
            f"{fpr_at_tpr(known, unknown):.1%}"
        )
    return 0


def _parser() -> Parser:
    parser = Parser(
        prog="rootspace calibrate",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add_run(parser)
    parser.add_argument(
        "--score",
        choices=KINDS,
        default="cosine",
        help="cosine to the nearest class vector; its calibrated probability among the --top "
        "nearest classes; or among all vectors of the system",
    )
    parser.add_argument(
        "--false_reject", type=float, metavar="RATE", help=f"wanted; {DEFAULT_RATE} by default"
    )
    parser.add_argument(
        "--unknown", type=Path, nargs="+", metavar="PATH", help="images of unknown classes"
    )
    parser.add_argument(
        "--false_accept", type=float, metavar="RATE", help=f"wanted; {DEFAULT_RATE} by default"
    )
    parser.add_argument(
        "--top", type=int, default=10, metavar="K", help="classes that share a probability"
    )
    parser.add_argument(
        "--reject_unassigned",
        action="store_true",
        help="unknown too where the nearest vector of the system belongs to no class",
    )
    return parser


def _scores(classes: LiveClasses, score: KnownScore, z: Tensor) -> Tensor:
    prediction = classes.predict(z, min(score.width, classes.num_active))
    return classes.scores(score, prediction, z)


@torch.no_grad()
def _own_cosines(trained: Run, z: Tensor, labels: Tensor) -> Tensor:
    """`[N]` cosines to the vectors of the true classes."""
    vectors = trained.model.head.vectors(labels)
    return (normalize(z.float(), dim=-1) * vectors).sum(dim=-1)
