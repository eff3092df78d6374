"""`rootspace check`: reads all of some data once, and says what is wrong with them.

`rootspace check FOLDER` checks an image folder, `rootspace check --data NAME ...` any data, with
the settings of `rootspace train`. Exit code 0: no problem; 1: images that cannot be read, or that
are in two classes or two sets; 2: the data cannot be used at all.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, replace
from itertools import islice

from rootspace._terminal import table
from rootspace.config import Config
from rootspace.data import make_data
from rootspace.data.checking import DataCheck, Duplicates, check_content

from ._arguments import add_workers
from ._config import check_whole_data, config_parser, names_data, parse
from ._output import add_format, answer
from ._parser import Parser

PROG = "rootspace check"

_TITLES = {
    "classes": "SAME IMAGE IN SEVERAL CLASSES",
    "sets": "SAME IMAGE IN TRAINING AND TEST, OR IN SEVERAL TESTS",
    "nothing": "same image twice in a class and set",
}


def run(arguments: list[str]) -> int:
    parser = Parser(prog=PROG, usage=f"{PROG} [FOLDER] [OPTIONS]", description=__doc__)
    add_workers(parser)
    parser.add_argument(
        "--few", type=int, default=2, help="name classes with fewer training images; default 2"
    )
    parser.add_argument(
        "--show", type=int, default=20, help="how many of each kind to print; default 20"
    )
    add_format(parser)
    if arguments and not arguments[0].startswith("-"):
        arguments = ["--data", "ImageFolder", "--data.root", *arguments]
    options, rest = parser.parse_known_args(arguments)
    for name in ("few", "show"):
        if getattr(options, name) < 0:
            raise ValueError(f"Argument '--{name}' must not be negative.")
    check_whole_data(rest)
    if not names_data(rest):
        raise ValueError(f"Argument 'FOLDER' or '--data' must name the data; see `{PROG} --help`.")
    config = parse(rest, config_parser(PROG, Config()), PROG)
    data = make_data(replace(config, loader=replace(config.loader, skip_broken=False)))
    data.setup()
    found = check_content(data.content, options.workers, options.few)
    text = "\n".join([data.describe(), *_lines(found, options.few, options.show)])
    answer(options, text, {"clean": found.clean, "data": data.describe(), **asdict(found)})
    return 0 if found.clean else 1


def _lines(found: DataCheck, few: int, most: int) -> Iterable[str]:
    header = ["set", "images", "broken", "shorter side", "median", "longest", "scaled up"]
    rows = [
        [
            name,
            f"{sizes.inputs:,}",
            f"{sizes.broken:,}",
            f"{sizes.smallest} to {sizes.largest}",
            f"{sizes.median}",
            f"{sizes.longest}",
            f"{sizes.scaled_up:,}",
        ]
        for name, sizes in found.sets.items()
    ]
    yield from ("", table(header, rows))
    broken = [f"{one.place.set}: {one.reason}" for one in found.broken]
    yield from _part("CANNOT BE READ", broken, most)
    for across, title in _TITLES.items():
        groups = [_group(each) for each in found.duplicates if each.across == across]
        yield from _part(title, groups, most)
    rare = [f"{name}: {count}" for name, count in found.rare.items()]
    yield from _part(f"classes with fewer than {few} training images", rare, most)
    if found.clean and not found.duplicates and not found.rare:
        yield from ("", "Nothing is wrong.")


def _group(found: Duplicates) -> str:
    return " = ".join(f"{p.set}/{p.name} ({p.label})" for p in found.places)


def _part(title: str, lines: list[str], most: int) -> Iterable[str]:
    if not lines:
        return
    yield from ("", f"{title}: {len(lines):,}")
    yield from (f"  {line}" for line in islice(lines, most))
    if len(lines) > most:
        yield f"  ... and {len(lines) - most:,} more: --show {len(lines)}, or --format json"
