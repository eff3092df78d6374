"""What scripts do with runs: train them by the command, and read more with them."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from rootspace._files import write_text
from rootspace.cli import main as rootspace
from rootspace.config import LoaderConfig
from rootspace.data import Characters, DataModule, make_data
from rootspace.run import Run


def succeed(*arguments: str) -> None:
    """Run `rootspace` with these arguments, or stop."""
    if rootspace(arguments):
        raise SystemExit(f"This failed: rootspace {' '.join(arguments)[:300]}")


def results_folder(folder: Path, size: Any) -> Path:
    """A folder for what is trained, whose results are of one size: a dataclass.

    Raises:
        SystemExit: the folder holds results of another size, which would be taken for these.
    """
    folder.mkdir(parents=True, exist_ok=True)
    path, text = folder / "size.json", json.dumps(asdict(size), indent=1) + "\n"
    if path.exists() and path.read_text(encoding="utf-8") != text:
        raise SystemExit(f"{folder} holds results of other settings ({path}). Name another --out.")
    write_text(path, text)
    return folder


def all_characters(run: Run) -> DataModule:
    """All characters of a run's fonts, those it has not seen too."""
    given = {k: v for k, v in run.config.data.init_args.items() if k != "num_classes"}
    spec = replace(run.config.data, init_args=given)
    data = make_data(replace(run.config, data=spec, loader=LoaderConfig()))
    data.setup()
    return data


def fonts_of(data: DataModule) -> list[str]:
    """Names of the training faces, then of the test faces, of `all_characters`."""
    assert isinstance(data.source, Characters)
    return data.source.fonts


def pictures(data: DataModule, labels: Tensor, font: str) -> Tensor:
    """uint8 `[P, 1, H, W]` pictures of these `[P]` characters in a font."""
    source = data.source
    assert isinstance(source, Characters)
    return torch.stack([source.image_of(label, font) for label in labels.tolist()])


@torch.no_grad()
def accuracy_by_name(part: DataModule, predict: Callable[[Tensor], Tensor]) -> float:
    """Accuracy on the test images of a folder whose class names are numbers, the right answers.

    Args:
        part: set up.
        predict: uint8 images `[B, C, H, W]` -> `[B]` numbers.
    """
    names = torch.tensor([int(name) for name in part.class_names])
    images = part.test_datasets["val"]
    loader = part.loader_of(images)
    right = sum(int((predict(batch) == names[labels]).sum()) for batch, labels in loader)
    return right / len(images)
