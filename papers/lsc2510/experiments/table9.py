"""Table 9: parameters of ViT-S with and without a classifier layer.

With LSC they are 22 million whatever the number of classes; a classifier layer adds 384 for each
class (and a bias, which the paper leaves out): more than the network itself from 100,000 classes
on. Exact at both scales: the models are built, without memory for their weights, and counted.

    python -m papers.lsc2510 --only table9

Seconds on any machine; needs timm.
"""

from __future__ import annotations

import torch

from rootspace.classes import ClassMap
from rootspace.losses import CosineLoss
from rootspace.models import TimmBackbone, num_parameters
from rootspace.systems import RootA

from ..experiment import Criterion, Experiment, Job, Outcome, Part, Row
from ..training import linear_classifier

NUM_CLASSES = {"10": 10, "1000": 1000, "100k": 100_000, "1m": 1_000_000}
SETTINGS = {"model": "vit_small_patch16_224", "dim": 384}
MILLION = 1e6


def count(job: Job) -> Outcome:
    """Values: `lsc/N` and `ce/N`, millions of parameters of the network and its loss."""
    dim = job.settings["dim"]
    values = {}
    with torch.device("meta"):
        network = TimmBackbone(job.settings["model"], dim)
        for name, num_classes in NUM_CLASSES.items():
            values[f"ce/{name}"] = num_parameters(linear_classifier(dim, num_classes))
    for name, num_classes in NUM_CLASSES.items():
        classes = ClassMap(RootA(dim, interpolations=1), num_classes)
        values[f"lsc/{name}"] = num_parameters(CosineLoss(classes))
    own = num_parameters(network)
    return Outcome({name: (own + head) / MILLION for name, head in values.items()})


CONSTANT = Criterion(
    "LSC has as many parameters with 10 classes as with 1,000,000, 22 million rounded.",
    lambda f: (
        {round(f.mean("count", f"lsc/{name}"), 6) for name in NUM_CLASSES}
        == {round(f.mean("count", "lsc/10"), 6)}
        and round(f.mean("count", "lsc/10")) == 22
    ),
)
GROWS = Criterion(
    "The classifier's parameters grow by 384 and a bias for each class.",
    lambda f: all(
        abs(f.mean("count", f"ce/{name}") - f.mean("count", "lsc/10") - 385e-6 * number) < 1e-6
        for name, number in NUM_CLASSES.items()
    ),
)


def _row(number: int, method: str, name: str, paper: float) -> Row:
    words = {"lsc": "LSC", "ce": "classifier layer"}
    return Row(
        f"{words[method]}, {name} classes", "parameters, millions", paper,
        f"Table 9, exp. {number}", "count", f"{method}/{name}",
        CONSTANT if method == "lsc" else GROWS, digits=3,
    )  # fmt: skip


EXPERIMENT = Experiment(
    "table9",
    __doc__ or "",
    [Part("count", {"desk": SETTINGS, "paper": SETTINGS}, count, minutes=0.2)],
    [
        *(_row(i, "lsc", name, 22) for i, name in enumerate(NUM_CLASSES, 1)),
        *(
            _row(i, "ce", name, round(22 + 384 * number / MILLION, 3))
            for i, (name, number) in enumerate(NUM_CLASSES.items(), 5)
        ),
    ],
)
