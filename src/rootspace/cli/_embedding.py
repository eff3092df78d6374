"""Embeddings of many images, with a progress bar on the terminal."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import torch
from torch import Tensor

from rootspace._terminal import tracked
from rootspace.data import DataModule
from rootspace.run import BATCH, Run
from rootspace.train.evaluation import own_labels


def file_batches(trained: Run, files: list[Path], text: str) -> Iterator[tuple[list[Path], Tensor]]:
    """Image files in batches, and their embeddings `[B, dim]`; the text stands beside the bar."""
    parts = [files[start : start + BATCH] for start in range(0, len(files), BATCH)]
    for some in tracked(parts, text, len(parts)):
        yield some, trained.embed(some)


def embed_files(trained: Run, files: list[Path], text: str) -> Tensor:
    """Image files -> `[N, dim]` in the frame of the prototypes."""
    return torch.cat([z for _, z in file_batches(trained, files, text)])


def embed_tests(trained: Run, data: DataModule, text: str) -> tuple[Tensor, Tensor]:
    """The inputs of all test sets -> `[N, dim]` and the run's labels of their classes `[N]`.

    Raises:
        ValueError: the data have other classes or images of another shape, or no test set.
    """
    own, loaders = own_labels(trained.model, data), data.test_loaders(sharded=False)
    batches = (batch for loader in loaders for batch in loader)
    z, labels = [], []
    for x, numbers, *_ in tracked(batches, text, sum(map(len, loaders))):
        z.append(trained.embed_batch(x))
        labels.append(own[numbers])
    return torch.cat(z), torch.cat(labels)
