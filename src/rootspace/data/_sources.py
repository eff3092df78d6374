"""The data sets that read files of their own, by name."""

from __future__ import annotations

from ._base import ImageData
from .characters import Characters
from .cifar10 import CIFAR10
from .cinic10 import CINIC10
from .fashion_mnist import FashionMNIST
from .image_folder import ImageFolder
from .webdataset import WebDataset

SOURCES: dict[str, type[ImageData]] = {
    "characters": Characters,
    "image_folder": ImageFolder,
    "fashion_mnist": FashionMNIST,
    "cifar10": CIFAR10,
    "cinic10": CINIC10,
    "webdataset": WebDataset,
}
"""By their name in recipes and on the command line."""
