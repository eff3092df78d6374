"""`rootspace compare`: several methods and seeds on the same data, in one table and one report."""

from __future__ import annotations

import copy
import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from rootspace._terminal import table
from rootspace.building import acting
from rootspace.config import Config
from rootspace.train.comparison import COMPARISON, REPORT, PlannedRun, cells, compare

from ._config import Sections, config_parser, named_in_full, parse, read_sections
from ._parser import Parser, path

PROG = "rootspace compare"


def run(arguments: list[str]) -> int:
    parser = Parser(
        prog=PROG,
        description=__doc__,
        epilog="Any setting of `rootspace train` may follow and holds for all methods, for "
        "example\n--loader.batch_size 128 or --train.epochs 3.",
    )
    parser.add_argument(
        "--config", type=path, required=True, help="recipe with a `compare` section"
    )
    parser.add_argument("--out", type=path, required=True, help="folder of the comparison")
    parser.add_argument("--only", nargs="+", metavar="METHOD", help="these methods of the recipe")
    parser.add_argument("--seeds", type=int, nargs="+", help="instead of the recipe's")
    options, settings = parser.parse_known_args(arguments)
    base, methods, seeds = read_recipe(options.config)
    chosen = options.only or list(methods)
    for name in chosen:
        if name not in methods:
            raise ValueError(f"Argument '--only' must name some of {list(methods)}, not {name!r}.")
    planned = []
    for seed in options.seeds or seeds:
        for name in chosen:
            planned.append(PlannedRun(name, seed, complete(base, methods[name], seed, settings)))
    rows = compare(planned, options.out)
    print(table(*cells(rows)))
    print(f"\nRows: {options.out / COMPARISON}. Report: {options.out / REPORT}", file=sys.stderr)
    return 0


def read_recipe(path: Path) -> tuple[Sections, dict[str, Sections], list[int]]:
    """A recipe's common settings, the settings of each method, and the seeds.

    Raises:
        ValueError: no such file, or no usable `compare` section.
    """
    content = read_sections(path)
    section = content.pop("compare", None)
    section = section if isinstance(section, dict) else {}
    methods = section.get("methods")
    if not isinstance(methods, dict) or not methods:
        raise ValueError(
            f"Argument '--config': {path} must have a section `compare` with `methods`, each with "
            "settings of its own."
        )
    unknown = set(section) - {"methods", "seeds"}
    if unknown:
        raise ValueError(f"Argument '--config': unknown keys {sorted(unknown)} in `compare`.")
    for name, settings in methods.items():
        if set("/\\\0") & set(str(name)) or str(name) in ("", ".", ".."):
            raise ValueError(
                f"Argument '--config': a method of {path} must have a name without slashes, which "
                f"becomes a folder, not {str(name)!r}."
            )
        if not isinstance(settings, dict | None):
            raise ValueError(
                f"Argument '--config': the method {str(name)!r} of {path} must have settings such "
                f"as 'train: {{lr: 0.01}}', not {settings!r}."
            )
    seeds = section.get("seeds", [0])
    if not isinstance(seeds, list) or not seeds or any(type(seed) is not int for seed in seeds):
        raise ValueError(
            f"Argument '--config': 'seeds' in `compare` of {path} must be a list of whole numbers "
            f"such as [0, 1, 2], not {seeds!r}."
        )
    base = merged(Config().as_dict(), named_in_full(content))
    named = {str(name): named_in_full(settings or {}) for name, settings in methods.items()}
    return base, named, seeds


def complete(base: Sections, method: Sections, seed: int, settings: list[str]) -> Config:
    """All settings of a run: of the recipe, over them the method's, over them the command line's.

    Those for all methods that cannot act in this one, such as `prototypes` of a learned head, have
    their defaults.

    Raises:
        ValueError: naming the setting that cannot be.
    """
    wanted = merged(base, method)
    train = wanted.get("train", {})
    if not isinstance(train, Mapping):
        raise ValueError(
            f"Argument '--config': the section 'train' must hold settings such as 'lr: 0.01', not "
            f"{train!r}."
        )
    wanted["train"] = {**train, "seed": seed}
    parser = config_parser(PROG, Config())
    parser.set_defaults(wanted)
    return acting(with_seed(parse(settings, parser, PROG), seed))


def with_seed(config: Config, seed: int) -> Config:
    """The same settings with a seed of rotation and shuffle too."""
    prototypes = replace(config.prototypes, seed=seed)
    head = config.head
    if "rotate" in head.init_args:  # of prototypes that are chosen
        head = replace(head, init_args={**head.init_args, "seed": seed})
    return replace(config, prototypes=prototypes, head=head)


def merged(base: Sections, changes: Sections) -> Sections:
    """Sections of settings with some replaced; a section that names another class begins anew."""
    result = copy.deepcopy(dict(base))
    for section, content in changes.items():
        old = result.get(section, {})
        if not isinstance(content, Mapping) or not isinstance(old, Mapping):
            result[section] = content
        elif "class_path" not in content or content["class_path"] == old.get("class_path"):
            inner = {**old.get("init_args", {}), **content.get("init_args", {})}
            result[section] = {**old, **content, **({"init_args": inner} if inner else {})}
        else:
            result[section] = dict(content)
    return result
