"""Images in folders, one folder a class."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from torch import Tensor

from ._augment import Augmentation
from ._base import Content, ImageData
from ._datasets import FileDataset, LabelledImages
from ._decode import crop_to_square, read_image
from ._errors import DataError, check_at_least, check_image_size
from ._folders import class_folders, list_images
from ._statistics import IMAGENET_GREY, IMAGENET_RGB
from ._strings import Strings
from ._unique import UniqueLabels

_TEST_FOLDERS = ("val", "valid", "test")


class ImageFolder(ImageData):
    """Image files in one folder a class, such as ImageNet-1K.

    Either `root/train/<class>/*.png` with any of `root/val`, `root/valid` and `root/test`, each a
    test set of that name; or without these, a share of each class is set aside as test set "test".
    Classes are sorted by name; hidden folders are not classes. Files are decoded when they are
    needed: the shorter side is scaled to `image_size`, then the centre is cut out.

    Args:
        root: the folder.
        image_size: height and width in pixels.
        grayscale: one channel instead of three.
        test_fraction: share of each class set aside (by `seed`) where there is no test folder; one
            image at least, unless the class has only one. 0 sets none aside.
        num_classes: draw so many classes at random (by `seed`), of the test folders too. Default:
            all. 84 of ImageNet-1K are about 108,000 training images, as i1kp of arXiv 2510.04090.
        batch_size: images a batch.
        num_workers: processes that load images beside the training process; 0 loads in it.
        seed: of the order of the training images and of the choice of test images and classes.
        augment: `light1` draws every training image anew in each epoch: random crop, flip and two
            random operations; `none` takes it as it is.
        unique_labels: make each training image a class of its own: `all`, or so many of them, drawn
            by `seed`. They are the one test set too, "train", which is never augmented.

    Raises:
        DataError: in `setup`, when folders are missing, empty or do not fit; in loading, when an
            image cannot be decoded.
    """

    name = "image_folder"

    def __init__(
        self,
        root: str | Path,
        image_size: int = 32,
        grayscale: bool = False,
        test_fraction: float = 0.1,
        num_classes: int | None = None,
        *,
        batch_size: int = 256,
        num_workers: int = 0,
        seed: int = 0,
        augment: Augmentation = "none",
        unique_labels: UniqueLabels = None,
    ) -> None:
        super().__init__(
            batch_size=batch_size,
            num_workers=num_workers,
            seed=seed,
            augment=augment,
            unique_labels=unique_labels,
        )
        check_image_size(image_size)
        if num_classes is not None:
            check_at_least("num_classes", num_classes, 2)
        if not 0 <= test_fraction < 1:
            raise DataError(
                f"Argument 'test_fraction' must be at least 0 and below 1, not {test_fraction}."
            )
        self.root = Path(root).expanduser()
        self.test_fraction = test_fraction
        self._num_classes = num_classes
        self._size = image_size
        self._channels = 1 if grayscale else 3

    def _read(self) -> Content:
        if not self.root.is_dir():
            raise DataError(f"Argument 'root' must be a folder of images, not '{self.root}'.")
        train_root = self.root / "train" if (self.root / "train").is_dir() else self.root
        found = class_folders(train_root)
        class_names = self._draw_classes(found)
        train = list_images(train_root, class_names)
        test_roots = [self.root / name for name in _TEST_FOLDERS if train_root != self.root]
        tests: dict[str, LabelledImages] = {}
        for folder in test_roots:
            if folder.is_dir():
                chosen = _tested_classes(folder, found, class_names, train_root)
                tests[folder.name] = self._dataset(
                    folder, *list_images(folder, class_names, chosen)
                )
        # With unique labels the test set is the training images: none are set aside.
        if not tests and self.test_fraction > 0 and self.unique_labels is None:
            train, test = self._split(*train, class_names)
            tests["test"] = self._dataset(train_root, *test)
        mean, std = IMAGENET_GREY if self._channels == 1 else IMAGENET_RGB
        return Content(
            class_names=class_names,
            image_shape=(self._channels, self._size, self._size),
            train=self._dataset(train_root, *train),
            tests=tests,
            mean=mean,
            std=std,
        )

    def _draw_classes(self, names: list[str]) -> list[str]:
        if self._num_classes is None:
            return names
        if self._num_classes > len(names):
            raise DataError(
                f"Argument 'num_classes' must be at most {len(names)} (the class folders), not "
                f"{self._num_classes}."
            )
        generator = np.random.default_rng(self.seed)
        chosen = generator.choice(len(names), self._num_classes, replace=False)
        return [names[index] for index in sorted(chosen)]

    def _split(
        self, files: Strings, labels: Tensor, class_names: Sequence[str]
    ) -> tuple[tuple[Strings, Tensor], tuple[Strings, Tensor]]:
        """Training and test files; each class is drawn from alone, whatever the others are."""
        is_test = np.zeros(len(files), dtype=bool)
        ends = np.cumsum(np.bincount(labels.numpy(), minlength=len(class_names)))
        for name, start, end in zip(class_names, [0, *ends], ends, strict=False):
            num_test = min(max(1, round(self.test_fraction * (end - start))), end - start - 1)
            generator = np.random.default_rng([self.seed, *name.encode(errors="surrogateescape")])
            is_test[start + generator.permutation(end - start)[:num_test]] = True
        train, test = np.flatnonzero(~is_test), np.flatnonzero(is_test)
        return (files.take(train), labels[train]), (files.take(test), labels[test])

    def _dataset(self, root: Path, files: Strings, labels: Tensor) -> FileDataset:
        return FileDataset(root, files, labels, self._channels, self._size)

    def load_image(self, path: str | Path) -> Tensor:
        return crop_to_square(read_image(path, self._channels), self._size)


def _tested_classes(
    folder: Path, known: Sequence[str], class_names: Sequence[str], train_root: Path
) -> set[str]:
    """Which of the classes a test folder holds; training must know all that it holds."""
    names = set(class_folders(folder))
    unknown = sorted(names - set(known))
    if unknown:
        raise DataError(
            f"Folder '{folder}' holds classes that '{train_root}' lacks: {', '.join(unknown)}."
        )
    return names & set(class_names)
