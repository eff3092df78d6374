"""Classes added after training, without a gradient step: accuracy by their prototypes and by means.

    python benchmarks/new_classes.py RUN [--new 50] [--support 5] [--seed 0]

RUN is a run of `rootspace train` on characters with prototypes chosen from the data. Characters
that it has not seen get the free vector nearest to the mean of their pictures in some training
fonts; the old classes keep theirs. Pictures in the other fonts are then read among old and new
classes.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np
import torch
from _runs import all_characters, fonts_of, pictures
from torch import Tensor
from torch.nn.functional import normalize

from rootspace.data import DataModule
from rootspace.run import Run, load


def class_means(run: Run, data: DataModule, labels: Tensor, fonts: list[str]) -> Tensor:
    """`[len(labels), dim]` directions of the mean unit embeddings over these fonts."""
    total = torch.zeros(())
    for font in fonts:
        total = total + normalize(run.embed(pictures(data, labels, font)), dim=-1)
    return normalize(total, dim=-1)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("run", type=Path)
    parser.add_argument("--new", type=int, default=50, help="characters to add")
    parser.add_argument("--support", type=int, default=5, help="training fonts that show them")
    parser.add_argument("--seed", type=int, default=0, help="of their choice")
    options = parser.parse_args()
    run = load(options.run)
    if run.class_map is None:
        parser.error("the run has a learned head, which cannot be extended without training")
    data = all_characters(run)
    tests = list(data.test_datasets)
    train_fonts = [font for font in fonts_of(data) if font not in tests]
    number = {name: label for label, name in enumerate(data.class_names)}
    old = torch.tensor([number[name] for name in run.names])
    unseen = [label for name, label in number.items() if name not in set(run.names)]
    generator = np.random.default_rng(options.seed)
    new = torch.tensor(sorted(generator.choice(unseen, options.new, replace=False)))

    support = train_fonts[: options.support]
    new_means = class_means(run, data, new, support)
    names = [data.class_names[int(label)] for label in new]
    classes = run.class_map.extend_assigned(new_means, names)
    every_mean = torch.cat([class_means(run, data, old, train_fonts), new_means])
    groups = {"other training fonts": train_fonts[options.support :]}
    groups |= {font: [font] for font in tests}
    rows = []
    for group, some in groups.items():
        for kind, labels, first in (("new", new, len(old)), ("old", old, 0)):
            answers = torch.arange(first, first + len(labels))
            by_vector = by_mean = 0.0
            for font in some:
                z = run.embed(pictures(data, labels, font))
                by_vector += float((classes.predict(z).label[:, 0] == answers).float().mean())
                nearest = (normalize(z, dim=-1) @ every_mean.T).argmax(dim=-1)
                by_mean += float((nearest == answers).float().mean())
            rows.append(
                {
                    "fonts": group,
                    "classes": kind,
                    "images": len(labels) * len(some),
                    "by_vector": by_vector / len(some),
                    "by_class_mean": by_mean / len(some),
                }
            )
    print(json.dumps(rows, indent=2, ensure_ascii=False))


if __name__ == "__main__":
    main()
