"""Known characters against ones a run has not seen: which score tells them apart, and how well.

    rootspace train --config recipes/characters.yaml --data.num_classes 1500 --run.dir RUN
    python benchmarks/unknowns.py RUN [--unknown 1000] [--seed 0]

RUN is a run of `rootspace train` on some of the characters, with its baselines. In each test font
the known inputs are pictures of its characters and the unknown ones are pictures of others. Scores
of the run are held against those of its learned heads, above all against the maximum softmax
probability (arXiv 1610.02136) of the learned softmax as it was trained. Temperatures are fitted on
known inputs of another test font than the one that is scored.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from _runs import all_characters, pictures
from torch import Tensor
from torch.nn.functional import normalize

from rootspace.continual import KnownScore, fit_score
from rootspace.heads import LearnedHead
from rootspace.metrics import auroc, fpr_at_tpr
from rootspace.run import Run, load
from rootspace.runs.folder import BASELINES
from rootspace.systems import MAX_INDEX
from rootspace.train.training import title

K = 10
"""Classes that share a probability."""


@torch.no_grad()
def scores(run: Run, fitting: Tensor, z: Tensor) -> Iterator[tuple[str, Tensor]]:
    """Name and `[N]` values of every score of embeddings `[N, dim]`.

    Args:
        run: trained.
        fitting: `[C, dim]` embeddings of its classes in order, for the temperatures.
        z: `[N, dim]` embeddings to score.
    """
    head, classes = run.model.head, run.class_map
    labels = torch.arange(len(fitting))
    own = (normalize(fitting, dim=-1) * head.vectors(labels)).sum(-1)
    among, best = head.search(fitting, K), head.search(z, K)
    # Linear layers predict by logits: their largest cosine is that of the class predicted.
    yield "cosine", KnownScore()(best, z)
    found = fit_score("probability", among, fitting, labels, own)
    yield f"probability among {K}, fitted", found(best, z)
    if classes is not None and classes.capacity <= MAX_INDEX:
        found = fit_score("system_probability", among, fitting, labels, own, classes=classes)
        yield "probability in the system, fitted", found(best, z, classes)
        strict = KnownScore(reject_unassigned=True)
        yield "cosine, none without a class", strict(best, z, classes)
    if isinstance(head, LearnedHead):
        logits = head.logits(z)
        yield "maximum softmax probability", torch.softmax(logits.double(), -1).amax(-1)
        yield "maximum logit", logits.amax(-1)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("run", type=Path)
    parser.add_argument("--unknown", type=int, default=1000, help="unseen characters, at most")
    parser.add_argument("--seed", type=int, default=0, help="of their choice")
    options = parser.parse_args()
    run = load(options.run)
    data = all_characters(run)
    number = {name: label for label, name in enumerate(data.class_names)}
    known = [number[name] for name in run.names]
    unseen = sorted(set(number.values()) - set(known))
    tests = list(data.test_datasets)
    if not unseen:
        parser.error("the run has seen all characters: train with a smaller --data.num_classes")
    if len(tests) < 2:
        parser.error("the run has one test font: a second is needed to fit temperatures")
    chosen = np.random.default_rng(options.seed).permutation(unseen)[: options.unknown]
    learned = sorted(p for p in (options.run / BASELINES).glob("*") if p.is_dir())
    rows = []
    for folder in [options.run, *learned]:
        run = load(folder)
        print(f"{folder}: {title(run.config, run.model.head)}", file=sys.stderr)
        embedded = {
            font: [
                run.embed(pictures(data, torch.as_tensor(labels), font))
                for labels in (known, chosen)
            ]
            for font in tests
        }
        for font, other in zip(tests, [*tests[1:], tests[0]], strict=True):
            z, fitting = torch.cat(embedded[font]), embedded[other][0]
            answers = run.model.head.search(embedded[font][0]).label[:, 0]
            accuracy = float((answers == torch.arange(len(known))).float().mean())
            for name, values in scores(run, fitting, z):
                pair = values[: len(known)], values[len(known) :]
                rows.append(
                    {
                        "font": font,
                        "method": title(run.config, run.model.head),
                        "score": name,
                        "known": len(known),
                        "unknown": len(chosen),
                        "accuracy": accuracy,
                        "auroc": auroc(*pair),
                        "fpr95": fpr_at_tpr(*pair),
                    }
                )
    print(json.dumps(rows, indent=2, ensure_ascii=False))


if __name__ == "__main__":
    main()
