"""What the folder of a run says of its classes: the registry, and which inputs are unknown."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from torch import Tensor

from rootspace._files import replacing
from rootspace.classes import ClassMap, Prediction
from rootspace.train import TrainedRun, VectorObjective
from rootspace.train.run_folder import make_data, read_config

from ._exclude import predict_without
from ._known_score import KnownScore
from ._registry import ClassRegistry
from ._rejector import Rejector

REGISTRY, REJECTOR = "registry.sqlite", "rejector.json"

CHUNK = 1024
"""Embeddings predicted together, to bound the memory of a search."""


def create_registry(
    folder: Path,
    classes: ClassMap | None,
    names: Sequence[str],
    images: Sequence[int] | None = None,
    *,
    command: str = "",
) -> ClassRegistry:
    """Put a registry into the folder of a finished run.

    Args:
        folder: of the run.
        classes: its class map, None for a learned head.
        names: of its classes, all different.
        images: of each class that it was trained on; zeros if None.
        command: that makes it, for the history.

    Raises:
        FileExistsError: there is one.
        ValueError: two classes have one name.
    """
    return ClassRegistry.create(
        folder / REGISTRY,
        names,
        _vector_ids(classes, 0),
        images,
        system=_system(classes),
        command=command,
        source=str(read_config(folder)["data"]["name"]),
    )


def open_registry(folder: Path, classes: ClassMap | None, names: Sequence[str]) -> ClassRegistry:
    """The registry of a run; classes that the run has and it lacks are added.

    So it does not matter whether an extended class map or its registry is written first.

    Args:
        folder: of the run.
        classes: its class map, None for a learned head.
        names: of its classes.

    Raises:
        FileNotFoundError: it has none.
        ValueError: the registry belongs to other vectors.
    """
    registry = ClassRegistry(folder / REGISTRY)
    try:
        _check_vectors(registry, classes, len(names))
        if len(registry) < len(names):
            with registry.change(source="class map of the run"):
                # Read again: another process may have been here first.
                missing = names[len(registry) :]
                if missing:
                    registry.add(missing, _vector_ids(classes, len(registry)))
    except BaseException:
        registry.close()
        raise
    return registry


def carry_registry(
    source: Path,
    folder: Path,
    classes: ClassMap,
    names: Sequence[str],
    images: Mapping[int, int],
    *,
    command: str = "",
    data: str = "",
) -> None:
    """The registry of a run, for a run that extends it: a copy with the classes that came.

    The copy appears when it is complete; `source` is not changed. Nothing happens where that run
    has no registry, or `folder` has one.

    Args:
        source: folder of the run that is extended.
        folder: of the other run.
        classes: its class map.
        names: of its classes.
        images: label -> how many images came, of old and new classes.
        command: that extends the run, for the history.
        data: that the images are from, likewise.

    Raises:
        ValueError: the registry belongs to other vectors, or a new name is in use.
    """
    if not is_registry(source / REGISTRY) or (folder / REGISTRY).exists():
        return
    with replacing(folder / REGISTRY) as copy:
        ClassRegistry(source / REGISTRY).backup(copy)
        with ClassRegistry(copy) as registry:
            _check_vectors(registry, classes, len(names))
            first = len(registry)
            with registry.change(command=command, source=data):
                counts = [images.get(label, 0) for label in range(first, len(names))]
                if counts:
                    registry.add(names[first:], _vector_ids(classes, first), counts)
                more = {label: n for label, n in images.items() if label < first}
                if more:
                    registry.count_images(more)


def known_labels(folder: Path, names: Sequence[str], wanted: Sequence[str]) -> list[int | None]:
    """Which classes of a run these names belong to, None for new ones.

    Names and aliases of its registry come first, then the names that it was trained with.

    Args:
        folder: of the run.
        names: of its classes, as it was trained.
        wanted: the names.

    Raises:
        ValueError: the registry has classes that the run lacks.
    """
    number = {name: label for label, name in enumerate(names)}
    found = [number.get(name) for name in wanted]
    if not is_registry(folder / REGISTRY):
        return found
    with ClassRegistry(folder / REGISTRY) as registry, registry.snapshot():
        if len(registry) > len(names):
            raise ValueError(
                f"{registry.path} must have the {len(names)} classes of the run at most, not "
                f"{len(registry)}: it was copied from another run."
            )
        return [
            label if owner is None else owner
            for label, owner in zip(found, map(registry.find, wanted), strict=True)
        ]


def is_registry(path: Path) -> bool:
    """Whether there is a registry, not merely what a crash in its creation left."""
    try:
        ClassRegistry(path).close()
    except FileNotFoundError:
        return False
    return True


def training_images(folder: Path, names: Sequence[str]) -> list[int]:
    """How many training images each class of a run has, by reading its data again.

    Raises:
        ValueError, OSError: the data are no longer there, or other ones.
    """
    data = make_data(read_config(folder)["data"])
    data.setup()
    counts = torch.bincount(data.train_dataset.labels, minlength=data.num_classes).tolist()
    number = dict(zip(data.class_names, counts, strict=True))
    missing = [name for name in names if name not in number]
    if missing:
        raise ValueError(
            f"The data of {folder} lack {len(missing)} of its classes, such as {missing[0]!r}."
        )
    return [number[name] for name in names]


class LiveClasses:
    """The classes of a run as its registry has them now; as trained where it has none.

    Args:
        trained: the run.

    Raises:
        ValueError: the registry belongs to other vectors.
    """

    def __init__(self, trained: TrainedRun) -> None:
        self._trained = trained
        self.retired = torch.empty(0, dtype=torch.int64)
        """`[R]` labels that are not predicted."""
        try:
            registry = open_registry(trained.folder, class_map(trained), trained.names)
        except FileNotFoundError:
            self._live = False
            return
        with registry:
            self._live = True
            retired = torch.from_numpy(registry.retired())
        self.retired = retired[retired < len(trained.names)]

    @property
    def num_active(self) -> int:
        """Number of classes that can be predicted."""
        return len(self._trained.names) - len(self.retired)

    def names(self, labels: Sequence[int]) -> list[str]:
        """The names of these classes."""
        if not self._live:
            return [self._trained.names[label] for label in labels]
        with ClassRegistry(self._trained.folder / REGISTRY) as registry:
            return registry.names(labels)

    def predict(self, z: Tensor, k: int = 1) -> Prediction:
        """The k best of the classes that are not retired, see `predict_without`.

        Args:
            z: `[N, dim]` embeddings.
            k: number of classes, at most `num_active`.
        """
        predict, number = self._trained.objective.predict, len(self._trained.names)
        with torch.no_grad():
            parts = [predict_without(predict, p, k, self.retired, number) for p in z.split(CHUNK)]
        return Prediction(torch.cat([p.label for p in parts]), torch.cat([p.cosine for p in parts]))

    def scores(self, score: KnownScore, prediction: Prediction, z: Tensor) -> Tensor:
        """`[N]` float64, how known some inputs are.

        Args:
            score: of them.
            prediction: `[N, score.width]` or wider, by `predict`.
            z: `[N, dim]` embeddings.
        """
        return score(prediction, z, class_map(self._trained), self.retired)


def read_rejector(folder: Path) -> Rejector:
    """The rejector of a run.

    Raises:
        ValueError: it has none, or the file is something else.
    """
    try:
        return Rejector.load(folder / REJECTOR)
    except FileNotFoundError as error:
        raise ValueError(
            f"{folder} has no {REJECTOR}, which says what is unknown. Make it with `rootspace "
            f"calibrate {folder}`."
        ) from error


def class_map(trained: TrainedRun) -> ClassMap | None:
    """The class map of a run, None for a learned head."""
    objective = trained.objective
    return objective.classes if isinstance(objective, VectorObjective) else None


def _system(classes: ClassMap | None) -> str | None:
    return None if classes is None else repr(classes.system)


def _vector_ids(classes: ClassMap | None, start: int) -> list[int] | list[bytes] | None:
    if classes is None:
        return None
    return classes.vector_ids(torch.arange(start, classes.num_classes))


def _check_vectors(registry: ClassRegistry, classes: ClassMap | None, number: int) -> None:
    """That the registry and the class map agree: by the system and the ends of the classes."""
    if registry.system != _system(classes):
        raise ValueError(
            f"{registry.path} belongs to the vectors of {registry.system}, the run has "
            f"{_system(classes)}: it was copied from another run."
        )
    common = min(len(registry), number)
    if classes is None or not common:
        return
    ends = [0, common - 1]
    for label, vector in zip(ends, classes.vector_ids(torch.tensor(ends)), strict=True):
        if registry.entry(label).vector != vector:
            raise ValueError(
                f"{registry.path} gives class {label} another vector than the run: it was copied "
                "from another run."
            )
