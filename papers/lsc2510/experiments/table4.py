"""Table 4 and Figure 5: mean embeddings of a classifier as targets, with labels mixed or not.

An encoder with three dimensions learns ten classes with cross-entropy; then two fresh encoders
without a classifier layer learn to put images on the first one's mean embeddings (CEembs), one on
those of their own classes and one on those of other classes. All three reach about the same
training accuracy; mixed labels take longer.

At a desk: 10,000 pictures of Fashion-MNIST for CINIC-10, the encoder of width 8, 20 epochs.

    python -m papers.lsc2510 --only table4
    python -m papers.lsc2510 --only table4 --scale paper --data DIR

Hardware: two cores; at paper scale one GPU. To be expected: 96, 95 and 95 % of the training images.
"""

from __future__ import annotations

import statistics
from collections.abc import Mapping

from ..experiment import Chart, Criterion, Experiment, Scale, Settings, training_accuracy
from ..measures import MEANS, MIXED, means_picture, save_means
from ..settings import settings
from ..training import training

EPOCHS: Mapping[Scale, int] = {"desk": 20, "paper": 60}


def classifier(scale: Scale) -> Settings:
    return settings(scale, data="cinic", model="encoder", dim=3, learned=True, epochs=EPOCHS[scale])


def matching(file: str):
    def make(scale: Scale) -> Settings:
        targets = {"source": "file", "vectors": f"{{ce}}/{file}"}
        return settings(
            scale, data="cinic", model="encoder", dim=3, system="Table", prototypes=targets,
            epochs=EPOCHS[scale],
        )  # fmt: skip

    return make


def chosen(scale: Scale) -> Settings:
    return settings(
        scale, data="cinic", model="encoder", dim=3, system="Sphere(3, 1000)",
        prototypes={"source": "data"}, loss=None,
        epochs=EPOCHS[scale],
    )  # fmt: skip


SAME = Criterion(
    "CEembs end within 5 points of the training accuracy of cross-entropy.",
    lambda f: f.mean("ceembs") >= f.mean("ce") - 5,
)
MIXED_SAME = Criterion(
    "Mixed labels end within 5 points of the training accuracy of CEembs.",
    lambda f: f.mean("mixed") >= f.mean("ceembs") - 5,
)
SLOWER = Criterion(
    "The training accuracy of mixed labels, averaged over all epochs, is below that of CEembs.",
    lambda f: (
        statistics.mean(f.curve("mixed", "train_accuracy"))
        < statistics.mean(f.curve("ceembs", "train_accuracy"))
    ),
)
EXPERIMENT = Experiment(
    "table4",
    __doc__ or "",
    [
        training("ce", classifier, minutes=1.5, after=[save_means, means_picture]),
        training("ceembs", matching(MEANS), minutes=1.5, needs=["ce"]),
        training("mixed", matching(MIXED), minutes=1.5, needs=["ce"]),
        training("chosen", chosen, minutes=1.5),
    ],
    [
        training_accuracy("Table 4, exp. 1", "cross-entropy", 96, "ce", SAME),
        training_accuracy("Table 4, exp. 2", "CEembs", 95, "ceembs", SAME,
            chosen="chosen"),
        training_accuracy("Table 4, exp. 3", "CEembs, mixed", 95, "mixed", MIXED_SAME),
        training_accuracy("Fig. 5", "CEembs, mixed: slower", "", "mixed", SLOWER),
    ],
    figures=[
        Chart(
            "Fig. 5: training speed",
            "train_accuracy",
            {"ce": "cross-entropy", "ceembs": "CEembs", "mixed": "CEembs, mixed"},
        )
    ],
)  # fmt: skip
