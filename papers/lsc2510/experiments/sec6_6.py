"""Section 6.6: vectors from a first stage of training that has none (SSL-LSC).

The paper proposes, without having tried it: train without class vectors first, take class means,
give each class the vector nearest to its mean, and go on with LSC; this should speed LSC up. Here
the first stage is a supervised contrastive loss, four of ten epochs; the cosine loss to the nearest
roots of A_384 alone follows. Against roots at random after as many epochs in all, and beside the
library's own way (`prototypes.source: data`): a `PermutationCode`, and its own stages and losses.

At a desk: 1,000 characters, `PatchNetwork`, 10 epochs.

    python -m papers.lsc2510 --only sec6_6
    python -m papers.lsc2510 --only sec6_6 --scale paper --data DIR

Hardware: two cores; at paper scale one GPU (days). To be expected: more accurate on faces that were
not trained on than with random vectors.
"""

from __future__ import annotations

from ..experiment import Chart, Criterion, Experiment, Part, Row, Scale, Settings
from ..settings import COSINE, settings
from ..training import training
from .table7 import DIM

EPOCHS: dict[Scale, int] = {"desk": 10, "paper": 20}
NEAREST: Settings = {"source": "data", "after": 0.4, "again": "never", "refine": 0}
ROOTS = f"RootA({DIM})"


def part(
    name: str, system: str | None, prototypes: Settings, loss: Settings | None, minutes: float
) -> Part:
    def make(scale: Scale) -> Settings:
        return settings(
            scale, data="i1k", model="vit_s", dim=DIM, system=system, loss=loss,
            prototypes=prototypes, epochs=EPOCHS[scale], train_changes={"eval_every": 1},
        )  # fmt: skip

    return training(name, make, minutes=minutes)


def better(name: str) -> Criterion:
    return Criterion(
        f"Test accuracy of '{name}' is above that with random roots after as many epochs.",
        lambda f: f.mean(name, "test_accuracy") > f.mean("random", "test_accuracy"),
    )


COLUMN = "test accuracy, %"

EXPERIMENT = Experiment(
    "sec6_6",
    __doc__ or "",
    [
        part("random", ROOTS, {"source": "formula"}, COSINE, 0.6),
        part("roots", ROOTS, NEAREST, COSINE, 0.8),
        part("code", None, {"source": "data"}, None, 0.8),
    ],
    [
        Row("nearest roots of A_384", COLUMN, "faster (proposed)", "Sec. 6.6", "roots",
            "test_accuracy", better("roots"), chosen="code"),
        Row("nearest code", COLUMN, "", "Sec. 6.6", "code", "test_accuracy", better("code")),
        Row("random roots", COLUMN, "", "Sec. 6.6", "random", "test_accuracy", better("roots")),
    ],
    figures=[
        Chart("Fig. 12: test accuracy with prototypes at random and from a first stage",
              "test_accuracy",
              {"random": "random roots", "roots": "nearest roots", "code": "nearest code"}),
    ],
)  # fmt: skip
