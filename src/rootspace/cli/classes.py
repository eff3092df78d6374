"""`rootspace classes`: names, aliases, retired classes and image counts of a run.

They are kept in registry.sqlite in the run folder, which the first call makes. CLASS is a name, an
alias, or with --by_label a number. Retired classes are not predicted; they keep their vectors.
`import` takes names in bulk from a CSV file, as `export` writes it or with columns old and new.
"""

from __future__ import annotations

import argparse
import csv
import io
import json
import shlex
from collections.abc import Callable, Iterator
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch

from rootspace._files import write_text
from rootspace._terminal import bar, one_line, say, table, visible
from rootspace.config import Config
from rootspace.continual import ClassEntry, ClassRegistry
from rootspace.continual.live import create_registry, open_registry
from rootspace.data import make_data
from rootspace.model_file import read_head
from rootspace.run import read_config
from rootspace.runs.folder import MODEL, check_finished, checked

from ._arguments import add_run, check_out
from ._names import read_names
from ._output import add_format, answer, as_json, csv_text
from ._parser import Parser, path


def run(arguments: list[str]) -> int:
    options = _parser().parse_args(arguments)
    command = shlex.join(["rootspace", "classes", *arguments])
    with _open(options.run, command) as registry:
        ACTIONS[options.action](registry, options, command)
    return 0


def _parser() -> Parser:
    parser = Parser(prog="rootspace classes", description=__doc__)
    add_run(parser, network=False)
    actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION")

    listing = actions.add_parser("list", help="a page of the classes")
    listing.add_argument("--start", type=int, default=0, metavar="LABEL", help="the first one")
    listing.add_argument("--limit", type=int, default=50, help="how many")
    listing.add_argument("--retired", action="store_true", help="only retired ones")
    add_format(listing)

    def changing(name: str, text: str, *, classes: str | None = "which") -> argparse.ArgumentParser:
        action = actions.add_parser(name, help=text)
        if classes is not None:
            nargs = "+" if classes == "classes" else None
            action.add_argument(classes, metavar="CLASS", nargs=nargs)
            action.add_argument("--by_label", action="store_true", help="CLASS is a label")
        action.add_argument(
            "--expected", type=int, metavar="GENERATION", help="refuse if it is another by now"
        )
        action.add_argument("--source", default="", help="data or reason, for the history")
        return action

    show = actions.add_parser("show", help="all about a class, with its history")
    show.add_argument("which", metavar="CLASS")
    show.add_argument("--by_label", action="store_true", help="CLASS is a label")
    add_format(show)
    rename = changing("rename", "give a class another name")
    rename.add_argument("name")
    rename.add_argument("--keep", action="store_true", help="keep the old name as an alias")
    alias = changing("alias", "find a class by another name too")
    alias.add_argument("name")
    alias.add_argument("--remove", action="store_true", help="take this alias of the class away")
    changing("retire", "predict these classes no more", classes="classes")
    changing("restore", "predict these retired classes again", classes="classes")
    renaming = changing("import", "names in bulk, all of them or none", classes=None)
    renaming.add_argument(
        "file",
        type=path,
        metavar="FILE.csv",
        help="columns label and name, with aliases and retired as `export` writes them; or old "
        "(a name or an alias) and new",
    )
    export = actions.add_parser("export", help="all classes as a file")
    export.add_argument("--format", choices=("csv", "json"), default="csv")
    export.add_argument("--out", type=path, help="the file; standard output by default")
    return parser


def _open(folder: Path, command: str) -> ClassRegistry:
    """The registry of a run, made from what it was trained on where there is none."""
    config = read_config(folder)
    check_finished(folder)
    head = read_head(checked(folder / MODEL), config)
    names = head.names or [str(label) for label in range(head.num_classes)]
    try:
        return open_registry(folder, head.class_map, names)
    except FileNotFoundError:
        pass
    with bar("Making the class registry"):
        try:
            images = _training_images(folder, config, names)
        except (ValueError, OSError) as error:
            images = None
            say(f"Image counts begin at 0: {' '.join(str(error).split())}")
        return create_registry(
            folder, head.class_map, names, images, command=command, source=config.data.name
        )


def _training_images(folder: Path, config: Config, names: list[str]) -> list[int]:
    """How many training images each class of a run has, by reading its data again.

    Raises:
        ValueError, OSError: the data are no longer there, or other ones.
    """
    data = make_data(replace(config, loader=replace(config.loader, label_noise=0.0)))
    data.setup()
    counts = torch.bincount(data.train_dataset.labels, minlength=data.num_classes).tolist()
    number = dict(zip(data.class_names, counts, strict=True))
    missing = [name for name in names if name not in number]
    if missing:
        raise ValueError(
            f"The data of {folder} lack {len(missing)} of its classes, such as {missing[0]!r}."
        )
    return [number[name] for name in names]


def _which(text: str, by_label: bool) -> int | str:
    if not by_label:
        return text
    if not text.isdecimal():
        raise ValueError(f"Argument 'CLASS' must be a label with --by_label, not {text!r}.")
    return int(text)


# ------------------------------------------------------------------------- actions


def _list(registry: ClassRegistry, options: argparse.Namespace, _: str) -> None:
    if options.start < 0 or options.limit < 1:
        raise ValueError(
            "Arguments '--start' and '--limit' must be at least 0 and 1, not "
            f"{options.start} and {options.limit}."
        )
    with registry.snapshot():
        retired = registry.retired().tolist()
        number = len(registry)
        if options.retired:
            chosen = [label for label in retired if label >= options.start]
            entries = [registry.entry(label) for label in chosen[: options.limit]]
        else:
            rest = registry.entries(min(options.start, number))
            entries = [entry for _, entry in zip(range(options.limit), rest, strict=False)]
        generation = registry.generation
    rows = [
        [
            f"{e.label}",
            e.name,
            ", ".join(e.aliases),
            f"{e.images:,}",
            "retired" if e.retired else "",
        ]
        for e in entries
    ]
    content = {
        "generation": generation,
        "num_classes": number,
        "retired": len(retired),
        "classes": [_content(entry) for entry in entries],
    }
    answer(options, table(["label", "name", "aliases", "images", "state"], rows), content)
    if options.format == "text":
        say(f"{len(rows)} of {number:,} classes, {len(retired):,} retired; generation {generation}")


def _show(registry: ClassRegistry, options: argparse.Namespace, _: str) -> None:
    with registry.snapshot():
        entry = registry.entry(_which(options.which, options.by_label))
        history = registry.history(entry.label)
    content = _content(entry)
    lines = []
    for key, value in content.items():
        text = ", ".join(value) if isinstance(value, list) else str(value)
        lines.append(f"{key:<8} {one_line(text)}")
    for change in history:
        about = "  ".join(text for text in (change.command, change.source) if text)
        lines.append(one_line(f"{change.at}  {change.action} {change.detail}  {about}".rstrip()))
    answer(options, "\n".join(lines), {**content, "history": [asdict(c) for c in history]})


def _rename(registry: ClassRegistry, options: argparse.Namespace, command: str) -> None:
    with registry.change(expected=options.expected, command=command, source=options.source):
        entry = registry.entry(_which(options.which, options.by_label))
        registry.rename(entry.label, options.name)
        if options.keep:
            registry.alias(entry.label, entry.name)
    print(visible(f"Class {entry.label} is {options.name!r}, it was {entry.name!r}"))


def _alias(registry: ClassRegistry, options: argparse.Namespace, command: str) -> None:
    with registry.change(expected=options.expected, command=command, source=options.source):
        entry = registry.entry(_which(options.which, options.by_label))
        if not options.remove:
            registry.alias(entry.label, options.name)
        elif options.name in entry.aliases:
            registry.remove_alias(options.name)
        else:
            raise ValueError(
                f"Argument 'NAME' must be an alias of {entry.name!r}, one of "
                f"{list(entry.aliases)}, not {options.name!r}."
            )
    negation = "not " * options.remove
    print(visible(f"Class {entry.label} ({entry.name!r}) is {negation}{options.name!r} too"))


def _retire(registry: ClassRegistry, options: argparse.Namespace, command: str) -> None:
    act = registry.retire if options.action == "retire" else registry.restore
    with registry.change(expected=options.expected, command=command, source=options.source):
        for which in options.classes:
            act(_which(which, options.by_label))
        number = _check_left(registry, "CLASS")
    print(f"{number:,} of {len(registry):,} classes are retired")


def _check_left(registry: ClassRegistry, argument: str) -> int:
    """How many classes are retired; a ValueError unless there is something left to tell apart."""
    retired = len(registry.retired())
    if len(registry) - retired < 2 <= len(registry):
        raise ValueError(
            f"Argument '{argument}' must leave two classes at least: {retired:,} of "
            f"{len(registry):,} would be retired."
        )
    return retired


def _import(registry: ClassRegistry, options: argparse.Namespace, command: str) -> None:
    with registry.change(expected=options.expected, command=command, source=options.source):
        wanted = read_names(options.file, list(registry.entries()))
        try:
            named = registry.name_all(wanted.names, wanted.aliases)
        except ValueError as error:
            raise ValueError(f"{options.file}: {error}") from error
        now = {*registry.retired().tolist()}
        moved = [label for label, off in wanted.retired.items() if off != (label in now)]
        for label in moved:
            (registry.retire if wanted.retired[label] else registry.restore)(label)
        if moved:
            _check_left(registry, "FILE.csv")
    print(f"{named:,} classes have other names now; {len(moved):,} were retired or restored")


def _export(registry: ClassRegistry, options: argparse.Namespace, _: str) -> None:
    if options.out is not None:
        check_out(options.out)
    text = io.StringIO()
    with registry.snapshot():
        changes = {change.generation: change for change in registry.history()}
        rows = _export_rows(registry, changes)
        if options.format == "json":
            content = {
                "generation": registry.generation,
                "system": registry.system,
                "classes": list(rows),
            }
            text.write(f"{as_json(content, 1)}\n")
        else:
            writer = csv.DictWriter(text, EXPORTED, lineterminator="\n")
            writer.writeheader()
            for row in rows:
                aliases = json.dumps(row["aliases"], ensure_ascii=False)
                texts = {key: csv_text(str(row[key])) for key in ("name", "command", "source")}
                writer.writerow({**row, **texts, "aliases": aliases})
    if options.out is None:
        print(text.getvalue(), end="")
        return
    write_text(options.out, text.getvalue())
    print(f"{len(registry):,} classes in {options.out}")


EXPORTED: list[str] = [
    *("label", "name", "aliases", "vector", "images", "retired", "added"),
    *("at", "command", "source"),
]


def _export_rows(registry: ClassRegistry, changes: dict[int, Any]) -> Iterator[dict[str, object]]:
    for entry in registry.entries():
        added = changes[entry.added]
        about = {"at": added.at, "command": added.command, "source": added.source}
        yield {**_content(entry), **about}


def _content(entry: ClassEntry) -> dict[str, object]:
    content = asdict(entry)
    content["aliases"] = list(entry.aliases)
    if isinstance(entry.vector, bytes):
        content["vector"] = entry.vector.hex()
    return content


ACTIONS: dict[str, Callable[[ClassRegistry, argparse.Namespace, str], None]] = {
    "list": _list,
    "show": _show,
    "rename": _rename,
    "alias": _alias,
    "retire": _retire,
    "restore": _retire,
    "import": _import,
    "export": _export,
}
