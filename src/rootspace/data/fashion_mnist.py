"""Fashion-MNIST: 70,000 gray pictures of ten kinds of clothes."""

from __future__ import annotations

import gzip
import math
import os
import struct
import zlib
from pathlib import Path
from typing import BinaryIO

import numpy as np
import torch

from .datasets import ArrayImages
from .errors import DataError, check_at_least, check_image_size, check_labels
from .preprocessing import ImagePreprocessing, channel_statistics, surrounded
from .source import Content, DataSource
from .subset import subset

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


class FashionMNIST(DataSource):
    """Fashion-MNIST (Xiao, Rasul and Vollgraf 2017), from its four IDX files, gzipped or not.

    The pictures of 28x28 pixels are surrounded by black, not scaled.

    Args:
        root: the folder with "train-images-idx3-ubyte" and so on, or the `root` of torchvision's
            `FashionMNIST`, which has them in "FashionMNIST/raw". Default: the first that exists of
            $ROOTSPACE_DATA/fashion-mnist, data/fashion-mnist, and where Debian's package
            dataset-fashion-mnist puts it.
        image_size: height and width in pixels, after padding.
        num_classes: the first so many classes, of the test set too. Default: all.
        images_per_class: the first so many training images of each class. Default: all.

    Raises:
        DataError: in `read`, when files are missing or damaged.
    """

    def __init__(
        self,
        root: str | Path | None = None,
        image_size: int = 32,
        num_classes: int | None = None,
        images_per_class: int | None = None,
    ) -> None:
        check_image_size(image_size)
        check_at_least("image_size", image_size, _PICTURE, "the pictures are padded, not scaled")
        self.root = None if root is None else Path(root).expanduser()
        self._size = image_size
        self._subset = (num_classes, images_per_class)

    def read(self) -> Content:
        root = _default_root() if self.root is None else self.root
        if not root.is_dir():
            raise DataError(f"The Fashion-MNIST folder '{root}' does not exist: {_HELP}.")
        raw = root / "FashionMNIST" / "raw"
        root = raw if raw.is_dir() else root
        train, test = (self._dataset(root, part) for part in ("train", "t10k"))
        mean, std = channel_statistics(train.images)
        shape = ImagePreprocessing(1, self._size, mean, std, background=0, inner=_PICTURE)
        content = Content(list(_CLASS_NAMES), train, {"test": test}, shape)
        return subset(content, *self._subset)

    def _dataset(self, root: Path, part: str) -> ArrayImages:
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
        return ArrayImages(
            surrounded(torch.from_numpy(images.copy()).unsqueeze(1), self._size),
            torch.from_numpy(labels.astype("int64")),
        )


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


_UNSIGNED_BYTE = 8
_MOST_BYTES = 2**30
"""That an IDX file may hold; Fashion-MNIST's largest has 47 million."""


def read_idx(path: Path, num_axes: int) -> np.ndarray:
    """Read an IDX file of unsigned bytes, gzipped or not.

    Args:
        path: of the file.
        num_axes: 3 for images, 1 for labels.

    Raises:
        DataError: it is not such a file, cut off, or larger than a gigabyte.
    """
    try:
        with path.open("rb") as plain:
            zipped = plain.read(2) == b"\x1f\x8b"
            plain.seek(0)
            if not zipped:
                return _read_idx(plain, path, num_axes)
            with gzip.GzipFile(fileobj=plain) as file:
                return _read_idx(file, path, num_axes)
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(f"'{path}' cannot be read ({error}): copy it again.") from error


def _read_idx(file: BinaryIO | gzip.GzipFile, path: Path, num_axes: int) -> np.ndarray:
    magic = bytes((0, 0, _UNSIGNED_BYTE, num_axes))
    header = file.read(4 + 4 * num_axes)
    if header[:4] != magic:
        raise DataError(
            f"'{path}' is not an IDX file of {num_axes} axes: its magic number must be "
            f"0x{magic.hex()}, not 0x{header[:4].hex()}."
        )
    if len(header) < 4 + 4 * num_axes:
        raise DataError(f"'{path}' is cut off within its header: copy it again.")
    shape = struct.unpack(f">{num_axes}I", header[4:])
    size = math.prod(shape)
    if size > _MOST_BYTES:
        raise DataError(
            f"'{path}' must hold at most {_MOST_BYTES:,} bytes, not {size:,} for its shape {shape}."
        )
    data = file.read(size + 1)  # no more than is claimed: a few bytes unpack to any number
    if len(data) != size:
        found = f"more than {size}" if len(data) > size else f"{len(data)}"
        raise DataError(
            f"'{path}' must hold {size} bytes for its shape {shape}, not {found}: copy it again."
        )
    return np.frombuffer(data, dtype=np.uint8).reshape(shape)
