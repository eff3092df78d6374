"""Section 6.5: distillation by a teacher's mean embeddings.

A smaller network is trained to put images on the mean embeddings of a larger one, which need to be
taken only once. The paper's student, an encoder of 9 million parameters, learns from ViT-S (22
million, experiment 3 of Table 7) and performs similarly. The paper gives no numbers.

At a desk the teacher is that of Table 7 (`PatchNetwork`, 1,000 characters), the student the encoder
of width 8, 15 epochs. "Nearest code" gives each class the vector of a `PermutationCode` that is
nearest to its mean, as `prototypes.source: teacher` does by itself, instead of the mean.

    python -m papers.lsc2510 --only sec6_5
    python -m papers.lsc2510 --only sec6_5 --scale paper --data DIR

Hardware: two cores; at paper scale one GPU (days). To be expected: the student is close to its
teacher.
"""

from __future__ import annotations

from ..experiment import Bars, Criterion, Experiment, Row, Scale, Settings
from ..measures import MEANS
from ..settings import settings
from ..training import training
from .table7 import DIM

EPOCHS: dict[Scale, int] = {"desk": 15, "paper": 100}

TEACHER = "table7/ce"


def student(prototypes: Settings, system: str | None = None):
    def make(scale: Scale) -> Settings:
        return settings(
            scale, data="i1k", model="encoder", dim=DIM, epochs=EPOCHS[scale], system=system,
            prototypes=prototypes,
        )  # fmt: skip

    return make


BY_MEANS: Settings = {"source": "file", "vectors": f"{{{TEACHER}}}/{MEANS}"}
BY_CODES: Settings = {"source": "teacher", "teacher": f"{{{TEACHER}}}"}


def similar(name: str) -> Criterion:
    return Criterion(
        f"The student '{name}' ends within 10 points of the training accuracy of its teacher.",
        lambda f: f.mean(name) >= f.mean(TEACHER) - 10,
    )


SMALLER = Criterion(
    "The student has at most half of the parameters of its teacher, without the classifier layer.",
    lambda f: (
        f.mean("means", "parameters")
        <= 0.5 * (f.mean(TEACHER, "parameters") - f.mean(TEACHER, "head_parameters"))
    ),
)

EXPERIMENT = Experiment(
    "sec6_5",
    __doc__ or "",
    [
        training("means", student(BY_MEANS, "Table"), minutes=1.5, needs=[TEACHER]),
        training("codes", student(BY_CODES), minutes=1.5, needs=[TEACHER]),
    ],
    [
        Row("teacher's means", "training accuracy, %", "similar to the teacher", "Sec. 6.5",
            "means", "train_accuracy", similar("means")),
        Row("nearest code", "training accuracy, %", "", "Sec. 6.5", "codes", "train_accuracy",
            similar("codes")),
        Row("student", "parameters", 9_000_000, "Sec. 6.5", "means", "parameters", SMALLER,
            digits=0),
    ],
    figures=[
        Bars(
            "Fig. 11: a student of a fifteenth of the parameters learns by its teacher's means",
            "training accuracy, %",
            {
                "teacher": (TEACHER, "train_accuracy"),
                "student, means": ("means", "train_accuracy"),
                "student, nearest codes": ("codes", "train_accuracy"),
            },
        )
    ],
)  # fmt: skip
