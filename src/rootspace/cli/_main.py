"""Choosing a command, and turning errors into one line and an exit code."""

from __future__ import annotations

import difflib
import importlib
import io
import os
import sys
from collections.abc import Sequence
from typing import TextIO

import rootspace
from rootspace._extras import MissingExtraError, missing
from rootspace._terminal import say

COMMANDS = {
    "plan": "choose a vector system and dimension for a number of classes",
    "check": "find broken files, duplicates and rare classes in data",
    "train": "train a network on labeled images",
    "extend": "add classes to a trained run, in a new run folder",
    "distill": "train a small network towards the embeddings of a larger one",
    "compare": "train several methods and seeds on the same data and compare them",
    "evaluate": "measure accuracy, retrieval, verification or open-set performance of a run",
    "predict": "predict the classes of image files",
    "embed": "write the embeddings of image files",
    "export": "export a trained run as an ONNX file, from image to class",
    "serve": "serve a trained run over HTTP, with a page to try it",
    "report": "rewrite a run's report, next to other runs",
    "classes": "list, rename and retire the classes of a trained run",
    "calibrate": "set the score below which an input is reported as unknown",
    "unknowns": "group unknown image files that may be new classes",
    "index": "put images into a gallery that can be searched",
    "search": "find the images of a gallery nearest to image files",
    "identities": "enroll, merge, split and rename the classes of a gallery, or undo that",
    "inspect": "find duplicates, leaks, likely wrong labels and hard images",
}

BATCHED = ("train", "compare", "extend", "distill", "evaluate", "index", "inspect")
"""Commands that take `loader.batch_size`."""

DEBUG = "ROOTSPACE_DEBUG"
"""Environment variable: set it to see where an error comes from."""

CLOSED_PIPE = 141
"""Exit code of a program that wrote to a pipe which nobody reads: 128 + SIGPIPE."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command.

    An error that the user can mend is a ValueError, an OSError or a missing package. Any other is a
    bug of ours and is raised.

    Args:
        arguments: without the program's name; those of the process by default.

    Returns:
        The exit code: 0; 2 where the user can mend it, with one line on stderr; 130 on Ctrl-C; 141
        where what it prints is no longer read.
    """
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # consoles lack characters of names
    try:
        code = _run(list(sys.argv[1:] if arguments is None else arguments))
        # Here and not when Python ends, where an error cannot be told any more.
        _flush(sys.stdout)
    except BrokenPipeError:
        for stream in (sys.stdout, sys.stderr):
            _discard(stream)
        return CLOSED_PIPE
    except KeyboardInterrupt:
        return 130
    except OSError as error:  # the disk of a redirected output is full, for example
        _discard(sys.stdout)
        return fail("rootspace", describe(error, "rootspace"))
    return code


def _run(arguments: list[str]) -> int:
    if not arguments or arguments[0] in ("-h", "--help", "help", "-V", "--version"):
        asks_version = arguments and arguments[0] in ("-V", "--version")
        print(rootspace.__version__ if asks_version else usage())
        return 0
    name, rest = arguments[0], arguments[1:]
    if name not in COMMANDS:
        near = difflib.get_close_matches(name, COMMANDS, 1)
        hint = f"did you mean {near[0]!r}? S" if near else "s"
        return fail("rootspace", f"unknown command {name!r}; {hint}ee `rootspace --help`")
    try:
        return importlib.import_module(f"rootspace.cli.{name}").run(rest)
    except SystemExit as end:  # argparse has printed its help
        return end.code if isinstance(end.code, int) else 0
    except (ValueError, OSError, ModuleNotFoundError) as error:
        ours = isinstance(error, ModuleNotFoundError) and str(error.name).startswith("rootspace")
        if ours or isinstance(error, BrokenPipeError) or os.environ.get(DEBUG):
            raise
        return fail(f"rootspace {name}", describe(error, f"rootspace {name}"))
    except (MemoryError, RuntimeError) as error:
        if not _is_memory(error) or os.environ.get(DEBUG):
            raise
        what = (str(error) or "out of memory").splitlines()[0]
        return fail(f"rootspace {name}", f"not enough memory: {what}. {_less(name, rest)}")


def _less(name: str, rest: list[str]) -> str:
    """What takes less memory."""
    if name not in BATCHED:
        return "Compute it where there is more, or with a smaller network."
    if "--resume" in rest:
        return (
            "The batches of a run stay as they are: resume it where there is more, or begin "
            "another with a smaller 'loader.batch_size'."
        )
    return "Take smaller batches ('loader.batch_size'), images or a smaller network."


def _is_memory(error: Exception) -> bool:
    """Whether memory was not enough, as Python and torch say it."""
    named = isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError"
    return named or "can't allocate memory" in str(error)


def describe(error: Exception, program: str) -> str:
    """The message of an error, and what to install where a package is missing."""
    if isinstance(error, ModuleNotFoundError) and not isinstance(error, MissingExtraError):
        return missing(f"`{program}`", error.name, "train")
    return str(error) or type(error).__name__


def fail(program: str, message: str) -> int:
    """One line on stderr."""
    say(f"{program}: error: {' '.join(message.split())}")
    return 2


def _flush(stream: TextIO | None) -> None:
    if stream is not None:  # None where the process was started without one
        stream.flush()


def _discard(stream: TextIO | None) -> None:
    """Let what a stream still holds go nowhere, so that Python does not try again when it ends."""
    try:
        _flush(stream)
    except OSError:
        assert stream is not None
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, stream.fileno())
        os.close(nowhere)


def usage() -> str:
    width = max(map(len, COMMANDS))
    commands = "\n".join(f"  {name:<{width}}  {text}" for name, text in COMMANDS.items())
    return (
        "usage: rootspace COMMAND [OPTIONS]\n\n"
        "Classification with any number of classes and no classifier layer.\n\n"
        f"commands:\n{commands}\n\n"
        "`rootspace COMMAND --help` shows the options of a command."
    )
