"""How the commands answer: text for readers, JSON and CSV for programs."""

from __future__ import annotations

import argparse
import csv
import json
import math
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from rootspace._files import replacing
from rootspace._terminal import visible

FORMATS = ("text", "json")

WriteRow = Callable[[Sequence[object]], Any]
"""Of a CSV file."""

FORMULA = ("=", "+", "-", "@", "\t", "\r")
"""What makes a spreadsheet take a cell for a formula when it comes first."""


def add_format(parser: argparse.ArgumentParser, *more: str) -> None:
    """The option --format: text, json, and what else a command has."""
    parser.add_argument("--format", choices=(*FORMATS, *more), default="text", help="output format")


def as_json(content: Any, indent: int | None = None) -> str:
    """JSON in ASCII: whatever a name holds, terminals show it and programs read it back.

    Infinite numbers and those that are none are null, for JSON has no word for them.
    """
    return json.dumps(_finite(content), indent=indent, allow_nan=False)


def _finite(content: Any) -> Any:
    if isinstance(content, float):
        return content if math.isfinite(content) else None
    if isinstance(content, Mapping):
        return {key: _finite(value) for key, value in content.items()}
    if isinstance(content, list | tuple):
        return [_finite(value) for value in content]
    return content


def answer(options: argparse.Namespace, text: str, content: Any) -> None:
    """Print what a command has found, as --format asks for.

    Args:
        options: of the command line.
        text: for readers; control characters are escaped.
        content: for programs.
    """
    print(as_json(content, 2) if options.format == "json" else visible(text))


def csv_text(text: str) -> str:
    """A name or path as a cell of CSV, which no spreadsheet takes for a formula.

    One that begins like a formula gets an apostrophe in front, and so does one that begins with
    apostrophes and goes on like a formula: `from_csv_text` takes it away. Control characters are
    escaped.
    """
    return f"'{visible(text)}" if text.lstrip("'").startswith(FORMULA) else visible(text)


def from_csv_text(cell: str) -> str:
    """The name that `csv_text` has made a cell of."""
    return cell[1:] if cell[:1] == "'" and cell.lstrip("'").startswith(FORMULA) else cell


@contextmanager
def new_csv(out: Path | None, header: Sequence[str]) -> Iterator[WriteRow | None]:
    """A CSV file that appears whole: what writes a row; None where no file is wanted."""
    if out is None:
        yield None
        return
    with (
        replacing(out) as temporary,
        temporary.open("w", encoding="utf-8", errors="backslashreplace", newline="") as file,
    ):
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(header)
        yield writer.writerow


def print_csv(header: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """A table as CSV on standard output."""
    writer = csv.writer(sys.stdout, lineterminator="\n")
    writer.writerow(header)
    writer.writerows(rows)
