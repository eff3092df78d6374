"""The tables of a class registry, and SQLite's errors in the words of the library."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

SCHEMA = 1
"""Version of the tables, kept in `PRAGMA user_version`."""

CACHE = 64 * 1024
"""KiB of pages held in memory: indices of a million names fit, else inserts read pages again."""

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
    """
    CREATE TRIGGER vectors_stay BEFORE UPDATE OF label, vector, added ON classes
    BEGIN SELECT RAISE(ABORT, 'a class keeps its label and vector'); END
    """,
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


def connect(path: Path, mode: Literal["rw", "rwc"], timeout: float) -> sqlite3.Connection:
    """A connection whose transactions begin where the library says so.

    The journal is SQLite's default, a rollback journal, not a write-ahead log: the registry is one
    file that can be copied, on network file systems too, which have no shared memory.
    """
    # Without mode=rw SQLite would make an empty file where there is none.
    uri = f"{path.absolute().as_uri()}?mode={mode}"
    connection = sqlite3.connect(uri, uri=True, timeout=timeout, isolation_level=None)
    try:
        for setting in ("foreign_keys = ON", "synchronous = FULL", f"cache_size = -{CACHE}"):
            connection.execute(f"PRAGMA {setting}")
    except BaseException:
        connection.close()
        raise
    return connection


def version_of(connection: sqlite3.Connection, path: Path) -> int:
    """The version of the tables, 0 where there are none yet.

    Raises:
        ValueError: of a newer version, or tables of something else.
    """
    version = connection.execute("PRAGMA user_version").fetchone()[0]
    if version > SCHEMA:
        raise ValueError(
            f"{path} has schema {version}, this version of rootspace reads {SCHEMA}: upgrade it."
        )
    tables = {row[0] for row in connection.execute("SELECT name FROM sqlite_master")}
    if tables and not {"classes", "names", "changes"} <= tables:
        raise ValueError(f"{path} is not a class registry: it holds other tables.")
    return version


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
