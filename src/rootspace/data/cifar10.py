"""CIFAR-10: 60,000 colour pictures of ten kinds of things."""

from __future__ import annotations

import tarfile
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from ._augment import Augmentation
from ._base import Content, ImageData, channel_statistics
from ._datasets import ArrayDataset
from ._decode import crop_to_square, read_image
from ._errors import DataError, check_labels
from ._unique import UniqueLabels
from ._unpickle import UnsafePickleError, unpickle_arrays

CLASS_NAMES = [
    "airplane",
    "automobile",
    "bird",
    "cat",
    "deer",
    "dog",
    "frog",
    "horse",
    "ship",
    "truck",
]
_ARCHIVE = "cifar-10-python.tar.gz"
_FOLDER = "cifar-10-batches-py"
_TRAIN_BATCHES = [f"data_batch_{number}" for number in range(1, 6)]
_TEST_BATCHES = ["test_batch"]
SIZE = 32
_ROW = 3 * SIZE * SIZE


class CIFAR10(ImageData):
    """CIFAR-10 (Krizhevsky 2009), from its "python version", packed or extracted.

    Args:
        root: "cifar-10-python.tar.gz", the folder "cifar-10-batches-py", or a folder that holds one
            of them.
        batch_size: images a batch.
        num_workers: processes that load images; 0 is fastest here, as the images are in memory.
        seed: of the order of the training images.
        augment: `light1` draws every training image anew in each epoch: random crop, flip and two
            random operations; `none` takes it as it is.
        unique_labels: make each training image a class of its own: `all`, or so many of them, drawn
            by `seed`. They are the one test set too, "train", which is never augmented.

    Raises:
        DataError: in `setup`, when batches are missing or damaged.
    """

    name = "cifar10"

    def __init__(
        self,
        root: str | Path,
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
        self.root = Path(root).expanduser()

    def _read(self) -> Content:
        train, test = read_cifar10(self.root)
        mean, std = channel_statistics(train.images)
        return Content(
            class_names=list(CLASS_NAMES),
            image_shape=(3, SIZE, SIZE),
            train=train,
            tests={"test": test},
            mean=mean,
            std=std,
        )

    def load_image(self, path: str | Path) -> Tensor:
        """A photograph as a test image: the shorter side to 32 pixels, then the centre."""
        return crop_to_square(read_image(path, channels=3), SIZE)


def read_cifar10(root: Path, argument: str = "root") -> tuple[ArrayDataset, ArrayDataset]:
    """The training and the test images.

    Args:
        root: see `CIFAR10`.
        argument: where it comes from, for messages.

    Raises:
        DataError: batches are missing or damaged.
    """
    source = _find(root, argument)
    read = _read_archive if source.is_file() else _read_folder
    files = read(source, [*_TRAIN_BATCHES, *_TEST_BATCHES])
    return _dataset(files, _TRAIN_BATCHES, source), _dataset(files, _TEST_BATCHES, source)


def _find(root: Path, argument: str) -> Path:
    """The archive or the folder with the batches."""
    if root.is_file():
        return root
    for place in (root / _FOLDER, root / _ARCHIVE):
        if place.exists():
            return place
    if any((root / name).is_file() for name in [*_TRAIN_BATCHES, *_TEST_BATCHES]):
        return root
    raise DataError(
        f"Argument '{argument}' must be '{_ARCHIVE}', '{_FOLDER}' or a folder with one of them, "
        f"not '{root}'."
    )


def _read_folder(folder: Path, names: list[str]) -> dict[str, bytes]:
    return _read_all(folder, names, lambda name: (folder / name).read_bytes())


def _read_archive(path: Path, names: list[str]) -> dict[str, bytes]:
    def read(name: str) -> bytes:
        member = archive.extractfile(f"{_FOLDER}/{name}")
        if member is None:
            raise FileNotFoundError
        return member.read()

    try:
        with tarfile.open(path) as archive:
            return _read_all(path, names, read)
    except (tarfile.TarError, EOFError, OSError, zlib.error) as error:
        raise DataError(
            f"'{path}' is a damaged archive or none at all ({error}): copy it again."
        ) from error


def _read_all(source: Path, names: list[str], read: Callable[[str], bytes]) -> dict[str, bytes]:
    files = {}
    for name in names:
        try:
            files[name] = read(name)
        except (FileNotFoundError, KeyError) as error:
            raise DataError(f"'{source}' lacks the batch '{name}': copy it again.") from error
    return files


def _dataset(files: dict[str, bytes], names: list[str], source: Path) -> ArrayDataset:
    batches = [_parse(files[name], f"{source}/{name}") for name in names]
    images = np.concatenate([images for images, _ in batches])
    labels = np.concatenate([labels for _, labels in batches])
    return ArrayDataset(torch.from_numpy(images), torch.from_numpy(labels))


def _parse(data: bytes, source: str) -> tuple[np.ndarray, np.ndarray]:
    """Images, uint8 [N, 3, 32, 32], and labels, int64 [N], of one batch."""
    try:
        batch = unpickle_arrays(data)
    except UnsafePickleError as error:
        raise DataError(f"'{source}' is not a CIFAR-10 batch: {error}.") from error
    if not isinstance(batch, dict) or not {b"data", b"labels"} <= batch.keys():
        raise DataError(f"'{source}' must hold a dictionary with the keys 'data' and 'labels'.")
    rows = np.asarray(batch[b"data"])
    if rows.dtype != np.uint8 or rows.ndim != 2 or rows.shape[1] != _ROW:
        raise DataError(
            f"'{source}' must hold 'data' of unsigned bytes and shape (N, {_ROW}), not "
            f"{rows.dtype} of shape {rows.shape}."
        )
    labels = np.asarray(batch[b"labels"])
    if labels.ndim != 1 or labels.dtype.kind not in "iu":
        raise DataError(f"'{source}' must hold 'labels' as a list of whole numbers.")
    check_labels(labels, len(rows), len(CLASS_NAMES), source)
    return rows.reshape(-1, 3, SIZE, SIZE), labels.astype(np.int64)
