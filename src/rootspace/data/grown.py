"""A run's data after classes were added: what it remembers of the old ones, and new images."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from rootspace.config import ClassSpec
from rootspace.runs.folder import check_whole, checked, is_finished

from .datasets import Joined, LabeledDataset, View
from .errors import DataError
from .source import Content, DataSource, RetrievalSet
from .stored import FILES, StoredImages
from .torch_dataset import as_source

ADDED = "added.npy"
"""Beside a replay memory, `[new images]` bool: those that it does not hold, which its run need not
find again each time it reads its data."""

_TOGETHER = 1024
"""Images that are compared together."""


@dataclass(frozen=True)
class Part:
    """A data source, and which of its classes go by another name.

    Attributes:
        data: the source, or a data set of torch.
        same: name of a class of it -> name that the class has in the run.
        tests: name of a test set of it -> name that the set has in the run; others are left out.
            All of them, under their own names, where it is empty.
    """

    data: DataSource | Dataset[Any]
    same: Mapping[str, str] = field(default_factory=dict)
    tests: Mapping[str, str] = field(default_factory=dict)

    def names(self, content: Content) -> list[str]:
        """Label of the source -> name that the class has in the run."""
        return [self.same.get(name, name) for name in content.class_names]

    def labels(self, content: Content, number: Mapping[str, int]) -> Tensor:
        """Label of the source -> label in the run, int64.

        Raises:
            DataError: a class of the source is none of these.
        """
        names = self.names(content)
        unknown = [name for name in names if name not in number]
        if unknown:
            raise DataError(
                f"{len(unknown)} classes of the {type(self.data).__name__} data are unknown, such "
                f"as {unknown[0]!r}. Use the settings they had before."
            )
        return torch.tensor([number[name] for name in names])


class Grown(DataSource):
    """A run's data after classes were added: what `rootspace extend` writes into settings.

    Labels 0, 1, ... are the run's classes as the memory names them, then come the new data's, in
    their order. A class of the new data that the run has already, by name or by `same`, gives that
    class more images; those among them that the memory holds, pixel for pixel, are left out. Test
    sets are those of the run and of each extension, under the names that `tests` gives them;
    retrieval sets likewise, under their own names, the first of each.

    Memory: labels, 16 bytes an image of the replay memory, and what the data sets need.

    Args:
        memory: folder of the replay memory, relative to the run's.
        new: the new data.
        old: the run's own data and those of each earlier extension, for their test sets; None for
            data that are gone, or have their test sets in `new`.
        share: least share of the memory's images among those of an epoch, in [0, 1): where they
            are fewer they are repeated.
        run_dir: folder of the run.
    """

    def __init__(
        self,
        memory: str,
        new: Part,
        old: Sequence[Part | None] = (),
        share: float = 0.0,
        run_dir: str = ".",
    ) -> None:
        if not 0 <= share < 1:
            raise DataError(f"Argument 'share' must lie in [0, 1), not {share}.")
        self.memory = Path(run_dir, memory)
        self.new = new
        self.old = list(old)
        self.share = share
        self.default_transform = as_source(new.data).default_transform
        self.num_old = 0
        """Classes that the memory names; from `read` on."""
        self.num_remembered = 0
        """Images of the memory, the first ones of the training images; from `read` on."""
        self.added = np.zeros(0, bool)
        """`[new images]` those that the memory does not hold; from `read` on."""

    def read(self) -> Content:
        if is_finished(self.memory.parent):  # else it is being written
            check_whole(self.memory.parent, [f"{self.memory.name}/{name}" for name in FILES])
        memory = StoredImages(self.memory)
        self.num_old, self.num_remembered = len(memory.class_names), len(memory)
        number = {name: label for label, name in enumerate(memory.class_names)}
        new = _read(self.new, memory)
        for name in self.new.names(new):
            number.setdefault(name, len(number))
        tests: dict[str, LabeledDataset] = {}
        retrieval: dict[str, RetrievalSet] = {}
        for part in (*self.old, self.new):
            if part is None:
                continue
            content = new if part is self.new else _read(part, memory)
            own = part.labels(content, number)
            for name, images in content.tests.items():
                if part.tests and name not in part.tests:
                    continue  # it came later
                shown = part.tests.get(name, name)
                if shown in tests:
                    raise DataError(
                        f"Two test sets have the name {shown!r}: give that of the "
                        f"{type(part.data).__name__} data another one by 'tests'."
                    )
                tests[shown] = View(images, own[images.labels])
            for name, found in content.retrieval.items():
                retrieval.setdefault(name, found)
        own = self.new.labels(new, number)[new.train.labels]
        self.added = self._added(memory, new.train, own)
        rows = torch.from_numpy(self.added.nonzero()[0])
        added = View(new.train, own[rows], rows)
        train = Joined([memory, added])
        return Content(list(number), train, tests, new.preprocessing, new.notes, retrieval)

    def _added(self, memory: StoredImages, images: LabeledDataset, labels: Tensor) -> np.ndarray:
        """`[N]` bool, as it is kept beside the memory where it is."""
        kept = self.memory.parent / ADDED
        if kept.is_file():
            added = np.load(checked(kept))
            if len(added) == len(images):  # else they are others, and whoever compares them says so
                return added
        added = np.zeros(len(images), bool)
        added[rows_not_in(memory, images, labels).numpy()] = True
        return added

    def epoch(self, train: LabeledDataset, seed: int) -> LabeledDataset:
        """The new images once, those of the memory as often as their share asks for."""
        old = self.num_remembered
        new = len(train) - old
        wanted = math.ceil(self.share / (1 - self.share) * new)
        if not old or wanted <= old:
            return train
        # Whole rounds and a part of one, drawn at random: the memory is sorted by label.
        generator = torch.Generator().manual_seed(seed)
        rounds = [torch.arange(old)] * (wanted // old)
        part = torch.randperm(old, generator=generator)[: wanted % old]
        return View.some(train, torch.cat([*rounds, part, torch.arange(old, old + new)]))


GROWN = f"{Grown.__module__}.{Grown.__qualname__}"
"""As the class of data in settings."""


def for_another_run(data: ClassSpec, folder: Path) -> ClassSpec:
    """The data of a run as another run finds them: memory by its whole path.

    Args:
        data: of the run.
        folder: of the run.
    """
    if data.class_path != GROWN:
        return data
    memory = str((folder / data.init_args["memory"]).resolve())
    return ClassSpec(GROWN, {**data.init_args, "memory": memory})


def _read(part: Part, memory: StoredImages) -> Content:
    """The content of a source, whose images have the shape of the memory's.

    Raises:
        DataError: they have not.
    """
    content, shape = as_source(part.data).read(), memory.image_shape
    found = content.preprocessing
    own = None if found is None else (found.channels, found.size, found.size)
    if own != shape:
        raise DataError(
            f"Argument 'image_size': the {type(part.data).__name__} data must have images of "
            f"{'x'.join(map(str, shape))}, as the run takes them, not "
            f"{'none' if own is None else 'x'.join(map(str, own))}."
        )
    return content


def rows_not_in(memory: LabeledDataset, images: LabeledDataset, labels: Tensor) -> Tensor:
    """Which images the memory does not hold under the same label.

    Compared by SHA-256 of the pixels. Reads the images of the classes that both have, once; none
    where they share no class. What cannot be read is not held.

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
        found = zip(labels[rows].tolist(), _digests_or_none(images, rows), strict=True)
        keep[rows] = torch.tensor([which not in there for which in found], dtype=torch.bool)
    return keep.nonzero()[:, 0]


def _digests_or_none(images: LabeledDataset, rows: Tensor) -> list[bytes | None]:
    """`digests`, None for those that cannot be read: whoever trains on them is told."""
    try:
        return [*digests(images, rows)]
    except DataError:
        if len(rows) == 1:
            return [None]
        return [digest for row in rows for digest in _digests_or_none(images, row[None])]


def digests(images: LabeledDataset, rows: Tensor) -> list[bytes]:
    if not len(rows):
        return []
    pixels, _ = images.batch(rows.tolist())
    return [hashlib.sha256(image.numpy().tobytes()).digest() for image in pixels]
