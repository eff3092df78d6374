"""All inputs of a data set read once: what is broken, what is there twice, what is rare."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from rootspace._terminal import tracked

from .datasets import LabeledDataset, View, as_is
from .errors import DataError
from .source import Content

TRAIN = "train"
"""What the training data are called beside test sets."""

_TOGETHER = 64
"""Inputs that a worker process reads at a time."""

_DIGEST = 16
"""Bytes that tell the pixels of two images apart."""

_NAMED = 10
"""Broken files that a line names."""


@dataclass(frozen=True)
class Scan:
    """What N inputs are like.

    Attributes:
        digest: uint8 [N, 16] of the decoded pixels; zeros of broken images and of other inputs.
        size: int32 [N, 2], height and width; zeros likewise.
        broken: row -> why it cannot be read.
    """

    digest: np.ndarray
    size: np.ndarray
    broken: dict[int, str]


@dataclass(frozen=True)
class Place:
    """Where an input is.

    Attributes:
        set: "train" or the name of a test set or of a part of a retrieval set.
        name: where it comes from.
        label: name of its class.
    """

    set: str
    name: str
    label: str


@dataclass(frozen=True)
class Broken:
    """An input that cannot be read, and why."""

    place: Place
    reason: str


@dataclass(frozen=True)
class Duplicates:
    """Images with the same pixels.

    Attributes:
        across: what differs between them: their classes; only their sets; nothing.
        places: two or more.
    """

    across: Literal["classes", "sets", "nothing"]
    places: tuple[Place, ...]


@dataclass(frozen=True)
class Sizes:
    """Inputs of a set, and sizes of its images in pixels.

    Attributes:
        inputs: how many there are.
        broken: of these cannot be read.
        smallest, median, largest: of the shorter sides; 0 for inputs that are no images.
        longest: the longer side of the longest.
        scaled_up: images whose shorter side is below that of the run.
    """

    inputs: int
    broken: int
    smallest: int
    median: int
    largest: int
    longest: int
    scaled_up: int


@dataclass(frozen=True)
class DataCheck:
    """What is to be known of some data before a network is trained on them.

    Attributes:
        sets: "train", each test set and each part of a retrieval set -> what it holds. A name that
            is taken has "(test)" behind it.
        broken: what cannot be read.
        duplicates: those of several classes first, then those of several sets.
        rare: class -> how many training inputs it has that can be read, where they are few.
        notes: what was left out, and why.
    """

    sets: dict[str, Sizes]
    broken: tuple[Broken, ...]
    duplicates: tuple[Duplicates, ...]
    rare: dict[str, int]
    notes: tuple[str, ...]

    @property
    def clean(self) -> bool:
        """Whether all can be read, and no image has two classes or is in two sets."""
        return not self.broken and all(d.across == "nothing" for d in self.duplicates)


def check_content(content: Content, workers: int = 0, few: int = 2) -> DataCheck:
    """Read all inputs once.

    Args:
        content: the data.
        workers: processes that read beside this one.
        few: classes with fewer training inputs are rare.
    """
    sets, names = {TRAIN: content.train}, {TRAIN: content.class_names}

    def add(name: str, data: LabeledDataset, class_names: Sequence[str]) -> None:
        while name in sets:  # a test set may be called "train"
            name += " (test)"
        sets[name], names[name] = data, class_names

    for name, data in content.tests.items():
        add(name, data, content.class_names)
    for name, found in content.retrieval.items():
        add(name, found.queries, found.class_names)
        if found.gallery is not None:
            add(f"{name} gallery", found.gallery, found.class_names)
    scans = {name: scan(data, name, workers) for name, data in sets.items()}
    shape = content.preprocessing
    wanted = 0 if shape is None else shape.inner or shape.size

    def place(name: str, row: int) -> Place:
        data = sets[name]
        return Place(name, _name(data, row), names[name][int(data.labels[row])])

    broken = [
        Broken(place(name, row), reason)
        for name, found in scans.items()
        for row, reason in found.broken.items()
    ]
    counts = torch.bincount(
        content.train.labels[_readable(scans[TRAIN])], minlength=len(content.class_names)
    )
    rare: list[int] = (counts < few).nonzero()[:, 0].tolist()
    return DataCheck(
        sets={name: _sizes(found, wanted) for name, found in scans.items()},
        broken=tuple(broken),
        duplicates=tuple(
            sorted(
                (_duplicates([place(*which) for which in group]) for group in _same(scans)),
                key=lambda found: ("classes", "sets", "nothing").index(found.across),
            )
        ),
        rare={content.class_names[label]: int(counts[label]) for label in rare},
        notes=content.notes,
    )


def without_broken(content: Content, workers: int = 0, *, train: bool = True) -> Content:
    """The same data less the images that cannot be read, which its notes name.

    Reads all of them once, and each process of a distributed run reads all.

    Args:
        content: the data.
        workers: processes that read beside this one.
        train: False leaves the training data as they are, unread.

    Raises:
        DataError: no training image of a class is left.
    """
    notes = list(content.notes)

    def readable(data: LabeledDataset, name: str) -> LabeledDataset:
        found = scan(data, name, workers)
        if not found.broken:
            return data
        rows = list(found.broken)
        shown = ", ".join(_name(data, row) for row in rows[:_NAMED])
        more = f" and {len(rows) - _NAMED:,} more" if len(rows) > _NAMED else ""
        notes.append(f"left out: {len(rows):,} of {name} that cannot be read: {shown}{more}")
        return View.some(data, _readable(found))

    left = readable(content.train, TRAIN) if train else content.train
    tests = {name: readable(data, name) for name, data in content.tests.items()}
    lost = set(content.train.labels.tolist()) - set(left.labels.tolist())
    if lost:
        raise DataError(
            f"Argument 'loader.skip_broken' leaves no training image of "
            f"{content.class_names[min(lost)]!r}: replace the images of that class, or remove it."
        )
    return replace(content, train=left, tests=tests, notes=tuple(notes))


def scan(data: LabeledDataset, title: str, workers: int) -> Scan:
    """Read all inputs of a data set once, in processes beside this one where `workers` > 0."""
    loader: DataLoader[Any] = DataLoader(
        _Reader(data),
        batch_size=_TOGETHER,
        num_workers=workers,
        collate_fn=as_is,
        generator=torch.Generator(),  # or it draws from the global one
    )
    digest = np.zeros((len(data), _DIGEST), np.uint8)
    size = np.zeros((len(data), 2), np.int32)
    broken: dict[int, str] = {}
    row = 0
    for batch in tracked(loader, f"Reading {title}", len(loader)):
        for seen in batch:
            digest[row], size[row] = np.frombuffer(seen.digest, np.uint8), seen.size
            if seen.reason:
                broken[row] = seen.reason
            row += 1
    return Scan(digest, size, broken)


@dataclass(frozen=True)
class _Seen:
    digest: bytes = bytes(_DIGEST)
    size: tuple[int, int] = (0, 0)
    reason: str = ""


class _Reader(Dataset[_Seen]):
    """What each input of a data set is like."""

    def __init__(self, data: LabeledDataset) -> None:
        self.data = data

    def __getitem__(self, index: int) -> _Seen:
        try:
            x = self.data.original(index)
        except DataError as error:
            return _Seen(reason=str(error))
        if not isinstance(x, Tensor) or x.dtype != torch.uint8 or x.ndim != 3:
            return _Seen()  # no image
        _, height, width = x.shape
        content = hashlib.blake2b(repr(tuple(x.shape)).encode(), digest_size=_DIGEST)
        content.update(x.contiguous().numpy().tobytes())
        return _Seen(content.digest(), (height, width))

    def __len__(self) -> int:
        return len(self.data)


def _name(data: LabeledDataset, row: int) -> str:
    name = data.name(row)
    return f"#{row}" if name is None else name


def _readable(found: Scan) -> Tensor:
    """int64 [M], the rows of inputs that are not broken."""
    keep = torch.ones(len(found.size), dtype=torch.bool)
    keep[list(found.broken)] = False
    return keep.nonzero()[:, 0]


def _sizes(found: Scan, wanted: int) -> Sizes:
    size = found.size[found.size.any(1)]
    short = np.sort(size.min(1))
    some = len(short) > 0
    return Sizes(
        inputs=len(found.size),
        broken=len(found.broken),
        smallest=int(short[0]) if some else 0,
        median=int(short[len(short) // 2]) if some else 0,
        largest=int(short[-1]) if some else 0,
        longest=int(size.max()) if some else 0,
        scaled_up=int((short < wanted).sum()),
    )


def _same(scans: Mapping[str, Scan]) -> list[list[tuple[str, int]]]:
    """Groups of images with the same pixels, each as (set, row)."""
    names = list(scans)
    rows = [np.flatnonzero(found.size.any(1)) for found in scans.values()]
    owner = np.repeat(np.arange(len(names)), [len(some) for some in rows])
    row = np.concatenate(rows)
    digests = [found.digest[some] for found, some in zip(scans.values(), rows, strict=True)]
    keys = np.ascontiguousarray(np.concatenate(digests)).view(f"V{_DIGEST}")[:, 0]
    _, group, count = np.unique(keys, return_inverse=True, return_counts=True)
    repeated = np.flatnonzero(count[group] > 1)
    groups: dict[int, list[tuple[str, int]]] = {}
    for i in repeated.tolist():
        groups.setdefault(int(group[i]), []).append((names[owner[i]], int(row[i])))
    return list(groups.values())


def _duplicates(places: Sequence[Place]) -> Duplicates:
    if len({place.label for place in places}) > 1:
        return Duplicates("classes", tuple(places))
    several = len({place.set for place in places}) > 1
    return Duplicates("sets" if several else "nothing", tuple(places))
