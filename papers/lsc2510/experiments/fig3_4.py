"""Figures 3 and 4: how the embeddings of a classifier are distributed.

Mean embeddings of classes are well separated in three dimensions; with more classes they come
closer to each other (Sec. 4.2), and while training on 84 classes goes on they spread out over all
of the space: from crumbled together at 17 % training accuracy after one epoch to 96 % after 60.

At a desk: the encoder of Table 4 for Fig. 3, and 84 characters for the part of ImageNet, width 8.
The rate falls to zero within each of the runs of 1, 5 and 60 epochs.

    python -m papers.lsc2510 --only fig3_4
    python -m papers.lsc2510 --only fig3_4 --scale paper --data DIR

Hardware: two cores; at paper scale one GPU. To be expected: accuracy and distances grow with the
epochs.
"""

from __future__ import annotations

import numpy as np
import torch

from ..experiment import Criterion, Experiment, Job, Outcome, Part, Picture, Row, Scale, Settings
from ..measures import MEANS, distances, means_picture, save_means
from ..settings import settings
from ..training import training

TEN: Settings = {"means": f"{{table4/ce}}/{MEANS}"}


def ten(job: Job) -> Outcome:
    """Distances of the means of ten classes."""
    return Outcome(distances(torch.from_numpy(np.load(job.settings["means"]))))


def classifier(epochs: int):
    def make(scale: Scale) -> Settings:
        return settings(scale, data="i1kp", model="encoder", dim=3, learned=True, epochs=epochs)

    return make


FEWER_FARTHER = Criterion(
    "Ten classes have a larger mean cosine distance between pairs, and to the nearest, than 84.",
    lambda f: all(
        f.mean("ten", name) > f.mean("epochs60", name)
        for name in ("pair_distance", "nearest_distance")
    ),
)
SPREADS = Criterion(
    "Training accuracy and the distance to the nearest other class both grow from epoch 1 to 60.",
    lambda f: all(
        f.mean("epochs1", name) < f.mean("epochs60", name)
        for name in ("train_accuracy", "nearest_distance")
    ),
)
PAIR, NEAREST = "mean cosine distance of pairs", "mean cosine distance to the nearest"
ACCURACY = "training accuracy, %"


def _snapshot(epochs: int, accuracy: float, panel: str) -> list[Row]:
    name, where = f"epochs{epochs}", f"Fig. 4{panel}"
    setting = f"84 classes, epoch {epochs}"
    return [
        Row(setting, ACCURACY, accuracy, where, name, "train_accuracy", SPREADS),
        Row(setting, NEAREST, "", where, name, "nearest_distance", SPREADS, digits=4),
    ]


EXPERIMENT = Experiment(
    "fig3_4",
    __doc__ or "",
    [
        Part("ten", {"desk": TEN, "paper": TEN}, ten, 0.05, ("table4/ce",)),
        *(
            training(f"epochs{epochs}", classifier(epochs), minutes=minutes,
                     after=[save_means, means_picture])
            for epochs, minutes in ((1, 0.2), (5, 0.2), (60, 0.7))
        ),
    ],
    [
        Row("10 classes", PAIR, "", "Fig. 3", "ten", "pair_distance", FEWER_FARTHER, digits=4),
        Row("10 classes", NEAREST, "", "Fig. 3", "ten", "nearest_distance", FEWER_FARTHER,
            digits=4),
        Row("84 classes", PAIR, "", "Sec. 4.2", "epochs60", "pair_distance", FEWER_FARTHER,
            digits=4),
        *_snapshot(1, 17, "a"),
        *_snapshot(5, 35, "b"),
        *_snapshot(60, 96, "c"),
    ],
    figures=[
        Picture("Fig. 3: mean embeddings of ten classes", ["table4/ce"]),
        Picture("Fig. 4: mean embeddings of 84 classes after 1, 5 and 60 epochs",
                ["epochs1", "epochs5", "epochs60"]),
    ],
)  # fmt: skip
