"""Labelled images as Lightning data modules, from files that are already on the machine."""

from __future__ import annotations

from ._base import ImageData
from ._datasets import ArrayDataset, Batch, FileDataset, LabelledImages
from ._errors import DataError
from ._loader import EpochLoader
from ._sampler import EpochSampler
from .characters import Characters
from .cifar10 import CIFAR10
from .fashion_mnist import FashionMNIST
from .image_folder import ImageFolder

DATASETS: dict[str, type[ImageData]] = {
    "characters": Characters,
    "image_folder": ImageFolder,
    "fashion_mnist": FashionMNIST,
    "cifar10": CIFAR10,
}
"""Every data set by its name in recipes and on the command line."""

__all__ = [
    "CIFAR10",
    "DATASETS",
    "ArrayDataset",
    "Batch",
    "Characters",
    "DataError",
    "EpochLoader",
    "EpochSampler",
    "FashionMNIST",
    "FileDataset",
    "ImageData",
    "ImageFolder",
    "LabelledImages",
]
