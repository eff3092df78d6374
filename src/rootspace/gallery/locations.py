"""Where galleries are: a folder, or a table on a server."""

from __future__ import annotations

import os
from pathlib import Path

from .lance import LanceStore, is_gallery
from .lance import run_of as run_of_folder
from .pin import Pin
from .postgres import PostgresStore, is_postgres
from .store import Store

Location = str | os.PathLike[str]
"""A folder, or `postgresql://user@host/database#table`."""


def create_store(location: Location, pin: Pin, run: Path, *, float16: bool = False) -> None:
    """Make an empty store.

    Args:
        location: where nothing may be yet.
        pin: whose embeddings it will hold.
        run: folder of that run.
        float16: keep embeddings in half precision.
    """
    text = os.fspath(location)
    if is_postgres(text):
        PostgresStore.create(text, pin, run, float16=float16)
    else:
        LanceStore.create(Path(text), pin, run, float16=float16)


def open_store(location: Location) -> Store:
    """Open a store.

    Args:
        location: of it.
    """
    text = os.fspath(location)
    return PostgresStore(text) if is_postgres(text) else LanceStore(Path(text))


def holds_gallery(location: Location) -> bool:
    """Whether a gallery is there."""
    text = os.fspath(location)
    if not is_postgres(text):
        return is_gallery(Path(text))
    try:
        PostgresStore(text).close()
    except ValueError:
        return False
    return True


def run_of(location: Location) -> Path:
    """The run that a gallery was made with, as it lay then."""
    text = os.fspath(location)
    if not is_postgres(text):
        return run_of_folder(Path(text))
    store = PostgresStore(text)
    store.close()
    return store.run
