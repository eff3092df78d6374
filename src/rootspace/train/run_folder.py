"""The files of a finished run, and how to use them again."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import yaml
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from rootspace._files import replacing, write_json, write_text
from rootspace.classes import ClassMap, Prediction
from rootspace.data import DATASETS, ImageData
from rootspace.runs.folder import (
    CLASSES,
    CONFIG,
    METRICS,
    PARENT,
    REPLAY,
    START,
    TARGETS,
    TEACHER,
    VECTORS,
    WEIGHTS,
)

from .build import build_network, build_objective
from .embedder import Embedder
from .objectives import Objective, VectorObjective


def write_weights(
    path: Path, embedder: Embedder, objective: Objective, shape: Mapping[str, int]
) -> None:
    """The network, its input statistics, and a learned head where there is one.

    Args:
        path: of the file.
        embedder: the network.
        objective: its head.
        shape: `in_channels`, `image_size` and `dim`, kept as metadata to build the network again.
    """
    state = {f"embedder.{k}": v for k, v in embedder.state_dict().items()}
    state |= {f"objective.{k}": v for k, v in objective.state_dict().items()}
    with replacing(path) as temporary:
        save_file(
            {k: v.detach().cpu().contiguous() for k, v in state.items()},
            temporary,
            metadata={name: str(number) for name, number in shape.items()},
        )


def write_model(
    folder: Path,
    embedder: Embedder,
    objective: Objective,
    shape: Mapping[str, int],
    names: Sequence[str],
) -> None:
    """What `read_run` needs beside the config: the classes and the weights."""
    classes = objective.classes if isinstance(objective, VectorObjective) else None
    write_classes(folder / CLASSES, classes, names)
    write_weights(folder / WEIGHTS, embedder, objective, shape)


def write_classes(path: Path, classes: ClassMap | None, names: Sequence[str]) -> None:
    """The class map; for a learned head only the names, since its vectors are weights."""
    if classes is not None:
        classes.save(path)
    else:
        content = {"format": 1, "system": None, "num_classes": len(names), "names": list(names)}
        write_json(path, content)


@dataclass
class TrainedRun:
    """A run read from its folder, ready to embed and predict.

    Attributes:
        folder: of the run.
        config: as resolved when it was trained.
        embedder: uint8 images `[B, C, H, W]` -> `[B, dim]`, in evaluation mode.
        objective: prediction from embeddings.
        names: of the classes.
        in_channels: of the images.
        image_size: of the images.
    """

    folder: Path
    config: dict[str, Any]
    embedder: Embedder
    objective: Objective
    names: list[str]
    in_channels: int
    image_size: int

    @property
    def class_map(self) -> ClassMap | None:
        """The class map, None for a learned head."""
        return self.objective.classes if isinstance(self.objective, VectorObjective) else None

    @torch.no_grad()
    def embed(self, images: torch.Tensor) -> torch.Tensor:
        """uint8 images `[B, C, H, W]` -> `[B, dim]`, on the device of the network."""
        return self.embedder(images.to(self.embedder.mean.device))

    @torch.no_grad()
    def predict(self, images: torch.Tensor, k: int = 1) -> Prediction:
        """uint8 images `[B, C, H, W]` -> the k best classes of each."""
        return self.objective.predict(self.embed(images), k)


def read_network(folder: str | Path, embedder: Embedder) -> Embedder:
    """A network with the weights of a finished run.

    Args:
        folder: of that run.
        embedder: of the same shape; its weights and input statistics are replaced.

    Raises:
        ValueError: the folder does not hold a finished run, or one of another network.
    """
    folder = Path(folder)
    try:
        read_classes(folder)
        state = load_file(folder / WEIGHTS)
        embedder.load_state_dict(
            {
                name.removeprefix("embedder."): value
                for name, value in state.items()
                if name.startswith("embedder.")
            }
        )
    except (OSError, ValueError) as error:
        raise ValueError(f"Argument 'run.init': {error}") from error
    except RuntimeError as error:
        reason = str(error).splitlines()[-1].strip()
        raise ValueError(
            f"Argument 'run.init': the network of {folder} is another one: {reason}"
        ) from error
    return embedder


def make_data(config: Mapping[str, Any]) -> ImageData:
    """The data module that the `data` section of a config describes; reads no files yet."""
    arguments = {key: value for key, value in config.items() if key != "name"}
    return DATASETS[config["name"]](**arguments)


def write_config(folder: Path, config: Mapping[str, Any]) -> None:
    """Write the resolved config of a run: all or nothing."""
    text = yaml.safe_dump(dict(config), sort_keys=False, allow_unicode=True)
    write_text(folder / CONFIG, text)


def read_config(folder: Path) -> dict[str, Any]:
    """The resolved config of a run.

    Raises:
        ValueError: the folder does not hold a run.
    """
    if not (folder / CONFIG).is_file():
        raise ValueError(
            f"{folder} is not a run folder: {CONFIG} is missing. Train one with "
            "`rootspace train --config FILE --run.dir DIR`."
        )
    config = yaml.safe_load((folder / CONFIG).read_text(encoding="utf-8"))
    if (folder / START / REPLAY).is_dir():  # wherever the folder has been moved to
        config["data"]["memory"] = str(folder / START / REPLAY)
    vectors = folder / TARGETS / VECTORS
    if config["classes"]["vectors"] is not None and vectors.is_file():
        config["classes"]["vectors"] = str(vectors)
    return config


def resume_hint(folder: Path) -> str:
    """How to continue a run that is not finished."""
    config = read_config(folder)
    parent = config.get(PARENT)
    if TEACHER in config:
        return f"Continue it with `rootspace distill --resume --run.dir {folder}`."
    if parent is None:
        return f"Continue it with `rootspace train --resume --run.dir {folder}`."
    return f"Continue it with `rootspace extend {parent['run']} --resume --run.dir {folder}`."


def check_finished(folder: Path) -> None:
    """Raise a ValueError for a run that was stopped: its weights and vectors are not the last."""
    _check_files(folder, METRICS)


def _check_files(folder: Path, *names: str) -> None:
    for name in names:
        if not (folder / name).is_file():
            raise ValueError(
                f"{folder} is not a finished run: {name} is missing. {resume_hint(folder)}"
            )


def read_classes(folder: Path) -> tuple[ClassMap | None, list[str]]:
    """The class map of a run, None for a learned head, and the names of its classes.

    Raises:
        ValueError: the run is not finished.
    """
    _check_files(folder, CLASSES, WEIGHTS)
    content = json.loads((folder / CLASSES).read_text(encoding="utf-8"))
    classes = ClassMap.load(folder / CLASSES) if content["system"] else None
    return classes, content.get("names") or [str(c) for c in range(content["num_classes"])]


def read_run(folder: str | Path, device: str | torch.device = "cpu") -> TrainedRun:
    """Read a trained run.

    Args:
        folder: that `rootspace train` wrote.
        device: for the network.

    Raises:
        ValueError: the folder does not hold a finished run.
    """
    folder = Path(folder)
    config = read_config(folder)
    classes, names = read_classes(folder)
    state = load_file(folder / WEIGHTS)
    with safe_open(folder / WEIGHTS, framework="pt") as file:
        shape = {name: int(number) for name, number in file.metadata().items()}
    network = build_network(
        config["model"], shape["dim"], shape["in_channels"], shape["image_size"], pretrained=False
    )
    channels = (0.0,) * shape["in_channels"]
    embedder = Embedder(network, channels, channels)
    objective = build_objective(config["loss"], classes, shape["dim"], len(names))
    for prefix, part in (("embedder.", embedder), ("objective.", objective)):
        part.load_state_dict(
            {k.removeprefix(prefix): v for k, v in state.items() if k.startswith(prefix)}
        )
        part.to(device).eval()
    return TrainedRun(
        folder, config, embedder, objective, names, shape["in_channels"], shape["image_size"]
    )
