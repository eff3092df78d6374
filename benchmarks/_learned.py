"""A learned head that grows by rows, on the data, batches and memory of `rootspace extend`."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from torch.nn.functional import normalize

from rootspace.continual import MemoryConfig
from rootspace.continual.extend import base_config, conclude_memory, old_memory
from rootspace.data import Grown
from rootspace.runs import TestResult
from rootspace.runs.folder import PARENT, REPLAY, START
from rootspace.train import NormalizedSoftmax, TrainConfig, TrainedRun, read_run
from rootspace.train import run_folder as files
from rootspace.train.run import Parts, settings_from, train_parts
from rootspace.train.scoring import score

Row = dict[str, Any]


def extend_learned(
    run: Path,
    folder: Path,
    new: Row,
    training: Row,
    memory: int,
    *,
    imprinted: bool,
    scored: bool = False,
) -> dict[str, TestResult] | None:
    """What `rootspace extend` does, for a normalised softmax, which gets a row a new class.

    Args:
        run: that is extended.
        folder: of the extended run.
        new: data settings that differ from those of the run.
        training: settings that differ, likewise.
        memory: images of old classes to repeat.
        imprinted: new rows are the mean embeddings of their classes (arXiv 1712.07136), not random.
        scored: return the accuracies before training.
    """
    kept = MemoryConfig(memory)
    base, own = base_config(run), files.read_config(run)["data"]
    config = {
        **base,
        "run": {**base["run"], "dir": str(folder)},
        "train": {**base["train"], **training},
        "memory": asdict(kept),
        PARENT: {"run": str(run), "weights": ""},
        "data": {
            "name": Grown.name,
            "memory": str(folder / START / REPLAY),
            "new": {**base["data"], **new},
            "old": [*own["old"], own["new"]] if own["name"] == Grown.name else [own],
            "share": kept.share,
            "batch_size": base["data"]["batch_size"],
        },
    }
    settings = settings_from(TrainConfig, config["train"])
    trained = read_run(run)
    old_memory(run, folder / START / REPLAY, trained, config)
    data = files.make_data(config["data"])
    data.setup()
    assert isinstance(data, Grown)
    torch.manual_seed(settings.seed)
    arguments = {key: value for key, value in config["loss"].items() if key != "name"}
    dim: int = trained.embedder.network.dim  # pyright: ignore[reportAssignmentType]
    head, old = NormalizedSoftmax(dim, data.num_classes, **arguments), trained.objective
    assert isinstance(old, NormalizedSoftmax)
    with torch.no_grad():
        head.weight[: data.num_old] = old.weight
        if imprinted:
            rows = new_means(trained, data)
            head.weight[data.num_old :] = rows * old.weight.norm(dim=-1).mean()
    shape = (data.in_channels, data.image_size)
    begun = TrainedRun(folder, config, trained.embedder, head, list(data.class_names), *shape)
    before = score(begun, data) if scored else None
    train_parts(
        config,
        settings,
        folder,
        data,
        Parts(trained.embedder.train(), head.train(), None),
        False,
        lambda module, record: conclude_memory(
            folder, data, kept, settings.seed, module.embedder, record
        ),
    )
    return before


@torch.no_grad()
def new_means(trained: TrainedRun, data: Grown) -> torch.Tensor:
    """`[new classes, dim]` directions of the mean unit embeddings of the new classes."""
    dim: int = trained.embedder.network.dim  # pyright: ignore[reportAssignmentType]
    total = torch.zeros(data.num_classes - data.num_old, dim)
    for images, labels in data.means_dataloader():
        new = labels >= data.num_old
        if bool(new.any()):
            z = normalize(trained.embed(images[new]).float(), dim=-1)
            total.index_add_(0, labels[new] - data.num_old, z)
    return normalize(total, dim=-1)
