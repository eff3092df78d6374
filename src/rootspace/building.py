"""From settings to objects: head, loss, vector system, network."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields, replace
from functools import partial
from typing import Any

from torch import nn

from . import heads
from .classes import ClassMap
from .config import ClassSpec, Config
from .data import ImagePreprocessing
from .heads import Head, PrototypeHead
from .losses import ClassLoss
from .models import Embedder, ExpectedImages, TimmBackbone, expected_images
from .planning import smallest_dim
from .systems import RootA, VectorSystem, system_from
from .vector_file import open_array, read_table

TABLE = "Table"
"""As `head.system`, with prototypes from a file: the vectors of the file themselves."""


def make_loss(config: Config) -> Callable[[ClassMap], ClassLoss] | None:
    """What makes the loss against the prototypes; None for the head's own choice."""
    if config.loss is None:
        return None
    cls = config.loss.resolve(ClassLoss, "loss")  # pyright: ignore[reportAbstractUsage]
    return partial(cls, **dict(config.loss.init_args))


def make_head(config: Config, names: Sequence[str]) -> Head:
    """The head of a run before training.

    Args:
        config: of the run.
        names: of the classes.

    Raises:
        ValueError: settings that contradict each other, or too many classes for the system.
    """
    cls = config.head.resolve(Head, "head")  # pyright: ignore[reportAbstractUsage]
    if not issubclass(cls, PrototypeHead):
        if config.loss is not None:
            raise ValueError(_idle("loss", config.loss.name, f"'head' = {cls.__name__}, {_LEARNS}"))
        return config.head.build(Head, "head", names=names)  # pyright: ignore[reportAbstractUsage]
    loss = make_loss(config)
    if config.head.init_args.get("system") == TABLE and config.prototypes.source != "file":
        raise ValueError(
            f"Argument 'head.system' = '{TABLE}' needs 'prototypes.source' = 'file', not "
            f"'{config.prototypes.source}'."
        )
    if config.prototypes.source == "formula":
        system = _formula_system(config, len(names))
        prototypes = config.prototypes
        class_map = ClassMap(system, len(names), prototypes.order, prototypes.seed, names)
        return cls.from_map(class_map, loss, **_of_contrast(config))
    arguments = dict(config.head.init_args)
    if loss is not None:
        arguments["loss"] = loss
    path = config.prototypes.vectors
    if path is not None and arguments.get("system") == TABLE:
        arguments["system"] = read_table(path)
    elif path is not None and arguments.get("system") is None and arguments.get("dim") is None:
        arguments["dim"] = open_array(path).shape[1]
    return ClassSpec(config.head.class_path, arguments).build(PrototypeHead, "head", names=names)


def _of_contrast(config: Config) -> dict[str, float]:
    """The settings of a head by formula that are given: `from_map` has defaults of its own."""
    names = ("temperature", "contrastive_weight")
    given = {name: config.head.init_args.get(name) for name in names}
    return {name: value for name, value in given.items() if value is not None}


def head_from_state(config: Config, state: Mapping[str, Any]) -> Head:
    """The head of a trained run.

    Args:
        config: of the run.
        state: its `state_dict`.
    """
    cls = config.head.resolve(Head, "head")  # pyright: ignore[reportAbstractUsage]
    loss = make_loss(config)
    if config.prototypes.source == "formula" and issubclass(cls, PrototypeHead):
        class_map = ClassMap.from_state(state[heads.EXTRA]["classes"])
        head = cls.from_map(class_map, loss, **_of_contrast(config))
        head.load_state_dict(dict(state))
        return head
    arguments = dict(config.head.init_args)
    if loss is not None:
        arguments["loss"] = loss
    return cls.from_state_dict(state, **arguments)


_LEARNS = "whose vectors and loss are its own"
"""Of a head without prototypes."""

OF_SOURCE = {
    **dict.fromkeys(("after", "again", "refine", "follow"), "data"),
    **dict.fromkeys(("order", "seed"), "formula"),
}
"""Setting of `prototypes` -> the one `prototypes.source` with which it acts."""

IN_PLACE = ("schedule", "warmup_steps")
"""Settings of `train` in whose place a `scheduler` is."""


def idle_settings(config: Config) -> dict[str, str]:
    """Settings that are not at their defaults and cannot act, each with what it is idle beside.

    Args:
        config: of a run.

    Raises:
        ValueError: the head cannot be found.
    """
    found: dict[str, str] = {}
    defaults, prototypes = Config(), config.prototypes
    head = config.head.resolve(Head, "head")  # pyright: ignore[reportAbstractUsage]
    given = [
        part.name
        for part in fields(prototypes)
        if getattr(prototypes, part.name) != getattr(defaults.prototypes, part.name)
    ]
    if not issubclass(head, PrototypeHead):
        reason = f"'head' = {head.__name__}, {_LEARNS}"
        if config.loss is not None:
            found["loss"] = reason
        found |= {f"prototypes.{name}": reason for name in given}
    else:
        for name in given:
            wanted = OF_SOURCE.get(name, prototypes.source)
            if wanted != prototypes.source:
                reason = f"'prototypes.source' = '{prototypes.source}'; it is for '{wanted}'"
                found[f"prototypes.{name}"] = reason
    if config.scheduler is not None:
        for name in IN_PLACE:
            if getattr(config.train, name) != getattr(defaults.train, name):
                found[f"train.{name}"] = "'scheduler', which takes its place"
    return found


def check_acting(config: Config) -> None:
    """Refuse settings that cannot act.

    Args:
        config: as a user gives it; what is made of one, such as that of a baseline, may have them.

    Raises:
        ValueError: naming one, and beside what it is idle.
    """
    for setting, reason in idle_settings(config).items():
        section, _, name = setting.partition(".")
        value = getattr(config, section)
        shown = getattr(value, name) if name else value.name
        raise ValueError(_idle(setting, shown, reason))


def acting(config: Config) -> Config:
    """The same settings, with the defaults of those that cannot act.

    Args:
        config: of a run.

    Raises:
        ValueError: the head cannot be found.
    """
    defaults, changed = Config(), {}
    for setting in idle_settings(config):
        section, _, name = setting.partition(".")
        default = getattr(defaults, section)
        changed.setdefault(section, {})[name] = getattr(default, name) if name else default
    sections = {
        section: names[""] if "" in names else replace(getattr(config, section), **names)
        for section, names in changed.items()
    }
    return replace(config, **sections)


def _idle(setting: str, value: object, reason: str) -> str:
    return f"Argument '{setting}' must be left out, not {value!r}: it does nothing with {reason}."


def baseline_config(config: Config, name: str, dim: int) -> Config:
    """The same run with a learned head at its defaults.

    Args:
        config: of the run.
        name: of a class of `rootspace.heads`, or an import path.
        dim: of the embedding.
    """
    path = name if "." in name else f"{heads.__name__}.{name}"
    spec = ClassSpec(path, {"dim": dim})
    cls = spec.resolve(Head, "run.baselines")  # pyright: ignore[reportAbstractUsage]
    if issubclass(cls, PrototypeHead):
        raise ValueError(f"Argument 'run.baselines' must name learned heads, not {name}.")
    run = replace(config.run, dir="", baselines=[])
    return acting(replace(config, run=run, head=spec))


def make_embedder(
    spec: ClassSpec,
    dim: int,
    preprocessing: ImagePreprocessing | None,
    load_weights: bool = True,
) -> Embedder:
    """The network that a spec names, with the normalization of its inputs.

    Args:
        spec: of the network; `dim`, `in_channels`, `image_size` and `load_weights` are filled where
            it takes them.
        dim: of the embedding.
        preprocessing: of the images, None for other data.
        load_weights: False leaves out pretrained weights, for those that come from a run.
    """
    filled: dict[str, Any] = {"dim": dim}
    if preprocessing is not None:
        filled |= {"in_channels": preprocessing.channels, "image_size": preprocessing.size}
    if _is_timm(spec):
        filled["load_weights"] = load_weights
    elif not load_weights and "pretrained" in spec.init_args:
        spec = replace(spec, init_args={**spec.init_args, "pretrained": False})
    network = spec.build(nn.Module, "model", **filled)
    if preprocessing is None:
        return Embedder(network)
    return Embedder(network, preprocessing.mean, preprocessing.std)


def _is_timm(spec: ClassSpec) -> bool:
    return issubclass(spec.resolve(nn.Module, "model"), TimmBackbone)


def images_of_weights(spec: ClassSpec) -> ExpectedImages | None:
    """What images the weights were trained on that a network begins with; None where it has none.

    Args:
        spec: of the network.

    Raises:
        ValueError: it names weights that cannot be.
    """
    if not _is_timm(spec) or "name" not in spec.init_args:
        return None
    accepted = inspect.signature(expected_images).parameters
    return expected_images(**{k: v for k, v in spec.init_args.items() if k in accepted})


def normalized_for(
    spec: ClassSpec, preprocessing: ImagePreprocessing | None
) -> ImagePreprocessing | None:
    """The preprocessing of data with the statistics that a network's first weights expect.

    Args:
        spec: of the network.
        preprocessing: of the data.
    """
    expected = images_of_weights(spec)
    if expected is None or preprocessing is None:
        return preprocessing
    mean, std = expected.statistics(preprocessing.channels)
    return replace(preprocessing, mean=mean, std=std)


def _formula_system(config: Config, num_classes: int) -> VectorSystem:
    """The system named, or the smallest A_n that holds the classes."""
    name, dim = config.head.init_args.get("system"), config.head.init_args.get("dim")
    if name is not None:
        system = system_from(str(name))
        if dim is not None and dim != system.dim:
            raise ValueError(
                f"Arguments 'head.system' and 'head.dim' disagree: {name} has dimension "
                f"{system.dim}, not {dim}. Leave one of them out."
            )
        return system
    if dim is None:
        return RootA(smallest_dim(RootA, num_classes))
    system = RootA(dim)
    for interpolations in (1, 2):
        if system.size >= num_classes:
            break
        system = RootA(dim, interpolations=interpolations)
    return system
