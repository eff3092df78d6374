"""What a training run left behind, read once and checked."""

from __future__ import annotations

import csv
import json
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]

_HINT = "train one with `rootspace train`"

_SHAPES = {
    "embeddings": "S dim",
    "embedding_labels": "S",
    "class_vectors": "P dim",
    "class_vector_labels": "P",
    "class_names": "N",
}
_CONFUSION_SHAPES = {
    "confusion_true": "Q",
    "confusion_predicted": "Q",
    "confusion_cosine": "Q",
    "confusion_set": "Q",
    "confusion_images": "Q C H W",
    "confusion_true_images": "Q C H W",
    "confusion_predicted_images": "Q C H W",
}


@dataclass(frozen=True)
class Score:
    """Accuracy (a fraction) over `images` held-out images; None where a run does not say."""

    accuracy: float
    images: int | None


@dataclass(frozen=True)
class Curves:
    """Training curves, a value per epoch; NaN where nothing was measured."""

    epoch: Array
    seconds: Array
    loss: Array
    accuracy: Array
    test: dict[str, Array]


@dataclass(frozen=True)
class Confusion:
    """One held-out image that was read as another class."""

    test_set: str
    true: int
    predicted: int
    cosine: float
    image: Array  # uint8 [C, H, W]
    true_sample: Array
    predicted_sample: Array


@dataclass(frozen=True)
class Evaluation:
    """What `evaluation.npz` holds: embeddings, class vectors and confusions."""

    embeddings: Array  # [S, dim], any length
    embedding_labels: Array
    class_vectors: Array  # [P, dim], length 1
    class_vector_labels: Array
    confusions: tuple[Confusion, ...]
    class_names: tuple[str, ...]


@dataclass(frozen=True)
class Run:
    """A run folder. `None` stands for what the run does not have or did not measure."""

    path: Path
    name: str
    method: str
    loss: str
    num_classes: int
    dim: int
    epochs: int
    seconds: float
    seconds_per_epoch: float
    backbone_parameters: int
    head_parameters: int
    train_accuracy: float | None
    test: dict[str, Score]
    bytes_per_class: float | None
    peak_memory_mb: float | None
    batch_size: int | None
    scale: float | None
    capacity: int | None
    min_angle: float | None
    system: str | None
    order: str | None
    device: str | None
    data: str | None
    model: str | None
    version: str | None
    metrics: dict[str, Any]
    config: str | None
    curves: Curves | None
    evaluation: Evaluation | None

    @property
    def is_lsc(self) -> bool:
        return self.method == "lsc"


def read_run(path: Path) -> Run:
    """Read a run folder.

    Raises:
        FileNotFoundError: there is no such folder, or it has no metrics.json.
        ValueError: a file in it does not hold what it should.
    """
    if not path.is_dir():
        raise FileNotFoundError(f"{path} is not a run folder: no such folder; {_HINT}")
    source = path / "metrics.json"
    if not source.is_file():
        raise FileNotFoundError(f"{path} is not a run folder: metrics.json is missing; {_HINT}")
    try:
        metrics = json.loads(source.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{source} is not JSON: {error}") from error
    if not isinstance(metrics, dict):
        raise ValueError(f"{source} must hold a JSON object, not {type(metrics).__name__}.")
    get = _Fields(metrics, source)
    parameters, train, test = (get.mapping(key) for key in ("parameters", "train", "test"))
    dim = get.integer("dim")
    config = path / "config.yaml"
    return Run(
        path=path,
        name=path.resolve().name,
        method=get.text("method"),
        loss=get.text("loss"),
        num_classes=get.integer("num_classes"),
        dim=dim,
        epochs=get.integer("epochs"),
        seconds=get.number("seconds"),
        seconds_per_epoch=get.number("seconds_per_epoch"),
        backbone_parameters=parameters.integer("backbone"),
        head_parameters=parameters.integer("head"),
        train_accuracy=train.optional("accuracy", "number"),
        test={name: _read_score(test.mapping(name)) for name in test.record},
        bytes_per_class=get.optional("bytes_per_class", "number"),
        peak_memory_mb=get.optional("peak_memory_mb", "number"),
        batch_size=get.optional("batch_size", "integer"),
        scale=get.optional("scale", "number"),
        capacity=get.optional("capacity", "integer"),
        min_angle=get.optional("min_angle", "number"),
        system=get.optional("system", "text"),
        order=get.optional("order", "text"),
        device=get.optional("device", "text"),
        data=get.optional("data", "text"),
        model=get.optional("model", "text"),
        version=get.optional("version", "text"),
        metrics=metrics,
        config=config.read_text(encoding="utf-8", errors="replace") if config.is_file() else None,
        curves=_read_curves(path / "metrics.csv"),
        evaluation=_read_evaluation(path / "evaluation.npz", dim),
    )


def _read_score(fields: _Fields) -> Score:
    return Score(fields.number("accuracy"), fields.optional("images", "integer"))


@dataclass(frozen=True)
class _Fields:
    """Typed access to a JSON object; what is missing or of the wrong type is named."""

    record: Mapping[str, Any]
    source: Path
    prefix: str = ""

    def text(self, key: str) -> str:
        return self._get(key, (str,), "a string")

    def integer(self, key: str) -> int:
        return self._get(key, (int,), "an integer")

    def number(self, key: str) -> float:
        return self._get(key, (int, float), "a number")

    def mapping(self, key: str) -> _Fields:
        record = self._get(key, (dict,), "an object")
        return _Fields(record, self.source, f"{self.prefix}{key}.")

    def optional(self, key: str, kind: str) -> Any:
        return None if self.record.get(key) is None else getattr(self, kind)(key)

    def _get(self, key: str, types: tuple[type, ...], kind: str) -> Any:
        if key not in self.record:
            raise ValueError(f"{self.source} has no '{self.prefix}{key}'; it must be {kind}.")
        value = self.record[key]
        if not isinstance(value, types) or isinstance(value, bool):
            raise ValueError(f"{self.source}: '{self.prefix}{key}' must be {kind}, not {value!r}.")
        return value


def _read_curves(path: Path) -> Curves | None:
    if not path.is_file():
        return None
    with path.open(encoding="utf-8", newline="") as file:
        reader = csv.DictReader(file)
        columns = reader.fieldnames or ()
        rows = list(reader)
    if not rows:
        return None

    def column(name: str) -> Array:
        if name not in columns:
            raise ValueError(f"{path} has no column '{name}'; it has {', '.join(columns)}.")
        try:
            return np.array([float(row[name] or "nan") for row in rows])
        except ValueError as error:
            raise ValueError(f"{path}, column '{name}': {error}") from error

    prefix, suffix = "test/", "/accuracy"
    return Curves(
        epoch=column("epoch"),
        seconds=column("seconds"),
        loss=column("train/loss"),
        accuracy=column("train/accuracy"),
        test={
            name[len(prefix) : -len(suffix)]: column(name)
            for name in columns
            if name.startswith(prefix) and name.endswith(suffix)
        },
    )


def _read_evaluation(path: Path, dim: int) -> Evaluation | None:
    if not path.is_file():
        return None
    try:
        with np.load(path, allow_pickle=False) as archive:
            arrays = {key: archive[key] for key in archive.files}
    except (ValueError, OSError, EOFError, zipfile.BadZipFile) as error:
        raise ValueError(f"{path} cannot be read: {error}") from error
    sizes = {"dim": dim}
    _check_shapes(arrays, _SHAPES, sizes, path)
    # A perfect run has nothing to measure its images by, so their shape is free then.
    some = "confusion_true" not in arrays or len(arrays["confusion_true"]) > 0
    if some:
        _check_shapes(arrays, _CONFUSION_SHAPES, sizes, path)
        if sizes["C"] not in (1, 3):
            raise ValueError(f"{path}: confusion images have {sizes['C']} channels, not 1 or 3.")
        if arrays["confusion_images"].dtype != np.uint8:
            dtype = arrays["confusion_images"].dtype
            raise ValueError(f"{path}: confusion images must be uint8, not {dtype}.")
    return Evaluation(
        embeddings=arrays["embeddings"],
        embedding_labels=arrays["embedding_labels"],
        class_vectors=arrays["class_vectors"],
        class_vector_labels=arrays["class_vector_labels"],
        confusions=_confusions(arrays) if some else (),
        class_names=tuple(str(name) for name in arrays["class_names"]),
    )


def _check_shapes(
    arrays: Mapping[str, Array], shapes: Mapping[str, str], sizes: dict[str, int], path: Path
) -> None:
    """Every letter of `shapes` must stand for one size throughout; `sizes` collects them."""
    for key, shape in shapes.items():
        if key not in arrays:
            raise ValueError(f"{path} has no array '{key}'; it must be [{shape}].")
        letters, actual = shape.split(), arrays[key].shape
        if len(actual) != len(letters) or any(
            sizes.setdefault(letter, size) != size
            for letter, size in zip(letters, actual, strict=True)
        ):
            known = ", ".join(f"{x} = {sizes[x]}" for x in letters if x in sizes)
            raise ValueError(f"{path}: '{key}' must be [{shape}] ({known}), not {list(actual)}.")


def _confusions(arrays: Mapping[str, Array]) -> tuple[Confusion, ...]:
    return tuple(
        Confusion(
            test_set=str(arrays["confusion_set"][i]),
            true=int(arrays["confusion_true"][i]),
            predicted=int(arrays["confusion_predicted"][i]),
            cosine=float(arrays["confusion_cosine"][i]),
            image=arrays["confusion_images"][i],
            true_sample=arrays["confusion_true_images"][i],
            predicted_sample=arrays["confusion_predicted_images"][i],
        )
        for i in range(len(arrays["confusion_true"]))
    )
