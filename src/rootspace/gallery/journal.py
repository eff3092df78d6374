"""What a gallery knows of identities: a SQLite file, every change of which can be taken back.

A change is written down whole before it is made: what it makes of identities here, and of labels in
the gallery's table. One that was cut off between the two is finished by the next who opens it.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal, TypeAlias

import numpy as np

from rootspace._errors import BusyError

FORMAT = 2
"""Version of the tables, kept in `PRAGMA user_version`."""

State: TypeAlias = Literal["active", "retired", "gone"]

_TABLES = f"""
CREATE TABLE entries (
    label INTEGER PRIMARY KEY, name TEXT, state TEXT NOT NULL, owner INTEGER NOT NULL, vector BLOB
);
CREATE TABLE changes (
    number INTEGER PRIMARY KEY AUTOINCREMENT, at TEXT NOT NULL, action TEXT NOT NULL,
    detail TEXT NOT NULL, content TEXT NOT NULL, done INTEGER NOT NULL, undone INTEGER NOT NULL
);
PRAGMA user_version = {FORMAT};
"""
WAIT = 30.0
"""Seconds to wait for another process."""


@dataclass(frozen=True)
class Entry:
    """What is said of a class here.

    Attributes:
        label: its number: of the run's own classes theirs, of enrolled ones those that follow.
        name: of it; None for a class of the run whose name has not been changed here.
        state: `retired` classes are not recognized; `gone` ones were taken back or merged.
        owner: label of the class that its vector speaks for: its own, or that of the class which it
            was merged into.
    """

    label: int
    name: str | None
    state: State
    owner: int

    def numbered(self, number: Callable[[int], int]) -> Entry:
        """With other numbers for the labels."""
        return replace(self, label=number(self.label), owner=number(self.owner))


@dataclass(frozen=True)
class Relabeled:
    """A label that a change gives to an item, or takes away.

    Attributes:
        item: its id.
        before: the label before.
        after: the label from then on.
        was_decided: whether a user had said so.
        decided: whether a user says so from then on.
    """

    item: int
    before: str | None
    after: str | None
    was_decided: bool
    decided: bool

    def reverse(self) -> Relabeled:
        return Relabeled(self.item, self.after, self.before, self.decided, self.was_decided)


@dataclass(frozen=True)
class Step:
    """All that a change does.

    Attributes:
        entries: classes before and after; None before a class that it brings.
        items: labels.
        brought: ids of the items that come with it, all at once.
        removed: ids of those that go.
    """

    entries: tuple[tuple[Entry | None, Entry], ...] = ()
    items: tuple[Relabeled, ...] = ()
    brought: tuple[int, ...] = ()
    removed: tuple[int, ...] = ()

    def reverse(self) -> Step:
        """What takes it back; a class that it brought is gone then, and keeps its number."""
        entries = tuple(
            (
                after,
                Entry(after.label, after.name, "gone", after.label) if before is None else before,
            )
            for before, after in self.entries
        )
        items = tuple(item.reverse() for item in self.items)
        return Step(entries, items, brought=self.removed, removed=self.brought)

    def numbered(self, number: Callable[[int], int]) -> Step:
        """With other numbers for the labels of classes."""
        entries = tuple(
            (None if before is None else before.numbered(number), after.numbered(number))
            for before, after in self.entries
        )
        return replace(self, entries=entries)

    def dumped(self) -> str:
        return json.dumps(asdict(self), ensure_ascii=False)

    @classmethod
    def loaded(cls, text: str) -> Step:
        content = json.loads(text)
        entries = tuple(
            (None if before is None else Entry(**before), Entry(**after))
            for before, after in content["entries"]
        )
        items = tuple(Relabeled(**item) for item in content["items"])
        return cls(entries, items, tuple(content["brought"]), tuple(content["removed"]))


@dataclass(frozen=True)
class Change:
    """A step in the history of identities.

    Attributes:
        number: 1, 2, ... in order.
        at: time in UTC, ISO 8601 to the second.
        action: `enroll`, `label`, `merge`, `split`, `rename`, `retire`, `restore` or `undo`.
        detail: names, to read.
        items: how many labels it changed.
        undone: whether it was taken back.
    """

    number: int
    at: str
    action: str
    detail: str
    items: int
    undone: bool


class Journal:
    """The file. A connection is opened for each call, so that any thread may call.

    Enrolled classes have the numbers -1, -2, ... in it: their labels begin where those of the run
    end, which an extended run has more of.

    Args:
        path: of the file, which is made where there is none.
        dim: of vectors.
        trained: number of the run's classes.

    Raises:
        ValueError: it is something else, or of a newer version.
    """

    def __init__(self, path: Path, dim: int, trained: int) -> None:
        self.path, self.dim, self.trained = path, dim, trained
        with self._open() as database:
            version = database.execute("PRAGMA user_version").fetchone()[0]
            tables = database.execute("SELECT name FROM sqlite_master").fetchall()
            if version not in (0, FORMAT) or (tables and not version):
                raise ValueError(
                    f"{path} is no journal of identities that this version of rootspace reads."
                )
            if not version:
                database.executescript(f"BEGIN IMMEDIATE;{_TABLES}COMMIT;")

    @contextmanager
    def _open(self) -> Iterator[sqlite3.Connection]:
        try:
            with closing(
                sqlite3.connect(self.path, timeout=WAIT, isolation_level=None)
            ) as database:
                database.execute("PRAGMA synchronous = FULL")
                yield database
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode == sqlite3.SQLITE_BUSY:
                raise BusyError(f"{self.path} is being written by another process.") from error
            raise OSError(f"{self.path} cannot be used: {error}.") from error
        except sqlite3.DatabaseError as error:
            raise ValueError(f"{self.path} is damaged: {error}.") from error

    def _number(self, label: int) -> int:
        """What stands in the file for a label."""
        return label if label < self.trained else self.trained - 1 - label

    def _label(self, number: int) -> int:
        if number >= self.trained:
            raise ValueError(
                f"{self.path} names class {number} of a run with more classes than the "
                f"{self.trained} of this one: open the gallery with that run."
            )
        return number if number >= 0 else self.trained - 1 - number

    def generation(self) -> int:
        """Number of the last change."""
        with self._open() as database:
            return database.execute("SELECT coalesce(max(number), 0) FROM changes").fetchone()[0]

    def entries(self) -> tuple[list[Entry], np.ndarray]:
        """What is said of classes by label, and float32 `[M, dim]` vectors of the enrolled ones."""
        with self._open() as database:
            rows = database.execute(
                "SELECT label, name, state, owner, vector FROM entries "
                "ORDER BY label < 0, abs(label)"
            ).fetchall()
        vectors = [np.frombuffer(blob, np.float32) for *_, blob in rows if blob is not None]
        entries = [Entry(*row).numbered(self._label) for *row, _ in rows]
        return entries, np.array(vectors, np.float32).reshape(-1, self.dim)

    def begin(
        self,
        action: str,
        detail: str,
        step: Step,
        vectors: dict[int, np.ndarray] | None = None,
        undoes: int | None = None,
    ) -> int:
        """Write a change down, and make it here; `finish` it when the gallery has it too.

        Args:
            action: what it is.
            detail: names, to read.
            step: what it does.
            vectors: label -> float32 `[dim]`, of classes that it brings.
            undoes: number of the change that it takes back.

        Returns:
            Its number.
        """
        step = step.numbered(self._number)
        at = datetime.now(UTC).isoformat(timespec="seconds")
        with self._open() as database:
            database.execute("BEGIN IMMEDIATE")
            for label, vector in (vectors or {}).items():
                number = self._number(label)
                database.execute(
                    "INSERT INTO entries VALUES (?, NULL, 'gone', ?, ?)",
                    (number, number, np.asarray(vector, np.float32).tobytes()),
                )
            for _, entry in step.entries:
                values = (entry.label, entry.name, entry.state, entry.owner)
                database.execute(
                    "INSERT INTO entries VALUES (?, ?, ?, ?, NULL) ON CONFLICT (label) DO UPDATE "
                    "SET name = excluded.name, state = excluded.state, owner = excluded.owner",
                    values,
                )
            number = database.execute(
                "INSERT INTO changes (at, action, detail, content, done, undone) "
                "VALUES (?, ?, ?, ?, 0, 0) RETURNING number",
                (at, action, detail, step.dumped()),
            ).fetchone()[0]
            if undoes is not None:
                text = "UPDATE changes SET undone = 1, done = 1 WHERE number = ?"
                database.execute(text, (undoes,))
            database.execute("COMMIT")
        return number

    def finish(self, number: int) -> None:
        """A change is made."""
        with self._open() as database:
            database.execute("UPDATE changes SET done = 1 WHERE number = ?", (number,))

    def unfinished(self) -> list[tuple[Change, Step]]:
        """Changes that were cut off."""
        return self._steps("WHERE done = 0 ORDER BY number")

    def last(self) -> tuple[Change, Step] | None:
        """The last change that was not taken back."""
        found = self._steps("WHERE undone = 0 AND action != 'undo' ORDER BY number DESC LIMIT 1")
        return found[0] if found else None

    def _steps(self, which: str) -> list[tuple[Change, Step]]:
        text = f"SELECT number, at, action, detail, undone, content FROM changes {which}"
        with self._open() as database:
            rows = database.execute(text).fetchall()
        found = list[tuple[Change, Step]]()
        for number, at, action, detail, undone, content in rows:
            step = Step.loaded(content).numbered(self._label)
            found.append((Change(number, at, action, detail, len(step.items), bool(undone)), step))
        return found

    def history(self, limit: int | None = None) -> Sequence[Change]:
        """Changes, the last first."""
        with self._open() as database:
            rows = database.execute(
                "SELECT number, at, action, detail, json_array_length(content, '$.items'), undone "
                "FROM changes ORDER BY number DESC LIMIT ?",
                (-1 if limit is None else limit,),
            ).fetchall()
        return [
            Change(number, at, action, detail, items, bool(undone))
            for number, at, action, detail, items, undone in rows
        ]
