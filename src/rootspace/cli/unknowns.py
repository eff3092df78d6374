"""`rootspace unknowns`: image files that no class explains, in groups that may be new classes.

What is unknown is as `rootspace calibrate` has set for the run. The proposal is a JSON file: for
each group its members, a representative, and the vector that a new class would own. A file that
cannot be read is named on stderr and left out, and the exit code is 2.
"""

from __future__ import annotations

from pathlib import Path

from rootspace._files import write_json
from rootspace.config import LoaderConfig
from rootspace.continual import Proposal, group_by_cosine, group_by_vector, propose
from rootspace.continual.live import read_rejector
from rootspace.run import load

from ._arguments import add_images, add_run, add_workers, check_out, cosine, image_files
from ._embedding import Unread, embed_files
from ._output import add_format, answer
from ._parser import Parser, path

FORMAT = 1
"""Version of the proposal."""


def run(arguments: list[str]) -> int:
    options = _parser().parse_args(arguments)
    check_out(options.out, (".json",))
    if options.min_cosine is not None and options.by != "cosine":
        raise ValueError("Argument '--min_cosine' is for '--by cosine'.")
    if options.min_size < 1:
        raise ValueError(f"Argument '--min_size' must be at least 1, not {options.min_size}.")
    trained = load(options.run, options.device)
    classes, owned = trained.classes(), trained.class_map
    if options.by == "vector" and owned is None:
        raise ValueError(f"Argument '--by vector' needs class vectors; {options.run} learned them.")
    rejector = read_rejector(options.run, options.rejector)
    paths, unread = image_files(options.paths), Unread()
    loader = LoaderConfig(num_workers=options.workers)
    files, z = embed_files(trained, paths, loader, "Embedding", unread)
    prediction = classes.predict(z, min(rejector.score.width, classes.num_active))
    unknown = rejector.is_unknown(classes.scores(rejector.score, prediction, z))
    rows = unknown.nonzero()[:, 0]
    # Two members of a class deviate from its vector each in a way of its own, so the cosine between
    # them is about the product of their cosines to it.
    least = max(rejector.known_cosine, 0) ** 2
    least = least if options.min_cosine is None else options.min_cosine
    if options.by == "vector" and owned is not None:
        groups = group_by_vector(owned.system, z[rows])
    else:
        groups = group_by_cosine(z[rows], least)
    proposals = propose(z[rows], groups, classes.predict, owned, options.min_size)
    shown = [files[row] for row in rows.tolist()]
    nearest = classes.names([proposal.nearest_label for proposal in proposals])
    cosines = prediction.cosine[rows, 0].tolist()
    write_json(
        options.out,
        {
            "format": FORMAT,
            "run": str(options.run),
            "rejector": str(rejector),
            "grouped_by": options.by,
            "min_cosine": least if options.by == "cosine" else None,
            "images": len(files),
            "unknown": len(rows),
            "groups": [
                _content(f"new {number}", proposal, name, shown, cosines)
                for number, (proposal, name) in enumerate(zip(proposals, nearest, strict=True))
            ],
        },
    )
    grouped = sum(len(proposal.members) for proposal in proposals)
    answer(
        options,
        f"{len(rows):,} of {len(files):,} images are unknown; {grouped:,} of them in "
        f"{len(proposals):,} groups of {options.min_size} or more: {options.out}",
        {
            "out": str(options.out),
            "images": len(files),
            "unknown": len(rows),
            "grouped": grouped,
            "groups": len(proposals),
        },
    )
    unread.check(len(paths))
    return 0


def _parser() -> Parser:
    parser = Parser(prog="rootspace unknowns", description=__doc__)
    add_run(parser)
    add_images(parser)
    add_workers(parser)
    parser.add_argument("--out", type=path, required=True, help="the .json file of the proposal")
    parser.add_argument(
        "--rejector",
        type=path,
        metavar="FILE",
        help="that `calibrate --out FILE` wrote; by default that of the run",
    )
    parser.add_argument(
        "--by",
        choices=("cosine", "vector"),
        default="cosine",
        help="groups by the cosines between their members, or by the nearest vector of the system",
    )
    parser.add_argument(
        "--min_cosine",
        type=cosine,
        help="groups merge from this mean cosine on; by default the square of the median cosine "
        "of known inputs to the vectors of their classes",
    )
    parser.add_argument("--min_size", type=int, default=2, help="smaller groups are left out")
    add_format(parser)
    return parser


def _content(
    name: str, proposal: Proposal, nearest: str, files: list[Path], cosines: list[float]
) -> dict[str, object]:
    vector = proposal.vector
    return {
        "name": name,
        "size": len(proposal.members),
        "representative": str(files[proposal.representative]),
        "cohesion": proposal.cohesion,
        "vector": vector.hex() if isinstance(vector, bytes) else vector,
        "vector_cosine": proposal.vector_cosine,
        "nearest_class": nearest,
        "nearest_cosine": proposal.nearest_cosine,
        "members": [
            {"path": str(files[member]), "cosine": cosines[member]} for member in proposal.members
        ],
    }
