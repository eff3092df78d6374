"""model.safetensors: network, head and preprocessing of a run, in one file that appears whole.

Tensors are `embedder.*` and `head.*`; what is no tensor is JSON in the file's metadata. Names of
classes are tensors too: metadata may not be larger than 100 MB. Nothing in it is unpickled.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import torch
from torch import Tensor

from ._extras import require
from ._files import replacing
from .building import head_from_state, make_embedder
from .config import Config
from .data import ImagePreprocessing
from .data.strings import Strings
from .heads import EXTRA, Head
from .models import Embedder

FORMAT = "3"
"""Version of the file."""


State: TypeAlias = Mapping[str, Tensor]


@dataclass(frozen=True)
class Model:
    """What a run has learned.

    Attributes:
        embedder: inputs -> `[B, dim]`.
        head: loss and prediction.
        preprocessing: from image files to what the embedder takes; None for other data.
    """

    embedder: Embedder
    head: Head
    preprocessing: ImagePreprocessing | None


def class_names(model: Model) -> list[str]:
    """Label -> name; the number where classes have no names."""
    return model.head.names or [str(label) for label in range(model.head.num_classes)]


def write_model(path: Path, model: Model) -> None:
    """Write the file: all or nothing."""
    torch_file = require("safetensors.torch", extra="train", purpose="Saving a model")
    state = {f"embedder.{k}": v for k, v in model.embedder.state_dict().items()}
    head = dict(model.head.state_dict())
    extra, tensors = _without_tensors(head.pop(EXTRA))
    state |= {f"head.{k}": v for k, v in (head | tensors).items()}
    metadata = {
        "format": FORMAT,
        "head": json.dumps(extra, ensure_ascii=False),
        "preprocessing": json.dumps(
            None if model.preprocessing is None else model.preprocessing.as_dict()
        ),
    }
    with replacing(path) as temporary:
        torch_file.save_file(_apart(state), temporary, metadata=metadata)


def _apart(state: State) -> dict[str, Tensor]:
    """The tensors on the CPU, each with memory of its own: tied weights are written twice."""
    apart, seen = dict[str, Tensor](), set[int]()
    for name, tensor in state.items():
        on_cpu = tensor.detach().cpu().contiguous()
        place = on_cpu.untyped_storage().data_ptr()
        apart[name] = on_cpu.clone() if place in seen else on_cpu
        seen.add(place)
    return apart


def read_model(path: Path, config: Config, device: torch.device | str = "cpu") -> Model:
    """Read the file.

    Args:
        path: of it.
        config: of the run, which names the classes of network and head.
        device: for both.

    Raises:
        ValueError: it is damaged, or belongs to other settings; the message names the file.
    """
    state, metadata = _read(path)
    preprocessing = _preprocessing(path, metadata)
    head = _head(path, config, metadata, state)
    embedder = make_embedder(config.model, head.dim, preprocessing, load_weights=False)
    try:
        embedder.load_state_dict(_part(state, "embedder."))
    except RuntimeError as error:
        reason = str(error).splitlines()[-1].strip()
        raise ValueError(
            f"{path} holds another network than its settings name: {reason}"
        ) from error
    return Model(embedder.to(device).eval(), head.to(device).eval(), preprocessing)


def read_head(path: Path, config: Config) -> Head:
    """Read the head alone: the classes of a run, without its network.

    Raises:
        ValueError: as of `read_model`.
    """
    state, metadata = _read(path, "head.")
    return _head(path, config, metadata, state)


def read_preprocessing(path: Path) -> ImagePreprocessing | None:
    """How the images of a run become what its network takes; None for other data.

    Raises:
        ValueError: the file is damaged.
    """
    _, metadata = _read(path, "preprocessing.")  # no tensor has such a name
    return _preprocessing(path, metadata)


def read_network(path: Path, embedder: Embedder) -> ImagePreprocessing | None:
    """Give a network the weights and input statistics of a file.

    Returns:
        The preprocessing of the file.

    Raises:
        ValueError: it is damaged, or holds another network.
    """
    state, metadata = _read(path, "embedder.")
    try:
        embedder.load_state_dict(_part(state, "embedder."))
    except RuntimeError as error:
        reason = str(error).splitlines()[-1].strip()
        raise ValueError(f"the network of {path} is another one: {reason}") from error
    return _preprocessing(path, metadata)


def _head(path: Path, config: Config, metadata: Mapping[str, str], state: State) -> Head:
    try:
        return _built_head(config, metadata, state)
    except (KeyError, TypeError, AttributeError, RuntimeError, ValueError, RecursionError) as error:
        # Whoever wrote it may have written anything.
        reason = str(error).strip().splitlines() or [type(error).__name__]
        raise ValueError(f"{path} is damaged, or of other settings: {reason[0]}") from error


def _built_head(config: Config, metadata: Mapping[str, str], state: State) -> Head:
    tensors = _part(state, "head.")
    inner = {key: tensors.pop(key) for key in list(tensors) if key.startswith(f"{EXTRA}.")}
    extra = _with_tensors(json.loads(metadata["head"]), inner)
    return head_from_state(config, {**tensors, EXTRA: extra})


def _part(state: State, prefix: str) -> dict[str, Tensor]:
    return {k.removeprefix(prefix): v for k, v in state.items() if k.startswith(prefix)}


def _preprocessing(path: Path, metadata: Mapping[str, str]) -> ImagePreprocessing | None:
    try:
        content = json.loads(metadata["preprocessing"])
        return None if content is None else ImagePreprocessing.from_dict(content)
    except (KeyError, TypeError, AttributeError, ValueError, RecursionError) as error:
        raise ValueError(f"{path} is damaged: its preprocessing: {error}") from error


def _read(path: Path, prefix: str = "") -> tuple[dict[str, Tensor], dict[str, str]]:
    safetensors = require("safetensors", extra="train", purpose="Reading a model")
    try:
        with safetensors.safe_open(path, framework="pt") as file:
            metadata = dict(file.metadata() or {})
            names = [name for name in file.keys() if name.startswith(prefix)]  # noqa: SIM118
            state = {name: file.get_tensor(name) for name in names}
    except (OSError, safetensors.SafetensorError) as error:
        raise ValueError(f"{path} is damaged: {error}. Copy it again.") from error
    if metadata.get("format") != FORMAT:
        raise ValueError(
            f"{path} was written by another version of rootspace: it has format "
            f"{metadata.get('format')}, and this version reads {FORMAT}."
        )
    return state, metadata


def _without_tensors(value: Any, key: str = EXTRA) -> tuple[Any, dict[str, Tensor]]:
    """A nested dictionary with the names of its tensors in their place, and these.

    So with its lists of strings, each as two tensors: UTF-8, and where each string ends.
    """
    if isinstance(value, Tensor):
        return {"tensor": key}, {key: value}
    if isinstance(value, list) and value and all(isinstance(part, str) for part in value):
        strings = Strings.of(value)
        tensors = {f"{key}.data": strings.data, f"{key}.ends": strings.ends}
        return {"strings": key}, {k: torch.from_numpy(v.copy()) for k, v in tensors.items()}
    if not isinstance(value, dict):
        return value, {}
    content, tensors = {}, {}
    for name, part in value.items():
        content[name], more = _without_tensors(part, f"{key}.{name}")
        tensors |= more
    return content, tensors


def _with_tensors(value: Any, tensors: State) -> Any:
    if not isinstance(value, dict):
        return value
    if set(value) == {"tensor"}:
        return tensors[value["tensor"]]
    if set(value) == {"strings"}:
        data, ends = (tensors[f"{value['strings']}.{part}"] for part in ("data", "ends"))
        return _strings(data, ends)
    return {name: _with_tensors(part, tensors) for name, part in value.items()}


def _strings(data: Tensor, ends: Tensor) -> list[str]:
    if (data.dtype, ends.dtype) != (torch.uint8, torch.int64) or data.ndim != 1 or ends.ndim != 1:
        raise ValueError("names of classes must be uint8 and int64 tensors of one dimension")
    if len(ends) and (int(ends[0]) < 0 or int(ends[-1]) != len(data) or (ends.diff() < 0).any()):
        raise ValueError("names of classes must end within their letters, one after another")
    return list(Strings(data.numpy(), ends.numpy()))
