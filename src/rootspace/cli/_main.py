"""Choosing a command, and turning errors into one line and an exit code."""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Sequence

import rootspace
from rootspace._extras import MissingExtraError

COMMANDS = {
    "plan": "which vector system and dimension a number of classes needs",
    "train": "train a network on labelled images",
    "extend": "add classes to a trained run, in a new run folder",
    "distill": "train a small network towards the embeddings of a larger one",
    "compare": "train several methods and seeds on the same data and compare them",
    "evaluate": "accuracy of a trained run on its test sets, or on others",
    "predict": "classes of image files",
    "classes": "names, aliases, retired classes and image counts of a trained run",
    "calibrate": "from which score on an input is known to a trained run",
    "unknowns": "unknown image files as groups that may be new classes",
    "embed": "embeddings of image files",
    "export": "a trained run as an ONNX file, from image to class",
    "report": "write the report of a run again, beside other runs",
}

DEBUG = "ROOTSPACE_DEBUG"
"""Environment variable: set it to see where an error comes from."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command.

    Args:
        arguments: without the program's name; those of the process by default.

    Returns:
        The exit code: 0; 2 where the user can mend it, with one line on stderr; 130 on Ctrl-C.
    """
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    if not arguments or arguments[0] in ("-h", "--help", "help"):
        print(usage())
        return 0
    if arguments[0] in ("-V", "--version"):
        print(rootspace.__version__)
        return 0
    name, rest = arguments[0], arguments[1:]
    if name not in COMMANDS:
        return fail("rootspace", f"unknown command {name!r}; see `rootspace --help`")
    try:
        return importlib.import_module(f"rootspace.cli.{name}").run(rest)
    except KeyboardInterrupt:
        return 130
    except (ValueError, IndexError, OverflowError, TypeError, OSError, ImportError) as error:
        if os.environ.get(DEBUG):
            raise
        return fail(f"rootspace {name}", describe(error))


def describe(error: Exception) -> str:
    """The message of an error, and what to install where a package is missing."""
    if isinstance(error, MissingExtraError):
        return str(error)
    if isinstance(error, ModuleNotFoundError) and not str(error.name).startswith("rootspace"):
        return f"needs {error.name}, which is not installed: pip install 'rootspace[train]'"
    return str(error) or type(error).__name__


def fail(program: str, message: str) -> int:
    """One line on stderr."""
    print(f"{program}: error: {' '.join(message.split())}", file=sys.stderr)
    return 2


def usage() -> str:
    width = max(map(len, COMMANDS))
    commands = "\n".join(f"  {name:<{width}}  {text}" for name, text in COMMANDS.items())
    return (
        "usage: rootspace COMMAND [OPTIONS]\n\n"
        "Classification with any number of classes and no classifier layer.\n\n"
        f"commands:\n{commands}\n\n"
        "`rootspace COMMAND --help` shows the options of a command."
    )
