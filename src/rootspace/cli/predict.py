"""`rootspace predict`: classes of image files, best first, with their cosines.

Names are those of the run's class registry, where it has one, and retired classes are left out.
"""

from __future__ import annotations

import csv
import json
import sys
from pathlib import Path

from rootspace.continual.live import read_rejector
from rootspace.run import load

from ._arguments import Parser, add_run, image_files
from ._embedding import file_batches

UNKNOWN = "unknown"


def run(arguments: list[str]) -> int:
    parser = Parser(prog="rootspace predict", description=__doc__)
    add_run(parser)
    parser.add_argument("paths", nargs="+", type=Path, help="image files, or folders of them")
    parser.add_argument("--top", type=int, default=1, metavar="K", help="how many classes")
    parser.add_argument(
        "--min_cosine", type=float, help="answer 'unknown' where the best cosine is smaller"
    )
    parser.add_argument(
        "--unknown",
        action="store_true",
        help="answer 'unknown' in the first place as `rootspace calibrate` has set for the run",
    )
    parser.add_argument("--format", choices=("text", "csv", "json"), default="text")
    options = parser.parse_args(arguments)
    trained = load(options.run, options.device)
    classes = trained.classes()
    if not 1 <= options.top <= classes.num_active:
        raise ValueError(
            f"Argument '--top' must lie in [1, {classes.num_active}], not {options.top}."
        )
    rejector = read_rejector(options.run) if options.unknown else None
    width = options.top
    if rejector is not None:
        width = min(max(width, rejector.score.width), classes.num_active)
    rows = []
    for paths, z in file_batches(trained, image_files(options.paths), "Predicting"):
        prediction = classes.predict(z, width)
        best = prediction.label[:, : options.top]
        names = iter(classes.names(best.flatten().tolist()))
        for path, cosines in zip(paths, prediction.cosine[:, : options.top].tolist(), strict=True):
            answers = [
                {"class": _name(next(names), cosine, options.min_cosine), "cosine": cosine}
                for cosine in cosines
            ]
            rows.append({"path": str(path), "answers": answers})
        if rejector is not None:
            scores = classes.scores(rejector.score, prediction, z)
            for row, unknown in zip(
                rows[-len(paths) :], rejector.is_unknown(scores).tolist(), strict=True
            ):
                row["unknown"] = unknown
                if unknown:
                    row["answers"][0]["class"] = UNKNOWN
    _print(rows, options.format)
    return 0


def _name(name: str, cosine: float, least: float | None) -> str:
    return UNKNOWN if least is not None and cosine < least else name


def _print(rows: list[dict], how: str) -> None:
    if how == "json":
        print(json.dumps(rows, ensure_ascii=False, indent=2))
    elif how == "csv":
        writer = csv.writer(sys.stdout)
        writer.writerow(["path", "rank", "class", "cosine"])
        for row in rows:
            for rank, answer in enumerate(row["answers"], 1):
                writer.writerow([row["path"], rank, answer["class"], f"{answer['cosine']:.4f}"])
    else:
        for row in rows:
            answers = "  ".join(f"{a['class']} {a['cosine']:.3f}" for a in row["answers"])
            print(f"{row['path']}  {answers}")
