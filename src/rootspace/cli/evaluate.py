"""`rootspace evaluate`: accuracy of a trained run on its test sets, or on others.

  rootspace evaluate RUN                      the test sets of the data that it was trained on
  rootspace evaluate RUN FOLDER [FOLDER ...]  folders of class folders; each is a test set
  rootspace evaluate RUN --data ImageFolder --data.root photos

--data names the class of other data, --data.NAME its settings: `--data.help ImageFolder` lists
them. --loader.num_workers and --loader.batch_size say how they are read. Classes are matched by
name, and for other data by the names and aliases of the run's registry too; retired classes count.
An input that cannot be read is named on stderr and left out, and the exit code is 2.
"""

from __future__ import annotations

import argparse
import csv
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from rootspace._files import replacing
from rootspace._terminal import table
from rootspace.data import data_with_images, make_data
from rootspace.run import Run, load

from ._arguments import Parser, add_run, check_out, check_top, path
from ._embedding import Unread
from ._output import add_format, answer, csv_text
from ._test_sets import TestSet, look_at, sets_of_data, sets_of_folders

TOP = (1, 5)

PER_CLASS = ("set", "class", "images", "accuracy", "most_confused_with", "times")
PREDICTIONS = ("set", "path", "true", "predicted", "cosine", "correct")

WriteRow = Callable[[Sequence[object]], Any]


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
    own, settings = _settings(arguments)
    options = _parser().parse_intermixed_args(own)
    for name in ("per_class", "predictions"):
        if getattr(options, name) is not None:
            check_out(getattr(options, name), (".csv",), f"--{name}")
    if options.folders and settings:
        raise ValueError(f"Argument '{settings[0]}' is for data by their class: leave out FOLDER.")
    if options.ignore_unknown and not options.folders:
        raise ValueError("Argument '--ignore_unknown' is for class folders: give FOLDER.")
    trained = load(options.run, options.device)
    number = trained.model.head.num_classes
    for k in options.top or ():
        check_top(k, number)
    top = sorted({*(options.top or (k for k in TOP if k <= number))})  # each once
    sets = _sets(trained, options, settings)
    unread, tallies = Unread(), {}
    with ExitStack() as stack:
        write = None
        if options.predictions is not None:
            write = stack.enter_context(_csv(options.predictions, PREDICTIONS))
        for test in sets:
            tallies[test.name] = _tally(trained, test, top, unread, write)
    if options.per_class is not None:
        with _csv(options.per_class, PER_CLASS) as write:
            for name, tally in tallies.items():
                for row in _per_class(trained, tally):
                    write([csv_text(name), *row])
    _answer(options, tallies, top)
    unread.check(sum(len(test.data) for test in sets))
    return 0


def _parser() -> Parser:
    parser = Parser(prog="rootspace evaluate", description=__doc__)
    add_run(parser)
    parser.add_argument("folders", nargs="*", type=path, metavar="FOLDER", help="test sets")
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
        help="right is what has its class among the K nearest; 1 and 5 by default",
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
    add_format(parser)
    return parser


def _settings(arguments: list[str]) -> tuple[list[str], list[str]]:
    """The arguments of this command, and those of the data, each with its value."""
    own: list[str] = []
    settings: list[str] = []
    rest = iter(arguments)
    for argument in rest:
        name = argument.partition("=")[0]
        if name in ("--data", "--config") or name.startswith(("--data.", "--loader.")):
            settings.append(argument)
            if name == argument:
                settings += [value for value in [next(rest, None)] if value is not None]
        else:
            own.append(argument)
    return own, settings


def _sets(trained: Run, options: argparse.Namespace, settings: list[str]) -> list[TestSet]:
    if options.folders:
        return sets_of_folders(trained, options.folders, ignore_unknown=options.ignore_unknown)
    config = trained.config
    if settings:
        # Its parser takes longer to import than torch.
        from ._config import check_whole_data, config_parser, parse  # noqa: PLC0415

        check_whole_data(settings)
        prog = "rootspace evaluate RUN"
        config = parse(settings, config_parser(prog, config, skip=("data",)), prog, config)
        shape = trained.model.preprocessing
        if shape is not None:
            images = data_with_images(config.data, shape.size, shape.interpolation)
            config = replace(config, data=images)
    other = config.data != trained.config.data
    return sets_of_data(trained, make_data(config), renamed=other)


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


@contextmanager
def _csv(out: Path, header: Sequence[str]) -> Iterator[WriteRow]:
    """A CSV file that appears whole: what writes a row."""
    with (
        replacing(out) as temporary,
        temporary.open("w", encoding="utf-8", errors="backslashreplace", newline="") as file,
    ):
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(header)
        yield writer.writerow


def _answer(options: argparse.Namespace, tallies: dict[str, Tally], top: list[int]) -> None:
    rows, content = [], {}
    for name, tally in tallies.items():
        images = tally.images
        shares = {k: tally.hits[k] / images if images else 0.0 for k in top}
        rows.append([name, *(f"{share:.2%}" for share in shares.values()), f"{images:,}"])
        # As metrics.json of the run has it.
        names = {k: "accuracy" if k == 1 else f"top_{k}" for k in top}
        content[name] = {**{names[k]: share for k, share in shares.items()}, "images": images}
    answer(options, table(["test set", *(f"top-{k}" for k in top), "images"], rows), content)
