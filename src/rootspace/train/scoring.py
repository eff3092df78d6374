"""A trained run on new images: files, or the test sets of a data module."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import torch

from rootspace.data import ImageData
from rootspace.runs import TestResult

from .run_folder import TrainedRun, make_data

BATCH = 256


def image_batches(
    trained: TrainedRun, files: list[Path]
) -> Iterator[tuple[list[Path], torch.Tensor]]:
    """Decode image files as the run's test images were prepared, in batches.

    Yields:
        Paths, and uint8 `[B, C, H, W]`.
    """
    data = make_data(trained.config["data"])
    for start in range(0, len(files), BATCH):
        some = files[start : start + BATCH]
        yield some, torch.stack([data.load_image(path) for path in some])


def score(trained: TrainedRun, data: ImageData) -> dict[str, TestResult]:
    """Accuracy on every test set of a data module, classes matched by name.

    Args:
        trained: the run.
        data: set up; its classes must be among those of the run.

    Returns:
        The result of each test set.

    Raises:
        ValueError: the data have other classes or images of another shape, or no test set.
    """
    own = own_labels(trained, data)
    results = {}
    for (name, dataset), loader in zip(
        data.test_datasets.items(), data.whole_test_dataloader(), strict=True
    ):
        right = sum(
            int((trained.predict(images).label[:, 0].cpu() == own[labels]).sum())
            for images, labels in loader
        )
        results[name] = TestResult(right / len(dataset), len(dataset))
    return results


def own_labels(trained: TrainedRun, data: ImageData) -> torch.Tensor:
    """`[data.num_classes]` the run's labels of the data's classes, matched by name.

    Args:
        trained: the run.
        data: set up.

    Raises:
        ValueError: the data have other classes or images of another shape, or no test set.
    """
    shape = (trained.in_channels, trained.image_size)
    if (data.in_channels, data.image_size) != shape:
        raise ValueError(
            f"The run takes images of {shape[0]} x {shape[1]} x {shape[1]}, the data have "
            f"{data.in_channels} x {data.image_size} x {data.image_size}."
        )
    if not data.test_datasets:
        raise ValueError(f"The data have no test set: {data.describe()}.")
    number = {name: label for label, name in enumerate(trained.names)}
    unknown = [name for name in data.class_names if name not in number]
    if unknown:
        shown = ", ".join(repr(name) for name in unknown[:5])
        raise ValueError(
            f"{len(unknown)} of the data's classes are unknown to the run: {shown}"
            f"{', ...' if len(unknown) > 5 else ''}. Use the settings it was trained with."
        )
    return torch.tensor([number[name] for name in data.class_names])
