"""The parser of `rootspace train`: settings from a YAML file and the command line, parsed once.

Classes are given by short name or import path, as with LightningCLI: `--model my_package.Net
--model.width 8`, `--data.help ImageFolder`.
"""

from __future__ import annotations

import argparse
import inspect
from collections.abc import Callable, Mapping
from dataclasses import fields, replace
from itertools import pairwise
from pathlib import Path
from typing import Any, TypeAlias

import torch
import yaml
from lightning.pytorch.callbacks import Callback
from lightning.pytorch.loggers import Logger
from torch.utils.data import Dataset

from rootspace import data, heads, losses, models
from rootspace._extras import require
from rootspace.config import (
    Config,
    LoaderConfig,
    MemoryConfig,
    PrototypesConfig,
    RunConfig,
    TeacherConfig,
    TrainConfig,
)
from rootspace.data import DataSource
from rootspace.heads import Head
from rootspace.losses import ClassLoss

from ._parser_errors import expected, explain
from ._parser_help import TITLES, help_formatter

SECTIONS = {
    "run": RunConfig,
    "loader": LoaderConfig,
    "prototypes": PrototypesConfig,
    "train": TrainConfig,
}
OTHER_SECTIONS = {"memory": MemoryConfig, "teacher": TeacherConfig}
"""Of `rootspace extend` and `rootspace distill`."""

CLASSES: dict[str, tuple[type | tuple[type, ...], set[str]]] = {
    "data": ((DataSource, Dataset), set()),
    "model": (torch.nn.Module, {"dim", "in_channels", "image_size", "load_weights"}),
    "head": (Head, {"num_classes", "names", "loss"}),
    "loss": (ClassLoss, {"classes"}),
    "optimizer": (torch.optim.Optimizer, {"params", "lr"}),
    "scheduler": (torch.optim.lr_scheduler.LRScheduler, {"optimizer"}),
}
"""What a class of each setting must be, and which of its arguments are no settings."""

OWN = {"data": data, "model": models, "head": heads, "loss": losses, "transform": data}
"""Where a short name is looked for first: other packages may have a class of the same name."""

TORCH = {"optimizer": torch.optim, "scheduler": torch.optim.lr_scheduler}
"""Where else short names are known."""

DRAWN = data.Mild.__module__
"""Where the transforms are, among other classes of data."""

DATA_PLACES = ("root", "cache_dir")
"""Settings of data that say where they lie, and not what they are."""

DEFAULTS = Config()

Sections: TypeAlias = dict[str, Any]
"""Settings as YAML and the parser have them, before they are typed."""

MODE = "rootspace"
"""Of jsonargparse: YAML in which short names mean the library's own classes."""

LISTS = {"loggers": Logger, "callbacks": Callback}


def config_parser(
    prog: str, base: Config, *, more: tuple[str, ...] = (), skip: tuple[str, ...] = ()
) -> Any:
    """A jsonargparse parser of all settings.

    Args:
        prog: name of the command, for --help.
        base: defaults.
        more: of `OTHER_SECTIONS`, those that this command has.
        skip: settings without a default, which are given whole or not at all: another class would
            take over what it knows of the arguments of the default one.
    """
    jsonargparse = require("jsonargparse", extra="train", purpose=f"`{prog}`")
    yaml_loader = jsonargparse.get_loader("yaml")
    jsonargparse.set_loader(MODE, lambda text: named_in_full(yaml_loader(text)), (yaml.YAMLError,))
    parser = jsonargparse.ArgumentParser(
        prog=prog,
        usage=f"{prog} [--config FILE] [--SETTING VALUE ...]",
        formatter_class=help_formatter(jsonargparse.DefaultHelpFormatter, _short_names()),
        parser_mode=MODE,
        description="Train a network on labeled data. A class is given by short name or import "
        "path, its settings as in --model.width 8; `--model.help CLASS` shows them.",
        exit_on_error=False,
    )
    parser.add_argument("--config", action="config", help="YAML file with any of these settings")
    for name, (kind, skipped) in CLASSES.items():
        parser.add_subclass_arguments(
            kind,
            name,
            skip=skipped,
            instantiate=False,
            required=False,
            metavar="CLASS",
            help=_help(name),
        )
        parser.groups[name].title = TITLES[name]
    parser.add_argument(
        "--transform", type=Callable[[Any], Any] | None, default=None, help=_help("transform")
    )
    for name, kind in LISTS.items():
        parser.add_argument(f"--{name}", type=list[kind], default=[], help=_help(name))
    for name, kind in SECTIONS.items():
        parser.add_class_arguments(kind, name)
    for name in more:
        parser.add_class_arguments(OTHER_SECTIONS[name], name)
    known = {*CLASSES, *LISTS, *SECTIONS, *more, "transform"} - {*skip}
    # How `rootspace compare` varies a recipe; the other commands pass over it.
    parser.add_argument("--compare", type=dict | None, default=None, help=argparse.SUPPRESS)
    parser.set_defaults({k: v for k, v in base.as_dict().items() if k in known})
    return parser


def parse(arguments: list[str], parser: Any, prog: str, base: Config = DEFAULTS) -> Config:
    """The settings from the command line.

    Args:
        arguments: of the command line.
        parser: of `config_parser`.
        prog: name of the command, for messages.
        base: settings that hold where the parser has none.

    Raises:
        ValueError: naming the setting that cannot be.
    """
    for argument, after in pairwise([*arguments, "--"]):
        section = argument.removeprefix("--").removesuffix(".help")
        if argument == f"--{section}.help" and section in CLASSES and after.startswith("--"):
            known = expected(_short_names()[section])  # the parser would describe its base
            raise ValueError(f"Argument '{argument}' must be {known}; see `{prog} --help`")
    try:
        sections = parser.parse_args(_named_in_full(arguments)).as_dict()
    except Exception as error:
        # jsonargparse raises ArgumentError and its own kinds; all of them name the setting.
        hidden = {name: skipped for name, (_, skipped) in CLASSES.items()}
        text = explain(
            str(error), [*parser.get_defaults().keys()], _short_names(), hidden
        ).removesuffix(".")
        raise ValueError(f"{text}; see `{prog} --help`") from error
    return config_from(sections, base)


def _short_names() -> dict[str, list[str]]:
    """Section -> short names of the classes that are meant for it."""
    found: dict[str, list[str]] = {}
    for section, package in {**OWN, **TORCH}.items():
        kind = DataSource if section == "data" else CLASSES.get(section, (object, set()))[0]
        found[section] = [
            name
            for name, each in vars(package).items()
            if isinstance(each, type)
            and issubclass(each, kind)
            and each is not kind
            and not inspect.isabstract(each)
            and not name.startswith("_")
        ]
    found["transform"] = [n for n in found["transform"] if getattr(data, n).__module__ == DRAWN]
    return found


def named_in_full(sections: Any) -> Any:
    """Sections of settings with the import paths of the library's own classes for short names."""
    if not isinstance(sections, Mapping):
        return sections
    found = dict(sections)
    for section in found.keys() & OWN.keys():
        value = found[section]
        if isinstance(value, str):
            found[section] = _full_name(section, value)
        elif isinstance(value, Mapping) and isinstance(value.get("class_path"), str):
            found[section] = {**value, "class_path": _full_name(section, value["class_path"])}
    return found


def _named_in_full(arguments: list[str]) -> list[str]:
    """The same on the command line: `--model Encoder` or `--model=Encoder`."""
    found = list(arguments)
    for i, argument in enumerate(arguments):
        option, equals, value = argument.partition("=")
        section = option.removeprefix("--").removesuffix(".help")
        if section not in OWN or not option.startswith("--"):
            continue
        if equals:
            found[i] = f"{option}={_full_name(section, value)}"
        elif i + 1 < len(arguments):
            found[i + 1] = _full_name(section, arguments[i + 1])
    return found


def _full_name(section: str, name: str) -> str:
    package = OWN[section]
    is_class = name.isidentifier() and isinstance(getattr(package, name, None), type)
    return f"{package.__name__}.{name}" if is_class else name


def names_data(arguments: list[str]) -> bool:
    """Whether arguments say which data are meant, or name a file that may."""
    return bool({"--data", "--config"} & {argument.partition("=")[0] for argument in arguments})


def check_whole_data(arguments: list[str]) -> None:
    """Refuse settings of data without their class, where those of a run are no defaults.

    Raises:
        ValueError: naming the setting.
    """
    given = [argument.partition("=")[0] for argument in arguments]
    alone = [name for name in given if name.startswith("--data.") and name != "--data.help"]
    if alone and not names_data(arguments):
        raise ValueError(
            f"Argument '--data' must name the class of the data beside '{alone[0]}', such as "
            "--data ImageFolder --data.root new: data are given whole."
        )


def config_from(sections: Sections, base: Config = DEFAULTS) -> Config:
    """Typed settings from what the parser gives, over those of `base`."""
    known = {part.name for part in fields(Config)}
    given = {k: v for k, v in sections.items() if k in known and v is not None}
    transform = given.get("transform")
    if callable(transform):  # a function by its import path
        given["transform"] = {"class_path": f"{transform.__module__}.{transform.__qualname__}"}
    return Config.from_dict({**base.as_dict(), **given})


def resumed(
    arguments: list[str], parser: Any, prog: str, found: Config, *, longer: bool = False
) -> Config:
    """The settings of a run that goes on: its own, but for where it is computed.

    Where its data lie may change too.

    Args:
        arguments: of the command line.
        parser: of `config_parser`, with those of the run as its defaults.
        prog: name of the command, for messages.
        found: the settings of the run.
        longer: it may train for more epochs.

    Raises:
        ValueError: naming another setting that differs.
    """
    config = parse(arguments, parser, prog, found)
    config = replace(config, run=replace(config.run, dir=found.run.dir))
    # What the run left out has the parser's defaults in both.
    _check_resumed(config, parse([], parser, prog, found), longer)
    return config


def _check_resumed(config: Config, found: Config, longer: bool) -> None:
    now, then = config.as_dict(), _with_place(found, config, longer).as_dict()
    for section in now.keys() | then.keys():
        mine, its = now.get(section), then.get(section)
        if mine == its:
            continue
        key, value = section, mine
        if isinstance(mine, Mapping) and isinstance(its, Mapping):
            if mine.get("class_path") == its.get("class_path"):
                mine, its = mine.get("init_args", mine), its.get("init_args", its)
            other = next(k for k in mine.keys() | its.keys() if mine.get(k) != its.get(k))
            key, value = f"{section}.{other}", mine.get(other)
        raise ValueError(
            f"Argument '--resume' takes no other settings than --run.dir, --loader.num_workers, "
            "--train.accelerator, --train.devices, --train.num_nodes, --train.strategy, "
            "--train.checkpoint_minutes, "
            f"{'more --train.epochs, ' * longer}and --data.{' and --data.'.join(DATA_PLACES)}, not "
            f"--{key} {value}: those of the run hold."
        )


def _with_place(found: Config, config: Config, longer: bool) -> Config:
    """The settings of a run, computed where the given ones say."""
    train = replace(
        found.train,
        accelerator=config.train.accelerator,
        devices=config.train.devices,
        num_nodes=config.train.num_nodes,
        strategy=config.train.strategy,
        checkpoint_minutes=config.train.checkpoint_minutes,
        epochs=max(found.train.epochs, config.train.epochs) if longer else found.train.epochs,
    )
    loader = replace(found.loader, num_workers=config.loader.num_workers)
    given = config.data.init_args
    places = {k: given[k] for k in DATA_PLACES if k in found.data.init_args and k in given}
    data = replace(found.data, init_args={**found.data.init_args, **places})
    run = replace(found.run, dir=config.run.dir)
    return replace(found, data=data, train=train, loader=loader, run=run)


def _help(name: str) -> str:
    """What `Config` says of a setting."""
    lines = (Config.__doc__ or "").split(f"        {name}: ", 1)[-1].splitlines()
    text = [lines[0]]
    for line in lines[1:]:
        if not line.startswith(" " * 12):
            break
        text.append(line.strip())
    return " ".join(text)


def looked_ahead(arguments: list[str], section: str, name: str) -> str | None:
    """What arguments say of a setting on which the defaults of others depend.

    On the command line or in a file of --config, of which the last holds, as for the parser.

    Args:
        arguments: of the command line.
        section: of the setting.
        name: of the setting in it.

    Raises:
        ValueError: a file that cannot be read.
    """
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    option = f"--{section}.{name}"
    for flag in ("--config", option):
        parser.add_argument(
            flag, dest="given", action="append", type=lambda text, flag=flag: (flag, text)
        )
    found: str | None = None
    for flag, text in parser.parse_known_args(arguments)[0].given or []:
        if flag == option:
            found = text
            continue
        settings = read_sections(Path(text).expanduser()).get(section)
        if isinstance(settings, Mapping) and settings.get(name) is not None:
            found = str(settings[name])
    return found


def read_sections(path: Path) -> Sections:
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
