"""Section 6.6: vectors from a first stage of training that has none (SSL-LSC).

The paper proposes, without having tried it: train without class vectors first, take class means,
give each class the vector nearest to its mean, and go on with LSC; this should speed LSC up. Here
the first stage is a supervised contrastive loss (`prototypes.source: data`, two of five epochs)
with A_384 and with the library's own choice, a `PermutationCode`; against A_nr of Table 7 after as
many epochs in all.

At a desk: 1,000 characters, the encoder of width 16, 20 epochs, rate 1e-3.

    python -m papers.lsc2510 --only sec6_6
    python -m papers.lsc2510 --only sec6_6 --scale paper --data DIR

Hardware: two cores; at paper scale one GPU (days). To be expected: more accurate on faces that were
not trained on than with random vectors.
"""

from __future__ import annotations

from ..experiment import Chart, Criterion, Experiment, Row, Scale, Settings
from ..settings import settings
from ..training import training
from .table7 import DIM, EPOCHS

RANDOM = "table7/anr"


def chosen(system: str | None):
    def make(scale: Scale) -> Settings:
        return settings(scale, data="i1k", model="vit_s", dim=DIM, system=system,
                        prototypes={"source": "data"}, epochs=EPOCHS[scale])  # fmt: skip

    return make


def better(name: str) -> Criterion:
    return Criterion(
        f"Test accuracy of '{name}' is above that of A_nr with random vectors.",
        lambda f: f.mean(name, "test_accuracy") > f.mean(RANDOM, "test_accuracy"),
    )


EXPERIMENT = Experiment(
    "sec6_6",
    __doc__ or "",
    [
        training("roots", chosen(f"RootA({DIM})"), minutes=4.0, needs=[RANDOM]),
        training("code", chosen(None), minutes=4.0, needs=[RANDOM]),
    ],
    [
        Row("nearest roots of A_384", "test accuracy, %", "faster (proposed)", "Sec. 6.6", "roots",
            "test_accuracy", better("roots")),
        Row("nearest code", "test accuracy, %", "", "Sec. 6.6", "code", "test_accuracy",
            better("code")),
        Row("random roots (A_nr of Table 7)", "test accuracy, %", "", "Sec. 6.6", RANDOM,
            "test_accuracy", better("roots")),
    ],
    charts=[
        Chart("Test accuracy", "test_accuracy",
              {RANDOM: "random roots", "roots": "nearest roots", "code": "nearest code"}),
    ],
)  # fmt: skip
