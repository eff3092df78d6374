"""Whether settings, head, network and data of a run fit each other, before anything is written."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from rootspace.building import make_head
from rootspace.config import Config
from rootspace.data import DataModule, ImagePreprocessing
from rootspace.data.datasets import generators_kept
from rootspace.heads import Head, PrototypeHead
from rootspace.model_file import Model
from rootspace.models import num_parameters


def check_batches(config: Config, head: Head, data: DataModule, validation: str | None) -> None:
    """Show that settings fit a head and its data, before anything is written.

    Args:
        config: of the run.
        head: to train.
        data: set up.
        validation: name of the set that choices go by; None where there is none.

    Raises:
        ValueError: naming the setting that cannot work.
    """
    source, train = config.prototypes.source, config.train
    if config.run.class_means or (not head.ready and source in ("data", "teacher")):
        check_every_class(data)
    if not head.ready and source == "data" and data.needs_views():
        raise ValueError(
            "Argument 'prototypes.source' = 'data' needs two inputs of a class, and these data "
            "have one of each: set 'transform', which draws it anew each time, or another source."
        )
    if contrasts(config, head) and config.loader.per_class == 1:
        raise ValueError(
            "Argument 'loader.per_class' must be at least 2, not 1, where a contrastive loss "
            "trains: with prototypes from the data, or 'head.contrastive_weight'."
        )
    asked = {"early_stopping": train.early_stopping is not None, "keep": train.keep == "best"}
    for setting, wanted in asked.items():
        if wanted and validation is None:
            raise ValueError(
                f"Argument 'train.{setting}' = {getattr(train, setting)!r} needs a validation set: "
                "set 'loader.validation' to a share of the training data, such as 0.1, or name a "
                "test set 'validation'."
            )
    if data.make_transform is not None:
        _check_transform(config, data.make_transform(data.preprocessing), data.preprocessing)


def contrasts(config: Config, head: Head) -> bool:
    """Whether a contrastive loss trains in any stage of a run, before it begins or later.

    A head that gets its prototypes from a teacher or a file needs pairs until it has them, and a
    run that is resumed makes its loader before.
    """
    if head.ready or not isinstance(head, PrototypeHead) or config.prototypes.source == "data":
        return head.needs_pairs
    return head.contrastive_weight > 0


def check_every_class(data: DataModule) -> None:
    """Raise a ValueError unless every class has a training input, to take the mean of."""
    present = torch.zeros(data.num_classes, dtype=torch.bool)
    present[data.train_dataset.labels] = True
    without = (~present).nonzero()[:, 0].tolist()
    if without:
        shown = ", ".join(repr(str(data.class_names[label])) for label in without[:5])
        raise ValueError(
            "Argument 'data' must bring a training input of every class, to take the mean of; "
            f"{len(without)} of the {data.num_classes} classes have none: {shown}"
            f"{', ...' if len(without) > 5 else ''}."
        )


def _check_transform(
    config: Config, draw: Callable[[Any], Any], shape: ImagePreprocessing | None
) -> None:
    """Show that a transform takes an image, by a black one."""
    if shape is None:
        return
    try:
        with generators_kept():
            draw(torch.zeros(shape.channels, shape.size, shape.size, dtype=torch.uint8))
    except (AttributeError, LookupError, TypeError, ValueError, RuntimeError) as error:
        name = config.transform.class_path if config.transform is not None else type(draw).__name__
        reason = " ".join(str(error).split()) or type(error).__name__
        raise ValueError(
            f"Argument 'transform': {name} cannot take a uint8 tensor {shape.channels} x "
            f"{shape.size} x {shape.size} ({reason})."
        ) from error


def check_baseline(name: str, config: Config, data: DataModule) -> None:
    """Show that a baseline's head can be made and fits the data, before the run is trained.

    Args:
        name: of the baseline in the settings.
        config: of it.
        data: set up.

    Raises:
        ValueError: it does not.
    """
    try:
        with torch.random.fork_rng(devices=[]):
            check_batches(config, make_head(config, data.class_names), data, data.validation)
    except ValueError as error:
        raise ValueError(f"Argument 'run.baselines': {name}: {error}") from error


@torch.no_grad()
def check_network(model: Model, data: DataModule) -> None:
    """Show that the network takes the data and gives what the head takes, by two inputs.

    Raises:
        ValueError: it does not.
    """
    network, shape = model.embedder, data.preprocessing
    if shape is None:
        x = data.train_dataset.batch([0, 1])[0]
    else:
        x = torch.zeros(2, shape.channels, shape.size, shape.size, dtype=torch.uint8)
    name = type(network.network).__name__
    with torch.random.fork_rng(devices=[]):
        training = network.training
        try:
            z = network.eval()(x)
        except (RuntimeError, ValueError, AssertionError) as error:
            what = "the data" if shape is None else f"images of {shape.size} x {shape.size} pixels"
            hint = "" if shape is None else ", or set 'data.image_size' to what it takes"
            reason = " ".join(str(error).split()) or type(error).__name__
            raise ValueError(
                f"Argument 'model': {name} cannot take {what} ({reason}). Choose another{hint}."
            ) from error
        finally:
            network.train(training)
    if not isinstance(z, torch.Tensor) or z.shape != (2, model.head.dim):
        found = list(z.shape) if isinstance(z, torch.Tensor) else type(z).__name__
        raise ValueError(
            f"Argument 'model': {name} must give embeddings [B, {model.head.dim}], as the head "
            f"takes, not {found} for two inputs."
        )
    if not num_parameters(network) + num_parameters(model.head):
        raise ValueError(
            f"Argument 'model': {name} must have parameters that train; it has none, nor has the "
            "head. Freeze less, or set 'head.dim' to another number than the network's features, "
            "for a projection."
        )
