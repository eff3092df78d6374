"""`rootspace predict`: classes of image files, best first, with their cosines.

Names are those of the run's class registry, where it has one, and retired classes are left out.
A file that cannot be read is named on stderr, the others are answered, and the exit code is 2.
"""

from __future__ import annotations

import argparse
import csv
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from rootspace._terminal import one_line
from rootspace.config import LoaderConfig
from rootspace.continual import Rejector
from rootspace.continual.live import read_rejector
from rootspace.run import Run, load

from ._arguments import add_images, add_run, add_workers, check_top, cosine, image_files
from ._embedding import Unread, file_batches
from ._output import add_format, as_json, csv_text
from ._parser import Parser, path

UNKNOWN = "unknown"


@dataclass(frozen=True)
class Answer:
    """A class of an image, and how near it is."""

    name: str
    cosine: float


@dataclass(frozen=True)
class Row:
    """What is said of an image; whether it is unknown where a rejector was asked."""

    path: str
    answers: list[Answer]
    unknown: bool | None

    def content(self) -> dict[str, object]:
        """For JSON."""
        answers = [{"class": a.name, "cosine": a.cosine} for a in self.answers]
        content: dict[str, object] = {"path": self.path, "answers": answers}
        return content if self.unknown is None else {**content, "unknown": self.unknown}


def run(arguments: list[str]) -> int:
    options = _parser().parse_args(arguments)
    trained = load(options.run, options.device)
    files = image_files(options.paths)
    check_top(options.top, trained.classes().num_active)
    rejector = None
    if options.unknown or options.rejector is not None:
        rejector = read_rejector(options.run, options.rejector)
    unread = Unread()
    _print(_rows(trained, files, options, rejector, unread), options.format)
    unread.check(len(files))
    return 0


def _parser() -> Parser:
    parser = Parser(prog="rootspace predict", description=__doc__)
    add_run(parser)
    add_images(parser)
    add_workers(parser)
    parser.add_argument("--top", type=int, default=1, metavar="K", help="how many classes (1)")
    parser.add_argument(
        "--min_cosine",
        type=cosine,
        help="answer 'unknown' in the first place where the best cosine is smaller",
    )
    parser.add_argument(
        "--unknown",
        action="store_true",
        help="answer 'unknown' in the first place as `rootspace calibrate` has set for the run",
    )
    parser.add_argument(
        "--rejector",
        type=path,
        metavar="FILE",
        help="read the threshold from this file, as `calibrate --out` wrote it, not from the run",
    )
    add_format(parser, "jsonl", "csv")
    return parser


def _rows(
    trained: Run,
    files: list[Path],
    options: argparse.Namespace,
    rejector: Rejector | None,
    unread: Unread,
) -> Iterator[Row]:
    classes = trained.classes()
    loader = LoaderConfig(num_workers=options.workers)
    width, least = options.top, options.min_cosine
    if rejector is not None:
        width = min(max(width, rejector.score.width), classes.num_active)
    for paths, z in file_batches(trained, files, loader, "Predicting", unread):
        prediction = classes.predict(z, width)
        best = prediction.label[:, : options.top]
        names = iter(classes.names(best.flatten().tolist()))
        unknown: list[bool] | list[None] = [None] * len(paths)
        if rejector is not None:
            scores = classes.scores(rejector.score, prediction, z)
            unknown = rejector.is_unknown(scores).tolist()
        cosines = prediction.cosine[:, : options.top].tolist()
        for file, row, stranger in zip(paths, cosines, unknown, strict=True):
            answers = [Answer(next(names), c) for c in row]
            if stranger or (least is not None and row[0] < least):
                answers[0] = Answer(UNKNOWN, answers[0].cosine)
            yield Row(str(file), answers, stranger)


def _print(rows: Iterable[Row], how: str) -> None:
    """Print each row as it comes."""
    if how == "json":
        print("[", end="")
        for number, row in enumerate(rows):
            print(",\n" if number else "\n", as_json(row.content()), sep="", end="")
        print("\n]")
    elif how == "jsonl":
        for row in rows:
            print(as_json(row.content()))
    elif how == "csv":
        writer = csv.writer(sys.stdout, lineterminator="\n")
        writer.writerow(["path", "rank", "class", "cosine"])
        for row in rows:
            for rank, answer in enumerate(row.answers, 1):
                cells = [csv_text(row.path), rank, csv_text(answer.name), f"{answer.cosine:.4f}"]
                writer.writerow(cells)
    else:
        for row in rows:
            answers = "  ".join(f"{one_line(a.name)} {a.cosine:.3f}" for a in row.answers)
            print(f"{one_line(row.path)}  {answers}")
