"""CIFAR-10: 60,000 color pictures of ten kinds of things."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from rootspace._extras import require

from .datasets import ArrayImages
from .errors import DataError
from .preprocessing import ImagePreprocessing, channel_statistics
from .source import Content, DataSource

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
SIZE = 32


class CIFAR10(DataSource):
    """CIFAR-10 (Krizhevsky 2009), its "python version" extracted, read by torchvision.

    torchvision compares the MD5 sums of the files with the published ones before it reads them.

    Args:
        root: the folder that holds "cifar-10-batches-py", or that folder itself.
    """

    def __init__(self, root: str | Path) -> None:
        self.root = Path(root).expanduser()

    def read(self) -> Content:
        train, test = read_cifar10(self.root)
        mean, std = channel_statistics(train.images)
        shape = ImagePreprocessing(3, SIZE, mean, std)
        return Content(list(CLASS_NAMES), train, {"test": test}, shape)


def read_cifar10(root: Path, argument: str = "root") -> tuple[ArrayImages, ArrayImages]:
    """The training and the test images.

    Args:
        root: see `CIFAR10`.
        argument: where it comes from, for messages.

    Raises:
        DataError: files are missing or are not the published ones.
    """
    datasets = require("torchvision.datasets", extra="data", purpose="CIFAR-10")
    root = root.parent if root.name == datasets.CIFAR10.base_folder else root
    try:
        parts = [datasets.CIFAR10(root, train=train) for train in (True, False)]
    except RuntimeError as error:
        raise DataError(
            f"Argument '{argument}' must be a folder with the published files of "
            f"'{datasets.CIFAR10.base_folder}', not '{root}': {error}"
        ) from error
    return _dataset(parts[0]), _dataset(parts[1])


def _dataset(part: object) -> ArrayImages:
    images: np.ndarray = part.data  # pyright: ignore[reportAttributeAccessIssue]
    labels: list[int] = part.targets  # pyright: ignore[reportAttributeAccessIssue]
    pixels = np.ascontiguousarray(images.transpose(0, 3, 1, 2))
    return ArrayImages(torch.from_numpy(pixels), torch.tensor(labels))
