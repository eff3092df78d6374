"""A run's data after classes were added: what it remembers of the old ones, and the new images."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ._augment import Augmentation
from ._base import Content, ImageData
from ._datasets import LabelledImages, RelabelledImages
from ._errors import DataError
from ._joined import JoinedImages
from ._sources import SOURCES
from ._stored import StoredImages

_TOGETHER = 1024
"""Images that are compared together."""


class Grown(ImageData):
    """The replay memory of a run and new images; `rootspace extend` writes this into configs.

    Labels 0, 1, ... are the run's classes as the memory names them, then come the new data's, in
    their order. A class of the new data that the run has already, by name or by `same`, gives that
    class more images; those among them that the memory holds, pixel for pixel, are left out. Test
    sets are those of the run, with their names, and those of each extension with "+1", "+2", ...
    at the end of the name.

    Memory: labels, 16 bytes an image of the replay memory, and what the data sets need.

    Args:
        memory: folder of the replay memory.
        new: settings of the new data set with its `name`; under `same` the names of its classes
            that are old classes under another name, with the names these have in the memory.
        old: likewise, of the run's own data and of each earlier extension, for their test sets;
            null for data that are gone.
        share: least share of the memory's images among those of an epoch, in [0, 1): where they
            are fewer they are repeated.
        batch_size: images a batch.
        num_workers: processes that load images beside the training process; 0 loads in it.
        seed: of the order of the training images.
        augment: `light1` draws every training image anew in each epoch: random crop, flip and two
            random operations; `none` takes it as it is.

    Raises:
        DataError: in `setup`, when files are missing or shapes differ.
    """

    name = "grown"

    def __init__(
        self,
        memory: str,
        new: dict[str, Any],
        old: list[dict[str, Any] | None] | None = None,
        share: float = 0.0,
        *,
        batch_size: int = 256,
        num_workers: int = 0,
        seed: int = 0,
        augment: Augmentation = "none",
    ) -> None:
        super().__init__(batch_size=batch_size, num_workers=num_workers, seed=seed, augment=augment)
        if not 0 <= share < 1:
            raise DataError(f"Argument 'share' must lie in [0, 1), not {share}.")
        self._memory = memory
        self._share = share
        self._old = [None if part is None else Part(part, "old") for part in old or []]
        self._new = Part(new, "new")
        self.num_old = 0
        """Classes that the memory names; from `setup` on."""
        self.num_remembered = 0
        """Images of the memory, the first ones of the training images; from `setup` on."""

    def prepare_data(self) -> None:
        """What the new data prepare; of several processes on a machine, the first alone does."""
        self._new.data.prepare_data()

    def _read(self) -> Content:
        memory = StoredImages(self._memory)
        self.num_old, self.num_remembered = len(memory.class_names), len(memory)
        number = {name: label for label, name in enumerate(memory.class_names)}
        new = self._new.data
        new.setup()
        check_shape(new, memory.image_shape)
        for name in self._new.names():
            number.setdefault(name, len(number))
        tests: dict[str, LabelledImages] = {}
        for step, part in enumerate([*self._old, self._new]):
            if part is not None:
                part.data.setup()
                check_shape(part.data, memory.image_shape)
                own = part.labels(number)
                for name, images in part.data.test_datasets.items():
                    shown = f"{name}+{step}" if step else name
                    tests[shown] = RelabelledImages(images, own[images.labels])
        own = self._new.labels(number)[new.train_dataset.labels]
        rows = rows_not_in(memory, new.train_dataset, own)
        added = RelabelledImages(new.train_dataset, own[rows], rows)
        return Content(
            class_names=list(number),
            image_shape=memory.image_shape,
            train=JoinedImages([memory, added]),
            tests=tests,
            mean=new.mean,
            std=new.std,
        )

    def _images_of_epoch(self) -> LabelledImages:
        images, old = self.train_dataset, self.num_remembered
        new = len(images) - old
        wanted = math.ceil(self._share / (1 - self._share) * new)
        if not old or wanted <= old:
            return images
        # Whole rounds and a part of one, drawn at random: the memory is sorted by label.
        generator = torch.Generator().manual_seed(self.seed)
        rounds = [torch.arange(old)] * (wanted // old)
        part = torch.randperm(old, generator=generator)[: wanted % old]
        rows = torch.cat([*rounds, part, torch.arange(old, old + new)])
        return RelabelledImages(images, images.labels[rows], rows)

    def load_image(self, path: str | Path) -> Tensor:
        """One image file as the new data prepare it: uint8 [C, H, W]."""
        return self._new.data.load_image(path)


class Part:
    """A data set by its settings, and which of its classes go by another name.

    Args:
        settings: of the data set, with `name` and perhaps `same`.
        argument: that they are from, for messages.
    """

    def __init__(self, settings: Mapping[str, Any], argument: str) -> None:
        self.argument = argument
        arguments = {key: value for key, value in settings.items() if key not in ("name", "same")}
        name = settings.get("name")
        if name not in SOURCES:
            raise DataError(
                f"Argument '{argument}' must have a 'name', one of {', '.join(SOURCES)}, not "
                f"{name!r}."
            )
        self.data = SOURCES[name](**arguments)
        self._same: Mapping[str, str] = settings.get("same") or {}

    def names(self) -> list[str]:
        """Label of the data set -> name that the class has here."""
        return [self._same.get(name, name) for name in self.data.class_names]

    def labels(self, number: Mapping[str, int]) -> Tensor:
        """Label of the data set -> label here, int64.

        Raises:
            DataError: a class of the data is none of these.
        """
        names = self.names()
        unknown = [name for name in names if name not in number]
        if unknown:
            raise DataError(
                f"Argument '{self.argument}': {len(unknown)} classes of the '{self.data.name}' "
                f"data are unknown, such as {unknown[0]!r}. Use the settings they had before."
            )
        return torch.tensor([number[name] for name in names])


def check_shape(data: ImageData, image_shape: Sequence[int]) -> None:
    """Raise unless the images of a data set, set up, are (C, H, W)."""
    own = (data.in_channels, data.image_size, data.image_size)
    if own != tuple(image_shape):
        raise DataError(
            f"Argument 'image_size': the '{data.name}' data must have images of "
            f"{'x'.join(map(str, image_shape))}, as the run takes them, not "
            f"{'x'.join(map(str, own))}."
        )


def rows_not_in(memory: LabelledImages, images: LabelledImages, labels: Tensor) -> Tensor:
    """Which images the memory does not hold under the same label.

    Compared by SHA-256 of the pixels. Reads the images of the classes that both have, once; none
    where they share no class.

    Args:
        memory: the images to leave out.
        images: the others.
        labels: int64 [N], of the others.

    Returns:
        int64 [M], ascending.
    """
    both = torch.from_numpy(np.intersect1d(memory.labels.numpy(), labels.numpy()))
    there: set[tuple[int, bytes]] = set()
    for rows in torch.isin(memory.labels, both).nonzero()[:, 0].split(_TOGETHER):
        there.update(zip(memory.labels[rows].tolist(), digests(memory, rows), strict=True))
    keep = torch.ones(len(labels), dtype=torch.bool)
    for rows in torch.isin(labels, both).nonzero()[:, 0].split(_TOGETHER):
        found = zip(labels[rows].tolist(), digests(images, rows), strict=True)
        keep[rows] = torch.tensor([which not in there for which in found], dtype=torch.bool)
    return keep.nonzero()[:, 0]


def digests(images: LabelledImages, rows: Tensor) -> list[bytes]:
    if not len(rows):
        return []
    pixels, _ = images.__getitems__(rows.tolist())
    return [hashlib.sha256(image.numpy().tobytes()).digest() for image in pixels]
