"""What the commands' parsers share."""

from __future__ import annotations

import argparse
import os
from collections.abc import Collection
from pathlib import Path

import torch

from rootspace.config import LoaderConfig
from rootspace.data import folders

from ._parser import path


def add_run(parser: argparse.ArgumentParser, *, network: bool = True) -> None:
    """The argument of a run folder; and of a device, where its network is used."""
    parser.add_argument("run", type=path, help="run folder that `rootspace train` wrote")
    if network:
        add_device(parser)


def add_device(parser: argparse.ArgumentParser) -> None:
    """The option --device."""
    parser.add_argument(
        "--device",
        default="cpu",
        type=device,
        help="device of the network: cpu (the default), cuda, cuda:1, ...",
    )


def add_images(parser: argparse.ArgumentParser) -> None:
    """The argument of image files."""
    parser.add_argument("paths", nargs="+", type=path, help="image files, or folders of them")


def add_workers(parser: argparse.ArgumentParser) -> None:
    """The option --workers."""
    parser.add_argument(
        "--workers",
        type=_workers,
        default=0,
        metavar="N",
        help="processes that read images beside this one; default 0",
    )


def _workers(text: str) -> int:
    try:
        return LoaderConfig(num_workers=int(text)).num_workers
    except ValueError as error:
        raise argparse.ArgumentTypeError(
            f"must be a number of processes, 0 or more, not {text!r}"
        ) from error


def device(text: str) -> torch.device:
    """A device that this machine has."""
    try:
        found = torch.device(text)
        torch.empty(1, device=found)
        if found.type == "meta" or (found.type == "cpu" and found.index):
            raise RuntimeError("there is no such place to compute")
    except (RuntimeError, AssertionError) as error:  # the latter from a torch without CUDA
        reason = str(error).strip().splitlines()[0]
        raise argparse.ArgumentTypeError(
            f"must be a device of torch on this machine, such as cpu, not {text!r}: {reason}"
        ) from error
    return found


def cosine(text: str) -> float:
    """A number in [-1, 1]."""
    return _number(text, -1, 1, "in [-1, 1]")


def rate(text: str) -> float:
    """A number in (0, 1)."""
    found = _number(text, 0, 1, "between 0 and 1")
    if found in (0, 1):
        raise argparse.ArgumentTypeError(f"must be a number between 0 and 1, not {text!r}")
    return found


def _number(text: str, least: float, most: float, wanted: str) -> float:
    try:
        found = float(text)
    except ValueError:
        found = float("nan")
    if not least <= found <= most:
        raise argparse.ArgumentTypeError(f"must be a number {wanted}, not {text!r}")
    return found


def check_top(top: int, most: int, least: int = 1) -> None:
    """Raise a ValueError unless a run can give so many classes."""
    if not least <= top <= most:
        raise ValueError(f"Argument '--top' must lie in [{least}, {most}], not {top}.")


def check_out(out: Path, suffixes: Collection[str] = (), argument: str = "--out") -> None:
    """Raise a ValueError unless a file can be written there; before any work is done."""
    if suffixes and out.suffix not in suffixes:
        raise ValueError(f"Argument '{argument}' must end in {' or '.join(suffixes)}, not {out}.")
    if not out.parent.is_dir():
        raise ValueError(f"Argument '{argument}': the folder {out.parent} does not exist.")
    if out.is_dir():
        raise ValueError(f"Argument '{argument}' must be a file, not the folder {out}.")
    if not os.access(out.parent, os.W_OK):
        raise ValueError(f"Argument '{argument}': the folder {out.parent} must be writable.")


def image_files(paths: list[Path]) -> list[Path]:
    """Files as they are named, folders as the image files below them that are not hidden, sorted.

    Raises:
        ValueError: a path does not exist, or a folder holds no image.
    """
    files: list[Path] = []
    for given in paths:
        if given.is_dir():
            found = sorted(Path(file) for file in folders.image_files(given))
            if not found:
                raise ValueError(
                    f"{given} holds no image file ({', '.join(folders.IMAGE_SUFFIXES)})"
                )
            files += found
        elif given.exists():
            files.append(given)
        else:
            raise ValueError(f"{given} does not exist; expected an image file or a folder of them")
    return files
