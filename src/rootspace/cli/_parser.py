"""The parser of every command. No torch here: `serve` answers without it."""

from __future__ import annotations

import argparse
import re
from pathlib import Path
from typing import Any, NoReturn


class Parser(argparse.ArgumentParser):
    """Shows its description as it is written, and raises ValueError instead of leaving."""

    def __init__(self, **settings: Any) -> None:
        raw = argparse.RawDescriptionHelpFormatter
        super().__init__(**{"formatter_class": raw, **settings})
        self.register("type", int, _integer)

    def error(self, message: str) -> NoReturn:
        # As all other errors name an argument.
        message = re.sub(r"^argument (\S+): must ", r"Argument '\1' must ", message)
        raise ValueError(f"{message}; see `{self.prog} --help`")


def _integer(text: str) -> int:
    try:
        return int(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"must be an integer, not {text!r}") from None


def path(text: str) -> Path:
    """A path as it was given; a shell does not expand the ~ of `--out=~/x`."""
    return Path(text).expanduser()
