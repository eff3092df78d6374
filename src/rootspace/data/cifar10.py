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

    Raises:
        DataError: in `read`, when files are missing or are not the published ones.
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
    name = datasets.CIFAR10.base_folder
    above = root.absolute().parent if root.absolute().name == name else root
    try:
        parts = [datasets.CIFAR10(above, train=train) for train in (True, False)]
    except RuntimeError as error:
        raise DataError(
            f"Argument '{argument}' must be the folder '{name}' of CIFAR-10's python version, or "
            f"that above it, with the files as they are published, not '{root}': unpack "
            "cifar-10-python.tar.gz there again."
        ) from error
    return _dataset(parts[0]), _dataset(parts[1])


def _dataset(part: object) -> ArrayImages:
    images: np.ndarray = part.data  # pyright: ignore[reportAttributeAccessIssue]
    labels: list[int] = part.targets  # pyright: ignore[reportAttributeAccessIssue]
    pixels = np.ascontiguousarray(images.transpose(0, 3, 1, 2))
    return ArrayImages(torch.from_numpy(pixels), torch.tensor(labels))
