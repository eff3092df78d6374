"""Section 6.4: a Gaussian distribution within classes.

Matching mean and standard deviation within a class with those of a Gaussian around its vector, or
the Kullback-Leibler divergence between the two, brings no tangible improvement over the cosine loss
alone. The paper gives no numbers.

At a desk: 10,000 pictures of Fashion-MNIST, A_9, the encoder of width 16, 8 epochs, rate 1e-3, a
target deviation of 0.05 a coordinate; scale paper takes CINIC-10.

    rootspace reproduce --only sec6_4
    rootspace reproduce --only sec6_4 --scale paper --data DIR

Hardware: two cores; at paper scale one GPU. To be expected: equal accuracies within two points.
"""

from __future__ import annotations

from .._experiment import Criterion, Experiment, Part, Row, Scale, Settings
from .._settings import settings
from .._training import training

EPOCHS: dict[Scale, int] = {"desk": 8, "paper": 50}
LOSSES: dict[str, Settings] = {
    "cosine": {"name": "cosine"},
    "moments": {"name": "gaussian", "match": "moments", "std": 0.05},
    "kld": {"name": "gaussian", "match": "kld", "std": 0.05, "weight": 0.1},
}


def part(name: str) -> Part:
    def make(scale: Scale) -> Settings:
        return settings(
            scale, data="cinic", model="encoder", epochs=EPOCHS[scale],
            classes={"system": "RootA(9)"}, loss=LOSSES[name],
        )  # fmt: skip

    return training(name, make, minutes=1.4)


def no_better(name: str) -> Criterion:
    return Criterion(
        f"Test accuracy with the term '{name}' is at most 2 points above that without.",
        lambda f: f.mean(name, "test_accuracy") <= f.mean("cosine", "test_accuracy") + 2,
    )


BASE = Criterion(
    "The cosine loss alone reaches 50 % of the test images.",
    lambda f: f.mean("cosine", "test_accuracy") >= 50,
)
COLUMN = "test accuracy, %"

EXPERIMENT = Experiment(
    "sec6_4",
    __doc__ or "",
    [part(name) for name in LOSSES],
    [
        Row("cosine", COLUMN, "", "Sec. 6.4", "cosine", "test_accuracy", BASE),
        Row("cosine + mean and deviation", COLUMN, "no improvement", "Sec. 6.4", "moments",
            "test_accuracy", no_better("moments")),
        Row("cosine + KLD", COLUMN, "no improvement", "Sec. 6.4", "kld", "test_accuracy",
            no_better("kld")),
    ],
)  # fmt: skip
