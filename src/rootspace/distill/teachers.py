"""Where a teacher's embeddings of the training images come from: a network, or a file."""

from __future__ import annotations

import abc
from collections.abc import Callable, Iterator
from pathlib import Path

import torch
from torch import Tensor

from rootspace.choosing import device_of, to_device
from rootspace.config import TeacherConfig, TrainConfig
from rootspace.data import DataModule
from rootspace.models import Embedder, TimmBackbone, expected_images
from rootspace.train.training import read_teacher

from .embeddings_file import open_embeddings

PRETRAINED = "pretrained"
"""As `teacher.weights`: those that timm has for the model."""

SETTINGS = {
    "name": "teacher.timm",
    "checkpoint_path": "teacher.weights",
    "pretrained": "teacher.weights",
}
"""Which settings give the arguments of `TimmBackbone`."""

AUTOCAST = {"32": torch.float32, "bf16": torch.bfloat16, "16": torch.float16}


class Teacher(abc.ABC):
    """Embeddings of the training images, each once.

    Attributes:
        dim: of the embeddings.
        num_batches: how many batches there are.
    """

    dim: int
    num_batches: int

    @abc.abstractmethod
    def batches(self) -> Iterator[tuple[Tensor, Tensor]]:
        """`[B, dim]` embeddings on any device, and the `[B]` numbers of their training images."""


class NetworkTeacher(Teacher):
    """A network that embeds the training images in their order, as they are.

    Args:
        embedder: put into evaluation mode.
        dim: of its embeddings.
        data: set up.
        precision: of `TrainConfig`.
        transform: of the embeddings, into the frame of the teacher's prototypes.
    """

    def __init__(
        self,
        embedder: Embedder,
        dim: int,
        data: DataModule,
        precision: str,
        transform: Callable[[Tensor], Tensor] | None = None,
    ) -> None:
        self.embedder = embedder.eval()
        self.transform = transform
        self.loader = data.in_order(sharded=False)
        self.dtype = AUTOCAST[precision]
        self.dim = dim
        self.num_batches = len(self.loader)

    @torch.no_grad()
    def batches(self) -> Iterator[tuple[Tensor, Tensor]]:
        device, start = device_of(self.embedder), 0
        for images, labels in self.loader:
            with torch.autocast(device.type, self.dtype, enabled=self.dtype != torch.float32):
                z = self.embedder(to_device(images, device))
            z = z if self.transform is None else self.transform(z)
            yield z, torch.arange(start, start + len(labels))
            start += len(labels)


class FileTeacher(Teacher):
    """Embeddings that somebody has taken before.

    Args:
        path: of the file.
        data: set up, for the order of its training images.

    Raises:
        ValueError: the file is missing, holds something else, or lacks training images.
    """

    def __init__(self, path: str, data: DataModule) -> None:
        self.file = open_embeddings(Path(path), data.train_dataset)
        self.dim, self.num_batches = self.file.dim, self.file.num_batches

    def batches(self) -> Iterator[tuple[Tensor, Tensor]]:
        return self.file.batches()


def open_teacher(
    config: TeacherConfig, data: DataModule, settings: TrainConfig, device: torch.device
) -> Teacher:
    """The teacher that the settings name.

    Args:
        config: with exactly one teacher.
        data: set up.
        settings: of the training, for its precision.
        device: for a network.

    Raises:
        ValueError: naming the setting that cannot be.
    """
    if config.embeddings is not None:
        return FileTeacher(config.embeddings, data)
    precision = str(settings.precision)
    if config.run is not None:
        teacher = read_teacher(config.run, data, device, "teacher.run")
        head = teacher.head
        return NetworkTeacher(teacher.embedder, head.dim, data, precision, head.transform)
    assert config.timm is not None and config.weights is not None
    embedder, dim = timm_embedder(config.timm, config.weights, data)
    return NetworkTeacher(embedder.to(device), dim, data, precision)


def timm_embedder(name: str, weights: str, data: DataModule) -> tuple[Embedder, int]:
    """A timm model without its classifier, with the statistics of the images it was trained on.

    Beside it the dimension of its embeddings.

    Args:
        name: of the model.
        weights: path of a checkpoint, as of `TimmBackbone`; or `pretrained`.
        data: for the shape of the images.

    Raises:
        ValueError: timm has no such model, or the weights are those of another.
    """
    shape = data.preprocessing
    if shape is None:
        raise ValueError("Argument 'teacher.timm' needs data that are images.")
    own = weights == PRETRAINED
    path = None if own else weights
    try:
        expected = expected_images(name, own, path)
        network = TimmBackbone(name, None, shape.channels, shape.size, own, path)
    except ValueError as error:
        text = str(error)
        for argument, setting in SETTINGS.items():
            text = text.replace(f"Argument '{argument}'", f"Argument '{setting}'", 1)
        raise ValueError(text) from error
    assert expected is not None
    return Embedder(network, *expected.statistics(shape.channels)), network.dim
