"""Images in class folders, for tests that need files."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image


def write_images(
    root: Path, names: Sequence[str], number: int, seed: int, noise: float = 9.0
) -> Path:
    """PNG files of 16 x 16 pixels in class folders: a coarse pattern of the class under noise."""
    generator = np.random.default_rng(seed)
    for name in names:
        pattern = np.random.default_rng([*name.encode()]).integers(0, 256, (4, 4, 3))
        (root / name).mkdir(parents=True, exist_ok=True)
        for i in range(number):
            noisy = np.kron(pattern, np.ones((4, 4, 1))) + generator.normal(0, noise, (16, 16, 3))
            Image.fromarray(noisy.clip(0, 255).astype(np.uint8)).save(root / name / f"{i}.png")
    return root
