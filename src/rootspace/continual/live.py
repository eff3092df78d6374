"""The classes of a run as they are now: its registry, and predictions that heed it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple, Protocol

import torch
from torch import Tensor

from rootspace._files import replacing
from rootspace.classes import ClassMap, Prediction
from rootspace.runs.folder import REGISTRY, REJECTOR, checked

from .open_set import KnownScore, Rejector
from .registry import ClassRegistry

CHUNK = 1024
"""Embeddings predicted together, to bound the memory of a search."""


class Predict(Protocol):
    """From `[N, dim]` embeddings and k to the k best of all classes, best first.

    `ClassMap.predict` is one, and the `predict` of every head.
    """

    def __call__(self, z: Tensor, k: int, /) -> Prediction: ...


@dataclass(frozen=True)
class _Seen:
    """What was read of a registry last. Never changed, so threads may share it.

    Attributes:
        file: number of the file in the file system: the registry may be replaced by another.
        generation: of the registry.
        retired: `[R]` int64 labels.
    """

    file: int
    generation: int
    retired: Tensor


class ClassNames(NamedTuple):
    """What the classes of a run are called.

    Attributes:
        name: label -> name now.
        label: name -> label; of names now and aliases, and where these are of no class, of names as
            they were trained.
    """

    name: list[str]
    label: dict[str, int]


class LiveClasses:
    """The classes of a run as its registry has them now; as trained while it has none.

    Each call looks at the registry, so that a class which another process has retired or renamed is
    so from the next call on. Several threads may call one object at once: a call opens the file for
    itself (a connection of SQLite belongs to one thread, and must not be carried into a fork),
    which takes a fraction of a millisecond. The retired labels are read again only after a change.

    Args:
        folder: of the run.
        names: of its classes, as it was trained.
        predict: of its head, for all classes; must itself bear several threads.
        class_map: None for a learned head.

    Raises:
        ValueError: the registry belongs to other vectors; so do all methods.

    Example:
        >>> import tempfile
        >>> from pathlib import Path
        >>> from rootspace.systems import RootA
        >>> folder, classes = Path(tempfile.mkdtemp()), ClassMap(RootA(4), 3)
        >>> live = LiveClasses(folder, ["cat", "dog", "cow"], classes.predict, classes)
        >>> z = classes.vectors(torch.tensor([1]))
        >>> live.names(live.predict(z).label[0].tolist())
        ['dog']
        >>> with create_registry(folder, classes, ["cat", "dog", "cow"]) as registry:
        ...     registry.retire("dog")
        >>> "dog" in live.names(live.predict(z, k=2).label[0].tolist()), live.num_active
        (False, 2)
    """

    def __init__(
        self, folder: Path, names: Sequence[str], predict: Predict, class_map: ClassMap | None
    ) -> None:
        self.folder = folder
        self.class_map = class_map
        self._names = list(names)
        self._predict = predict
        self._seen: _Seen | None = None
        self._now()

    @property
    def retired(self) -> Tensor:
        """`[R]` int64 labels that are not predicted, ascending."""
        return self._now().retired

    @property
    def num_active(self) -> int:
        """Number of classes that can be predicted."""
        return len(self._names) - len(self.retired)

    def names(self, labels: Sequence[int]) -> list[str]:
        """The names of these classes, retired ones too.

        Raises:
            ValueError: there is no such class.
        """
        try:
            with ClassRegistry(self.folder / REGISTRY) as registry:
                return registry.names(labels)
        except FileNotFoundError:
            number = len(self._names)
            wrong = [label for label in labels if not 0 <= label < number]
            if wrong:
                raise ValueError(
                    f"Argument 'labels' must hold labels in [0, {number}), not {wrong[0]}."
                ) from None
            return [self._names[label] for label in labels]

    def all_names(self) -> ClassNames:
        """The names of all classes, and all names by which they are found; O(classes)."""
        names = list(self._names)
        labels = {name: label for label, name in enumerate(names)}
        try:
            with ClassRegistry(self.folder / REGISTRY) as registry:
                rows = registry.all_names()
        except FileNotFoundError:
            return ClassNames(names, labels)
        for name, label, alias in rows:
            if label < len(names):
                labels[name] = label
                if not alias:
                    names[label] = name
        return ClassNames(names, labels)

    def predict(self, z: Tensor, k: int = 1) -> Prediction:
        """The k best of the classes that are not retired, see `predict_without`.

        Args:
            z: `[N, dim]` embeddings.
            k: number of classes, at most `num_active`.

        Raises:
            ValueError: k out of range.
        """
        retired, number = self.retired, len(self._names)
        with torch.no_grad():
            parts = [predict_without(self._predict, p, k, retired, number) for p in z.split(CHUNK)]
        return Prediction(torch.cat([p.label for p in parts]), torch.cat([p.cosine for p in parts]))

    def scores(self, score: KnownScore, prediction: Prediction, z: Tensor) -> Tensor:
        """`[N]` float64, how known some inputs are.

        Args:
            score: of them.
            prediction: `[N, score.width]` or wider, by `predict`.
            z: `[N, dim]` embeddings.
        """
        return score(prediction, z, self.class_map, self.retired)

    def _now(self) -> _Seen:
        """The state of the registry, read again where it has changed."""
        path, seen = self.folder / REGISTRY, self._seen
        try:
            # Before it is opened: a file that takes its place in between is noticed the next time.
            file = path.stat().st_ino
            if seen is not None and seen.file == file:
                registry = ClassRegistry(path)
            else:
                registry = open_registry(self.folder, self.class_map, self._names)
            with registry, registry.snapshot():
                generation = registry.generation
                if seen is None or (seen.file, seen.generation) != (file, generation):
                    retired = torch.from_numpy(registry.retired())
                    seen = _Seen(file, generation, retired[retired < len(self._names)])
        except FileNotFoundError:
            self._seen = None
            return _Seen(-1, 0, torch.empty(0, dtype=torch.int64))
        self._seen = seen
        return seen


def predict_without(
    predict: Predict,
    z: Tensor,
    k: int,
    excluded: Tensor,
    num_classes: int,
) -> Prediction:
    """The k best of the classes that are not excluded: exact.

    The best classes are asked for in growing numbers until k of them are left. An embedding with
    no excluded class among its k best costs what it did without any; others are predicted again
    with 2k, 4k, ... answers, at the most k + len(excluded).

    Args:
        predict: from `[N, dim]` and k to the k best of all classes, best first, as
            `ClassMap.predict` and every objective of training do.
        z: `[..., dim]` embeddings.
        k: number of classes, at most those that are left.
        excluded: `[R]` int64 labels, all different and in [0, num_classes).
        num_classes: of all classes.

    Returns:
        `Prediction` of shape `[..., k]`, best first.

    Raises:
        ValueError: k out of range.
    """
    left = num_classes - len(excluded)
    if not 1 <= k <= left:
        raise ValueError(
            f"Argument 'k' must lie in [1, {left}], the classes that are not retired, not {k}."
        )
    flat = z.reshape(-1, z.shape[-1])
    label, cosine = predict(flat, k)
    excluded = excluded.to(label.device)
    open_rows, width = torch.isin(label, excluded).any(dim=-1).nonzero()[:, 0], k
    while len(open_rows):
        width = min(2 * width, k + len(excluded))
        wide = predict(flat[open_rows], width)
        out = torch.isin(wide.label, excluded)
        # Those that stay first, in their order.
        first = out.to(torch.uint8).sort(dim=-1, stable=True).indices[:, :k]
        label[open_rows] = wide.label.gather(-1, first)
        cosine[open_rows] = wide.cosine.gather(-1, first)
        open_rows = open_rows[(~out).sum(dim=-1) < k]
    shape = (*z.shape[:-1], k)
    return Prediction(label.reshape(shape), cosine.reshape(shape))


def create_registry(
    folder: Path,
    classes: ClassMap | None,
    names: Sequence[str],
    images: Sequence[int] | None = None,
    *,
    command: str = "",
    source: str = "",
) -> ClassRegistry:
    """Put a registry into the folder of a finished run.

    Args:
        folder: of the run.
        classes: its class map, None for a learned head.
        names: of its classes, all different.
        images: of each class that it was trained on; zeros if None.
        command: that makes it, for the history.
        source: data that the classes are from, for the history.

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
        source=source,
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
        registry.check()
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
    settled: bool = True,
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
        settled: new classes have their vectors; False for `copy_registry` to give them later.
        command: that extends the run, for the history.
        data: that the images are from, likewise.

    Raises:
        ValueError: the registry belongs to other vectors, or a new name is in use.
    """
    if not (source / REGISTRY).exists() or (folder / REGISTRY).exists():
        return
    with _copied(source, folder) as copy, ClassRegistry(copy) as registry:
        _check_vectors(registry, classes, len(names))
        first = len(registry)
        with registry.change(command=command, source=data):
            counts = [images.get(label, 0) for label in range(first, len(names))]
            if counts:
                vectors = _vector_ids(classes, first) if settled else None
                registry.add(names[first:], vectors, counts)
            more = {label: n for label, n in images.items() if label < first}
            if more:
                registry.count_images(more)


def copy_registry(source: Path, folder: Path, classes: ClassMap | None = None) -> None:
    """The registry of a run as it is now, in another run's folder, where it appears complete.

    Not by copying the file: closing it would let go of the locks that this process has on it.

    Args:
        source: folder of the run.
        folder: of the other run.
        classes: the class map whose vectors those classes get that have none.
    """
    with _copied(source, folder) as copy:
        if classes is None:
            return
        with ClassRegistry(copy) as registry:
            labels = registry.without_vectors()
            if not labels:
                return
            vectors = classes.vector_ids(torch.tensor(labels, dtype=torch.int64))
            added = registry.history(labels[0])[0]
            with registry.change(command=added.command, source=added.source):
                registry.give_vectors(dict(zip(labels, vectors, strict=True)))


def renew_registry(folder: Path, classes: ClassMap | None) -> None:
    """Give the classes in a run's registry the vectors that a longer training has chosen.

    Names, aliases, retired classes, counts and history stay. Nothing happens where the run has no
    registry, or its classes have the vectors that they had.

    Args:
        folder: of the run.
        classes: its class map, None for a learned head.
    """
    if classes is None or not (folder / REGISTRY).exists():
        return
    with ClassRegistry(folder / REGISTRY) as registry:
        old = [entry.vector for entry in registry.entries()]
    vectors = classes.vector_ids(torch.arange(len(old)))
    if old != vectors:
        with _copied(folder, folder) as copy, ClassRegistry(copy) as registry:
            registry.choose_anew(vectors)


@contextmanager
def _copied(source: Path, folder: Path) -> Iterator[Path]:
    """A copy of a registry to be changed, which appears when the block ends without an error."""
    with replacing(folder / REGISTRY) as copy:
        copy.unlink(missing_ok=True)  # of a process that was killed here
        with ClassRegistry(source / REGISTRY) as registry:
            registry.check()
            registry.backup(copy)
        yield copy


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
    if not (folder / REGISTRY).exists():
        return found
    with ClassRegistry(folder / REGISTRY) as registry, registry.snapshot():
        registry.check()
        if len(registry) > len(names):
            raise ValueError(
                f"{registry.path} must have the {len(names)} classes of the run at most, not "
                f"{len(registry)}: it was copied from another run."
            )
        return [
            label if owner is None else owner
            for label, owner in zip(found, map(registry.find, wanted), strict=True)
        ]


def read_rejector(folder: Path, path: Path | None = None) -> Rejector:
    """The rejector of a run.

    Args:
        folder: of the run.
        path: of another file for it.

    Raises:
        ValueError: there is none, or the file is something else.
    """
    own = folder / REJECTOR
    path = own if path is None else path
    if not path.is_file():
        raise ValueError(
            f"{path} does not exist; it says what is unknown. Make it with `rootspace calibrate "
            f"{folder}`{'' if path == own else f' --out {path}'}."
        )
    return Rejector.load(checked(path) if path == own else path)


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
