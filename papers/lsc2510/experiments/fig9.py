"""Figure 9: the smallest dimension that holds the classes, against 384.

With the smallest A_n that has enough vectors with one interpolation (A_67 for 300,000 labels, A_85
for 600,000, A_109 for 1,281,000; Sec. 5.4), the training loss of the encoder falls considerably
faster than with A_384.

At a desk: 1,000 characters in ten faces, A_10 against A_384, both with one interpolation, the
encoder of width 8, 10 epochs.

    python -m papers.lsc2510 --only fig9
    python -m papers.lsc2510 --only fig9 --scale paper --data DIR

Hardware: two cores; at paper scale one GPU (days). To be expected: a lower loss in fewer
dimensions; at equal angles between vectors, losses of both can be compared.
"""

from __future__ import annotations

import statistics

from rootspace.planning import smallest_dim
from rootspace.systems import RootA

from ..experiment import Chart, Criterion, Experiment, Part, Row, Scale, Settings
from ..settings import settings
from ..training import training
from .table8 import LARGE_BATCH, SMALL

CLASSES: dict[Scale, int] = {"desk": 1000, "paper": 300_000}
EPOCHS: dict[Scale, int] = {"desk": 10, "paper": 50}
LARGE = 384


def smallest(num_classes: int) -> int:
    """n_min for so many classes, with one interpolation."""
    return smallest_dim(lambda n: RootA(n, interpolations=1), num_classes)


def part(name: str, dims: dict[Scale, int], minutes: float) -> Part:
    def make(scale: Scale) -> Settings:
        train: Settings = {"eval_every": EPOCHS[scale]}
        unique: Settings = {**LARGE_BATCH, "unique_labels": CLASSES[scale]}
        if scale == "paper":
            train = {**train, "lr": 1e-5}
        return settings(
            scale, data="i1k", model="encoder", epochs=EPOCHS[scale],
            system=f"RootA({dims[scale]}, interpolations=1)",
            data_changes=SMALL if scale == "paper" else None,
            loader_changes=unique if scale == "paper" else None,
            train_changes=train,
        )  # fmt: skip

    return training(name, make, minutes=minutes)


FASTER = Criterion(
    "The training loss in the smallest dimension is below that in 384, on average over all epochs "
    "and at the end.",
    lambda f: (
        statistics.mean(f.curve("smallest", "train_loss"))
        < statistics.mean(f.curve("large", "train_loss"))
        and f.mean("smallest", "train_loss") < f.mean("large", "train_loss")
    ),
)

EXPERIMENT = Experiment(
    "fig9",
    __doc__ or "",
    [
        part("smallest", {scale: smallest(count) for scale, count in CLASSES.items()}, 3.5),
        part("large", dict.fromkeys(CLASSES, LARGE), 4.0),
    ],
    [
        Row("smallest dimension", "training loss at the end", "faster", "Fig. 9", "smallest",
            "train_loss", FASTER, digits=4),
        Row("384 dimensions", "training loss at the end", "", "Fig. 9", "large", "train_loss",
            FASTER, digits=4),
    ],
    figures=[Chart("Fig. 9: training loss", "train_loss",
                  {"smallest": "smallest dimension", "large": "384 dimensions"})],
)  # fmt: skip
