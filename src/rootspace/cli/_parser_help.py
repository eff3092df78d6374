"""`--help` of the commands that take all settings: short names of classes, not every class known.

jsonargparse lists each subclass that has been imported: of `torch.nn.Module`, hundreds.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from typing import Any

TITLES = {
    "data": "What to train on",
    "model": "The network",
    "head": "What turns embeddings into a loss and a prediction",
    "loss": "The loss between embeddings and the vectors of their classes",
    "optimizer": "The optimizer",
    "scheduler": "The schedule of the learning rate, instead of that of --train.schedule",
}
"""Of the groups of settings that are a class."""


def help_formatter(base: Any, names: Mapping[str, list[str]]) -> Any:
    """How --help writes settings.

    Args:
        base: `DefaultHelpFormatter` of jsonargparse.
        names: setting that is a class -> short names that are known.
    """

    class HelpFormatter(base):
        def _get_help_string(self, action: argparse.Action) -> str:
            if action.dest.endswith(".help"):
                return "show the settings of a class"
            if action.dest in names:
                known = ", ".join(sorted(names[action.dest]))
                each = f"one of {known}, or an import path" if known else "an import path"
                return f"{action.help} ({each}; default: {_class_name(action.default)})"
            text, known, _ = super()._get_help_string(action).partition(", known subclasses: ")
            return text + ")" if known else text

    return HelpFormatter


def _class_name(default: Any) -> str:
    """The name of a class without its module, of a default."""
    if default is None:
        return "none"
    return str(default["class_path"]).rpartition(".")[2]
