"""CINIC-10 without CIFAR-10: 210,000 pictures from ImageNet of ten kinds of things."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from .cifar10 import CLASS_NAMES, SIZE, read_cifar10
from .datasets import FileImages, LabeledDataset
from .errors import DataError
from .folders import Listing, class_folders, list_images
from .preprocessing import ImagePreprocessing
from .source import Content, DataSource
from .strings import Strings
from .subset import subset

_SPLITS = ("train", "valid", "test")
_PER_CLASS = 7_000  # images from ImageNet in a split; 2,000 more are CIFAR-10's
# The description says "cifar-10-train-1.png", the archive "cifar10-train-1.png".
_FROM_CIFAR = re.compile(r"cifar-?10-.+", re.IGNORECASE)
_FROM_IMAGENET = re.compile(r"n\d{8}_\d+\.png", re.IGNORECASE)
# As its authors publish them, over all images.
_PREPROCESSING = ImagePreprocessing(
    3,
    SIZE,
    mean=(0.47889522, 0.47227842, 0.43047404),
    std=(0.24205776, 0.23828046, 0.25874835),
)


class CINIC10(DataSource):
    """CINIC-10 (Darlow et al. 2018, arXiv 1810.03505) less the images that are CIFAR-10's.

    Three splits of ten classes, `root/{train,valid,test}/{airplane,...}/*.png`, 32x32 pixels. Of
    9,000 images a class and split 2,000 are CIFAR-10's, as their file names say; without them 7,000
    are left, 70,000 a split. arXiv 2510.04090 leaves them out so that CIFAR-10 can be the test of
    generalization (its Table 3). Its Table 2 says 90,000 training and 90,000 test images, which is
    the number with them, of one split each: hence the defaults here.

    Args:
        root: the folder with the three splits.
        train_splits: which of them to train on.
        test_splits: which to test on, each a test set of its name.
        cifar10_root: also test on CIFAR-10's 10,000 test images, test set "cifar10"; what `root` is
            to `CIFAR10`.
        complete: False accepts a copy where images are missing.
        num_classes: the first so many classes, of the test sets too. Default: all.

    Raises:
        DataError: in `read`, when folders or images are missing, or come from elsewhere; in
            loading, when an image cannot be decoded.
    """

    def __init__(
        self,
        root: str | Path,
        train_splits: list[str] | None = None,
        test_splits: list[str] | None = None,
        cifar10_root: str | Path | None = None,
        complete: bool = True,
        num_classes: int | None = None,
    ) -> None:
        self.root = Path(root).expanduser()
        self.train_splits = ["train"] if train_splits is None else train_splits
        self.test_splits = ["test"] if test_splits is None else test_splits
        self.cifar10_root = None if cifar10_root is None else Path(cifar10_root).expanduser()
        self.complete = complete
        self._num_classes = num_classes
        _check_splits("train_splits", self.train_splits, taken=[])
        _check_splits("test_splits", self.test_splits, taken=self.train_splits)
        if not self.train_splits:
            raise DataError(
                f"Argument 'train_splits' must name at least one of {', '.join(_SPLITS)}."
            )

    def read(self) -> Content:
        if not self.root.is_dir():
            raise DataError(
                f"Argument 'root' must be CINIC-10's folder, that of {', '.join(_SPLITS)}, not "
                f"'{self.root}'."
            )
        listing = Listing()
        train = self._dataset(self.train_splits, listing)
        tests: dict[str, LabeledDataset] = {
            split: self._dataset([split], listing) for split in self.test_splits
        }
        if self.cifar10_root is not None:
            tests["cifar10"] = read_cifar10(self.cifar10_root, "cifar10_root")[1]
        content = Content(list(CLASS_NAMES), train, tests, _PREPROCESSING, listing.notes())
        return subset(content, self._num_classes, None)

    def _dataset(self, splits: list[str], listing: Listing) -> FileImages:
        parts = [self._list(split, listing) for split in splits]
        files = Strings.of(
            f"{split}/{file}"
            for split, (files, _) in zip(splits, parts, strict=True)
            for file in files
        )
        labels = torch.cat([labels for _, labels in parts])
        return FileImages(self.root, files, labels, _PREPROCESSING)

    def _list(self, split: str, listing: Listing) -> tuple[Strings, Tensor]:
        folder = self.root / split
        if not folder.is_dir():
            raise DataError(f"CINIC-10's folder '{folder}' does not exist: copy it again.")
        found = class_folders(folder)
        if found != CLASS_NAMES:
            raise DataError(
                f"Folder '{folder}' must hold CINIC-10's classes, {', '.join(CLASS_NAMES)}, not "
                f"{', '.join(found)}."
            )
        files, labels = list_images(
            folder, CLASS_NAMES, keep=lambda name: _is_kept(name, folder), listing=listing
        )
        counts = np.bincount(labels, minlength=len(CLASS_NAMES))
        for name, count in zip(CLASS_NAMES, counts, strict=True):
            if self.complete and count != _PER_CLASS:
                raise DataError(
                    f"Class folder '{folder / name}' must hold {_PER_CLASS:,} images from "
                    f"ImageNet, not {count:,}: copy it again, or set 'complete' to false."
                )
        return files, labels


def _check_splits(argument: str, splits: list[str], taken: list[str]) -> None:
    for place, split in enumerate(splits):
        if split not in _SPLITS:
            raise DataError(
                f"Argument '{argument}' must name some of {', '.join(_SPLITS)}, not '{split}'."
            )
        if split in splits[:place]:
            raise DataError(f"Argument '{argument}' must not name '{split}' twice.")
        if split in taken:
            raise DataError(f"Argument '{argument}' must not name '{split}', which is trained on.")


def _is_kept(name: str, folder: Path) -> bool:
    if _FROM_CIFAR.fullmatch(name):
        return False
    if not _FROM_IMAGENET.fullmatch(name):
        raise DataError(
            f"Folder '{folder}' holds an image named '{name}', which is neither ImageNet's "
            "(n02691156_1.png) nor CIFAR-10's (cifar10-train-1.png): remove it."
        )
    return True
