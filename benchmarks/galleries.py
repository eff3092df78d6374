"""A better network against the embeddings that an older one has stored: no new index?

    python benchmarks/galleries.py [--quick] [--out runs/galleries] [--seeds 0 1 2]

A small network and a larger one learn the same characters, in the fonts of matplotlib. The gallery
is one test font as the small one embeds it, queries are the other test font, and an answer is right
if the nearest picture of the gallery shows the same character. Compatible networks find more with
the larger network's queries than with the small one's, in the gallery as it is (the criterion of
backward-compatible training, BCT, arXiv 2003.11942). Some characters no network has seen.

Upgrades: towards the prototypes of the old run (`rootspace distill`); the same network on its own,
with prototypes chosen from the data and with a learned normalized softmax; BCT: a learned softmax,
and beside it the loss against the old rows of weights, which stay as they are.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from _common import table
from _runs import all_characters, pictures, results_folder, succeed
from torch import Tensor
from torch.nn.functional import cross_entropy, normalize

from rootspace._cpu import has_bfloat16
from rootspace.building import make_embedder
from rootspace.data import make_data
from rootspace.heads import NormalizedHead
from rootspace.model_file import Model
from rootspace.run import Run, load
from rootspace.runs.folder import LAST, is_finished, read_config
from rootspace.train.training import fit

Row = dict[str, Any]
LEARNED = ("--head=NormalizedHead", "--head.dim=256")


@dataclass
class Size:
    """How much is trained."""

    classes: int = 2000
    image_size: int = 32
    old_width: int = 8
    new_width: int = 16
    batch_size: int = 256
    old_epochs: int = 5
    new_epochs: int = 7


QUICK = Size(40, 16, 2, 4, 64, 2, 2)


class BCTHead(NormalizedHead):
    """Backward-compatible training: the classification loss, and the same with the old weights.

    Args:
        old: the head of the run to be compatible with.
    """

    old: Tensor

    def __init__(self, old: NormalizedHead) -> None:
        super().__init__(
            old.num_classes, old.dim, names=old.names, scale=old.scale, lr_factor=old.lr_factor
        )
        # Not a part of the run: what reads it knows the learned head alone.
        self.register_buffer("old", normalize(old.weight.detach(), dim=-1), persistent=False)

    def forward(
        self, embeddings: Tensor, labels: Tensor, *, targets: Tensor | None = None
    ) -> Tensor:
        z = normalize(embeddings.float(), dim=-1)
        influence = cross_entropy(self.scale * z @ self.old.T, labels)
        return super().forward(embeddings, labels, targets=targets) + influence


def train(folder: Path, size: Size, seed: int, old: bool, *changes: str) -> None:
    """A run of `rootspace train`, or of `distill` with a teacher, unless the folder holds it."""
    if is_finished(folder):
        return
    arguments = [
        "distill" if any(change.startswith("--teacher") for change in changes) else "train",
        f"--run.dir={folder}",
        "--data=Characters",
        f"--data.num_classes={size.classes}",
        f"--data.image_size={size.image_size}",
        f"--loader.batch_size={size.batch_size}",
        f"--model.width={size.old_width if old else size.new_width}",
        f"--train.epochs={size.old_epochs if old else size.new_epochs}",
        f"--train.seed={seed}",
        f"--train.precision={'bf16' if has_bfloat16() else '32'}",
        *changes,
    ]
    if (folder / LAST).exists():
        arguments.append("--resume")
    succeed(*arguments)


def train_bct(folder: Path, alone: Path, old: Path, seed: int) -> None:
    """The run `alone` again, with BCT's loss towards the old one."""
    if is_finished(folder):
        return
    folder.mkdir(parents=True, exist_ok=True)
    config = read_config(alone)
    config = replace(config, run=replace(config.run, dir=str(folder)))
    data = make_data(config)
    data.setup()
    torch.manual_seed(seed)
    old_head = load(old).model.head
    assert isinstance(old_head, NormalizedHead)
    head = BCTHead(old_head)
    embedder = make_embedder(config.model, head.dim, data.preprocessing)
    fit(config, folder, data, Model(embedder, head, data.preprocessing), resume=True)


def upgrades(out: Path, size: Size, seed: int) -> dict[str, tuple[Path, Path]]:
    """Old and new run of each method, trained if they are not there."""

    def run(name: str, old: bool, *changes: str) -> Path:
        folder = out / f"{name}_{seed}"
        train(folder, size, seed if old else seed + 1000, old, *changes)
        return folder

    chosen, learned = run("prototypes_old", True), run("learned_old", True, *LEARNED)
    alone = run("learned_alone", False, *LEARNED)
    bct = out / f"bct_{seed}"
    train_bct(bct, alone, learned, seed + 1000)
    return {
        "prototypes of the old run": (
            chosen,
            run("prototypes_same", False, f"--teacher.run={chosen}"),
        ),
        "prototypes, alone": (chosen, run("prototypes_alone", False)),
        "learned softmax, BCT": (learned, bct),
        "learned softmax, alone": (learned, alone),
    }


def evaluate(old: Run, new: Run) -> Row:
    """Shares of right answers, of characters that the networks have seen and of others."""
    data = all_characters(old)
    gallery_font, query_font = list(data.test_datasets)[:2]
    known = set(old.names)
    seen = torch.tensor([name in known for name in data.class_names])
    images = [pictures(data, torch.arange(len(seen)), f) for f in (gallery_font, query_font)]
    stored, asked = (
        {key: normalize(run.embed(some), dim=-1) for key, run in (("old", old), ("new", new))}
        for some in images
    )
    row: Row = {"classes": len(old.names), "pictures": len(seen)}
    for queries, gallery in (("old", "old"), ("new", "old"), ("new", "new")):
        found = (asked[queries] @ stored[gallery].T).argmax(dim=-1)
        right = (found == torch.arange(len(seen))).float()
        for kind, some in (("seen", seen), ("unseen", ~seen)):
            row[f"{kind} {queries} in {gallery}"] = float(right[some].mean())
    return row


def report(rows: Sequence[Row]) -> str:
    """A line a method and kind of characters, %; the mean of the seeds."""
    pairs = ("old in old", "new in old", "new in new")
    lines = []
    for method in dict.fromkeys(row["method"] for row in rows):
        for kind in ("seen", "unseen"):
            values = [
                [row[f"{kind} {pair}"] for row in rows if row["method"] == method] for pair in pairs
            ]
            lines.append([method, kind, *(f"{100 * np.mean(v):.1f}" for v in values)])
    return table(["method", "characters", *pairs], lines)


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path("runs/galleries"))
    parser.add_argument("--quick", action="store_true", help="small networks, under a minute")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    options = parser.parse_args(arguments)
    size = QUICK if options.quick else Size()
    results_folder(options.out, size)
    rows: list[Row] = []
    for seed in options.seeds:
        for method, (old, new) in upgrades(options.out, size, seed).items():
            rows.append({"method": method, "seed": seed, **evaluate(load(old), load(new))})
    (options.out / "galleries.json").write_text(json.dumps(rows, indent=1), encoding="utf-8")
    text = report(rows)
    (options.out / "galleries.md").write_text(text + "\n", encoding="utf-8")
    print(text)


if __name__ == "__main__":
    main(sys.argv[1:])
