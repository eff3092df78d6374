"""Names of classes in bulk, from a CSV file."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from rootspace.continual import ClassEntry

from ._output import csv_text, from_csv_text

STATES = {"true": True, "false": False}


@dataclass(frozen=True)
class Names:
    """What a file says of classes, by label.

    Attributes:
        names: of some classes.
        aliases: all of them, of some classes.
        retired: whether some classes are.
    """

    names: dict[int, str] = field(default_factory=dict)
    aliases: dict[int, list[str]] = field(default_factory=dict)
    retired: dict[int, bool] = field(default_factory=dict)


def read_names(path: Path, entries: Sequence[ClassEntry]) -> Names:
    """Read a CSV file with the columns old and new, or label and name as `export` writes them.

    Args:
        path: of the file.
        entries: all classes of the registry, by label.

    Raises:
        ValueError: naming the file and the line: other columns, no such class, one that comes
            twice, or a class with another vector, of another run.
    """
    found = Names()
    owner = {text: e.label for e in entries for text in (e.name, *e.aliases)}
    for number, row in _rows(path):
        where = f"{path}, line {number}"
        if {"old", "new"} <= {*row}:
            old = from_csv_text(row["old"])
            label = owner.get(old)
            if label is None:
                raise ValueError(f"{where}: no class has the name or alias {old!r}.")
            name = from_csv_text(row["new"])
        else:
            label = _label(row["label"], len(entries), where)
            entry = entries[label]
            # A name with control characters cannot be given, but may have come with the data.
            same = row["name"] == csv_text(entry.name)
            name = entry.name if same else from_csv_text(row["name"])
            _about(row, entry, found, where)
        if label in found.names:
            raise ValueError(f"{where}: class {label} comes twice.")
        found.names[label] = name
    return found


def _about(row: dict[str, str], entry: ClassEntry, found: Names, where: str) -> None:
    """What `export` writes beside label and name."""
    vector = entry.vector.hex() if isinstance(entry.vector, bytes) else entry.vector
    if "vector" in row and row["vector"] != ("" if vector is None else str(vector)):
        raise ValueError(
            f"{where}: class {entry.label} has another vector: the file is of another run."
        )
    if "aliases" in row:
        try:
            aliases = json.loads(row["aliases"] or "[]")
        except (ValueError, RecursionError):
            aliases = None
        if not isinstance(aliases, list) or not all(isinstance(alias, str) for alias in aliases):
            raise ValueError(
                f"{where}: 'aliases' must be a JSON list of texts, not {row['aliases'][:80]!r}."
            )
        found.aliases[entry.label] = aliases
    if "retired" in row:
        state = STATES.get(row["retired"].lower())
        if state is None:
            raise ValueError(f"{where}: 'retired' must be True or False, not {row['retired']!r}.")
        found.retired[entry.label] = state


def _label(text: str, number: int, where: str) -> int:
    # Not every digit is a decimal one, and a number may be long.
    label = int(text) if text.isascii() and text.isdecimal() and len(text) < 20 else -1
    if not 0 <= label < number:
        raise ValueError(f"{where}: 'label' must lie in [0, {number}), not {text[:80]!r}.")
    return label


def _rows(path: Path) -> Iterator[tuple[int, dict[str, str]]]:
    """Lines of the file after its header, each with its number."""
    # Spreadsheets write a byte order mark.
    with path.open(encoding="utf-8-sig", newline="") as file:
        lines = csv.reader(file, strict=True)
        try:
            header = next(lines, [])
            if not {"old", "new"} <= {*header} and not {"label", "name"} <= {*header}:
                raise ValueError(
                    f"{path} must have the columns old and new, or label and name, not "
                    f"{', '.join(header)[:80] or 'nothing'}."
                )
            for cells in lines:
                if not cells:
                    continue
                if len(cells) != len(header):
                    raise ValueError(
                        f"{path}, line {lines.line_num}: {len(header)} cells expected, as in the "
                        f"first line, not {len(cells)}."
                    )
                yield lines.line_num, dict(zip(header, cells, strict=True))
        except UnicodeDecodeError as error:
            raise ValueError(f"{path} is not UTF-8: save it as CSV in UTF-8.") from error
        except csv.Error as error:
            raise ValueError(f"{path}, line {lines.line_num}: not CSV: {error}.") from error
