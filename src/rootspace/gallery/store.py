"""What keeps the items of a gallery: the table that counts, and a search in it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Protocol

import numpy as np

from .filters import Condition
from .items import Found, Item, Labels, Payload, Rows
from .pin import Pin


class Store(Protocol):
    """Items with their embeddings, on a disk or a server.

    Every change is on the disk, all or nothing, when its method returns. Several threads may use
    one store at once, and several processes one table; changes are made inside `writing`.
    """

    @property
    def name(self) -> str:
        """Where it is, for messages."""
        ...

    def journal_in(self, run: Path) -> Path:
        """The file of the changes of classes.

        Args:
            run: folder of the run that the gallery is of, for a gallery without a folder.
        """
        ...

    @property
    def pin(self) -> Pin:
        """Whose embeddings it holds."""
        ...

    @property
    def float16(self) -> bool:
        """Whether it keeps embeddings in half precision."""
        ...

    @property
    def version(self) -> object:
        """Another one after each change of the table, whoever made it."""
        ...

    def writing(self) -> AbstractContextManager[None]:
        """No other process or thread changes the table inside."""
        ...

    def __len__(self) -> int:
        """Number of items."""
        ...

    def reserve(self, number: int) -> list[int]:
        """Ids for so many new items, ascending; they are given to nobody else."""
        ...

    def insert(self, rows: Rows, ids: Sequence[int] | None = None) -> list[int]:
        """Add items.

        Args:
            rows: of them.
            ids: of them, reserved since the table was locked for writing; others if None.

        Returns:
            Their ids, ascending.
        """
        ...

    def update(
        self,
        ids: Sequence[int],
        *,
        paths: Sequence[str | None] | None = None,
        labels: Sequence[str | None] | None = None,
        decided: Sequence[bool] | None = None,
        payloads: Sequence[Payload] | None = None,
        stamps: Sequence[str | None] | None = None,
    ) -> None:
        """Change what is given of items that are there, one value an item; all in one step."""
        ...

    def delete(self, ids: Sequence[int]) -> None:
        """Delete items that are there."""
        ...

    def known(self, digests: Sequence[str]) -> dict[str, int]:
        """Which of these contents are there, and their ids."""
        ...

    def at_paths(self, paths: Sequence[str]) -> dict[str, list[tuple[int, str | None]]]:
        """Ids and stamps of the items that came from these paths."""
        ...

    def items(self, ids: Sequence[int]) -> dict[int, Item]:
        """Those of these items that are there, in the order of `ids`."""
        ...

    def vectors(self, ids: Sequence[int]) -> np.ndarray:
        """float32 `[N, dim]` unit vectors of items that are there."""
        ...

    def labels(self) -> Labels:
        """Of all items; reads them all, about 2 us an item."""
        ...

    def thumbnails(self, ids: Sequence[int]) -> dict[int, bytes]:
        """Of those of these items that are there and have one: the content of an image file."""
        ...

    def select(self, where: Sequence[Condition]) -> np.ndarray:
        """int64 ids of the items for which a filter holds, ascending."""
        ...

    def search(self, queries: np.ndarray, k: int, where: Sequence[Condition]) -> Found:
        """The k best items for float32 `[N, dim]` unit vectors: exact, ties by smaller id."""
        ...

    def scan(self) -> Iterator[tuple[list[Item], np.ndarray]]:
        """All items by id, in batches, with their float32 `[B, dim]` unit vectors."""
        ...

    def compact(self) -> None:
        """Write the table anew where it lies in many pieces."""
        ...

    def build_index(self) -> None:
        """Make searches faster, where the store itself searches; no answer changes."""
        ...

    def close(self) -> None:
        """Let go of files and connections."""
        ...
