"""A trained run as a served model."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from fastapi import APIRouter
from numpy.typing import NDArray

from rootspace.continual.live import read_rejector
from rootspace.gallery.gallery import NAME
from rootspace.gallery.locations import Location
from rootspace.run import load
from rootspace.runs.folder import REJECTOR

from .gallery_routes import add_gallery
from .model import Answers, Floats, Ints, check_directions
from .own_gallery import OwnGallery
from .service import Service


class RunModel:
    """The classes of a run, as its registry has them at the time of a call; see `ServedModel`.

    Args:
        folder: of a finished run on images.
        device: for the network.
        gallery: of the run, a folder or the address of a table; the run's own if None.

    Raises:
        ValueError: a folder holds something else.
        MissingExtraError: there is a gallery, and LanceDB is missing.

    Attributes:
        run: it.
        own: its gallery, and the classes that are enrolled in it.
    """

    kind: Literal["run", "onnx"] = "run"
    has_vectors = True

    def __init__(
        self,
        folder: str | Path,
        device: str | torch.device = "cpu",
        gallery: Location | None = None,
    ) -> None:
        folder = Path(folder)
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
        self.own = OwnGallery(self.run, folder / NAME if gallery is None else gallery)
        self._rejector = read_rejector(folder) if (folder / REJECTOR).is_file() else None
        self.has_rejector = self._rejector is not None
        self.has_gallery = self.own.identities is not None or find_spec("lancedb") is not None

    @property
    def most(self) -> int:
        return self._classes.num_active

    def answer(self, pixels: NDArray[np.uint8], k: int) -> Answers:
        embedding = self.embed(pixels)
        identities = self.own.identities
        if identities is not None:  # whose classes are those of the run, and others
            unit = embedding / np.linalg.norm(embedding, axis=1, keepdims=True)
            found = identities.answer(unit, k)
            unknown = None if self._rejector is None or found.known is None else ~found.known
            return Answers(embedding, found.label, found.cosine, found.names, unknown)
        # Fewer than k may be left: others retire classes at any time.
        z, most = torch.from_numpy(embedding).to(self.run.device), self.most
        k = min(k, most)
        if self._rejector is None:
            prediction, unknown = self._classes.predict(z, k), None
        else:
            width = min(max(k, self._rejector.score.width), most)
            prediction = self._classes.predict(z, width)
            scores = self._classes.scores(self._rejector.score, prediction, z)
            unknown = self._rejector.is_unknown(scores).cpu().numpy()
        label, cosine = (part[:, :k].cpu().numpy() for part in prediction)
        names = self._classes.names(label.ravel().tolist())
        rows = [names[start : start + k] for start in range(0, len(names), k)]
        return Answers(embedding, label, cosine, rows, unknown)

    def embed(self, pixels: NDArray[np.uint8]) -> Floats:
        embedding = self.run.embed_batch(torch.from_numpy(pixels)).cpu().numpy()
        check_directions(embedding)
        return embedding

    def names(self, labels: Sequence[int]) -> list[str]:
        identities = self.own.identities
        return (self._classes if identities is None else identities).names(labels)

    def vectors(self, labels: Ints) -> Floats | None:
        with torch.no_grad():
            return self.run.model.head.vectors(torch.from_numpy(labels)).cpu().numpy()

    def add_routes(self, app: APIRouter, service: Service) -> None:
        if self.has_gallery:
            add_gallery(app, service, self.own)

    def close(self) -> None:
        self.own.close()
