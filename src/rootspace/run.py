"""A trained run, ready to use: `rootspace.load("runs/photos").predict(["a.jpg"], k=5)`."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from ._checks import check_kind
from .choosing import device_of, to_device
from .classes import ClassMap
from .config import Config
from .continual.live import LiveClasses
from .model_file import Model, class_names, read_model
from .runs import folder as files

BATCH = 256
"""Images that go through the network together."""

TRUST_CODE = "ROOTSPACE_TRUST_CODE"
"""Environment variable that allows runs to name classes of other packages."""


class RunPrediction(NamedTuple):
    """The classes nearest to each input, best first.

    Attributes:
        label: `[N, k]` int64.
        cosine: `[N, k]` to the prototypes.
        name: of the classes, N lists of k.
    """

    label: Tensor
    cosine: Tensor
    name: list[list[str]]


class Run:
    """A trained network with its classes and its preprocessing.

    `predict` and `embed` may be called from several threads at once. Names and retired classes are
    those that the run's registry has at the time of the call.

    Attributes:
        folder: of the run.
        config: all settings it was trained with.
        model: embedder, head and preprocessing.
        names: of the classes, as they were trained.
    """

    def __init__(self, folder: Path, config: Config, model: Model) -> None:
        self.folder = folder
        self.config = config
        self.model = model
        self.names = class_names(model)

    @property
    def device(self) -> torch.device:
        """Of the network."""
        return device_of(self.model.embedder)

    @property
    def class_map(self) -> ClassMap | None:
        """Which class owns which prototype; None for a learned head."""
        return self.model.head.class_map

    def classes(self) -> LiveClasses:
        """The classes as the registry has them now."""
        head = self.model.head
        return LiveClasses(self.folder, self.names, head.search, head.class_map)

    @torch.no_grad()
    def embed(self, inputs: Any) -> Tensor:
        """Embeddings in the frame of the prototypes, of any length.

        Args:
            inputs: for a run on images one, or a sequence or iterator of: image files (paths, or
                bytes of their content), PIL images, uint8 arrays `[H, W]` or `[H, W, C]`, uint8
                tensors `[C, H, W]`; each is prepared as the test images were. Or a uint8 batch
                `[B, C, H, W]` of the run's own shape, which is taken as it is. For a run on other
                data what its network takes, as one batch.

        Returns:
            `[N, dim]` float32 on the device of the network.

        Raises:
            TypeError: float images: pixels are bytes.
            ValueError: a file that is no image, or a batch of another shape.
        """
        parts = [self.embed_batch(batch) for batch in self._batches(inputs)]
        return (
            torch.cat(parts) if parts else torch.empty(0, self.model.head.dim, device=self.device)
        )

    def predict(self, inputs: Any, k: int = 1) -> RunPrediction:
        """The k nearest classes of each input, best first, without retired ones.

        Args:
            inputs: as of `embed`.
            k: number of classes.

        Raises:
            TypeError, ValueError: as of `embed`, or k is larger than the number of classes.
        """
        classes = self.classes()
        label, cosine = classes.predict(self.embed(inputs), k)
        names = classes.names(label.flatten().tolist())
        return RunPrediction(label, cosine, [names[i : i + k] for i in range(0, len(names), k)])

    @torch.no_grad()
    def embed_batch(self, batch: Any) -> Tensor:
        """What a data loader of the run's data brings -> `[B, dim]` float32 in the frame."""
        z = self.model.embedder(to_device(batch, self.device))
        return self.model.head.transform(z).float()

    def _batches(self, inputs: Any) -> Iterator[Any]:
        preprocessing = self.model.preprocessing
        if preprocessing is None:
            yield inputs
            return
        if isinstance(inputs, Tensor) and inputs.ndim == 4:
            wanted = (preprocessing.channels, preprocessing.size, preprocessing.size)
            if inputs.dtype != torch.uint8:
                raise TypeError(f"Argument 'inputs' must hold uint8 pixels, not {inputs.dtype}.")
            if tuple(inputs.shape[1:]) != wanted:
                raise ValueError(
                    f"Argument 'inputs' must be a batch of shape [B, {', '.join(map(str, wanted))}]"
                    f", not {list(inputs.shape)}; give images of other sizes as a list."
                )
            yield from inputs.split(BATCH)
            return
        if isinstance(inputs, Iterator):  # such as `Path.glob` gives
            inputs = list(inputs)
        several = isinstance(inputs, Sequence) and not isinstance(inputs, str | bytes)
        images = inputs if several else [inputs]
        for start in range(0, len(images), BATCH):
            yield torch.stack([preprocessing(image) for image in images[start : start + BATCH]])


def load(
    path: str | os.PathLike[str],
    device: str | torch.device = "cpu",
    *,
    trust_code: bool | None = None,
) -> Run:
    """Read a trained run.

    Args:
        path: run folder that `rootspace train`, `extend` or `distill` wrote.
        device: for the network.
        trust_code: allow its settings to name a network or a head of another package, which is
            imported; by default as the environment variable ROOTSPACE_TRUST_CODE says, else not. A
            run of rootspace's own classes cannot run code, wherever it comes from.

    Raises:
        TypeError: no path.
        ValueError: the folder does not hold a finished run, or it is damaged; no such device.
    """
    check_kind("path", path, (str, os.PathLike), "the path of a run folder")
    try:
        device = torch.device(device)
    except RuntimeError as error:
        raise ValueError(
            f"Argument 'device' must be a device of torch, such as cpu or cuda, not {device!r}."
        ) from error
    folder = Path(path)
    config = read_config(folder, trust_code)
    files.check_finished(folder)
    model = read_model(files.checked(folder / files.MODEL), config, device)
    return Run(folder, config, model)


def read_config(folder: Path, trust_code: bool | None = None) -> Config:
    """The settings of a run, which name no code but that of known packages unless it is trusted.

    Raises:
        ValueError: the folder does not hold a run, or its settings name other code.
    """
    trusted = os.environ.get(TRUST_CODE, "") not in ("", "0") if trust_code is None else trust_code
    return files.read_config(folder, trust_code=trusted)
