"""Which model a gallery belongs to: embeddings of another one mean something else."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

import torch

from rootspace.classes import ClassMap
from rootspace.run import Run
from rootspace.runs import folder as files
from rootspace.systems import Table

CHUNK = 65_536
"""Classes whose prototypes are hashed together."""


@dataclass(frozen=True)
class Pin:
    """What a model must be for its embeddings to fit.

    Attributes:
        model: SHA-256 of the run's model file.
        dim: of its embeddings.
        system: its vector system; empty for a learned head.
        num_classes: how many classes it had.
        prototypes: SHA-256 of the names and prototypes of these; empty for a learned head.
    """

    model: str
    dim: int
    system: str = ""
    num_classes: int = 0
    prototypes: str = ""

    @classmethod
    def of(cls, run: Run) -> Pin:
        """That of a run."""
        path = run.folder / files.MODEL
        class_map = run.class_map
        dim = run.model.head.dim
        if class_map is None:
            return cls(files.digest(path), dim)
        number = class_map.num_classes
        system = repr(class_map.system)
        return cls(files.digest(path), dim, system, number, _digest(class_map, run.names, number))

    @classmethod
    def from_dict(cls, content: Mapping[str, Any]) -> Pin:
        """From what `as_dict` gave.

        Raises:
            ValueError: it is something else.
        """
        try:
            pin = cls(**content)
        except TypeError as error:
            raise ValueError(f"it has not {', '.join(part.name for part in fields(cls))}") from (
                error
            )
        for part in fields(cls):
            value = getattr(pin, part.name)
            if type(value).__name__ != part.type:
                raise ValueError(f"'{part.name}' must be {part.type}, not {value!r:.80}")
        return pin

    def as_dict(self) -> dict[str, object]:
        """For JSON."""
        return asdict(self)

    def check(self, run: Run, where: str) -> None:
        """That embeddings of a run may be compared with those of the gallery.

        They may where it is the same model, or where another network was trained to the same
        prototypes under the same names: a distilled one, or one that was extended.

        Args:
            run: it.
            where: the gallery, for the message.

        Raises:
            ValueError: it is another model.
        """
        class_map = run.class_map
        if files.digest(run.folder / files.MODEL) == self.model:
            return
        if (
            class_map is not None
            and self.prototypes
            and repr(class_map.system) == self.system
            and class_map.num_classes >= self.num_classes
            and _digest(class_map, run.names, self.num_classes) == self.prototypes
        ):
            return
        raise ValueError(
            f"{where} holds embeddings of another model than {run.folder}: its prototypes are not "
            "the same. Open it with the run that it was made with, or index the images again in a "
            "new gallery."
        )


def _digest(class_map: ClassMap, names: list[str], number: int) -> str:
    """SHA-256 of the names and prototypes of the first classes."""
    found = hashlib.sha256()
    for part in _parts(class_map, names, number):
        found.update(len(part).to_bytes(8, "little"))
        found.update(part)
    return found.hexdigest()


def _parts(class_map: ClassMap, names: list[str], number: int) -> Iterator[bytes]:
    system = class_map.system
    yield repr(system).encode()
    if isinstance(system, Table):  # whose vectors have numbers only
        yield system.table.double().cpu().numpy().tobytes()
    for start in range(0, number, CHUNK):
        stop = min(start + CHUNK, number)
        vectors = class_map.vector_ids(torch.arange(start, stop))
        for name, vector in zip(names[start:stop], vectors, strict=True):
            yield name.encode("utf-8", "surrogateescape")
            yield vector if isinstance(vector, bytes) else str(vector).encode()
