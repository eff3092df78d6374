"""A learned head that grows by rows, on the data, batches and memory of `rootspace extend`."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import torch

from rootspace.choosing import class_means
from rootspace.config import ClassSpec, MemoryConfig, ParentConfig, RunConfig
from rootspace.data import DataModule, Grown, View, make_data
from rootspace.extend.extension import base_config, conclude_memory, grown_data, old_memory
from rootspace.heads import NormalizedHead
from rootspace.model_file import Model
from rootspace.run import load
from rootspace.runs import TestResult
from rootspace.runs.folder import REPLAY, START
from rootspace.train.evaluation import accuracies
from rootspace.train.forgetting import LessForgetting
from rootspace.train.training import fit


def extend_learned(
    run: Path,
    folder: Path,
    new: ClassSpec,
    *,
    epochs: int,
    lr: float,
    memory: int,
    imprinted: bool,
    held: bool = False,
    scored: bool = False,
) -> dict[str, TestResult] | None:
    """What `rootspace extend` does, for a normalized softmax, which gets a row a new class.

    Args:
        run: that is extended.
        folder: of the extended run.
        new: the new images.
        epochs: of training.
        lr: peak learning rate.
        memory: images of old classes to repeat.
        imprinted: new rows are the mean embeddings of their classes (arXiv 1712.07136), not random.
        held: hold embeddings of old classes as `memory.distillation` does (LUCIR).
        scored: return the accuracies before training.
    """
    trained, kept = load(run), MemoryConfig(memory)
    base = base_config(trained)
    images = make_data(replace(base, data=new))
    images.setup()
    grown, _ = grown_data(trained, new, {}, kept, list(images.test_datasets), folder)
    config = replace(
        base,
        run=RunConfig(str(folder)),
        data=grown,
        train=replace(base.train, epochs=epochs, lr=lr),
        memory=kept,
        parent=ParentConfig(str(run), ""),
    )
    (folder / START).mkdir(parents=True)
    old_memory(trained, folder / START / REPLAY, config)
    data = make_data(config)
    data.setup()
    assert isinstance(data.source, Grown)
    model = trained.model
    assert isinstance(model.head, NormalizedHead)
    torch.manual_seed(config.train.seed)
    names = list(data.class_names[data.source.num_old :])
    model.head.extend(names, new_means(model, data, data.source.num_old) if imprinted else None)
    before = accuracies(model, data) if scored else None
    num_old, weight = data.source.num_old, kept.distillation
    less_forgetting = LessForgetting(model.embedder, num_old, weight) if held else None
    fit(
        config,
        folder,
        data,
        model,
        less_forgetting=less_forgetting,
        finish=lambda model, record: conclude_memory(folder, data, config, model, record),
    )
    return before


def new_means(model: Model, data: DataModule, num_old: int) -> torch.Tensor:
    """`[new classes, dim]` directions of the mean unit embeddings of the new classes."""
    train = data.train_dataset
    rows = (train.labels >= num_old).nonzero()[:, 0]
    new = data.loader_of(View(train, train.labels[rows] - num_old, rows))
    return class_means(model.embedder, new, data.num_classes - num_old, unit=True).means()
