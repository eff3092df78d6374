"""Fine-tuning a timm model on other classes: at which rates, and what it gains.

    python benchmarks/emoji.py FOLDER
    python benchmarks/pretrained.py FOLDER/tune runs/pretrained

Some classes, drawn by seed, pretrain a model from scratch; others are what it is fine-tuned on:
from scratch, at several rates of the pretrained layers, with these frozen, and by `run.init`.
Accuracy is that on the test sets, in percent.
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path

from _runs import succeed
from safetensors.torch import load_file, save_file

from rootspace._terminal import table
from rootspace.run import load
from rootspace.runs import RunRecord

BACKBONE = "embedder.network.backbone."


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("split", type=Path, help="folder of class folders, in train and test sets")
    parser.add_argument("out", type=Path, help="new folder for the runs")
    parser.add_argument("--model", default="resnet10t")
    parser.add_argument("--pretraining_classes", type=int, default=600)
    parser.add_argument("--classes", type=int, default=400)
    parser.add_argument("--pretraining_epochs", type=int, default=6)
    parser.add_argument("--epochs", type=int, default=5)
    parser.add_argument("--accelerator", default="auto")
    options = parser.parse_args()
    tests = [p.name for p in sorted(options.split.iterdir()) if p.is_dir() and p.name != "train"]
    common = [
        *("train", "--data=ImageFolder", "--data.image_size=32", "--data.interpolation=bilinear"),
        f"--data.test_folders={{{', '.join(f'{name}: {name}' for name in tests)}}}",
        *("--loader.batch_size=128", "--head.dim=256"),
        *("--model=TimmBackbone", f"--model.name={options.model}"),
        f"--train.accelerator={options.accelerator}",
    ]
    first = options.out / "first"
    succeed(
        *common,
        *(f"--data.root={options.split}", f"--data.num_classes={options.pretraining_classes}"),
        *(f"--train.epochs={options.pretraining_epochs}", f"--run.dir={first}"),
    )
    weights = backbone_of(first, options.out / "backbone.safetensors")
    others = other_classes(options.split, tests, first, options.classes, options.out / "others")
    file = f"--model.checkpoint_path={weights}"
    rows = []
    for name, own in {
        "from scratch": [],
        "pretrained, rate x 0.01": [file, "--model.lr_factor=0.01"],
        "pretrained, rate x 0.1 (default)": [file],
        "pretrained, rate x 1": [file, "--model.lr_factor=1"],
        "pretrained, frozen": [file, "--model.freeze=all"],
        "pretrained, first three groups frozen": [file, "--model.freeze=3"],
        "run.init": [f"--run.init={first}"],
        "run.init, rate x 0.1": [f"--run.init={first}", "--train.lr=2e-4"],
    }.items():
        folder = options.out / f"fine_{len(rows)}"
        where = (f"--data.root={others}", f"--run.dir={folder}")
        succeed(*common, *own, *where, f"--train.epochs={options.epochs}")
        record = RunRecord.read(folder)
        figures = [f"{100 * record.test[test].accuracy:.1f}" for test in tests]
        rows.append([name, *figures, f"{record.seconds_per_epoch:.1f}"])
    print(table(["", *tests, "s/epoch"], rows))


def backbone_of(run: Path, path: Path) -> Path:
    """The weights of a run's timm model as a file."""
    found = load_file(run / "model.safetensors")
    own = {k.removeprefix(BACKBONE): v for k, v in found.items() if k.startswith(BACKBONE)}
    save_file(own, path)
    return path


def other_classes(split: Path, tests: list[str], run: Path, number: int, folder: Path) -> Path:
    """A folder of links to classes that a run has not seen."""
    seen = {*load(run).names}
    names = sorted(p.name for p in (split / "train").iterdir() if p.name not in seen)[:number]
    for part in ("train", *tests):
        (folder / part).mkdir(parents=True)
        for name in names:
            if (split / part / name).is_dir():
                os.symlink((split / part / name).resolve(), folder / part / name)
    return folder


if __name__ == "__main__":
    main()
