"""Prototypes that follow the network, and learned heads, on emoji of vendors nobody trained on.

    python benchmarks/emoji.py FOLDER                      # the data, once
    python benchmarks/emoji_heads.py FOLDER [--splits report_a report_b] [--epochs 15 40]
        [--methods prototypes softmax linear] [--seeds 0 1 2] [--plain] [--out runs/emoji]

A loop by hand with one network (encoder of width 16, 32 x 32 pixels), batches of 256, AdamW with
50 steps of warm-up and a cosine down to zero, bfloat16 where the CPU has it, and mild augmentation
drawn for whole batches (`mild`: what `rootspace.data.Mild` draws for single images); `--plain`
leaves it out. All read test pictures by class vectors alone. Methods:

    prototypes   `PrototypeHead` as it is by default: contrastive, chosen, following, refined
    held         the same, prototypes held between the choices
    late         the same as `prototypes`, chosen after two fifths of the epochs instead of a tenth
    softmax      `NormalizedHead`, scale 16, its vectors at thirty times the rate
    softmax_10   the same with scale 10
    linear       `LinearHead`
    resnet       what a plain loop would have: timm's ResNet of 1.0 M parameters, a block a stage,
                 its first convolution 3 x 3 without stride, and a linear layer

A line a run goes to OUT/results.jsonl; runs that are there are not made again. About 8 s an epoch
on a core with bfloat16, five times as long without.
"""

from __future__ import annotations

import argparse
import json
import math
import statistics
import time
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import timm
import torch
from _common import table
from PIL import Image
from torch import Tensor, nn
from torch.nn.functional import affine_grid, grid_sample

import rootspace as rs
from rootspace._cpu import has_bfloat16
from rootspace.heads import Head, LinearHead, NormalizedHead
from rootspace.models import Encoder

SIZE, WIDTH, DIM, BATCH, LR, WARMUP = 32, 16, 256, 256, 6e-3, 50
RESNET_LR, STEM, CHANNELS = 2e-3, 64, (24, 48, 96, 192)
MEAN, STD = (
    torch.tensor(values)[:, None, None] for values in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
)
TOGETHER = 500
"""Pictures that are embedded together, where nothing is learned."""

Pictures = dict[str, tuple[Tensor, Tensor]]
"""Set -> uint8 pictures `[N, 3, 32, 32]` and their labels `[N]`."""


@dataclass(frozen=True)
class Run:
    """What is trained.

    Attributes:
        split: folder of the data.
        method: of the docstring.
        epochs: of training.
        seed: of weights and order.
        augmented: by `mild`.
    """

    split: str
    method: str
    epochs: int
    seed: int
    augmented: bool


def read(folder: Path) -> Pictures:
    """The training pictures of a split, `train`, and its test sets."""
    names = sorted(path.name for path in (folder / "train").iterdir())
    found: Pictures = {}
    for part in sorted(path for path in folder.iterdir() if path.is_dir()):
        pictures, labels = [], []
        for label, name in enumerate(names):
            for file in sorted((part / name).glob("*")):
                with Image.open(file) as image:
                    small = image.convert("RGB").resize((SIZE, SIZE), Image.Resampling.BILINEAR)
                pictures.append(torch.from_numpy(np.array(small)).permute(2, 0, 1))
                labels.append(label)
        found[part.name] = torch.stack(pictures), torch.tensor(labels)
    return found


def mild(x: Tensor, generator: torch.Generator) -> Tensor:
    """Pictures in [0, 1] turned, scaled, shifted and colored a little, each on its own."""

    def draw(most: float = 1.0) -> Tensor:
        return most * (2 * torch.rand(len(x), generator=generator) - 1)

    def blend(image: Tensor, other: Tensor | float, factor: Tensor) -> Tensor:
        return ((image - other) * factor[:, None, None, None] + other).clamp(0, 1)

    angle, size = draw(math.radians(10)), 1 / (1 + draw(0.1))
    cosine, sine = size * torch.cos(angle), size * torch.sin(angle)
    across, down = draw(0.16), draw(0.16)  # 0.08 of a side, in halves of it
    rows = [torch.stack([cosine, -sine, across], -1), torch.stack([sine, cosine, down], -1)]
    grid = affine_grid(torch.stack(rows, -2), list(x.shape), align_corners=False)
    x = grid_sample(x, grid, padding_mode="border", align_corners=False)
    x = blend(x, 0.0, 1 + draw(0.2))
    x = blend(x, x.mean((1, 2, 3), keepdim=True), 1 + draw(0.2))
    gray = (x * torch.tensor([0.299, 0.587, 0.114])[:, None, None]).sum(1, keepdim=True)
    is_gray = torch.rand(len(x), generator=generator) < 0.1
    return blend(x, gray, torch.where(is_gray, 0.0, 1 + draw(0.2)))


def make_network(run: Run) -> nn.Module:
    if run.method != "resnet":
        return Encoder(DIM, 3, WIDTH)
    net = timm.create_model("resnet18", layers=(1, 1, 1, 1), channels=CHANNELS, num_classes=0)
    net.conv1 = nn.Conv2d(3, STEM, 3, padding=1, bias=False)
    return net


def make_head(run: Run, num_classes: int) -> Head:
    if run.method == "resnet":
        return LinearHead(num_classes, CHANNELS[-1])
    if run.method in ("softmax", "softmax_10"):
        scale = 16 if run.method == "softmax" else 10
        return NormalizedHead(num_classes, DIM, scale=scale, lr_factor=30)
    if run.method == "linear":
        return LinearHead(num_classes, DIM)
    return rs.PrototypeHead(num_classes, DIM, seed=run.seed)


def train(run: Run, data: Pictures) -> dict[str, float]:
    """Accuracy on each set, in percent, and the seconds of training."""
    torch.manual_seed(run.seed)
    generator = torch.Generator().manual_seed(run.seed)
    pictures, labels = data["train"]
    net = make_network(run)
    head = make_head(run, int(labels.max()) + 1)
    prototypes = head if isinstance(head, rs.PrototypeHead) else None
    lr, decay = (RESNET_LR, 1e-2) if run.method == "resnet" else (LR, 1e-5)
    groups: list[dict[str, object]] = [{"params": list(net.parameters())}]
    if list(head.parameters()):
        groups.append({"params": list(head.parameters()), "lr": lr * head.lr_factor})
    optimizer = torch.optim.AdamW(groups, lr=lr, weight_decay=decay)
    sampler = rs.ClassBatchSampler(
        labels,
        BATCH,
        per_class=2 if head.needs_pairs else 1,
        similar=prototypes,
        seed=run.seed,
    )
    steps = run.epochs * len(sampler)
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer,
        lambda step: (
            (step + 1) / WARMUP
            if step < WARMUP
            else 0.5 * (1 + math.cos(math.pi * (step - WARMUP) / max(1, steps - WARMUP)))
        ),
    )

    def embed(x: Tensor) -> Tensor:
        with torch.autocast("cpu", torch.bfloat16, enabled=has_bfloat16()):
            return net((x - MEAN) / STD).float()

    plain = [
        (part / 255, own)
        for part, own in zip(pictures.split(TOGETHER), labels.split(TOGETHER), strict=True)
    ]
    share = 0.4 if run.method == "late" else 0.1
    first, started = max(1, round(share * run.epochs)), time.perf_counter()
    follow = run.method != "held"

    def choose(refine: int) -> None:
        assert prototypes is not None
        net.eval()
        rs.choose_prototypes(prototypes, embed, plain, refine=refine, follow=follow)
        net.train()

    for epoch in range(run.epochs):
        if prototypes is not None and epoch == first:
            choose(0)
        if prototypes is not None:
            prototypes.catch_up()  # for the sampler
        for batch in sampler:
            x = pictures[batch] / 255
            loss = head(embed(mild(x, generator) if run.augmented else x), labels[batch])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
    if prototypes is not None:
        choose(8)
    found = {"seconds": round(time.perf_counter() - started, 1)}
    net.eval()
    head.eval()
    with torch.no_grad():
        for name, (test, own) in data.items():
            z = torch.cat([embed(part / 255) for part in test.split(TOGETHER)])
            right = head.predict(z).label[:, 0] == own
            found[name] = round(100 * float(right.float().mean()), 2)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--splits", nargs="+", default=["report_a", "report_b"])
    parser.add_argument("--methods", nargs="+", default=["prototypes", "softmax", "linear"])
    parser.add_argument("--epochs", nargs="+", type=int, default=[15, 40])
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--plain", action="store_true", help="no augmentation")
    parser.add_argument("--out", type=Path, default=Path("runs", "emoji"))
    options = parser.parse_args()
    torch.set_num_threads(1)
    options.out.mkdir(parents=True, exist_ok=True)
    file = options.out / "results.jsonl"
    lines = file.read_text().splitlines() if file.exists() else []
    results = {Run(**row["run"]): row["result"] for row in map(json.loads, lines)}
    shown: list[Run] = []
    for split in options.splits:
        data = read(options.folder / split)
        for epochs in options.epochs:
            for seed in options.seeds:
                for method in options.methods:
                    run = Run(split, method, epochs, seed, not options.plain)
                    shown.append(run)
                    if run not in results:
                        results[run] = train(run, data)
                        line = json.dumps({"run": asdict(run), "result": results[run]})
                        with file.open("a") as out:
                            out.write(line + "\n")
                        print(line, flush=True)
    print(_table({run: results[run] for run in shown}))


def _table(results: dict[Run, dict[str, float]]) -> str:
    """Mean and standard deviation over the seeds."""
    rows: dict[tuple[str, int, str], list[dict[str, float]]] = {}
    for run, found in results.items():
        rows.setdefault((run.split, run.epochs, run.method), []).append(found)
    cells = []
    for (split, epochs, method), found in rows.items():
        accuracies = []
        for name in found[0]:
            values = [one[name] for one in found]
            spread = f" ± {statistics.stdev(values):.1f}" if len(values) > 1 else ""
            accuracies.append(f"{name} {statistics.mean(values):.1f}{spread}")
        cells.append([split, str(epochs), method, str(len(found)), ", ".join(accuracies)])
    return table(["split", "epochs", "method", "seeds", "accuracy, %, and seconds"], cells)


if __name__ == "__main__":
    main()
