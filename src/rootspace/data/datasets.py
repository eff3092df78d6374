"""Inputs with labels that hand out whole batches at once."""

from __future__ import annotations

import abc
import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset, default_collate, get_worker_info

from .errors import DataError, check_one_each, check_tensor
from .preprocessing import ImagePreprocessing, to_tensor

if TYPE_CHECKING:
    from PIL.Image import Image

Batch: TypeAlias = tuple[Tensor, Tensor]
"""Images, uint8 [B, C, H, W], and their labels, int64 [B]."""


class LabeledDataset(Dataset[tuple[Any, int]], abc.ABC):
    """Inputs with labels, one by one for any `DataLoader`, and whole batches for `loader_of`.

    Args:
        labels: int64 [N].
    """

    def __init__(self, labels: Tensor) -> None:
        self.labels = labels

    @abc.abstractmethod
    def batch(self, indices: Sequence[int]) -> tuple[Any, ...]:
        """Inputs and labels of these samples, in this order."""

    @abc.abstractmethod
    def original(self, index: int) -> Any:
        """An input before it was prepared; an image as uint8 [C, h, w], of any height and width."""

    def name(self, index: int) -> str | None:
        """Where an input comes from; None if nobody has given it a name."""
        return None

    def __getitem__(self, index: int) -> tuple[Any, int]:
        if not -len(self) <= index < len(self):
            raise IndexError(f"Argument 'index' must lie in [0, {len(self)}), not {index}.")
        x, labels, *_ = self.batch([index % len(self)])
        return _first(x), int(labels[0])

    def __len__(self) -> int:
        return len(self.labels)


class View(LabeledDataset):
    """Inputs of another data set, or some of them, under other labels.

    Args:
        data: the other data set.
        labels: int64 [N], one for each input.
        rows: int64 [N], which of its inputs; all in their order if None.
    """

    def __init__(self, data: LabeledDataset, labels: Tensor, rows: Tensor | None = None) -> None:
        super().__init__(labels)
        self.data = data
        self.rows = rows

    @classmethod
    def some(cls, data: LabeledDataset, rows: Tensor) -> View:
        """Some inputs of another data set, under their own labels."""
        return cls(data, data.labels[rows], rows)

    def batch(self, indices: Sequence[int]) -> tuple[Any, ...]:
        places = torch.as_tensor(indices)
        rows = indices if self.rows is None else self.rows[places].tolist()
        x, _ = self.data.batch(rows)
        return x, self.labels[places]

    def original(self, index: int) -> Any:
        return self.data.original(self._row(index))

    def name(self, index: int) -> str | None:
        return self.data.name(self._row(index))

    def _row(self, index: int) -> int:
        return index if self.rows is None else int(self.rows[index])


class ArrayImages(LabeledDataset):
    """Images in memory: a batch is one indexing of one tensor.

    Args:
        images: uint8 [N, C, H, W].
        labels: int64 [N].

    Raises:
        DataError: they are others.
    """

    def __init__(self, images: Tensor, labels: Tensor) -> None:
        check_tensor("images", images, torch.uint8, "[N, C, H, W]")
        check_tensor("labels", labels, torch.int64, "[N]")
        check_one_each("labels", len(labels), len(images), "images")
        super().__init__(labels)
        self.images = images

    def batch(self, indices: Sequence[int]) -> Batch:
        # numpy copies the rows in this thread; torch would start threads that take longer to meet
        # than a batch takes to copy, above all where other work keeps the cores busy.
        chosen = np.asarray(indices)
        images, labels = self.images.numpy()[chosen], self.labels.numpy()[chosen]
        return torch.from_numpy(images), torch.from_numpy(labels)

    def original(self, index: int) -> Tensor:
        return self.images[index]


class EncodedImages(LabeledDataset):
    """Images in files of some kind, decoded when they are asked for: one subclass a kind.

    Args:
        labels: int64 [N].
        preprocessing: of the images.
    """

    def __init__(self, labels: Tensor, preprocessing: ImagePreprocessing) -> None:
        super().__init__(labels)
        self.preprocessing = preprocessing

    @abc.abstractmethod
    def decode(self, index: int) -> Image:
        """An image in its own size, of the right number of channels.

        Raises:
            DataError: it is missing or cannot be decoded.
        """

    def notes(self) -> tuple[str, ...]:
        """A line where the first image has another size than the run's."""
        wanted = self.preprocessing.inner or self.preprocessing.size
        try:
            width, height = self.decode(0).size
        except DataError:  # named when it is needed
            return ()
        if (width, height) == (wanted, wanted):
            return ()
        return (f"the first image is {width} x {height}, scaled to {wanted} x {wanted}",)

    def batch(self, indices: Sequence[int]) -> Batch:
        square = self.preprocessing.square
        images = torch.stack([to_tensor(square(self.decode(index))) for index in indices])
        return images, self.labels[torch.as_tensor(indices)]

    def original(self, index: int) -> Tensor:
        return to_tensor(self.decode(index))


class FileImages(EncodedImages):
    """One file an image.

    Args:
        root: a folder.
        files: of the N images, relative to it; `Strings` where they are many.
        labels: int64 [N].
        preprocessing: of the images.

    Raises:
        DataError: the labels are others.
    """

    def __init__(
        self, root: Path, files: Sequence[str], labels: Tensor, preprocessing: ImagePreprocessing
    ) -> None:
        check_tensor("labels", labels, torch.int64, "[N]")
        check_one_each("labels", len(labels), len(files), "files")
        super().__init__(labels, preprocessing)
        self.root = root
        self.files = files

    def decode(self, index: int) -> Image:
        return self.preprocessing.read(self.root / self.files[index])

    def name(self, index: int) -> str:
        return self.files[index]


class Joined(LabeledDataset):
    """Data sets one after another, with the labels that they have.

    Args:
        parts: of images of one shape; at least one.
    """

    def __init__(self, parts: Sequence[LabeledDataset]) -> None:
        super().__init__(torch.cat([part.labels for part in parts]))
        self.parts = list(parts)
        self._ends = np.cumsum([len(part) for part in parts])

    def batch(self, indices: Sequence[int]) -> Batch:
        places = np.asarray(indices)
        owner = np.searchsorted(self._ends, places, side="right")
        numbers = np.unique(owner).tolist()
        found = []
        for number in numbers:
            rows = places[owner == number] - self._begin(number)
            found.append(self.parts[number].batch(rows.tolist())[0])
        images = found[0]
        if len(found) > 1:  # sorted by part: put them back into their order
            place = np.argsort(np.argsort(owner, kind="stable"))
            images = torch.cat(found)[torch.from_numpy(place)]
        return images, self.labels[torch.from_numpy(places)]

    def original(self, index: int) -> Tensor:
        part, row = self._place(index)
        return part.original(row)

    def name(self, index: int) -> str | None:
        part, row = self._place(index)
        return part.name(row)

    def _place(self, index: int) -> tuple[LabeledDataset, int]:
        number = int(np.searchsorted(self._ends, index, side="right"))
        return self.parts[number], index - self._begin(number)

    def _begin(self, number: int) -> int:
        return int(self._ends[number - 1]) if number else 0


class WithTargets(LabeledDataset):
    """Inputs of another data set, each with its row of an array; batches have a third part.

    A batch reads its rows only, so the array may be mapped from a file of any size.

    Args:
        data: the other data set; samples beyond its length are further draws of its inputs, as
            those of `Transformed`.
        targets: float `[N, dim]`.

    Raises:
        DataError: there is not one row for each input.
    """

    def __init__(self, data: LabeledDataset, targets: np.ndarray) -> None:
        super().__init__(data.labels)
        if len(targets) != len(data):
            raise DataError(
                f"Argument 'targets' must have a row for each of the {len(data)} inputs, not "
                f"{len(targets)}."
            )
        self.data = data
        self.targets = targets

    def batch(self, indices: Sequence[int]) -> tuple[Any, Tensor, Tensor]:
        x, labels = self.data.batch(indices)
        rows = np.asarray(indices) % len(self)
        return x, labels, torch.from_numpy(np.asarray(self.targets[rows], np.float32))

    def original(self, index: int) -> Tensor:
        return self.data.original(index)

    def name(self, index: int) -> str | None:
        return self.data.name(index)


class Transformed(LabeledDataset):
    """Inputs of another data set, each drawn anew whenever its epoch changes.

    Samples go by number: input i of N in epoch e is sample `e * N + i`, so a draw is a function of
    the sample alone. It does not matter which process makes it, after how many others, or whether
    the run was interrupted before.

    Args:
        data: to draw from.
        draw: from an original input to what a batch brings, with random numbers from the global
            generators of torch (on the CPU), numpy and Python, which are as before after a batch.
        seed: of the draws.
    """

    def __init__(self, data: LabeledDataset, draw: Callable[[Any], Any], seed: int) -> None:
        super().__init__(data.labels)
        self.data = data
        self.draw = draw
        self.seed = seed

    def batch(self, indices: Sequence[int]) -> tuple[Any, Tensor]:
        drawn = []
        with generators_kept():
            for sample in indices:
                # torch looks at 32 bits of a seed: mix those of all numbers into them.
                (mixed,) = np.random.SeedSequence([self.seed, sample]).generate_state(1)
                torch.default_generator.manual_seed(int(mixed))
                np.random.seed(int(mixed))  # noqa: NPY002 - what other people's transforms draw from
                random.seed(int(mixed))
                drawn.append(self.draw(self.data.original(sample % len(self))))
        return default_collate(drawn), self.labels[torch.as_tensor(indices) % len(self)]

    def original(self, index: int) -> Tensor:
        return self.data.original(index % len(self))

    def name(self, index: int) -> str | None:
        return self.data.name(index % len(self))


@contextmanager
def generators_kept() -> Iterator[None]:
    """The global generators of torch (on the CPU), numpy and Python are as before afterwards."""
    # Not `torch.manual_seed`, which reaches the generators of other devices too.
    state = torch.default_generator.get_state(), np.random.get_state(), random.getstate()  # noqa: NPY002
    try:
        yield
    finally:
        torch.default_generator.set_state(state[0])
        np.random.set_state(state[1])  # noqa: NPY002
        random.setstate(state[2])


class Batches(Dataset[Any]):
    """A labeled data set whose batches a `DataLoader` takes whole; pair it with `as_is`.

    Worker processes hand over an error of the data in the place of a batch, for `ResumableLoader`
    to raise as it is: torch would raise another one with the worker's traceback in its message.

    Args:
        data: the data set.
    """

    def __init__(self, data: LabeledDataset) -> None:
        self.data = data

    def __getitems__(self, indices: Sequence[int]) -> tuple[Any, ...] | DataError:
        try:
            return self.data.batch(indices)
        except DataError as error:
            if get_worker_info() is None:
                raise
            return error

    def __getitem__(self, index: int) -> Any:
        return self.data[index]

    def __len__(self) -> int:
        return len(self.data)


def as_is(batch: Any) -> Any:
    """The `collate_fn` of data sets that already return batches."""
    return batch


def _first(x: Any) -> Any:
    """The first input of a batch."""
    if isinstance(x, Mapping):
        return {key: _first(value) for key, value in x.items()}
    if isinstance(x, list | tuple):
        first = [_first(value) for value in x]
        return type(x)(*first) if hasattr(x, "_fields") else type(x)(first)
    return x[0]
