"""Any map-style data set of (x, y): torchvision's, Hugging Face's, your own."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import ConcatDataset, Dataset, IterableDataset, Subset, default_collate

from rootspace._terminal import tracked
from rootspace.images import from_pixels, reason_of

from .aside import set_aside
from .datasets import LabeledDataset, View
from .errors import DataError, check_image_size
from .preprocessing import (
    IMAGENET_RGB,
    ImagePreprocessing,
    Interpolation,
    channel_statistics,
    to_array,
    to_tensor,
)
from .source import Content, DataSource

if TYPE_CHECKING:
    from PIL.Image import Image

LABELS = ("targets", "labels", "y")
"""Attributes that data sets keep their labels in."""

INPUTS = ("image", "img")
"""Keys that items which are dictionaries keep their image under."""

MOST_READ = 1_000
"""Images whose pixels are looked at for the number of channels, mean and standard deviation."""

_GRAY = ("1", "L", "LA", "La", "I", "F")

_Items = Dataset[Any] | Sequence[Any]


class TorchData(DataSource):
    """Any map-style data set of `(x, y)`, such as those of torchvision and Hugging Face.

    An item is a pair, or a dictionary such as `{"image": ..., "label": ...}`. Labels are taken from
    the data set's `targets`, `labels` or `y`, from a column of a Hugging Face data set, and else by
    reading every item once. They may be numbers or names. Where a test set has names for its
    numbers, as the training data have, its classes are found by these: it may number them its own
    way.

    An x that is a PIL image, or uint8 pixels, is an image: it is cut to a square of `image_size`,
    and networks get it normalized; one channel if all images are gray, else three. Anything else
    (float tensors, dictionaries or tuples of tensors) goes to the network as it is, in batches as
    `torch.utils.data.default_collate` makes them.

    Args:
        train: the training data.
        tests: test sets by name, or one of them; by default `test_fraction` of the training data
            is set aside as test set "test".
        class_names: label -> name; by default `train.classes`, or the names that Hugging Face's
            features have, or the labels themselves.
        image_size: height and width of images in pixels; by default that of the images on which
            pretrained weights of the network were trained, else the shorter side of the first.
        input_key: of items that are dictionaries; "image" or "img" by default where there is one,
            else all but the label.
        label_key: likewise.
        test_fraction: of the inputs, spread over the classes of three or more, where there are no
            `tests`; 0 for none.
        seed: of that choice.
        interpolation: of scaling; by default as of `image_size`, else bilinear.

    Raises:
        DataError: in `read`, when items are no pairs, labels do not fit, a test set has a class
            that the training data lack, or an item that labels are taken from cannot be read; in
            loading, when an item cannot be read.
    """

    def __init__(
        self,
        train: Dataset,
        tests: dict[str, Dataset] | Dataset | None = None,
        *,
        class_names: list[str] | None = None,
        image_size: int | None = None,
        input_key: str | None = None,
        label_key: str = "label",
        test_fraction: float = 0.1,
        seed: int = 0,
        interpolation: Interpolation | None = None,
    ) -> None:
        if image_size is not None:
            check_image_size(image_size)
        if not 0 <= test_fraction < 1:
            raise DataError(
                f"Argument 'test_fraction' must be at least 0 and below 1, not {test_fraction}."
            )
        self.train = train
        self.tests = {} if tests is None else tests if isinstance(tests, dict) else {"test": tests}
        self.class_names = class_names
        self.image_size = image_size
        self.interpolation: Interpolation = interpolation or "bilinear"
        self.input_key = input_key
        self.label_key = label_key
        self.test_fraction = test_fraction
        self.seed = seed

    def read(self) -> Content:
        size = _size(self.train, "train")
        if not size:
            raise DataError("Argument 'train' must hold items, not none.")
        values = self._labels(self.train, "train")
        names, number = self._classes(values)
        shape = self._shape(size)
        train = self._dataset(self.train, values, number, shape, "train")
        tests = {
            name: self._dataset(data, self._test_labels(data, name, number), number, shape, name)
            for name, data in self.tests.items()
        }
        if not tests and self.test_fraction:
            rows = set_aside(train.labels, names, self.test_fraction, self.seed)
            tests["test"] = View.some(train, rows.nonzero()[:, 0])
            train = View.some(train, (~rows).nonzero()[:, 0])
        return Content(names, train, tests, shape)

    def input(self, data: _Items, index: int, name: str) -> Any:
        """The x of an item.

        Args:
            data: the data set.
            index: of the item.
            name: of the data set, for messages.

        Raises:
            DataError: the item cannot be read, or is no pair.
        """
        return self._pair(_item(data, index, name), name)[0]

    def _pair(self, item: Any, name: str) -> tuple[Any, Any]:
        if isinstance(item, Mapping) and self.label_key in item:
            label = item[self.label_key]
            for key in INPUTS if self.input_key is None else (self.input_key,):
                if key in item:
                    return item[key], label
            if self.input_key is None:
                return {key: value for key, value in item.items() if key != self.label_key}, label
            raise DataError(
                f"Argument 'input_key' must be one of {', '.join(map(repr, item))}, not "
                f"{self.input_key!r}."
            )
        if isinstance(item, list | tuple) and len(item) == 2:
            return item[0], item[1]
        what = type(item).__name__
        if isinstance(item, list | tuple):
            what = f"a {what} of {len(item)}"
        elif isinstance(item, Mapping):
            what = f"a dictionary with {', '.join(map(repr, item))}"
        raise DataError(
            f"Argument '{name}' must hold pairs of input and label, or dictionaries with "
            f"{self.label_key!r} (`label_key`), not {what}."
        )

    def _labels(self, data: _Items, name: str) -> list[Any]:
        found = _known_labels(data, self.label_key)
        if found is None:
            size = _size(data, name)
            items = (self._pair(_item(data, i, name), name)[1] for i in range(size))
            found = list(tracked(items, f"Labels of {name}", size))
        return [_label(value, name) for value in found]

    def _test_labels(self, data: _Items, name: str, number: Mapping[Any, int]) -> list[Any]:
        """The labels of a test set as the training data have theirs, by the names that both have.

        Its numbers mean other classes where it lacks some or has them in another order.
        """
        values = self._labels(data, name)
        own, trained = (_known_names(part, self.label_key) for part in (data, self.train))
        by_number = all(isinstance(value, int) for value in number)
        if by_number and (trained is None or own == trained):
            return values
        wanted: dict[Any, int] = {}
        if by_number:
            wanted = {name: label for label, name in enumerate(trained or ())}
        found = []
        for value in values:
            if not isinstance(value, int) or own is None:
                shown = value
            elif 0 <= value < len(own):
                shown = own[value]
            else:
                raise DataError(
                    f"Test set '{name}' has the label {value}, but names for 0 to {len(own) - 1} "
                    "only."
                )
            found.append(wanted.get(shown, shown))
        return found

    def _classes(self, values: list[Any]) -> tuple[list[str], dict[Any, int]]:
        """Label -> name, and from labels as the data have them to labels."""
        present = set(values)
        names = self.class_names or _known_names(self.train, self.label_key)
        whole = all(isinstance(value, int) for value in present)
        if names is not None and not whole:
            number: dict[Any, int] = {name: label for label, name in enumerate(names)}
        elif names is not None:
            number = dict(enumerate(range(len(names))))
        else:
            try:
                ordered = sorted(present)
            except TypeError as error:
                raise DataError(f"Labels of 'train' must be numbers or names: {error}.") from error
            names = [str(value) for value in ordered]
            number = {value: label for label, value in enumerate(ordered)}
        unknown = [value for value in present if value not in number]
        if unknown:
            raise DataError(
                f"Argument 'class_names' must name every class: {unknown[0]!r} is none of the "
                f"{len(names)}."
            )
        return list(names), number

    def _shape(self, size: int) -> ImagePreprocessing | None:
        """The preprocessing of images; None where the inputs are none.

        Items that cannot be read are passed over: `loader.skip_broken` leaves them out afterwards.
        """
        rows = torch.arange(min(size, MOST_READ)) * size // min(size, MOST_READ)
        shape: ImagePreprocessing | None = None
        unread: DataError | None = None
        pixels, gray = [], True
        for row in rows.tolist():
            try:
                x = self.input(self.train, row, "train")
            except DataError as error:
                unread = unread or error
                continue
            if shape is None and as_image(x) is None:
                return None
            image = _image(x, "train")
            if shape is None:
                shape = ImagePreprocessing(
                    3,
                    self.image_size or min(image.size),
                    *IMAGENET_RGB,
                    interpolation=self.interpolation,
                )
            mode = image.mode
            try:
                image = shape.convert(image, f"train[{row}]")
            except DataError as error:  # some are decoded only now
                unread = unread or error
                continue
            pixels.append(to_tensor(shape.square(image)))
            gray = gray and (mode in _GRAY or mode.startswith("I;"))
        if shape is None or not pixels:
            assert unread is not None
            raise unread
        channels = 1 if gray else 3
        mean, std = channel_statistics(torch.stack(pixels)[:, :channels])
        return replace(shape, channels=channels, mean=mean, std=std)

    def _dataset(
        self,
        data: _Items,
        values: list[Any],
        number: Mapping[Any, int],
        shape: ImagePreprocessing | None,
        name: str,
    ) -> LabeledDataset:
        unknown = [value for value in set(values) if value not in number]
        if unknown:
            raise DataError(f"Test set '{name}' has the class {unknown[0]!r}, which 'train' lacks.")
        labels = torch.tensor([number[value] for value in values], dtype=torch.int64)
        if shape is None:
            return Items(self, data, labels, name)
        return ItemImages(self, data, labels, name, shape)


class Items(LabeledDataset):
    """Items of a data set of (x, y) whose x goes to the network as it is.

    Args:
        source: which knows what an item is.
        data: the data set.
        labels: int64 [N].
        title: of the data set, for messages.
    """

    def __init__(self, source: TorchData, data: _Items, labels: Tensor, title: str) -> None:
        super().__init__(labels)
        self.source = source
        self.data = data
        self.title = title

    def batch(self, indices: Sequence[int]) -> tuple[Any, Tensor]:
        x = default_collate([self.original(index) for index in indices])
        return x, self.labels[torch.as_tensor(indices)]

    def original(self, index: int) -> Any:
        return self.source.input(self.data, index, self.title)


class ItemImages(Items):
    """Items of a data set of (x, y) whose x is an image.

    Args:
        source: which knows what an item is.
        data: the data set.
        labels: int64 [N].
        title: of the data set, for messages.
        preprocessing: of the images.
    """

    def __init__(
        self,
        source: TorchData,
        data: _Items,
        labels: Tensor,
        title: str,
        preprocessing: ImagePreprocessing,
    ) -> None:
        super().__init__(source, data, labels, title)
        self.preprocessing = preprocessing

    def batch(self, indices: Sequence[int]) -> tuple[Tensor, Tensor]:
        square = self.preprocessing.square
        images = torch.stack([to_tensor(square(self._decoded(index))) for index in indices])
        return images, self.labels[torch.as_tensor(indices)]

    def original(self, index: int) -> Tensor:
        return to_tensor(self._decoded(index))

    def _decoded(self, index: int) -> Image:
        image = _image(super().original(index), self.title)
        return self.preprocessing.convert(image, f"{self.title}[{index}]")


def _item(data: _Items, index: int, name: str) -> Any:
    """An item as the data set gives it.

    Raises:
        DataError: its file is missing or damaged, by what Pillow and Python raise then.
    """
    try:
        return data[index]
    except (OSError, SyntaxError, ValueError) as error:
        raise DataError(
            f"Item '{name}[{index}]' cannot be read ({reason_of(error)}): replace it."
        ) from error


def as_image(x: Any) -> Image | None:
    """A PIL image of what is one, or of uint8 pixels; None of anything else."""
    if isinstance(x, Tensor | np.ndarray):
        is_pixels = x.dtype in (torch.uint8, np.uint8) and x.ndim in (2, 3)
        if not is_pixels:
            return None
        return from_pixels(to_array(x) if isinstance(x, Tensor) else x)
    pillow = sys.modules.get("PIL.Image")  # without it nothing is an image of its
    return x if pillow is not None and isinstance(x, pillow.Image) else None


def _image(x: Any, name: str) -> Image:
    image = as_image(x)
    if image is None:
        what = f"{x.dtype}" if isinstance(x, Tensor | np.ndarray) else type(x).__name__
        raise DataError(
            f"Argument '{name}' must hold images only, as its first input is one, not {what}."
        )
    return image


def _label(value: Any, name: str) -> int | float | str:
    if isinstance(value, Tensor | np.ndarray | np.generic) and np.ndim(value) == 0:
        value = value.item()
    if not isinstance(value, int | float | str):
        shape = (
            f" of shape {list(np.shape(value))}" if isinstance(value, Tensor | np.ndarray) else ""
        )
        raise DataError(
            f"Labels of '{name}' must be numbers or names, not {type(value).__name__}{shape}."
        )
    return value


def _known_labels(data: Any, key: str) -> Sequence[Any] | None:
    """The labels that a data set keeps, without reading its items."""
    if getattr(data, "target_transform", None) is not None:
        return None  # what it keeps are the labels before that
    if isinstance(data, Subset):
        labels = _known_labels(data.dataset, key)
        return None if labels is None else [labels[i] for i in data.indices]
    if isinstance(data, ConcatDataset):
        parts = [_known_labels(part, key) for part in data.datasets]
        known = [part for part in parts if part is not None]
        return [v for part in known for v in part] if len(known) == len(parts) else None
    if key in (getattr(data, "column_names", None) or ()):
        return list(data[key])
    for name in LABELS:
        labels = getattr(data, name, None)
        if not isinstance(labels, list | tuple | np.ndarray | Tensor):
            continue
        if getattr(labels, "ndim", 1) == 1 and len(labels) == len(data):
            return labels.tolist() if isinstance(labels, np.ndarray | Tensor) else list(labels)
    return None


def _known_names(data: Any, key: str) -> list[str] | None:
    """The names of classes that a data set keeps."""
    while isinstance(data, Subset | ConcatDataset):
        data = data.dataset if isinstance(data, Subset) else data.datasets[0]
    if getattr(data, "target_transform", None) is not None:
        return None  # what it names are the labels before that
    features = getattr(data, "features", None)
    names = getattr(features.get(key), "names", None) if isinstance(features, Mapping) else None
    classes = names if names is not None else getattr(data, "classes", None)
    return [str(name) for name in classes] if isinstance(classes, list | tuple) else None


def as_source(data: DataSource | Dataset[Any]) -> DataSource:
    """A source of the data, which may be a data set of torch."""
    return data if isinstance(data, DataSource) else TorchData(data)


def _size(data: Any, name: str) -> int:
    try:
        if isinstance(data, IterableDataset):
            raise TypeError(f"{type(data).__name__} is iterable only")
        return len(data)
    except TypeError as error:
        raise DataError(
            f"Argument '{name}' must be a map-style data set with a length: {error}."
        ) from error
