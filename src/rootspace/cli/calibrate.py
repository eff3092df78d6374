"""`rootspace calibrate`: set the score below which `rootspace predict --unknown` says unknown.

Known inputs are the run's test images, or those of --known. Without --unknown the rate is
that of known inputs reported as unknown (false rejects); with --unknown it is that of unknown
inputs taken for known (false accepts). The result is rejector.json in the run folder, or the file
of --out. An image that cannot be read is named on stderr and left out, and the exit code is 2.
"""

from __future__ import annotations

import argparse
from dataclasses import asdict, replace
from pathlib import Path

import torch
from torch import Tensor
from torch.nn.functional import normalize

from rootspace.config import LoaderConfig
from rootspace.continual import (
    KINDS,
    KnownScore,
    LiveClasses,
    Rejector,
    fit_score,
)
from rootspace.continual.live import REJECTOR
from rootspace.data import make_data
from rootspace.metrics import auroc, fpr_at_tpr
from rootspace.run import Run, load
from rootspace.runs.folder import check_finished, record

from ._arguments import add_run, add_workers, check_out, check_top, image_files, rate
from ._embedding import Unread, embed_files, image_shape
from ._output import add_format, answer
from ._parser import Parser, path
from ._test_sets import TestSet, look_at, sets_of_data, sets_of_folders

DEFAULT_RATE = 0.05
DEFAULT_TOP = 10

PLAIN = 0.9
"""Below this AUROC a line says in words that known and unknown inputs overlap."""


def run(arguments: list[str]) -> int:
    options = _parser().parse_args(arguments)
    accept = options.false_accept is not None
    if accept and options.unknown is None:
        raise ValueError("Argument '--false_accept' needs '--unknown' with images to measure it.")
    if options.unknown is not None and options.false_reject is not None:
        raise ValueError(
            "Argument '--false_reject' is for calibration on known inputs: leave out '--unknown'."
        )
    check_finished(options.run)
    out = options.run / REJECTOR if options.out is None else options.out
    check_out(out, (".json",))
    trained = load(options.run, options.device)
    classes, unread = trained.classes(), Unread()
    if options.top is not None:
        check_top(options.top, classes.num_active, 2)
    top = min(DEFAULT_TOP, classes.num_active) if options.top is None else options.top
    files = None if options.unknown is None else image_files(options.unknown)
    if files is not None:
        image_shape(trained)
    loader = replace(trained.config.loader, num_workers=options.workers)
    sets = _known(trained, options.known, loader)
    z, labels = _embed(trained, sets, classes, unread)
    prediction = classes.predict(z, top)
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
    number = sum(len(test.data) for test in sets)
    unknown, source = None, f"known: {len(z)} test images of {', '.join(t.name for t in sets)}"
    if files is not None:
        number += len(files)
        shown = ", ".join(map(str, options.unknown or []))
        read, others = embed_files(trained, files, loader, "Unknown inputs", unread)
        unknown = _scores(classes, score, others)
        source += f"; unknown: {len(read)} images of {shown}"
    rates = [r for r in (options.false_accept, options.false_reject) if r is not None]
    rejector = Rejector.calibrate(
        score,
        known,
        unknown,
        rate=rates[0] if rates else DEFAULT_RATE,
        known_cosine=float(own.median()),
        source=source,
    )
    rejector.save(out)
    if out.resolve() == (options.run / REJECTOR).resolve():
        record(options.run, REJECTOR)
    _answer(options, out, rejector, known, unknown)
    unread.check(number)
    return 0


def _answer(
    options: argparse.Namespace,
    out: Path,
    rejector: Rejector,
    known: Tensor,
    unknown: Tensor | None,
) -> None:
    lines, content = [f"{out}: {rejector}"], {"out": str(out), **asdict(rejector)}
    if unknown is not None:
        area, accepted = auroc(known, unknown), fpr_at_tpr(known, unknown)
        content |= {"auroc": area, "fpr_at_95_tpr": accepted}
        lines.append(f"AUROC {area:.4f}, unknown accepted at 95 % known accepted {accepted:.1%}")
        if area < PLAIN:
            lines.append(
                f"Known and unknown inputs overlap: in {1 - area:.0%} of all pairs the unknown one "
                "has the higher score. No threshold tells them apart well."
            )
    answer(options, "\n".join(lines), content)


def _known(trained: Run, wanted: list[str] | None, loader: LoaderConfig) -> list[TestSet]:
    """The test sets that stand for known inputs: all of the run's, or those named and folders."""
    names = wanted or []
    folders = [path(name) for name in names]
    found = sets_of_folders(trained, [f for f in folders if f.is_dir()], loader)
    rest = [name for name, folder in zip(names, folders, strict=True) if not folder.is_dir()]
    if not wanted or rest:
        data = make_data(replace(trained.config, loader=loader))
        sets = {test.name: test for test in sets_of_data(trained, data, renamed=False)}
        for name in rest:
            if name not in sets:
                raise ValueError(
                    f"Argument '--known' must be a folder of class folders or one of the run's "
                    f"test sets, {', '.join(sets)}, not {name!r}."
                )
        found = [*(sets[name] for name in rest or sets), *found]
    return found


def _embed(
    trained: Run, sets: list[TestSet], classes: LiveClasses, unread: Unread
) -> tuple[Tensor, Tensor]:
    """`[N, dim]` embeddings and `[N]` labels of the known inputs, without retired classes."""
    seen = [s for t in sets for s in look_at(trained, t, f"Known inputs of {t.name}", unread)]
    if not seen:
        unread.check(sum(len(test.data) for test in sets))
    z, labels = torch.cat([s.z for s in seen]), torch.cat([s.labels for s in seen])
    kept = ~torch.isin(labels, classes.retired)
    if not kept.any():
        raise ValueError("The known inputs are all of retired classes: name others with '--known'.")
    return z[kept.to(z.device)], labels[kept].to(z.device)


def _parser() -> Parser:
    parser = Parser(prog="rootspace calibrate", description=__doc__)
    add_run(parser)
    add_workers(parser)
    parser.add_argument(
        "--known",
        nargs="+",
        metavar="SET",
        help="what stands for known inputs: test sets of the run by name, or folders of class "
        "folders; all of its test sets by default",
    )
    parser.add_argument(
        "--out",
        type=path,
        metavar="FILE.json",
        help="for `predict` and `unknowns --rejector FILE.json`; rejector.json of the run by "
        "default, which they use without being told",
    )
    parser.add_argument(
        "--score",
        choices=KINDS,
        default="cosine",
        help="cosine to the nearest class vector; its calibrated probability among the --top "
        "nearest classes; or among all vectors of the system",
    )
    parser.add_argument(
        "--false_reject", type=rate, metavar="RATE", help=f"wanted; {DEFAULT_RATE} by default"
    )
    parser.add_argument(
        "--unknown", type=path, nargs="+", metavar="PATH", help="images of unknown classes"
    )
    parser.add_argument(
        "--false_accept", type=rate, metavar="RATE", help=f"wanted; {DEFAULT_RATE} by default"
    )
    parser.add_argument(
        "--top",
        type=int,
        metavar="K",
        help=f"classes that share a probability; {DEFAULT_TOP} by default",
    )
    parser.add_argument(
        "--reject_unassigned",
        action="store_true",
        help="unknown too where the nearest vector of the system belongs to no class",
    )
    add_format(parser)
    return parser


def _scores(classes: LiveClasses, score: KnownScore, z: Tensor) -> Tensor:
    prediction = classes.predict(z, min(score.width, classes.num_active))
    return classes.scores(score, prediction, z)


@torch.no_grad()
def _own_cosines(trained: Run, z: Tensor, labels: Tensor) -> Tensor:
    """`[N]` cosines to the vectors of the true classes."""
    vectors = trained.model.head.vectors(labels)
    return (normalize(z.float(), dim=-1) * vectors).sum(dim=-1)
