"""Labelled images as Lightning data modules, from files that are already on the machine."""

from __future__ import annotations

from ._augment import AugmentedImages
from ._base import ImageData
from ._datasets import ArrayDataset, Batch, EncodedDataset, FileDataset, LabelledImages
from ._errors import DataError
from ._loader import EpochLoader
from ._sampler import EpochSampler
from ._strings import Strings
from ._unique import UniqueImages
from .characters import Characters
from .cifar10 import CIFAR10
from .cinic10 import CINIC10
from .fashion_mnist import FashionMNIST
from .image_folder import ImageFolder
from .webdataset import ShardDataset, WebDataset

DATASETS: dict[str, type[ImageData]] = {
    "characters": Characters,
    "image_folder": ImageFolder,
    "fashion_mnist": FashionMNIST,
    "cifar10": CIFAR10,
    "cinic10": CINIC10,
    "webdataset": WebDataset,
}
"""Every data set by its name in recipes and on the command line."""

__all__ = [
    "CIFAR10",
    "CINIC10",
    "DATASETS",
    "ArrayDataset",
    "AugmentedImages",
    "Batch",
    "Characters",
    "DataError",
    "EncodedDataset",
    "EpochLoader",
    "EpochSampler",
    "FashionMNIST",
    "FileDataset",
    "ImageData",
    "ImageFolder",
    "LabelledImages",
    "ShardDataset",
    "Strings",
    "UniqueImages",
    "WebDataset",
]
