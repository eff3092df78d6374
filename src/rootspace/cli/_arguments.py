"""What the commands' parsers share."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import NoReturn

import torch

from rootspace.data import folders


class Parser(argparse.ArgumentParser):
    """Raises ValueError instead of printing its usage and leaving."""

    def error(self, message: str) -> NoReturn:
        raise ValueError(f"{message}; see `{self.prog} --help`")


def add_run(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("run", type=Path, help="run folder that `rootspace train` wrote")
    parser.add_argument(
        "--device", default="cpu", type=device, help="for the network: cpu, cuda, cuda:1, ..."
    )


def device(text: str) -> torch.device:
    """A device that this machine has."""
    try:
        found = torch.device(text)
        torch.empty(1, device=found)
    except (RuntimeError, AssertionError) as error:  # the latter from a torch without CUDA
        reason = str(error).strip().splitlines()[0]
        raise argparse.ArgumentTypeError(
            f"must be a device of torch on this machine, such as cpu, not {text!r}: {reason}"
        ) from error
    return found


def image_files(paths: list[Path]) -> list[Path]:
    """Files as they are named, folders as the image files below them that are not hidden, sorted.

    Raises:
        ValueError: a path does not exist, or a folder holds no image.
    """
    files: list[Path] = []
    for path in paths:
        if path.is_dir():
            found = sorted(Path(file) for file in folders.image_files(path))
            if not found:
                raise ValueError(
                    f"{path} holds no image file ({', '.join(folders.IMAGE_SUFFIXES)})"
                )
            files += found
        elif path.exists():
            files.append(path)
        else:
            raise ValueError(f"{path} does not exist; expected an image file or a folder of them")
    return files
