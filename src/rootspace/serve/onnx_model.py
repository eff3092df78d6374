"""A file of `rootspace export` as a served model: onnxruntime and numpy, no torch."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from rootspace._extras import require
from rootspace.images import ImageShape

from .model import Answers, Floats, Ints, check_directions

if TYPE_CHECKING:
    from fastapi import APIRouter

    from .service import Service

NAMES, PREPROCESSING = "rootspace.names", "rootspace.preprocessing"


class OnnxModel:
    """The classes of an ONNX file; see `ServedModel`.

    Args:
        path: of a file that `rootspace export` wrote.
        threads: of onnxruntime; None leaves the number to it.

    Raises:
        ValueError: it is something else.
        MissingExtraError: onnxruntime is missing.
    """

    kind: Literal["run", "onnx"] = "onnx"
    has_vectors = False
    has_rejector = False
    has_gallery = False

    def __init__(self, path: Path, threads: int | None = None) -> None:
        runtime: Any = require("onnxruntime", extra="onnx", purpose="Serving an ONNX file")
        if not path.is_file():
            raise ValueError(f"{path} does not exist; expected a file of `rootspace export`.")
        options = runtime.SessionOptions()
        if threads is not None:
            options.intra_op_num_threads = threads
        try:
            session = runtime.InferenceSession(str(path), options, ["CPUExecutionProvider"])
        except Exception as error:  # onnxruntime has a class for each of its codes
            reason = str(error).strip().splitlines() or [type(error).__name__]
            raise ValueError(f"{path} is no ONNX file: {reason[0]}") from error
        metadata: dict[str, str] = session.get_modelmeta().custom_metadata_map
        if NAMES not in metadata or PREPROCESSING not in metadata:
            raise ValueError(
                f"{path} lacks {NAMES} or {PREPROCESSING}: write it with `rootspace export RUN "
                f"--out {path}`."
            )
        try:
            self._names: list[str] = json.loads(metadata[NAMES])
            self.shape = ImageShape.from_dict(json.loads(metadata[PREPROCESSING]))
            outputs = {output.name: output.shape for output in session.get_outputs()}
            self.dim, self._most = int(outputs["embedding"][1]), int(outputs["label"][1])
        except (KeyError, IndexError, TypeError, AttributeError, ValueError) as error:
            raise ValueError(f"{path} is no file of `rootspace export`: {error}") from error
        self.name = path.name
        self.num_classes = len(self._names)
        self.head = metadata.get("rootspace.classes", "")
        self._session = session

    @property
    def most(self) -> int:
        return self._most

    def answer(self, pixels: NDArray[np.uint8], k: int) -> Answers:
        wanted = ["embedding", "label", "cosine"]
        z, label, cosine = self._session.run(wanted, {"images": pixels})
        check_directions(z)
        label, cosine = label[:, :k], cosine[:, :k]
        return Answers(z, label, cosine, [self.names(row) for row in label.tolist()], None)

    def embed(self, pixels: NDArray[np.uint8]) -> Floats:
        (z,) = self._session.run(["embedding"], {"images": pixels})
        check_directions(z)
        return z

    def names(self, labels: Sequence[int]) -> list[str]:
        for label in labels:
            if not -1 <= label < self.num_classes:
                raise ValueError(
                    f"Argument 'labels' must hold labels in [0, {self.num_classes}), not {label}."
                )
        return ["unknown" if label == -1 else self._names[label] for label in labels]

    def vectors(self, labels: Ints) -> Floats | None:
        return None

    def add_routes(self, app: APIRouter, service: Service) -> None:
        """None."""

    def close(self) -> None:
        """There is nothing to let go of."""
