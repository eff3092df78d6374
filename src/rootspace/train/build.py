"""From settings to objects: the vector system, the network, the objective."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

import torch
from torch import nn

from rootspace.classes import ClassMap
from rootspace.losses import ClassLoss
from rootspace.models import Encoder, TimmBackbone
from rootspace.planning import code_for, smallest_dim
from rootspace.systems import RootA, VectorSystem, system_from

from .class_vectors import open_array, read_table
from .config import TABLE, ClassesConfig, WarmupConfig
from .objectives import (
    LEARNED_LOSSES,
    VECTOR_LOSSES,
    AssignedObjective,
    Objective,
    VectorObjective,
    WarmupObjective,
)


def build_system(config: ClassesConfig, num_classes: int, dim: int | None) -> VectorSystem:
    """The vector system of a run: the one named, or what suits the assignment.

    That is the smallest A_n for a random one, and `code_for` for one from the data.

    Args:
        config: of the classes.
        num_classes: how many must fit.
        dim: wanted embedding dimension, None for n_min (Sec. 5.4).

    Raises:
        ValueError: unknown system, wrong dimension, or too few vectors.
    """
    if config.system is not None:
        system = _named_system(config)
        if dim is not None and system.dim != dim:
            raise ValueError(
                f"Arguments 'classes.system' and 'model.dim' disagree: {config.system} has "
                f"dimension {system.dim}, not {dim}. Leave one of them out."
            )
        return system
    if config.assignment == "file" and dim is None:
        assert config.vectors is not None
        return code_for(num_classes, open_array(config.vectors).shape[1])
    if config.assignment != "random":
        return code_for(num_classes, dim)
    if dim is None:
        return RootA(smallest_dim(RootA, num_classes))
    system = RootA(dim)
    for interpolations in (1, 2):
        if system.size >= num_classes:
            break
        system = RootA(dim, interpolations=interpolations)
    return system


def _named_system(config: ClassesConfig) -> VectorSystem:
    assert config.system is not None
    if config.system == TABLE:
        assert config.vectors is not None
        return read_table(config.vectors)
    return system_from(config.system)


def build_network(
    config: Mapping[str, Any],
    dim: int,
    in_channels: int,
    image_size: int,
    pretrained: bool = True,
) -> nn.Module:
    """The network that `model.name` names, with an embedding of `dim` dimensions.

    Args:
        config: `name` ("encoder", or a timm model) and the arguments of that class.
        dim: of the embedding.
        in_channels: of the images.
        image_size: of the images.
        pretrained: False ignores that setting of a timm model, whose weights come from a run.
    """
    arguments = {key: value for key, value in config.items() if key not in ("name", "dim")}
    if config["name"] == "encoder":
        return Encoder(dim, in_channels, **arguments)
    arguments["pretrained"] = pretrained and arguments.get("pretrained", False)
    return TimmBackbone(config["name"], dim, in_channels, image_size, **arguments)


def build_loss(config: Mapping[str, Any], classes: ClassMap) -> ClassLoss:
    """The loss against class vectors that `loss.name` names.

    Args:
        config: `name` and the arguments of that loss.
        classes: the class vectors.
    """
    arguments = {key: value for key, value in config.items() if key != "name"}
    return VECTOR_LOSSES[config["name"]](classes, **arguments)


def check_loss(config: Mapping[str, Any], system: VectorSystem) -> None:
    """Show what is wrong with the settings of a loss before the classes have their vectors.

    Args:
        config: `name` and the arguments of that loss.
        system: of the class vectors.

    Raises:
        ValueError: the loss does not take them, or not with this system.
    """
    build_loss(config, ClassMap.assigned(system, system.quantize(torch.ones(1, system.dim))))


def build_assigned_objective(
    config: Mapping[str, Any], assignment: str, warmup: WarmupConfig, epochs: int
) -> AssignedObjective:
    """The loss that `loss.name` names, for classes that get their vectors from the data.

    Args:
        config: `name` and the arguments of that loss.
        assignment: of `ClassesConfig`, not `random`.
        warmup: settings of the warm-up, for the assignment `warmup`.
        epochs: of the warm-up, 0 where it is over.
    """
    make_loss = partial(build_loss, config)
    if assignment == "warmup":
        return WarmupObjective(make_loss, warmup, epochs)
    return AssignedObjective(make_loss)


def build_objective(
    config: Mapping[str, Any], classes: ClassMap | None, dim: int, num_classes: int
) -> Objective:
    """The loss that `loss.name` names, with its prediction.

    Args:
        config: `name` and the arguments of that loss.
        classes: the class vectors; None for a learned head.
        dim: of the embedding.
        num_classes: rows of a learned head.
    """
    if classes is not None:
        return VectorObjective(build_loss(config, classes))
    arguments = {key: value for key, value in config.items() if key != "name"}
    return LEARNED_LOSSES[config["name"]](dim, num_classes, **arguments)
