"""How long a command takes before and beside its work: ratios to `import torch`, in one run.

A small run is trained on two classes; then `import torch` and the commands take turns, each in a
process of its own, round by round. Ratios are medians over the rounds.

    python benchmarks/startup.py
"""

from __future__ import annotations

import argparse
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from PIL import Image

COMMANDS = (
    "--help",
    "plan 1000",
    "evaluate --help",
    "predict RUN RUN/samples/image.png",
    "embed RUN RUN/samples/image.png --out RUN/z.npy",
    "classes RUN list",
    "evaluate RUN RUN/images",
    "evaluate RUN",
    "report RUN",
)


def seconds(*arguments: str) -> float:
    """Of a Python process."""
    begun = time.perf_counter()
    subprocess.run([sys.executable, *arguments], check=True, capture_output=True)
    return time.perf_counter() - begun


def train(folder: Path) -> None:
    """A run of one epoch, with its images inside."""
    generator = np.random.default_rng(0)
    for name in "ab":
        (folder / "images" / name).mkdir(parents=True)
        for number in range(8):
            pixels = generator.integers(0, 256, (16, 16, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(folder / f"images/{name}/{number}.png")
    options = ["--data=ImageFolder", f"--data.root={folder / 'images'}", "--data.image_size=16"]
    options += ["--model.width=4", "--loader.batch_size=4", "--train.epochs=1"]
    seconds("-m", "rootspace", "train", *options, f"--run.dir={folder / 'run'}")
    (folder / "images").rename(folder / "run/images")
    (folder / "images").symlink_to(folder / "run/images")  # where the run looks for them
    shutil.copy(folder / "run/images/a/0.png", folder / "run/samples/image.png")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=7)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        train(Path(folder))
        run = str(Path(folder, "run"))
        ratios: dict[str, list[float]] = {command: [] for command in COMMANDS}
        base = []
        for _ in range(options.rounds):
            base.append(seconds("-c", "import torch"))
            for command in COMMANDS:
                arguments = [word.replace("RUN", run) for word in command.split()]
                ratios[command].append(seconds("-m", "rootspace", *arguments) / base[-1])
    print(f"import torch: {statistics.median(base):.2f} s; times that, median (least to most):")
    for command, found in ratios.items():
        spread = f"({min(found):.2f} to {max(found):.2f})"
        print(f"{statistics.median(found):5.2f} {spread:<16}  rootspace {command}")


if __name__ == "__main__":
    main()
