"""`rootspace evaluate`: how good a trained run is, by the protocol that a field expects.

  rootspace evaluate RUN                      accuracy on the test sets of its data
  rootspace evaluate RUN FOLDER [FOLDER ...]  folders of class folders; each is a test set
  rootspace evaluate RUN --data ImageFolder --data.root photos
  rootspace evaluate RUN --protocol retrieval            Recall@k, R-precision, MAP@R, mAP, mINP
  rootspace evaluate RUN --protocol verification         TAR at FAR and EER of pairs
  rootspace evaluate RUN --protocol open_set --unknown PATH   AUROC, FPR95, OSCR, DIR at FAR

--data names the class of other data, --data.NAME its settings: `--data.help ImageFolder` lists
them. --loader.num_workers and --loader.batch_size say how inputs of any kind are read. For accuracy
and open_set classes are matched by name, and for other data by the names and aliases of the run's
registry too; retired classes count. For retrieval and verification classes need not be known to the
run: sets are those that the data have for it (as CUB200 has), else test sets or folders.
An input that cannot be read is named on stderr and left out, and the exit code is 2.
"""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field

from rootspace.config import Config
from rootspace.data import make_data
from rootspace.run import Run, load

from ._arguments import add_run, check_out, check_top, rate
from ._embedding import Unread
from ._output import WriteRow, add_format, csv_text, new_csv
from ._parser import Parser, path
from ._protocols import PER_QUERY, Figure, open_set, print_figures, retrieval, verification
from ._test_sets import (
    TestSet,
    data_config,
    look_at,
    sets_of_data,
    sets_of_folders,
    split_settings,
)

TOP = (1, 5)

PER_CLASS = ("set", "class", "images", "accuracy", "most_confused_with", "times")
PREDICTIONS = ("set", "path", "true", "predicted", "cosine", "correct")

READING = ("--loader.batch_size", "--loader.num_workers")
"""Settings that hold for folders too."""

PROTOCOLS = {
    "closed_set": ("top", "ignore_unknown", "per_class", "predictions"),
    "retrieval": ("top", "gallery", "per_query"),
    "verification": ("far", "gallery", "pairs"),
    "open_set": ("far", "ignore_unknown", "unknown"),
}
"""And the options that belong to each."""


@dataclass
class Tally:
    """What is counted of a test set.

    Attributes:
        hits: K -> inputs whose class is among the K nearest.
        pairs: (true, nearest) labels -> inputs.
    """

    hits: Counter[int] = field(default_factory=Counter)
    pairs: Counter[tuple[int, int]] = field(default_factory=Counter)

    @property
    def images(self) -> int:
        return self.pairs.total()


def run(arguments: list[str]) -> int:
    own, settings = split_settings(arguments)
    options = _parser().parse_intermixed_args(own)
    _check(options, settings)
    trained = load(options.run, options.device)
    config = data_config(trained, settings, "rootspace evaluate RUN")
    if options.protocol == "retrieval":
        retrieval(trained, options, config)
    elif options.protocol == "verification":
        verification(trained, options, config)
    elif options.protocol == "open_set":
        open_set(trained, options, _sets(trained, options, config), config)
    else:
        _closed_set(trained, options, config)
    return 0


def _check(options: argparse.Namespace, settings: list[str]) -> None:
    """Raise a ValueError for options that do not fit together or cannot be."""
    for name in dict.fromkeys(name for names in PROTOCOLS.values() for name in names):
        if getattr(options, name) and name not in PROTOCOLS[options.protocol]:
            fitting = [p for p, names in PROTOCOLS.items() if name in names]
            raise ValueError(
                f"Argument '--{name}' is for --protocol {' or '.join(fitting)}, not "
                f"{options.protocol}."
            )
    for name in ("per_class", "predictions", "per_query"):
        if getattr(options, name) is not None:
            check_out(getattr(options, name), (".csv",), f"--{name}")
    for setting in settings if options.folders else ():
        if setting.startswith("--") and setting.partition("=")[0] not in READING:
            raise ValueError(f"Argument '{setting}' is for data by their class: leave out FOLDER.")
    if options.ignore_unknown and not options.folders:
        raise ValueError("Argument '--ignore_unknown' is for class folders: give FOLDER.")


def _closed_set(trained: Run, options: argparse.Namespace, config: Config) -> None:
    """Accuracy on test sets of the run's classes."""
    number = trained.model.head.num_classes
    for k in options.top or ():
        check_top(k, number)
    top = sorted({*(options.top or (k for k in TOP if k <= number))})  # each once
    sets = _sets(trained, options, config)
    unread, tallies = Unread(), {}
    with new_csv(options.predictions, PREDICTIONS) as write:
        for test in sets:
            tallies[test.name] = _tally(trained, test, top, unread, write)
    with new_csv(options.per_class, PER_CLASS) as write:
        if write is not None:
            for name, tally in tallies.items():
                for row in _per_class(trained, tally):
                    write([csv_text(name), *row])
    figures = {name: _figures(tally, top) for name, tally in tallies.items()}
    print_figures(options, figures, kind="test set")
    unread.check(sum(len(test.data) for test in sets))


def _parser() -> Parser:
    parser = Parser(prog="rootspace evaluate", description=__doc__)
    add_run(parser)
    parser.add_argument("folders", nargs="*", type=path, metavar="FOLDER", help="test sets")
    parser.add_argument(
        "--protocol",
        choices=PROTOCOLS,
        default="closed_set",
        help="what is measured; closed_set, the accuracy, by default",
    )
    parser.add_argument(
        "--ignore_unknown",
        action="store_true",
        help="leave out class folders that the run does not know",
    )
    parser.add_argument(
        "--top",
        type=int,
        nargs="+",
        metavar="K",
        help="right is what has its class among the K nearest; by default 1 and 5, for retrieval "
        "what papers report of the data, or 1, 5 and 10",
    )
    parser.add_argument(
        "--per_class", type=path, metavar="FILE.csv", help=f"a row a class: {', '.join(PER_CLASS)}"
    )
    parser.add_argument(
        "--predictions",
        type=path,
        metavar="FILE.csv",
        help=f"a row an input: {', '.join(PREDICTIONS)}",
    )
    parser.add_argument(
        "--gallery",
        metavar="SET",
        help="what is searched: a folder of class folders, a test set of the data by name, or "
        "train; by default each set itself, without the query",
    )
    parser.add_argument(
        "--per_query",
        type=path,
        metavar="FILE.csv",
        help=f"a row a query of retrieval: {', '.join(PER_QUERY)}",
    )
    parser.add_argument(
        "--far",
        type=rate,
        nargs="+",
        metavar="RATE",
        help="false accept rates; by default powers of ten that the inputs can measure",
    )
    parser.add_argument(
        "--pairs",
        type=path,
        metavar="FILE.csv",
        help="pairs of images to verify: left, right (paths, relative to the file), same (1 or 0); "
        "by default all pairs of each set",
    )
    parser.add_argument(
        "--unknown",
        type=path,
        nargs="+",
        metavar="PATH",
        help="images of unknown classes; by default the retrieval sets of the data",
    )
    add_format(parser, "csv")
    return parser


def _sets(trained: Run, options: argparse.Namespace, config: Config) -> list[TestSet]:
    if options.folders:
        return sets_of_folders(
            trained, options.folders, config.loader, ignore_unknown=options.ignore_unknown
        )
    data = make_data(config)
    data.setup(tests_only=True)
    if data.retrieval_sets and not data.test_datasets:
        raise ValueError(
            "The data have no test set of classes that are trained on, but one of others: evaluate "
            "it with '--protocol retrieval', or set inputs aside in training with "
            "'loader.validation'."
        )
    return sets_of_data(trained, data, renamed=config.data != trained.config.data)


def _tally(
    trained: Run, test: TestSet, top: list[int], unread: Unread, write: WriteRow | None
) -> Tally:
    tally, classes = Tally(), trained.classes()
    for rows, labels, z in look_at(trained, test, f"Testing on {test.name}", unread):
        # By the classes as they were trained: a retired one has its inputs in a test set still.
        prediction = trained.model.head.search(z, max(1, *top))
        found, true = prediction.label.cpu(), labels.tolist()
        right = found == labels[:, None]
        for k in top:
            tally.hits[k] += int(right[:, :k].any(dim=1).sum())
        best = found[:, 0].tolist()
        tally.pairs.update(zip(true, best, strict=True))
        if write is not None:
            names = classes.names([*true, *best])
            cosines = prediction.cosine[:, 0].tolist()
            for i, row in enumerate(rows.tolist()):
                shown = [csv_text(text) for text in (test.name, test.path(row), names[i])]
                nearest = csv_text(names[len(true) + i])
                write([*shown, nearest, f"{cosines[i]:.4f}", int(true[i] == best[i])])
    return tally


def _per_class(trained: Run, tally: Tally) -> Iterator[list[object]]:
    images: Counter[int] = Counter()
    confused: dict[int, tuple[int, int]] = {}
    for (true, best), number in tally.pairs.items():
        images[true] += number
        # Most often, of equals the class that comes first.
        if true != best and (number, -best) > confused.get(true, (0, 0)):
            confused[true] = number, -best
    labels = sorted(images)
    others = [-confused[label][1] for label in labels if label in confused]
    names = trained.classes().names([*labels, *others])
    other = iter(names[len(labels) :])
    for label, name in zip(labels, names, strict=False):
        accuracy = tally.pairs[label, label] / images[label]
        most = [csv_text(next(other)), confused[label][0]] if label in confused else ["", 0]
        yield [csv_text(name), images[label], f"{accuracy:.4f}", *most]


def _figures(tally: Tally, top: list[int]) -> list[Figure]:
    images = tally.images
    # As metrics.json of the run has it.
    names = {k: "accuracy" if k == 1 else f"top_{k}" for k in top}
    shares = {k: tally.hits[k] / images if images else 0.0 for k in top}
    return [
        *(Figure(names[k], f"top-{k}", share) for k, share in shares.items()),
        Figure("images", "images", images),
    ]
