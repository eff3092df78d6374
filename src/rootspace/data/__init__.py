"""Labelled images as Lightning data modules, from files that are already on the machine."""

from __future__ import annotations

from ._aimed import AimedImages
from ._augment import AugmentedImages
from ._base import ImageData
from ._datasets import (
    ArrayDataset,
    Batch,
    EncodedDataset,
    FileDataset,
    LabelledImages,
    RelabelledImages,
)
from ._errors import DataError
from ._joined import JoinedImages
from ._loader import EpochLoader
from ._sampler import EpochSampler
from ._sources import SOURCES
from ._stored import StoredImages, store_images
from ._strings import Strings
from ._unique import UniqueImages
from .characters import Characters
from .cifar10 import CIFAR10
from .cinic10 import CINIC10
from .fashion_mnist import FashionMNIST
from .grown import Grown
from .image_folder import ImageFolder
from .webdataset import ShardDataset, WebDataset

DATASETS: dict[str, type[ImageData]] = {**SOURCES, "grown": Grown}
"""Every data set by its name in recipes and on the command line."""

__all__ = [
    "CIFAR10",
    "CINIC10",
    "DATASETS",
    "AimedImages",
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
    "Grown",
    "ImageData",
    "ImageFolder",
    "JoinedImages",
    "LabelledImages",
    "RelabelledImages",
    "ShardDataset",
    "StoredImages",
    "Strings",
    "UniqueImages",
    "WebDataset",
    "store_images",
]
