"""What all data sets have in common: loaders, and the facts a model needs to know."""

from __future__ import annotations

import abc
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import get_args

import lightning as L
import numpy as np
import torch
from torch import Tensor

from ._aimed import AimedImages
from ._augment import Augmentation, AugmentedImages, light1
from ._datasets import LabelledImages, RelabelledImages, as_is
from ._errors import DataError, check_at_least, check_names
from ._loader import EpochLoader
from ._sampler import EpochSampler
from ._unique import ImageNames, UniqueLabels, check_unique_labels, unique_images


@dataclass(frozen=True)
class Content:
    """What a data set consists of, once its files are read.

    Args:
        class_names: label -> name.
        image_shape: (channels, height, width), height = width.
        train: the training images.
        tests: name -> test images, in the order of the loaders.
        mean: of each channel, for pixels in [0, 1].
        std: likewise.
    """

    class_names: Sequence[str]
    image_shape: tuple[int, int, int]
    train: LabelledImages
    tests: dict[str, LabelledImages]
    mean: tuple[float, ...]
    std: tuple[float, ...]


class ImageData(L.LightningDataModule, abc.ABC):
    """Labelled images for training, and any number of named test sets.

    A data set is one subclass with `_read` and `load_image`. Its batches are images,
    uint8 [B, C, H, W], and labels, int64 [B]; scaling belongs to the model's side, where it runs on
    the device. Everything but the constructor's arguments exists after `setup()`.

    Args:
        batch_size: images a batch. A last batch of one image is left out, since batch normalisation
            cannot train on it; `EpochSampler` makes it another image in each epoch.
        num_workers: processes that load images beside the training process; 0 loads in it.
        seed: of the order of the training images and of every random choice the data set makes.
        augment: `light1` draws every training image anew in each epoch: random crop, flip and two
            random operations; `none` takes it as it is.
        unique_labels: make each training image a class of its own: `all`, or so many of them, drawn
            by `seed`. They are the one test set too, "train", which is never augmented.
    """

    def __init__(
        self,
        *,
        batch_size: int = 256,
        num_workers: int = 0,
        seed: int = 0,
        augment: Augmentation = "none",
        unique_labels: UniqueLabels = None,
    ) -> None:
        super().__init__()
        check_at_least("batch_size", batch_size, 2)
        check_at_least("num_workers", num_workers, 0)
        check_at_least("seed", seed, 0)
        if augment not in get_args(Augmentation):
            raise DataError(
                f"Argument 'augment' must be one of {', '.join(get_args(Augmentation))}, not "
                f"'{augment}'."
            )
        check_unique_labels(unique_labels)
        self.batch_size = batch_size
        self.num_workers = num_workers
        self.seed = seed
        self.augment = augment
        self.unique_labels: UniqueLabels = unique_labels
        self.order_seed = seed
        """Of the order and the augmentation of the training images; runs that differ in their seed
        differ in it too."""
        self.per_class = 1
        """Images of a class that follow one another in training; a warm-up needs two."""
        self.targets: np.ndarray | None = None
        """`[training images, dim]`, of which training batches bring their rows as a third part."""
        self._content: Content | None = None

    @abc.abstractmethod
    def _read(self) -> Content:
        """Find and check the files. Called once."""

    @abc.abstractmethod
    def load_image(self, path: str | Path) -> Tensor:
        """One image file as the test images are prepared: uint8 [C, H, W].

        Raises:
            DataError: it is missing or cannot be decoded.
        """

    def setup(self, stage: str | None = None) -> None:
        """Read the data; once, whatever the stage. Lightning calls this."""
        if self._content is None:
            content = self._read()
            if len(content.train) < 2:
                raise DataError(
                    f"The '{self.name}' data hold {len(content.train)} training image: at least 2 "
                    "are needed."
                )
            content = self._with_unique_labels(content)
            source, repeated = f"The '{self.name}' data", self.unique_labels is None
            check_names(content.class_names, source, repeated=repeated)
            for name in content.tests:
                if not name or set("/\\\0") & set(name):
                    raise DataError(
                        f"{source} have the test set {name!r}: name it without slashes."
                    )
            self._content = content

    def disturb_labels(self, share: float, seed: int) -> None:
        """Give training images wrong labels, to see what they do to a method; after `setup`.

        Args:
            share: of the training images, drawn at random; each gets another class at random.
            seed: of the choice.
        """
        generator = torch.Generator().manual_seed(seed)
        train = self.content.train
        labels = train.labels.clone()
        wrong = torch.randperm(len(labels), generator=generator)[: round(share * len(labels))]
        shift = torch.randint(1, self.num_classes, (len(wrong),), generator=generator)
        labels[wrong] = (labels[wrong] + shift) % self.num_classes
        self._content = replace(self.content, train=RelabelledImages(train, labels))

    def number_as(self, names: Sequence[str]) -> None:
        """Give the classes the numbers that they have among other names; after `setup`.

        Args:
            names: of all classes from now on, some of which may have no image.

        Raises:
            ValueError: a class of the data is not among them.
        """
        if list(names) == list(self.class_names):
            return
        number = {name: label for label, name in enumerate(names)}
        unknown = [name for name in self.class_names if name not in number]
        if unknown:
            raise ValueError(
                f"{len(unknown)} of the {self.num_classes} classes are not among these "
                f"{len(names)}, such as {unknown[0]!r}."
            )
        new = torch.tensor([number[name] for name in self.class_names])
        train, *tests = (
            RelabelledImages(images, new[images.labels])
            for images in (self.train_dataset, *self.test_datasets.values())
        )
        self._content = replace(
            self.content,
            class_names=list(names),
            train=train,
            tests=dict(zip(self.test_datasets, tests, strict=True)),
        )

    def _with_unique_labels(self, content: Content) -> Content:
        """The same content, or its training images as classes of their own."""
        if self.unique_labels is None:
            return content
        images = unique_images(content.train, self.unique_labels, self.seed)
        names = ImageNames(images, content.class_names)
        return replace(content, class_names=names, train=images, tests={"train": images})

    @property
    def content(self) -> Content:
        if self._content is None:
            raise RuntimeError(f"Call {type(self).__name__}.setup() before using its data.")
        return self._content

    @property
    def class_names(self) -> Sequence[str]:
        """Label -> name."""
        return self.content.class_names

    @property
    def num_classes(self) -> int:
        return len(self.content.class_names)

    @property
    def in_channels(self) -> int:
        return self.content.image_shape[0]

    @property
    def image_size(self) -> int:
        """Height and width in pixels."""
        return self.content.image_shape[1]

    @property
    def train_dataset(self) -> LabelledImages:
        return self.content.train

    @property
    def test_datasets(self) -> dict[str, LabelledImages]:
        """Name -> test set, in the order of `val_dataloader` and `test_dataloader`."""
        return self.content.tests

    @property
    def mean(self) -> tuple[float, ...]:
        """Of each channel, for pixels in [0, 1]."""
        return self.content.mean

    @property
    def std(self) -> tuple[float, ...]:
        """Of each channel, for pixels in [0, 1]."""
        return self.content.std

    def train_dataloader(self) -> EpochLoader:
        """All training images, augmented, in an order that is a function of (seed, epoch)."""
        images = self._images_of_epoch()
        if self.augment != "none":
            draw = partial(light1, size=self.image_size)
            images = AugmentedImages(images, draw, self.order_seed)
        if self.targets is not None:
            images = AimedImages(images, self.targets)
        return self._loader(images, shuffle=True)

    def _images_of_epoch(self) -> LabelledImages:
        """What an epoch of training goes over: every training image once."""
        return self.train_dataset

    def val_dataloader(self) -> list[EpochLoader]:
        """One loader for each test set, in order."""
        return [self._loader(dataset, shuffle=False) for dataset in self.test_datasets.values()]

    def whole_test_dataloader(self) -> list[EpochLoader]:
        """As `test_dataloader`, with all images even in a process of a distributed run."""
        return [
            self._loader(dataset, shuffle=False, sharded=False)
            for dataset in self.test_datasets.values()
        ]

    def means_dataloader(self) -> EpochLoader:
        """All training images in their own order, to take class means."""
        return self._loader(self.train_dataset, shuffle=False)

    def test_dataloader(self) -> list[EpochLoader]:
        """One loader for each test set, in order."""
        return self.val_dataloader()

    def _loader(self, dataset: LabelledImages, shuffle: bool, sharded: bool = True) -> EpochLoader:
        sampler = EpochSampler(
            len(dataset),
            self.order_seed,
            shuffle=shuffle,
            sharded=sharded,
            labels=dataset.labels,
            per_class=self.per_class if shuffle else 1,
            count_on=shuffle and self.augment != "none",
        )
        return EpochLoader(
            dataset,
            sampler=sampler,
            batch_size=self.batch_size,
            drop_last=shuffle and len(sampler) % self.batch_size == 1,
            num_workers=self.num_workers,
            persistent_workers=self.num_workers > 0,
            pin_memory=torch.cuda.is_available(),
            collate_fn=as_is,
            # Without its own generator a loader draws from the global one, and what the model then
            # draws would depend on how often data were loaded.
            generator=torch.Generator().manual_seed(self.order_seed),
        )

    def describe(self) -> str:
        """One line: classes, images, test sets."""
        channels, height, width = self.content.image_shape
        tests = ", ".join(f"{name} ({len(data):,})" for name, data in self.test_datasets.items())
        return (
            f"{self.name}: {self.num_classes:,} classes, {len(self.train_dataset):,} training "
            f"images {channels}x{height}x{width}, test sets: {tests or 'none'}"
        )


def channel_statistics(
    images: Tensor, most: int = 10_000
) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and standard deviation of each channel, for pixels in [0, 1].

    Counted in whole numbers, so the result does not depend on the number of threads.

    Args:
        images: uint8 [N, C, H, W].
        most: read at most so many images, evenly spread.
    """
    num_read = min(len(images), most)
    chosen = images[torch.arange(num_read) * len(images) // num_read]
    values = torch.arange(256, dtype=torch.float64) / 255
    mean, std = [], []
    for channel in range(images.shape[1]):
        share = torch.bincount(chosen[:, channel].flatten(), minlength=256).double()
        share /= share.sum()
        centre = float((share * values).sum())
        mean.append(centre)
        # Images of one colour must not lead to a division by zero.
        std.append(max(float((share * (values - centre) ** 2).sum().sqrt()), 1 / 255))
    return tuple(mean), tuple(std)
