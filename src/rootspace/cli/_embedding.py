"""A run at work: its classes, and embeddings of many images with a bar on the terminal."""

from __future__ import annotations

import math
from pathlib import Path

import torch
from torch import Tensor

from rootspace.continual import LiveClasses
from rootspace._terminal import tracked
from rootspace.data import ImageData
from rootspace.train.run_folder import TrainedRun
from rootspace.train.scoring import BATCH, image_batches, own_labels


def live_classes(trained: TrainedRun) -> LiveClasses:
    """The classes of a run as they are now.

    Raises:
        ValueError: its registry belongs to other vectors.
    """
    return LiveClasses(trained.folder, trained.names, trained.objective.predict, trained.class_map)


def embed_files(trained: TrainedRun, files: list[Path], text: str) -> Tensor:
    """Image files -> `[N, dim]`; the text stands beside the bar."""
    batches = image_batches(trained, files)
    steps = tracked(batches, text, math.ceil(len(files) / BATCH))
    return torch.cat([trained.embed(images) for _, images in steps])


def embed_tests(trained: TrainedRun, data: ImageData, text: str) -> tuple[Tensor, Tensor]:
    """The images of all test sets -> `[N, dim]` and the run's labels of their classes `[N]`.

    Raises:
        ValueError: the data have other classes or images of another shape, or no test set.
    """
    own, loaders = own_labels(trained, data), data.whole_test_dataloader()
    batches = (batch for loader in loaders for batch in loader)
    z, labels = [], []
    for images, numbers in tracked(batches, text, sum(map(len, loaders))):
        z.append(trained.embed(images))
        labels.append(own[numbers])
    return torch.cat(z), torch.cat(labels)
