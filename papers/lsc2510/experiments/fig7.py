"""Figure 7: five classes, then nine, with the same network.

An encoder with two dimensions is trained on the first five classes of CINIC-10 with the distance
loss (6), then further on nine. Nothing in the network changes between the two; when training goes
on, images of the new classes lie somewhere between the clusters while the old clusters are
unaffected, and in the end all nine are where they should be (Sec. 5.1.1).

At a desk: 1,000 pictures of each class of Fashion-MNIST, 15 epochs on five classes, at a rate that
falls to zero; then one epoch on nine at a fifth of the paper's own rate of 1e-4, after which they
"begin", and 20 at 2e-3, falling again; width 8.

Figure 10 draws the scenario that this makes possible (Sec. 6.2): inference on the old classes goes
on while new ones are learned.

    python -m papers.lsc2510 --only fig7
    python -m papers.lsc2510 --only fig7 --scale paper --data DIR

Hardware: two cores; at paper scale one GPU. To be expected: old classes keep their accuracy.
"""

from __future__ import annotations

from collections.abc import Mapping

from ..experiment import Bars, Criterion, Experiment, Picture, Row, Scale, Settings
from ..measures import class_groups, space_picture
from ..settings import settings
from ..training import training
from .fig6 import EXACT, circle

OLD, ALL = 5, 9
"""Classes of the first stage, and of the second."""

DOUBLINGS = 2
"""Of the circle: 16 vectors, of which the first stage uses five."""

EPOCHS: Mapping[Scale, int] = {"desk": 15, "paper": 50}


def stage(
    num_classes: int,
    epochs: Mapping[Scale, int],
    init: str | None,
    train: Mapping[Scale, Settings] | None = None,
):
    own = {} if train is None else train

    def make(scale: Scale) -> Settings:
        return settings(
            scale, data="cinic", model="encoder", dim=2, epochs=epochs[scale],
            data_changes={"num_classes": num_classes}, init=init,
            train_changes={**EXACT, **own.get(scale, {})}, **circle(DOUBLINGS),
        )  # fmt: skip

    return make


ONE: Mapping[Scale, int] = {"desk": 1, "paper": 1}
ON: Mapping[Scale, Settings] = {"desk": {"lr": 2e-5, "schedule": "constant", "warmup_steps": 0}}
"""The first epoch on nine classes goes on with the rate that five have ended with, nearly zero."""
AGAIN: Mapping[Scale, Settings] = {"desk": {"lr": 2e-3}}
REST: Mapping[Scale, int] = {"desk": 20, "paper": EPOCHS["paper"] - 1}
MEASURES = [class_groups(OLD), space_picture]

KEPT_AT_ONCE = Criterion(
    "After the first epoch on nine classes, the old ones are within 5 points of their accuracy.",
    lambda f: f.mean("begins", "old_accuracy") >= f.mean("five", "old_accuracy") - 5,
)
KEPT = Criterion(
    "In the end the old classes are within 5 points of their accuracy before the new ones came.",
    lambda f: f.mean("nine", "old_accuracy") >= f.mean("five", "old_accuracy") - 5,
)
LEARNED = Criterion(
    "In the end the new classes are within 15 points of the accuracy of the old ones.",
    lambda f: f.mean("nine", "new_accuracy") >= f.mean("nine", "old_accuracy") - 15,
)
OLD_COLUMN = "accuracy on training images of old classes, %"
NEW_COLUMN = "accuracy on training images of new classes, %"

EXPERIMENT = Experiment(
    "fig7",
    __doc__ or "",
    [
        training("five", stage(OLD, EPOCHS, None), minutes=0.9, after=MEASURES),
        training("begins", stage(ALL, ONE, "{five}", ON), minutes=0.3, needs=["five"],
                 after=MEASURES),
        training("nine", stage(ALL, REST, "{begins}", AGAIN), minutes=1.8, needs=["begins"],
                 after=MEASURES),
    ],
    [
        Row("five classes trained", OLD_COLUMN, "", "Fig. 7a", "five", "old_accuracy", KEPT),
        Row("nine classes, begins", OLD_COLUMN, "unaffected", "Fig. 7b", "begins", "old_accuracy",
            KEPT_AT_ONCE),
        Row("nine classes, begins", NEW_COLUMN, "", "Fig. 7b", "begins", "new_accuracy", LEARNED),
        Row("nine classes, end", OLD_COLUMN, "unaffected", "Fig. 7c", "nine", "old_accuracy", KEPT),
        Row("nine classes, end", NEW_COLUMN, "learned", "Fig. 7c", "nine", "new_accuracy", LEARNED),
    ],
    figures=[
        Picture("Fig. 7: five classes, the beginning and the end of training on nine",
                ["five", "begins", "nine"]),
        Bars(
            "Fig. 10: accuracy on old classes while new ones come",
            "accuracy on training images, %",
            {
                "(a) old classes, trained": ("five", "old_accuracy"),
                "(b) old classes, the new ones begin": ("begins", "old_accuracy"),
                "(b) new classes": ("begins", "new_accuracy"),
                "(c) old classes, in the end": ("nine", "old_accuracy"),
                "(c) new classes": ("nine", "new_accuracy"),
            },
        ),
    ],
)  # fmt: skip
