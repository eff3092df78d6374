"""What a class registry holds, and its SQLite file with transactions that the library ends."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from rootspace._terminal import one_line

SCHEMA = 1
"""Version of the tables, kept in `PRAGMA user_version`."""

VECTORS_STAY = """
    CREATE TRIGGER vectors_stay BEFORE UPDATE OF label, vector, added ON classes
    WHEN OLD.vector IS NOT NULL OR NEW.label <> OLD.label OR NEW.added <> OLD.added
    BEGIN SELECT RAISE(ABORT, 'a class keeps its label and vector'); END
    """

# What must never be wrong is said to the database itself, so that no other program can break it:
# one table holds names and aliases, since neither may equal the other, and triggers keep vectors,
# classes and history as they are.
TABLES = (
    """
    CREATE TABLE changes (
        generation INTEGER PRIMARY KEY,
        at TEXT NOT NULL,
        action TEXT NOT NULL,
        label INTEGER,
        detail TEXT NOT NULL,
        command TEXT NOT NULL,
        source TEXT NOT NULL
    )
    """,
    "CREATE INDEX history ON changes (label) WHERE label IS NOT NULL",
    """
    CREATE TABLE classes (
        label INTEGER PRIMARY KEY,
        vector UNIQUE,
        images INTEGER NOT NULL CHECK (typeof(images) = 'integer' AND images >= 0),
        retired INTEGER NOT NULL CHECK (retired IN (0, 1)),
        added INTEGER NOT NULL REFERENCES changes
    )
    """,
    "CREATE INDEX retired ON classes (label) WHERE retired = 1",
    """
    CREATE TABLE names (
        name TEXT PRIMARY KEY,
        label INTEGER NOT NULL REFERENCES classes,
        alias INTEGER NOT NULL CHECK (alias IN (0, 1))
    ) WITHOUT ROWID
    """,
    "CREATE UNIQUE INDEX name_of ON names (label) WHERE alias = 0",
    "CREATE INDEX aliases_of ON names (label) WHERE alias = 1",
    "CREATE TABLE about (key TEXT PRIMARY KEY, value) WITHOUT ROWID",
    VECTORS_STAY,
    """
    CREATE TRIGGER classes_stay BEFORE DELETE ON classes
    BEGIN SELECT RAISE(ABORT, 'a class is retired, never deleted'); END
    """,
    """
    CREATE TRIGGER history_stays BEFORE UPDATE ON changes
    BEGIN SELECT RAISE(ABORT, 'history is not rewritten'); END
    """,
    """
    CREATE TRIGGER history_is_kept BEFORE DELETE ON changes
    BEGIN SELECT RAISE(ABORT, 'history is not deleted'); END
    """,
    f"PRAGMA user_version = {SCHEMA}",
)


class StaleRegistryError(ValueError):
    """The registry has changed since the writer read it: read again and decide again."""


@dataclass(frozen=True)
class ClassEntry:
    """A class, as the registry has it.

    Attributes:
        label: its number, for good.
        name: that predictions print.
        aliases: other names, sorted.
        vector: number of its vector in the system; its packed code (bytes) where the system is too
            large to be numbered; None for a learned head. For good, unless the run trains on.
        images: pictures of it that were trained on, so far.
        retired: whether predictions leave it out.
        added: generation of the registry that added it.
    """

    label: int
    name: str
    aliases: tuple[str, ...]
    vector: int | bytes | None
    images: int
    retired: bool
    added: int


@dataclass(frozen=True)
class Change:
    """One step in the history of a registry.

    Attributes:
        generation: 1, 2, ... in order; the registry's own is that of its last change.
        at: time in UTC, ISO 8601 to the second.
        action: "create", "add", "rename", "alias", "remove alias", "retire", "restore", "count" or
            "choose".
        label: of the class it is about; None for "create", "add", "count" and "choose".
        detail: names or numbers, to read.
        command: that made it, "" if not told.
        source: data or reason behind it, "" if not told.
    """

    generation: int
    at: str
    action: str
    label: int | None
    detail: str
    command: str
    source: str


CACHE = 64 * 1024
"""KiB of pages held in memory: indices of a million names fit, else inserts read pages again."""


class Store:
    """A connection to a registry's file.

    The journal is SQLite's default, a rollback journal, not a write-ahead log: the registry is one
    file that can be copied, on network file systems too, which have no shared memory.

    Args:
        path: of the file.
        mode: `"rwc"` makes it where there is none.
        timeout: seconds to wait for other processes.

    Raises:
        OSError, ValueError: see `translated`; so do all methods.
    """

    def __init__(self, path: Path, mode: Literal["rw", "rwc"], timeout: float) -> None:
        self.path, self.timeout = path, timeout
        # Without mode=rw SQLite would make an empty file where there is none.
        uri = f"{path.absolute().as_uri()}?mode={mode}"
        with translated(path, timeout):
            self.connection = sqlite3.connect(uri, uri=True, timeout=timeout, isolation_level=None)
            try:
                for setting in (
                    "foreign_keys = ON",
                    "synchronous = FULL",
                    f"cache_size = -{CACHE}",
                ):
                    self.connection.execute(f"PRAGMA {setting}")
            except BaseException:
                self.connection.close()
                raise

    def close(self) -> None:
        self.connection.close()

    def copy_to(self, other: Store) -> None:
        """All of it, in one state, into an empty file."""
        with translated(self.path, self.timeout):
            self.connection.backup(other.connection)

    def version(self) -> int:
        """The version of the tables, 0 where there are none yet.

        Raises:
            ValueError: of a newer version, or tables of something else.
        """
        version = self.value("PRAGMA user_version")
        if version > SCHEMA:
            raise ValueError(
                f"{self.path} has schema {version}, this version of rootspace reads {SCHEMA}: "
                "upgrade it."
            )
        tables = {row[0] for row in self.rows("SELECT name FROM sqlite_master")}
        if tables and not {"classes", "names", "changes"} <= tables:
            raise ValueError(f"{self.path} is not a class registry: it holds other tables.")
        return version

    @contextmanager
    def reading(self) -> Iterator[None]:
        """All reads inside see one state."""
        with translated(self.path, self.timeout), self._atomic("BEGIN"):
            yield

    @contextmanager
    def writing(self) -> Iterator[None]:
        """All changes inside happen, or after an error or a crash none; inside `writing`, alone."""
        with translated(self.path, self.timeout), self._atomic("BEGIN IMMEDIATE"):
            yield

    @contextmanager
    def _atomic(self, begin: str) -> Iterator[None]:
        nested = self.connection.in_transaction
        self.connection.execute("SAVEPOINT step" if nested else begin)
        try:
            yield
            self.connection.execute("RELEASE step" if nested else "COMMIT")
        except BaseException:
            # A full disk, for one, makes SQLite roll back by itself.
            if self.connection.in_transaction:
                self.connection.execute("ROLLBACK TO step" if nested else "ROLLBACK")
                if nested:
                    self.connection.execute("RELEASE step")
            raise

    def run(self, statement: str, values: tuple[Any, ...] = ()) -> None:
        """Carry out a statement inside `writing`."""
        self.connection.execute(statement, values)

    def run_many(self, statement: str, rows: Iterable[tuple[Any, ...]]) -> None:
        """Carry out a statement for each row, drawn one at a time, inside `writing`."""
        self.connection.executemany(statement, rows)

    def rows(self, statement: str, values: tuple[Any, ...] = ()) -> list[Any]:
        """All rows of a query."""
        with translated(self.path, self.timeout):
            return self.connection.execute(statement, values).fetchall()

    def row(self, statement: str, values: tuple[Any, ...] = ()) -> Any:
        """The first row of a query, or None."""
        rows = self.rows(statement, values)
        return rows[0] if rows else None

    def value(self, statement: str) -> Any:
        """The first value of a query that has one."""
        return self.row(statement)[0]


@contextmanager
def translated(path: Path, timeout: float) -> Iterator[None]:
    """SQLite's errors as Python's own, with the path and what to do.

    Raises:
        TimeoutError: another process held the registry for longer than `timeout` seconds.
        PermissionError: it cannot be written.
        ValueError: the file is no database, or a damaged one; or a rule of the tables is broken.
        OSError: reading or writing failed.
    """
    try:
        yield
    except sqlite3.IntegrityError as error:
        raise ValueError(f"{path}: {error}.") from error
    except UnicodeDecodeError as error:  # of a message about, or a text in, a damaged file
        raise ValueError(f"{path} is not a class registry: it is damaged.") from error
    except sqlite3.DatabaseError as error:
        code = getattr(error, "sqlite_errorcode", 0) & 0xFF
        if code in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
            raise TimeoutError(
                f"{path} was in use by another process for more than {timeout:g} s. Try again."
            ) from error
        if code == sqlite3.SQLITE_READONLY:
            raise PermissionError(f"{path} cannot be written: {error}.") from error
        if code in (sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_CORRUPT):
            raise ValueError(f"{path} is not a class registry: {error}.") from error
        if code in (
            sqlite3.SQLITE_CANTOPEN,
            sqlite3.SQLITE_FULL,
            sqlite3.SQLITE_IOERR,
            sqlite3.SQLITE_PERM,
        ):
            raise OSError(f"{path} cannot be used: {error}.") from error
        raise


def check_name(name: object, argument: str) -> str:
    if not isinstance(name, str):
        raise TypeError(f"Argument '{argument}' must be text, not {type(name).__name__}.")
    if not name or "\0" in name:
        raise ValueError(f"Argument '{argument}' must be text without NUL, not {name!r}.")
    return check_text(name, argument)


def check_new_name(name: object, argument: str) -> str:
    """A name that somebody gives: one that can be seen, and stands in one line."""
    text = check_name(name, argument)
    if not text.strip() or one_line(text) != text:
        raise ValueError(
            f"Argument '{argument}' must be text of one line that can be seen, without control "
            f"characters, not {text!r}."
        )
    return text


def check_text(name: str, argument: str = "which") -> str:
    try:
        name.encode()
    except UnicodeEncodeError as error:
        raise ValueError(f"Argument '{argument}' must be valid Unicode, not {name!r}.") from error
    return name


def check_whole(number: object, argument: str) -> int:
    if isinstance(number, bool) or not isinstance(number, int | np.integer):
        kind = type(number).__name__
        raise TypeError(f"Argument '{argument}' must be an integer, not {number!r} ({kind}).")
    return int(number)


def check_count(number: object, argument: str) -> int:
    count = check_whole(number, argument)
    if not 0 <= count < 2**63:
        raise ValueError(f"Argument '{argument}' must hold counts in [0, 2**63), not {count}.")
    return count


def check_vector(vector: object) -> int | bytes | None:
    if vector is None or isinstance(vector, bytes):
        return vector
    return check_count(vector, "vectors")
