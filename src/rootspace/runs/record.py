"""What a finished run leaves behind for readers: figures, curves, and what its report shows.

    metrics.json      RunRecord
    metrics.csv       EpochRow, a line for each epoch
    evaluation.npz    Evaluation

Each has `read(folder)` and `write(folder)`. What is missing, unknown or of the wrong type is named
with its file. Fields of JSON that are None are left out.
"""

from __future__ import annotations

import csv
import math
import types
import zipfile
from collections.abc import Sequence
from dataclasses import MISSING, dataclass, fields, is_dataclass
from pathlib import Path
from typing import Any, TypeVar, get_args, get_origin, get_type_hints

import numpy as np
from numpy.typing import NDArray

from rootspace._files import read_json, replacing, write_json

from .folder import EVALUATION, HISTORY, METRICS, checked

T = TypeVar("T")
Labels = NDArray[np.int64]
Images = NDArray[np.uint8]


# ---------------------------------------------------------------------------------- metrics.json


@dataclass(frozen=True)
class TestResult:
    """Accuracy on a test set.

    Attributes:
        accuracy: a fraction.
        images: that it was measured on.
        mean_accuracy: by the nearest mean of the classes' embeddings, where it was asked for.
    """

    __test__ = False  # for pytest: this is no test

    accuracy: float
    images: int
    mean_accuracy: float | None = None


@dataclass(frozen=True)
class Parameters:
    """Numbers of trained weights."""

    backbone: int
    head: int

    @property
    def total(self) -> int:
        return self.backbone + self.head


@dataclass(frozen=True)
class Training:
    """Means over the last epoch, of the batches as they were trained on.

    Attributes:
        loss: per image.
        accuracy: a fraction; None where the classes got their vectors after the last epoch.
    """

    loss: float
    accuracy: float | None = None


@dataclass(frozen=True)
class ChoiceRecord:
    """How the vectors that were chosen from the data fit.

    Attributes:
        mean_cosine: of the class means to their vectors.
        collisions: classes whose nearest vector was another class's.
        smallest_angle: between two classes of the finished run, in degrees; None for more than
            100,000 classes.
        method: of the search: `nearest`, `matching` or `greedy`.
        seconds: that it took.
    """

    mean_cosine: float
    collisions: int
    method: str
    seconds: float
    smallest_angle: float | None = None


@dataclass(frozen=True)
class TeacherRecord:
    """Whom a distilled run learned from: the settings of the section `teacher`."""

    targets: str
    run: str | None = None
    timm: str | None = None
    weights: str | None = None
    embeddings: str | None = None


@dataclass(frozen=True, kw_only=True)
class RunRecord:
    """The final figures of a run: of its last epoch, or of the one that was kept as the best.

    Attributes:
        version: of rootspace.
        finished: local time, as "2026-01-31 12:00:00".
        method: `prototypes`, or `learned` for a head that is trained.
        loss: its name.
        scale: by which cosines are multiplied in the loss, where it has one.
        system: of vectors, as it is written; as `order`, `capacity` and `min_angle` (degrees) for
            predefined vectors only.
        order: of the classes in the system.
        capacity: vectors of the system.
        min_angle: between two of them, in degrees.
        num_classes: of the run.
        dim: of the embeddings.
        model: name of the network.
        data: in words.
        batch_size: of the training.
        epochs: that were trained.
        best_epoch: whose weights were kept as the best on the validation set, where they were.
        seconds: of training.
        seconds_per_epoch: their mean.
        peak_memory_mb: of training, in megabytes, where it was measured.
        device: that was trained on.
        parameters: trained weights.
        bytes_per_class: that a class takes in memory.
        training_bytes_per_class: that it takes while the run trains: of a learned class with its
            gradient and the two moments of AdamW, on the device; of a prototype that follows the
            network with its direction, on the host.
        train: on the training images.
        test: test set -> result, in the order of the data.
        choice: where the vectors were chosen from the data.
        parent: folder of the run that this one extends; the next three belong to it.
        old_classes: how many were there before.
        replayed_images: that were trained on again.
        remembered_images: for the next extension.
        teacher: of a distilled run.
    """

    version: str
    finished: str
    method: str
    loss: str
    scale: float | None = None
    system: str | None = None
    order: str | None = None
    capacity: int | None = None
    min_angle: float | None = None
    num_classes: int
    dim: int
    model: str
    data: str
    batch_size: int
    epochs: int
    best_epoch: int | None = None
    seconds: float
    seconds_per_epoch: float
    peak_memory_mb: float | None = None
    device: str
    parameters: Parameters
    bytes_per_class: float
    training_bytes_per_class: float
    train: Training
    test: dict[str, TestResult]
    choice: ChoiceRecord | None = None
    parent: str | None = None
    old_classes: int | None = None
    replayed_images: int | None = None
    remembered_images: int | None = None
    teacher: TeacherRecord | None = None

    @property
    def has_prototypes(self) -> bool:
        return self.method == "prototypes"

    @classmethod
    def read(cls, folder: Path) -> RunRecord:
        """The record of a finished run.

        Raises:
            FileNotFoundError: the run is not finished, or there is none.
            ValueError: the file holds something else; it and the field are named.
        """
        path = checked(folder / METRICS)
        content = read_json(path)
        if not isinstance(content, dict):
            raise ValueError(f"{path} must hold a JSON object, not {type(content).__name__}.")
        return _parse(cls, content, path)

    def write(self, folder: Path) -> None:
        """Write it, all or nothing."""
        write_json(folder / METRICS, self.as_json())

    def as_json(self) -> dict[str, object]:
        """The content of the file."""
        return as_json(self)


def as_json(record: Any) -> Any:
    """A record as an object of JSON, without what is None."""
    if is_dataclass(record) and not isinstance(record, type):
        values = {f.name: getattr(record, f.name) for f in fields(record)}
        return {key: as_json(value) for key, value in values.items() if value is not None}
    if isinstance(record, dict):
        return {key: as_json(value) for key, value in record.items()}
    return record


def _parse(kind: type[T], value: Any, source: Path, name: str = "") -> T:
    """A value of JSON as a value of that type.

    Raises:
        ValueError: it is none; it is called `name` in the file `source`.
    """
    found: Any = value
    if isinstance(kind, types.UnionType):  # X | None
        (inner,) = (part for part in get_args(kind) if part is not type(None))
        return found if found is None else _parse(inner, found, source, name)
    allowed = {float: (int, float), int: (int,), str: (str,)}.get(kind, (dict,))
    if not isinstance(found, allowed) or isinstance(found, bool):
        raise ValueError(f"{source}: '{name}' must be {_words(kind)}, not {found!r}.")
    prefix = f"{name}." if name else ""
    if get_origin(kind) is dict:
        inner = get_args(kind)[1]
        return {key: _parse(inner, v, source, prefix + key) for key, v in found.items()}  # pyright: ignore[reportReturnType]
    if not is_dataclass(kind):
        return found
    hints = get_type_hints(kind)
    for missing in (f for f in fields(kind) if f.name not in found):
        if missing.default is MISSING:
            words = _words(hints[missing.name])
            raise ValueError(f"{source} has no '{prefix}{missing.name}'; it must be {words}.")
    for key in found:
        if key not in hints:
            raise ValueError(f"{source}: '{prefix}{key}' is unknown; remove it.")
    return kind(**{key: _parse(hints[key], v, source, prefix + key) for key, v in found.items()})


def _words(kind: Any) -> str:
    return {int: "an integer", float: "a number", str: "a string"}.get(kind, "an object")


# ----------------------------------------------------------------------------------- metrics.csv

_COLUMNS = {
    "epoch": "epoch",
    "step": "step",
    "seconds": "seconds",
    "lr": "lr",
    "loss": "train/loss",
    "accuracy": "train/accuracy",
}
_TEST = ("test/", "/accuracy")


@dataclass(frozen=True)
class EpochRow:
    """What was measured after an epoch; NaN where nothing was.

    Attributes:
        epoch: from 1.
        step: of the optimizer, from the beginning.
        seconds: of training, from the beginning.
        lr: learning rate at the end.
        loss: mean per training image.
        accuracy: on the training images, a fraction.
        tests: test set -> accuracy.
    """

    epoch: int
    step: int
    seconds: float
    lr: float
    loss: float
    accuracy: float
    tests: dict[str, float]

    def columns(self) -> dict[str, float]:
        """The values by the names of the columns, NaN included."""
        values = {column: getattr(self, name) for name, column in _COLUMNS.items()}
        return values | {name.join(_TEST): value for name, value in self.tests.items()}

    @staticmethod
    def read(folder: Path) -> list[EpochRow]:
        """The epochs of a run, in order.

        Raises:
            FileNotFoundError: none has been finished.
            ValueError: a column is missing or unknown, or holds something else; it is named.
        """
        path = checked(folder / HISTORY)
        with path.open(encoding="utf-8", newline="") as file:
            reader = csv.DictReader(file)
            columns, lines = list(reader.fieldnames or ()), list(reader)
        for column in _COLUMNS.values():
            if column not in columns:
                raise ValueError(f"{path} has no column '{column}'; it has {', '.join(columns)}.")
        start, end = _TEST
        tests = [column for column in columns if column not in _COLUMNS.values()]
        for column in tests:
            if not (column.startswith(start) and column.endswith(end)):
                raise ValueError(f"{path}: column '{column}' is unknown; remove it.")
        rows = []
        for line in lines:
            value = {column: _number(line[column], column, path) for column in columns}
            known: dict[str, Any] = {name: value[column] for name, column in _COLUMNS.items()}
            named = {column[len(start) : -len(end)]: value[column] for column in tests}
            rows.append(EpochRow(**known, tests=named))
        return rows

    @staticmethod
    def write(folder: Path, rows: Sequence[EpochRow]) -> None:
        """Write the epochs of a run, all or nothing."""
        columns = list(dict.fromkeys(name for row in rows for name in row.columns()))
        with (
            replacing(folder / HISTORY) as temporary,
            temporary.open("w", newline="", encoding="utf-8") as file,
        ):
            writer = csv.DictWriter(file, fieldnames=columns)
            writer.writeheader()
            for row in rows:
                writer.writerow({k: v for k, v in row.columns().items() if not math.isnan(v)})


def _number(text: str | None, column: str, path: Path) -> float:
    whole = column in ("epoch", "step")
    try:
        return int(text or "") if whole else float(text or "nan")
    except ValueError as error:
        raise ValueError(f"{path}, column '{column}': {error}") from error


# -------------------------------------------------------------------------------- evaluation.npz


@dataclass(frozen=True)
class Confusion:
    """One test image that was read as another class; images are uint8 `[C, H, W]`."""

    test_set: str
    true: int
    predicted: int
    cosine: float
    image: Images
    true_sample: Images
    predicted_sample: Images


# Array -> shape, a letter for each size, and what numpy calls its kind of number.
_ARRAYS = {
    "embeddings": ("S dim", "f"),
    "embedding_labels": ("S", "iu"),
    "class_vectors": ("P dim", "f"),
    "class_vector_labels": ("P", "iu"),
    "class_labels": ("N", "iu"),
    "class_names": ("N", "U"),
    "confusion_set": ("Q", "U"),
    "confusion_true": ("Q", "iu"),
    "confusion_predicted": ("Q", "iu"),
    "confusion_cosine": ("Q", "f"),
    "confusion_images": ("Q C H W", "B"),
    "confusion_true_images": ("Q C H W", "B"),
    "confusion_predicted_images": ("Q C H W", "B"),
}
_KINDS = {"f": "floating point", "iu": "integers", "U": "text", "B": "uint8"}


@dataclass(frozen=True)
class Evaluation:
    """What a report shows of a run. A letter stands for the same size throughout.

    Attributes:
        embeddings: `[S, dim]` of some test images, of any length.
        embedding_labels: `[S]`.
        class_vectors: `[P, dim]` of some classes, of length 1.
        class_vector_labels: `[P]`.
        class_labels: `[N]` of the classes that occur here.
        class_names: `[N]` their names.
        confusion_set: `[Q]` test sets of the nearest confusions, the closest first.
        confusion_true: `[Q]` their labels.
        confusion_predicted: `[Q]` the labels they were given.
        confusion_cosine: `[Q]` to the vectors of these.
        confusion_images: `[Q, C, H, W]` the images, C = 1 or 3.
        confusion_true_images: `[Q, C, H, W]` another image of the class.
        confusion_predicted_images: `[Q, C, H, W]` one of the class they were read as.
    """

    embeddings: NDArray[np.float32]
    embedding_labels: Labels
    class_vectors: NDArray[np.float32]
    class_vector_labels: Labels
    class_labels: Labels
    class_names: NDArray[np.str_]
    confusion_set: NDArray[np.str_]
    confusion_true: Labels
    confusion_predicted: Labels
    confusion_cosine: NDArray[np.float32]
    confusion_images: Images
    confusion_true_images: Images
    confusion_predicted_images: Images

    @property
    def names(self) -> dict[int, str]:
        """Label -> name, of the classes that occur here."""
        return dict(zip(self.class_labels.tolist(), self.class_names.tolist(), strict=True))

    @property
    def confusions(self) -> list[Confusion]:
        """The confusions one by one."""
        return [
            Confusion(str(name), int(true), int(predicted), float(cosine), *images)
            for name, true, predicted, cosine, *images in zip(
                self.confusion_set,
                self.confusion_true,
                self.confusion_predicted,
                self.confusion_cosine,
                self.confusion_images,
                self.confusion_true_images,
                self.confusion_predicted_images,
                strict=True,
            )
        ]

    @classmethod
    def read(cls, folder: Path, dim: int | None = None) -> Evaluation:
        """The evaluation of a run.

        Args:
            folder: of the run.
            dim: of its embeddings, where it is known.

        Raises:
            FileNotFoundError: the run has none.
            ValueError: the file cannot be read, or an array is missing, unknown or of another
                shape or type; it is named.
        """
        path = checked(folder / EVALUATION)
        try:
            with np.load(path, allow_pickle=False) as archive:
                arrays = {key: archive[key] for key in archive.files}
        except FileNotFoundError:
            raise
        except (ValueError, OSError, EOFError, zipfile.BadZipFile) as error:
            raise ValueError(f"{path} cannot be read: {error}") from error
        for name, (shape, _) in _ARRAYS.items():
            if name not in arrays:
                raise ValueError(f"{path} has no array '{name}'; it must be [{shape}].")
        for name in arrays:
            if name not in _ARRAYS:
                raise ValueError(f"{path}: array '{name}' is unknown; remove it.")
        evaluation = cls(**arrays)
        evaluation._check(path, dim)
        return evaluation

    def write(self, folder: Path) -> None:
        """Write it, all or nothing, compressed.

        Raises:
            ValueError: an array is of another shape or type; it is named.
        """
        self._check(folder / EVALUATION, None)
        arrays = {name: getattr(self, name) for name in _ARRAYS}
        with replacing(folder / EVALUATION) as temporary, temporary.open("wb") as file:
            np.savez_compressed(file, **arrays)

    def _check(self, path: Path, dim: int | None) -> None:
        sizes = {} if dim is None else {"dim": dim}
        for name, (shape, kinds) in _ARRAYS.items():
            array, letters = getattr(self, name), shape.split()
            if array.ndim != len(letters) or any(
                sizes.setdefault(letter, size) != size
                for letter, size in zip(letters, array.shape, strict=True)
            ):
                known = ", ".join(f"{x} = {sizes[x]}" for x in letters if x in sizes)
                raise ValueError(
                    f"{path}: '{name}' must be [{shape}] ({known}), not {list(array.shape)}."
                )
            if array.dtype.kind not in kinds and array.dtype.char not in kinds:
                raise ValueError(f"{path}: '{name}' must be {_KINDS[kinds]}, not {array.dtype}.")
        if sizes["C"] not in (1, 3):
            raise ValueError(f"{path}: confusion images have {sizes['C']} channels, not 1 or 3.")
