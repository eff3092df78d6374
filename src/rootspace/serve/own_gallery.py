"""The gallery of a served run, which is made when the first image comes into it."""

from __future__ import annotations

import os
from pathlib import Path
from threading import Lock

from rootspace.gallery import Gallery, Identities
from rootspace.gallery.locations import Location, holds_gallery
from rootspace.gallery.postgres import is_postgres
from rootspace.run import Run


class OwnGallery:
    """A gallery and the classes that are enrolled in it. Several threads may use it.

    Args:
        run: whose embeddings it holds.
        location: of the gallery: a folder, which may be empty or not there, or the address of a
            table, which is made at once where there is none.

    Raises:
        ValueError: there is something else, or a gallery of another model; or none can be made.
    """

    def __init__(self, run: Run, location: Location) -> None:
        self._run, self._location, self._lock = run, location, Lock()
        self._identities: Identities | None = None
        text = os.fspath(location)
        if is_postgres(text) or not _is_free(Path(text)):
            self.needed()
        elif not Path(text).absolute().parent.is_dir():
            raise ValueError(
                f"Argument '--gallery': the folder {Path(text).absolute().parent} of {text} does "
                "not exist."
            )

    @property
    def identities(self) -> Identities | None:
        """The classes, None while there is no gallery; another process may have made it."""
        if self._identities is None and holds_gallery(self._location):
            return self.needed()
        return self._identities

    @property
    def gallery(self) -> Gallery | None:
        """Its images, likewise."""
        return None if self.identities is None else self.identities.gallery

    def needed(self) -> Identities:
        """The classes of a gallery that is there now."""
        with self._lock:
            if self._identities is None:
                make = Gallery.create if self._can_be_made() else Gallery.open
                self._identities = Identities(make(self._location, self._run))
            return self._identities

    def _can_be_made(self) -> bool:
        text = os.fspath(self._location)
        return not holds_gallery(text) if is_postgres(text) else _is_free(Path(text))

    def close(self) -> None:
        """Let go of its files."""
        if self._identities is not None:
            self._identities.gallery.close()


def _is_free(folder: Path) -> bool:
    """Whether a gallery can be made there."""
    return not folder.exists() or (folder.is_dir() and not any(folder.iterdir()))
