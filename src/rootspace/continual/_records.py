"""What a class registry tells about a class and about a change."""

from __future__ import annotations

from dataclasses import dataclass


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
            large to be numbered; None for a learned head. For good.
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
        action: "create", "add", "rename", "alias", "remove alias", "retire", "restore" or "count".
        label: of the class it is about; None for "create", "add" and "count".
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
