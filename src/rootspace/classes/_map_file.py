"""What a class map is made of, as JSON with arrays beside it."""

from __future__ import annotations

import glob
import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import TypeVar

import numpy as np
import torch
from torch import Tensor

from rootspace._files import replacing

ARRAYS = ("codes", "table")
"""Entries that are arrays, each in a file of its own."""

T = TypeVar("T")
State = dict[str, Tensor | str | int | list[str] | None]


def write_state(path: Path, state: State) -> None:
    """The arrays first, each as a file of its own, and last the JSON that names them.

    The digest is in a file's name: those of a map that was there before stay until the end.
    """
    content: dict[str, object] = {}
    names: set[str] = set()
    for key, value in state.items():
        if isinstance(value, Tensor):
            array = value.numpy()
            digest = _digest(array)
            name = f"{path.name}.{key}-{digest[:8]}.npy"
            with replacing(path.with_name(name)) as temporary, temporary.open("wb") as file:
                np.save(file, array)
            names.add(name)
            content[key] = {"file": name, "sha256": digest}
        elif value is not None:
            content[key] = value
    with replacing(path) as temporary:
        # ASCII: names may be those of files, whose bytes need not be text.
        temporary.write_text(json.dumps(content) + "\n", encoding="utf-8")
    for key in ARRAYS:
        for old in path.parent.glob(f"{glob.escape(path.name)}.{key}-????????.npy"):
            if old.name not in names:
                old.unlink(missing_ok=True)


def read_state(path: Path) -> State:
    """What `write_state` wrote.

    Raises:
        ValueError: not such a file, or with arrays of another map.
        FileNotFoundError: it, or an array beside it, is missing.
    """
    content = json.loads(path.read_text(encoding="utf-8"))
    if not isinstance(content, dict):
        raise ValueError(f"It must hold an object, not {content!r}.")
    state = {"names": None, **dict.fromkeys(ARRAYS), **content}
    for key in ARRAYS:
        if state[key] is not None:
            state[key] = _load_array(path, key, state[key])
    return state


def entry(state: Mapping[str, object], key: str, kind: type[T]) -> T:
    if key not in state:
        raise ValueError(f"A class map needs {key!r}, which is missing.")
    value = state[key]
    if not isinstance(value, kind) or isinstance(value, bool):
        raise ValueError(f"A class map's {key!r} must be of type {kind.__name__}, not {value!r}.")
    return value


def entry_or_none(state: Mapping[str, object], key: str, kind: type[T]) -> T | None:
    return None if key in state and state[key] is None else entry(state, key, kind)


def _digest(array: np.ndarray) -> str:
    return hashlib.sha256(np.ascontiguousarray(array).data).hexdigest()


def _load_array(path: Path, key: str, named: object) -> Tensor:
    """The array that the file names."""
    match named:
        case {"file": str(name), "sha256": str(digest)}:
            try:
                array = np.load(path.with_name(name), allow_pickle=False)
            except EOFError as error:
                raise ValueError(f"{name} is empty.") from error
            if _digest(array) != digest:
                raise ValueError(f"{name} is not the array that it names, but of another map.")
            return torch.from_numpy(array)
    raise ValueError(f"A class map's {key!r} must name a 'file' and its 'sha256', not {named!r}.")
