"""Who the teacher is, and what the student takes from it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias, get_args

Targets: TypeAlias = Literal["own", "codes", "means", "images"]
TARGETS: tuple[Targets, ...] = get_args(Targets)

PRETRAINED = "pretrained"
"""As `teacher.weights`: those that timm has for the model."""


@dataclass
class TeacherConfig:
    """The teacher: exactly one of `run`, `timm` and `embeddings`.

    Attributes:
        run: folder of a finished run, on any loss and network.
        timm: name of a timm model, whose features before the classifier are its embeddings.
        weights: of the timm model: path of a checkpoint, or `pretrained` for timm's own.
        embeddings: file of the teacher's embeddings of the training images: a .npy `[images, dim]`
            in their order, or what `rootspace embed` writes, .parquet or .npy with paths beside it.
        targets: what the student trains towards. `own`: the class vectors of the teacher, a run
            trained with such; both then share them, labels and galleries, and nothing is embedded.
            `codes`: for each class the vector of `classes.system` nearest to the mean of the
            teacher's embeddings, centred and turned. `means`: the centred means themselves.
            `images`: for each image the teacher's embedding of it, centred; classes have their
            means as vectors. By default `own` where the teacher has such vectors, else `codes`.
    """

    run: str | None = None
    timm: str | None = None
    weights: str | None = None
    embeddings: str | None = None
    targets: Targets | None = None

    def __post_init__(self) -> None:
        given = [name for name in ("run", "timm", "embeddings") if getattr(self, name) is not None]
        if len(given) != 1:
            found = " and ".join(f"'teacher.{name}'" for name in given) or "none"
            raise ValueError(
                "Exactly one of the arguments 'teacher.run', 'teacher.timm' and "
                f"'teacher.embeddings' must be given, not {found}."
            )
        if self.timm is not None and self.weights is None:
            raise ValueError(
                "Argument 'teacher.weights' must be the path of a checkpoint of "
                f"{self.timm}, or '{PRETRAINED}' for timm's own."
            )
        if self.weights is not None and self.timm is None:
            raise ValueError(
                f"Argument 'teacher.weights' = {self.weights!r} needs 'teacher.timm', not "
                f"'teacher.{given[0]}'."
            )
        if self.targets is not None and self.targets not in TARGETS:
            raise ValueError(
                f"Argument 'teacher.targets' must be one of {', '.join(TARGETS)}, not "
                f"{self.targets!r}."
            )
        if self.targets == "own" and self.run is None:
            raise ValueError(
                "Argument 'teacher.targets' = 'own' needs 'teacher.run', a run with class vectors, "
                f"not 'teacher.{given[0]}'."
            )
