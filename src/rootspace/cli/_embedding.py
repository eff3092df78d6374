"""A run at work: its classes, and embeddings of many images with a bar on the terminal."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TypeVar

import torch
from rich.console import Console
from rich.progress import track
from torch import Tensor

from rootspace.continual import LiveClasses
from rootspace.data import ImageData
from rootspace.train.run_folder import TrainedRun
from rootspace.train.scoring import BATCH, image_batches, own_labels

T = TypeVar("T")


def live_classes(trained: TrainedRun) -> LiveClasses:
    """The classes of a run as they are now.

    Raises:
        ValueError: its registry belongs to other vectors.
    """
    return LiveClasses(trained.folder, trained.names, trained.objective.predict, trained.class_map)


def embed_files(trained: TrainedRun, files: list[Path], text: str) -> Tensor:
    """Image files -> `[N, dim]`; the text stands beside the bar."""
    batches = image_batches(trained, files)
    steps = _tracked(batches, math.ceil(len(files) / BATCH), text)
    return torch.cat([trained.embed(images) for _, images in steps])


def embed_tests(trained: TrainedRun, data: ImageData, text: str) -> tuple[Tensor, Tensor]:
    """The images of all test sets -> `[N, dim]` and the run's labels of their classes `[N]`.

    Raises:
        ValueError: the data have other classes or images of another shape, or no test set.
    """
    own, loaders = own_labels(trained, data), data.whole_test_dataloader()
    batches = (batch for loader in loaders for batch in loader)
    z, labels = [], []
    for images, numbers in _tracked(batches, sum(map(len, loaders)), text):
        z.append(trained.embed(images))
        labels.append(own[numbers])
    return torch.cat(z), torch.cat(labels)


def _tracked(steps: Iterator[T], total: int, text: str) -> Iterable[T]:
    """The steps themselves; a bar on stderr shows how many are done, in a log file none."""
    console = Console(stderr=True)
    hidden = not console.is_terminal
    return track(steps, text, total, console=console, transient=True, disable=hidden)
