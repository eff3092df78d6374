"""Figure 6: vectors on a circle of radius 5 as targets of an encoder with two dimensions.

Four vectors at right angles, doubled by rotation until the classes fit (Sec. 5.1); the cluster
radius r_c of the distance loss (6), 1 for four classes, is halved with each doubling. Ten classes
were simple (97 % of the training images after 50 epochs), 84 took 400 epochs with the learning
rate reduced after the 200th (89 %).

At a desk: 10,000 pictures of Fashion-MNIST in 32 epochs; 84 characters in 100 + 100 epochs, at a
rate of 2e-3, then 1e-3 falling to zero; width 8.

    python -m papers.lsc2510 --only fig6
    python -m papers.lsc2510 --only fig6 --scale paper --data DIR

Hardware: two cores; at paper scale one GPU. To be expected: clusters in a circle, and 84 classes
harder than ten.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypedDict

from rootspace.systems import Circle

from ..experiment import Criterion, Experiment, Picture, Row, Scale, Settings
from ..measures import space_picture
from ..settings import settings, spec
from ..training import training

EPOCHS_OF_TEN: Mapping[Scale, int] = {"desk": 32, "paper": 50}
EPOCHS_OF_84: Mapping[Scale, int] = {"desk": 100, "paper": 200}
RADIUS = 5.0
"""Of the circle."""


class OnCircle(TypedDict):
    """Arguments of `settings`."""

    system: str
    prototypes: Settings
    loss: Settings


def circle(doublings: int) -> OnCircle:
    """Prototypes and loss on a circle of 4 * 2^doublings vectors."""
    system = Circle(doublings)
    return {
        "system": repr(system),
        "prototypes": {"order": "natural"},
        "loss": spec("losses.DistanceLoss", radius=system.cluster_radius(1.0), norm=RADIUS),
    }


# Half precision could not tell places within a cluster of radius 1/32 around length 5.
EXACT: Settings = {"precision": "32"}


def ten(scale: Scale) -> Settings:
    return settings(
        scale, data="cinic", model="encoder", dim=2, epochs=EPOCHS_OF_TEN[scale],
        train_changes=EXACT, **circle(2),
    )  # fmt: skip


RATES: Mapping[Scale, tuple[float, float]] = {"desk": (2e-3, 1e-3), "paper": (1e-4, 1e-5)}
"""Of 84 classes, before and after the reduction; at a desk the second falls to zero."""


def first(scale: Scale) -> Settings:
    return settings(
        scale, data="i1kp", model="encoder", dim=2, epochs=EPOCHS_OF_84[scale],
        train_changes={**EXACT, "lr": RATES[scale][0], "schedule": "constant"}, **circle(5),
    )  # fmt: skip


def second(scale: Scale) -> Settings:
    return settings(
        scale, data="i1kp", model="encoder", dim=2, epochs=EPOCHS_OF_84[scale],
        train_changes={**EXACT, "lr": RATES[scale][1]}, init="{first}", **circle(5),
    )  # fmt: skip


TRAINS = Criterion("Ten classes reach 80 % training accuracy.", lambda f: f.mean("ten") >= 80)
HARDER = Criterion(
    "84 classes reach half of the training images, and less than ten classes do.",
    lambda f: 50 <= f.mean("second") < f.mean("ten"),
)
COLUMN = "training accuracy, %"

EXPERIMENT = Experiment(
    "fig6",
    __doc__ or "",
    [
        training("ten", ten, minutes=3.5, after=[space_picture]),
        training("first", first, minutes=2.0),
        training("second", second, minutes=2.0, needs=["first"], after=[space_picture]),
    ],
    [
        Row("10 classes on a circle", COLUMN, 97, "Fig. 6a", "ten", "train_accuracy", TRAINS),
        Row("84 classes on a circle", COLUMN, 89, "Fig. 6b", "second", "train_accuracy", HARDER),
    ],
    figures=[
        Picture("Fig. 6: training images of ten and of 84 classes on a circle", ["ten", "second"])
    ],
)
