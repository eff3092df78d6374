"""Images in folders, one folder a class."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from rootspace._extras import require

from ._base import Content, ImageData
from ._datasets import FileDataset
from ._decode import crop_to_square, read_image
from ._errors import DataError, check_image_size

_TEST_FOLDERS = ("val", "valid", "test")
# ImageNet's, as most image models use them; grey has the statistics of its luminance.
_RGB_STATISTICS = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
_GREY_STATISTICS = ((0.449,), (0.226,))


class ImageFolder(ImageData):
    """Image files in one folder a class, such as ImageNet and CINIC-10.

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
        batch_size: images a batch.
        num_workers: processes that load images beside the training process; 0 loads in it.
        seed: of the order of the training images and of the choice of test images.

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
        *,
        batch_size: int = 256,
        num_workers: int = 0,
        seed: int = 0,
    ) -> None:
        super().__init__(batch_size=batch_size, num_workers=num_workers, seed=seed)
        check_image_size(image_size)
        if not 0 <= test_fraction < 1:
            raise DataError(
                f"Argument 'test_fraction' must be at least 0 and below 1, not {test_fraction}."
            )
        self.root = Path(root).expanduser()
        self.test_fraction = test_fraction
        self._size = image_size
        self._channels = 1 if grayscale else 3

    def _read(self) -> Content:
        if not self.root.is_dir():
            raise DataError(f"Argument 'root' must be a folder of images, not '{self.root}'.")
        train_root = self.root / "train" if (self.root / "train").is_dir() else self.root
        class_names = _class_names(train_root)
        train = _images(train_root, class_names)
        test_roots = [self.root / name for name in _TEST_FOLDERS if train_root != self.root]
        tests = {
            folder.name: _images(folder, _known_names(folder, class_names, train_root))
            for folder in test_roots
            if folder.is_dir()
        }
        if not tests and self.test_fraction > 0:
            train, tests["test"] = self._split(train)
        mean, std = _GREY_STATISTICS if self._channels == 1 else _RGB_STATISTICS
        return Content(
            class_names=class_names,
            image_shape=(self._channels, self._size, self._size),
            train=self._dataset(train, class_names),
            tests={name: self._dataset(files, class_names) for name, files in tests.items()},
            mean=mean,
            std=std,
        )

    def _split(
        self, files: dict[str, list[str]]
    ) -> tuple[dict[str, list[str]], dict[str, list[str]]]:
        """Training and test files; each class is drawn from alone, whatever the others are."""
        train, test = {}, {}
        for name, paths in files.items():
            num_test = min(max(1, round(self.test_fraction * len(paths))), len(paths) - 1)
            generator = np.random.default_rng([self.seed, *name.encode()])
            chosen = set(generator.permutation(len(paths))[:num_test].tolist())
            train[name] = [path for index, path in enumerate(paths) if index not in chosen]
            test[name] = [path for index, path in enumerate(paths) if index in chosen]
        return train, test

    def _dataset(self, files: dict[str, list[str]], class_names: list[str]) -> FileDataset:
        label_of = {name: label for label, name in enumerate(class_names)}
        labels = [label_of[name] for name, paths in files.items() for _ in paths]
        paths = [path for paths in files.values() for path in paths]
        load = partial(_load, channels=self._channels, size=self._size)
        return FileDataset(paths, torch.tensor(labels, dtype=torch.int64), load)

    def load_image(self, path: str | Path) -> Tensor:
        return _load(path, self._channels, self._size)


def _load(path: str | Path, channels: int, size: int) -> Tensor:
    return crop_to_square(read_image(path, channels), size)


def _class_names(folder: Path) -> list[str]:
    names = sorted(
        entry.name for entry in folder.iterdir() if entry.is_dir() and entry.name[0] != "."
    )
    if not names:
        raise DataError(
            f"Folder '{folder}' holds no class folders: put each class's images in one."
        )
    return names


def _known_names(folder: Path, class_names: list[str], train_root: Path) -> list[str]:
    """The classes of a test folder, all of which training must know."""
    names = _class_names(folder)
    unknown = sorted(set(names) - set(class_names))
    if unknown:
        raise DataError(
            f"Folder '{folder}' holds classes that '{train_root}' lacks: {', '.join(unknown)}."
        )
    return names


def _images(folder: Path, class_names: list[str]) -> dict[str, list[str]]:
    """Class -> its image files, sorted."""
    module = require("torchvision.datasets.folder", extra="data", purpose="ImageFolder")
    labels = {name: label for label, name in enumerate(class_names)}
    files: dict[str, list[str]] = {name: [] for name in class_names}
    for path, label in module.make_dataset(
        str(folder), labels, module.IMG_EXTENSIONS, allow_empty=True
    ):
        files[class_names[label]].append(path)
    for name, paths in files.items():
        if not paths:
            raise DataError(
                f"Class folder '{folder / name}' holds no images: add some "
                f"({', '.join(module.IMG_EXTENSIONS)}) or remove it."
            )
    return files
