"""Fashion-MNIST: 70,000 grey pictures of ten kinds of clothes."""

from __future__ import annotations

import os
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional as F

from ._augment import Augmentation
from ._base import Content, ImageData, channel_statistics
from ._datasets import ArrayDataset
from ._decode import crop_to_square, read_image
from ._errors import DataError, check_at_least, check_labels
from ._idx import read_idx
from ._subset import subset
from ._unique import UniqueLabels

_CLASS_NAMES = [
    "T-shirt/top",
    "Trouser",
    "Pullover",
    "Dress",
    "Coat",
    "Sandal",
    "Shirt",
    "Sneaker",
    "Bag",
    "Ankle boot",
]
_PICTURE = 28  # pixels, before padding
_HELP = "install Debian's package (apt install dataset-fashion-mnist) or give the folder as 'root'"


class FashionMNIST(ImageData):
    """Fashion-MNIST (Xiao, Rasul and Vollgraf 2017), from its four IDX files, gzipped or not.

    The pictures of 28x28 pixels are surrounded by black, not scaled.

    Args:
        root: the folder with "train-images-idx3-ubyte" and so on. Default: the first that exists
            of $ROOTSPACE_DATA/fashion-mnist, data/fashion-mnist, and where Debian's package
            dataset-fashion-mnist puts it.
        image_size: height and width in pixels, after padding.
        num_classes: the first so many classes, of the test set too. Default: all.
        images_per_class: the first so many training images of each class. Default: all.
        batch_size: images a batch.
        num_workers: processes that load images; 0 is fastest here, as the images are in memory.
        seed: of the order of the training images.
        augment: `light1` draws every training image anew in each epoch: random crop, flip and two
            random operations; `none` takes it as it is.
        unique_labels: make each training image a class of its own: `all`, or so many of them, drawn
            by `seed`. They are the one test set too, "train", which is never augmented.

    Raises:
        DataError: in `setup`, when files are missing or damaged.
    """

    name = "fashion_mnist"

    def __init__(
        self,
        root: str | Path | None = None,
        image_size: int = 32,
        num_classes: int | None = None,
        images_per_class: int | None = None,
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
        check_at_least("image_size", image_size, _PICTURE, "the pictures are padded, not scaled")
        self.root = None if root is None else Path(root).expanduser()
        self._size = image_size
        self._subset = (num_classes, images_per_class)

    def _read(self) -> Content:
        root = _default_root() if self.root is None else self.root
        if not root.is_dir():
            raise DataError(f"The Fashion-MNIST folder '{root}' does not exist: {_HELP}.")
        train, test = (self._dataset(root, part) for part in ("train", "t10k"))
        mean, std = channel_statistics(train.images)
        content = Content(
            class_names=list(_CLASS_NAMES),
            image_shape=(1, self._size, self._size),
            train=train,
            tests={"test": test},
            mean=mean,
            std=std,
        )
        return subset(content, *self._subset)

    def _dataset(self, root: Path, part: str) -> ArrayDataset:
        images_path = _find(root, f"{part}-images-idx3-ubyte")
        labels_path = _find(root, f"{part}-labels-idx1-ubyte")
        images = read_idx(images_path, num_axes=3)
        labels = read_idx(labels_path, num_axes=1)
        if images.shape[1:] != (_PICTURE, _PICTURE):
            raise DataError(
                f"'{images_path}' must hold images of 28x28 pixels, not "
                f"{images.shape[1]}x{images.shape[2]}."
            )
        check_labels(labels, len(images), len(_CLASS_NAMES), str(labels_path))
        return ArrayDataset(
            self._pad(torch.from_numpy(images.copy()).unsqueeze(1)),
            torch.from_numpy(labels.astype("int64")),
        )

    def _pad(self, images: Tensor) -> Tensor:
        before = (self._size - _PICTURE) // 2
        after = self._size - _PICTURE - before
        return F.pad(images, (before, after, before, after))

    def load_image(self, path: str | Path) -> Tensor:
        """A picture of clothes on black as a test image: grey, scaled to 28x28, then padded."""
        return self._pad(crop_to_square(read_image(path, channels=1, background=0), _PICTURE))


def _default_root() -> Path:
    places = [Path("data/fashion-mnist"), Path("/usr/share/datasets/fashion-mnist")]
    if data := os.environ.get("ROOTSPACE_DATA"):
        places.insert(0, Path(data, "fashion-mnist"))
    for place in places:
        if place.is_dir():
            return place
    tried = ", ".join(f"'{place}'" for place in places)
    raise DataError(f"Fashion-MNIST is in none of {tried}: {_HELP}.")


def _find(root: Path, name: str) -> Path:
    for path in (root / name, root / f"{name}.gz"):
        if path.is_file():
            return path
    raise DataError(f"Fashion-MNIST's file '{root / name}' (or .gz) does not exist: {_HELP}.")
