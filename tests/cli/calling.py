"""Commands as a user calls them, and images for them."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from rootspace.cli import main

CLASSES = ("a", "猫", "=d", "-e", "f")


def write_images(root: Path, names: tuple[str, ...], number: int, seed: int) -> Path:
    """PNG files in class folders: a coarse pattern of the class under noise."""
    generator = np.random.default_rng(seed)
    for name in names:
        pattern = np.random.default_rng([*name.encode()]).integers(0, 256, (4, 4, 3))
        (root / name).mkdir(parents=True)
        for i in range(number):
            noise = generator.normal(0, 9, (16, 16, 3))
            pixels = (np.kron(pattern, np.ones((4, 4, 1))) + noise).clip(0, 255)
            Image.fromarray(pixels.astype(np.uint8)).save(root / name / f"{i}.png")
    return root


def call(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, str, str]:
    """Exit code, standard output and standard error of a command."""
    capsys.readouterr()
    code = main([str(a) for a in arguments])
    found = capsys.readouterr()
    return code, found.out, found.err


def output(capsys: pytest.CaptureFixture[str], *arguments: object) -> str:
    """What a command prints that must succeed."""
    code, out, err = call(capsys, *arguments)
    assert code == 0, err
    return out


def answer(capsys: pytest.CaptureFixture[str], *arguments: object) -> Any:
    """The same with --format json."""
    return json.loads(output(capsys, *arguments, "--format=json"))


def refusal(capsys: pytest.CaptureFixture[str], *arguments: object) -> str:
    """The one line of a command that must fail as users like it."""
    code, _, err = call(capsys, *arguments)
    lines = err.strip().splitlines()
    assert code == 2 and lines, (arguments, err)
    assert lines[-1].startswith(f"rootspace {arguments[0]}: error: "), err
    assert "Traceback" not in err
    return lines[-1]


def rows(path: Path) -> list[dict[str, str]]:
    """Of a CSV file."""
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))
