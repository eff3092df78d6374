"""The gallery of a served run, which is made when the first image comes into it."""

from __future__ import annotations

from pathlib import Path
from threading import Lock

from rootspace.gallery import Gallery, Identities, is_gallery
from rootspace.run import Run


class OwnGallery:
    """A gallery and the classes that are enrolled in it. Several threads may use it.

    Args:
        run: whose embeddings it holds.
        folder: of the gallery, which may be empty or not there.

    Raises:
        ValueError: there is something else, or a gallery of another model.
    """

    def __init__(self, run: Run, folder: Path) -> None:
        self._run, self._folder, self._lock = run, folder, Lock()
        self._identities: Identities | None = None
        if not _is_free(folder):
            self.needed()

    @property
    def identities(self) -> Identities | None:
        """The classes, None while there is no gallery; another process may have made it."""
        if self._identities is None and is_gallery(self._folder):
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
                make = Gallery.create if _is_free(self._folder) else Gallery.open
                self._identities = Identities(make(self._folder, self._run))
            return self._identities

    def close(self) -> None:
        """Let go of its files."""
        if self._identities is not None:
            self._identities.gallery.close()


def _is_free(folder: Path) -> bool:
    """Whether a gallery can be made there."""
    return not folder.exists() or (folder.is_dir() and not any(folder.iterdir()))
