"""What scripts do with runs: train them by the command, and read more with them."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from rootspace.cli import main as rootspace
from rootspace.data import Characters, ImageData
from rootspace.train import TrainedRun

BATCH = 512


def succeed(*arguments: str) -> None:
    """Run `rootspace` with these arguments, or stop."""
    if rootspace(arguments):
        raise SystemExit(f"This failed: rootspace {' '.join(arguments)[:300]}")


def all_characters(trained: TrainedRun) -> Characters:
    """All characters of a run's fonts, those it has not seen too."""
    settings = {k: v for k, v in trained.config["data"].items() if k not in ("name", "num_classes")}
    data = Characters(**settings)
    data.setup()
    return data


def pictures(data: Characters, labels: Tensor, font: str) -> Tensor:
    """uint8 `[P, 1, H, W]` pictures of these `[P]` characters in a font."""
    return torch.stack([data.image_of(label, font) for label in labels.tolist()])


def embeddings(trained: TrainedRun, images: Tensor) -> Tensor:
    """uint8 `[P, C, H, W]` -> `[P, dim]`, in batches."""
    return torch.cat([trained.embed(part) for part in images.split(BATCH)])


@torch.no_grad()
def accuracy_by_name(part: ImageData, predict: Callable[[Tensor], Tensor]) -> float:
    """Accuracy on the test images of a folder whose class names are numbers, the right answers.

    Args:
        part: set up.
        predict: uint8 images `[B, C, H, W]` -> `[B]` numbers.
    """
    names = torch.tensor([int(name) for name in part.class_names])
    (loader,) = part.val_dataloader()
    right = sum(int((predict(images) == names[labels]).sum()) for images, labels in loader)
    return right / len(part.test_datasets["val"])
