"""A SQLite file with transactions that begin and end where the library says so."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

from ._schema import SCHEMA

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
