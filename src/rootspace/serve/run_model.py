"""A trained run as a served model."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray

from rootspace.continual.live import read_rejector
from rootspace.run import load
from rootspace.runs.folder import REJECTOR

from .model import Answers, Floats, Ints, check_directions


class RunModel:
    """The classes of a run, as its registry has them at the time of a call; see `ServedModel`.

    Args:
        folder: of a finished run on images.
        device: for the network.

    Raises:
        ValueError: the folder holds something else.
    """

    kind: Literal["run", "onnx"] = "run"

    def __init__(self, folder: Path, device: str | torch.device = "cpu") -> None:
        self.run = load(folder, device)
        if self.run.model.preprocessing is None:
            raise ValueError(
                f"{folder} is no run on images, which a server would take. In Python, "
                "`rootspace.load(RUN).predict(batch)` takes what its network takes."
            )
        self.name = folder.resolve().name
        self.shape = self.run.model.preprocessing
        self.dim = self.run.model.head.dim
        self.num_classes = self.run.model.head.num_classes
        class_map = self.run.class_map
        self.head = type(self.run.model.head).__name__ if class_map is None else repr(class_map)
        self._classes = self.run.classes()
        self._rejector = read_rejector(folder) if (folder / REJECTOR).is_file() else None
        self.has_rejector = self._rejector is not None

    @property
    def most(self) -> int:
        return self._classes.num_active

    def answer(self, pixels: NDArray[np.uint8], k: int) -> Answers:
        z = self.run.embed_batch(torch.from_numpy(pixels))
        check_directions(z.cpu().numpy())
        if self._rejector is None:
            prediction, unknown = self._classes.predict(z, k), None
        else:
            width = min(max(k, self._rejector.score.width), self.most)
            prediction = self._classes.predict(z, width)
            scores = self._classes.scores(self._rejector.score, prediction, z)
            unknown = self._rejector.is_unknown(scores).cpu().numpy()
        label, cosine = (part[:, :k].cpu().numpy() for part in prediction)
        return Answers(z.cpu().numpy(), label, cosine, unknown)

    def names(self, labels: Sequence[int]) -> list[str]:
        found = iter(self._classes.names([label for label in labels if label != -1]))
        return ["unknown" if label == -1 else next(found) for label in labels]

    def vectors(self, labels: Ints) -> Floats | None:
        with torch.no_grad():
            return self.run.model.head.vectors(torch.from_numpy(labels)).cpu().numpy()
