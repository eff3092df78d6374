"""What the tests of data share: a data module that has been read, and what its loaders give."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from rootspace.config import LoaderConfig
from rootspace.data import DataModule, DataSource, ImagePreprocessing
from rootspace.heads import LinearHead
from rootspace.sampling import ResumableLoader

MakeTransform = Callable[[ImagePreprocessing | None], Callable[[Any], Any]]


def ready(source: DataSource, transform: MakeTransform | None = None, **loader: Any) -> DataModule:
    """The data of a source; keyword arguments are those of `LoaderConfig`."""
    data = DataModule(source, LoaderConfig(**loader), transform)
    data.setup()
    return data


def training(data: DataModule, seed: int = 0) -> ResumableLoader:
    """The training loader for a head that needs neither pairs nor similar classes."""
    return data.train_loader(LinearHead(data.num_classes, 4), seed)


def epoch(loader: ResumableLoader, number: int) -> list[Any]:
    """The inputs of an epoch, batch by batch."""
    loader.batches.set_epoch(number)
    return [batch[0] for batch in loader]
