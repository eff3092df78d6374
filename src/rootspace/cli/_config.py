"""The parser of `rootspace train`: typed settings from a YAML file and the command line.

Which arguments the sections `data`, `model` and `loss` have depends on the name in them, so the
names are looked up first and the parser is built for them: keys stay flat, are checked, and show
up in --help with their documentation.
"""

from __future__ import annotations

import argparse
import inspect
import itertools
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from rootspace._extras import require
from rootspace.data import DATASETS
from rootspace.models import Encoder, TimmBackbone
from rootspace.train import (
    LEARNED_LOSSES,
    VECTOR_LOSSES,
    ClassesConfig,
    RunConfig,
    TrainConfig,
    WarmupConfig,
    default_loss,
)

DEFAULT_NAMES = {"data": "characters", "model": "encoder"}

OF_OTHERS = ("compare", "memory", "parent", "teacher")
"""Sections of a file that mean nothing here: how `rootspace compare` varies a recipe, and what
`rootspace extend` and `rootspace distill` note in the config of a run."""


def parse(
    arguments: list[str],
    base: Mapping[str, Any] | None = None,
    *,
    prog: str,
    resumable: bool = False,
    more: Mapping[str, type] | None = None,
) -> dict[str, Any]:
    """Sections `run`, `data`, `model`, `classes`, `loss`, `warmup`, `train`, complete and checked.

    Args:
        arguments: of the command line; `--config FILE` reads a YAML file first.
        base: settings below those of the file and the command line; a section of it begins anew
            where these name another kind.
        prog: name of the command, for --help.
        resumable: also take --resume, which comes back under that key.
        more: sections that this command has besides, and the settings of each.

    Raises:
        ValueError: naming the setting that cannot be.
    """
    jsonargparse = require("jsonargparse", extra="train", purpose="`rootspace train`")
    more = more or {}
    ignored = [section for section in OF_OTHERS if section not in more]
    base = {section: content for section, content in (base or {}).items() if section not in ignored}
    layers = [_flat(base), _flat(_read_configs(arguments)), _options(arguments)]
    given: dict[str, Any] = {}
    for layer in layers:
        given |= layer
    loss = default_loss(given.get("classes.assignment", ClassesConfig.assignment))
    names = {
        section: given.get(f"{section}.name", name)
        for section, name in {**DEFAULT_NAMES, "loss": loss}.items()
    }
    for section, name in names.items():
        if base.get(section, {}).get("name", name) != name:
            base[section] = {}
    parser = jsonargparse.ArgumentParser(
        prog=prog, description="Train a network on labelled images.", exit_on_error=False
    )
    parser.add_argument("--config", action="config", help="YAML file with any of these settings")
    if resumable:
        parser.add_argument(
            "--resume",
            action="store_true",
            help="continue the run in --run.dir from its last checkpoint, with its settings",
        )
    parser.add_class_arguments(RunConfig, "run")
    _add_named(parser, "data", names["data"], DATASETS, set())
    models = {"encoder": Encoder}
    parser.add_argument(
        "--model.dim",
        type=int | None,
        default=None,
        help="of the embedding; that of the vector system by default",
    )
    filled = {"name", "dim", "in_channels", "image_size"}
    _add_named(parser, "model", names["model"], models, filled, otherwise=TimmBackbone)
    parser.add_class_arguments(ClassesConfig, "classes")
    losses = {**VECTOR_LOSSES, **LEARNED_LOSSES}
    _add_named(parser, "loss", names["loss"], losses, {"classes", "dim", "num_classes"})
    parser.add_class_arguments(WarmupConfig, "warmup")
    parser.add_class_arguments(TrainConfig, "train")
    for section, kind in more.items():
        parser.add_class_arguments(kind, section)
    for section in ignored:
        parser.add_argument(f"--{section}", type=dict | None, default=None, help=argparse.SUPPRESS)
    try:
        if base:
            parser.set_defaults(_flat(base))
        config = parser.parse_args(arguments)
    except Exception as error:
        # jsonargparse raises ArgumentError and its own kinds; all of them name the setting.
        raise ValueError(f"{error}; see `{prog} --help`") from error
    settings = config.as_dict()
    settings.pop("config", None)
    for section in ignored:
        settings.pop(section)
    return settings


def _add_named(
    parser: Any,
    section: str,
    name: str,
    known: Mapping[str, type],
    skip: set[str],
    otherwise: type | None = None,
) -> None:
    kind = known.get(name, otherwise)
    if kind is None:
        raise ValueError(
            f"Argument '{section}.name' must be one of {', '.join(known)}, not {name!r}."
        )
    choices = ", ".join(known) + (", or any timm model" if otherwise else "")
    parser.add_argument(f"--{section}.name", type=str, default=name, help=f"one of {choices}")
    accepted = set(inspect.signature(kind).parameters)
    parser.add_class_arguments(kind, section, skip=skip & accepted)


def option(arguments: list[str], key: str) -> str | None:
    """A setting of the command line, else of its `--config` file, before anything is checked."""
    given = _flat(_read_configs(arguments)) | _options(arguments)
    return None if given.get(key) is None else str(given[key])


def resumed(arguments: list[str], folder: str) -> dict[str, Any]:
    """All that a command needs to know to continue a run whose settings hold.

    Raises:
        ValueError: other settings are given.
    """
    refuse_others(arguments, ("run.dir",))
    return {"run": {"dir": folder}}


def refuse_others(arguments: list[str], allowed: Sequence[str]) -> None:
    """Raise a ValueError where settings are given that may not change when a run is resumed."""
    others = [f"--{key}" for key in _options(arguments) if key not in ("resume", *allowed)]
    if others:
        wanted = ", ".join(f"--{key}" for key in allowed)
        raise ValueError(
            f"Argument '--resume' takes no other settings than {wanted}, not {' '.join(others)}: "
            "those of the run hold."
        )


def _read_configs(arguments: list[str]) -> dict[str, Any]:
    merged: dict[str, Any] = {}
    options = _options(arguments)
    if "config" in options:
        merged = read_sections(Path(options["config"]))
    return merged


def read_sections(path: Path) -> dict[str, Any]:
    """The sections of a YAML file.

    Raises:
        ValueError: no such file, or not such a file.
    """
    if not path.is_file():
        raise ValueError(f"Argument 'config' must be a YAML file: {path} does not exist.")
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ValueError(f"Argument 'config': {path} is not YAML: {error}") from error
    if not isinstance(content, dict):
        raise ValueError(f"Argument 'config': {path} must hold sections such as 'data:'.")
    return content


def _options(arguments: list[str]) -> dict[str, str]:
    """`--key value` and `--key=value` as written; good enough to look up names."""
    options = {}
    for argument, following in itertools.zip_longest(arguments, arguments[1:], fillvalue=""):
        if argument.startswith("--"):
            key, equals, value = argument[2:].partition("=")
            options[key] = value if equals else following
    return options


def _flat(sections: Mapping[str, Any]) -> dict[str, Any]:
    return {
        f"{section}.{key}": value
        for section, content in sections.items()
        if isinstance(content, Mapping)
        for key, value in content.items()
    }
