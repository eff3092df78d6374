"""Table 8: every image a class of its own.

Images of ImageNet-1K under labels of their own, on the roots of A_384 in random order: ViT-S reads
99 % of 10,000 and 92.8 % of 147,000 of them after training. For 300,000 and more one interpolation
adds vectors, the learning rate is 1e-5, images are of 32 x 32 pixels and the encoder reads 91.4 %
of 300,000 to 87.1 % of 1,281,000.

At a desk: different pictures without a download (`ManyPictures`: Fashion-MNIST, then Han characters
in all faces of Debian's packages, then variants of these), `PatchNetwork` with 1,024 hidden
channels, from 100,000 labels on 2,048, for 300,000 8,192 and for more 4,096, AdamW at 3e-3
falling to zero, batches of 500. From 300,000 labels on A_384 with one interpolation (Sec. 5.4), and
accuracy on 20,000 of the images, drawn at random.

    python -m papers.lsc2510 --only table8
    python -m papers.lsc2510 --only table8 --scale paper --data DIR

Hardware: two cores and 4 GB; at paper scale one GPU (days). To be expected: the paper's accuracies
after as many epochs as it takes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from ..experiment import Criterion, Experiment, NotRun, Part, Row, Scale, Settings
from ..settings import changed, own_spec, settings
from ..training import training


@dataclass(frozen=True)
class Desk:
    """What stands for an experiment at a desk.

    Attributes:
        labels: images, each a class of its own.
        epochs: of training.
        hidden: width of the network's first linear layer.
        system: of vectors.
        minutes: expected.
    """

    labels: int
    epochs: int
    hidden: int
    system: str
    minutes: float


DESK = {
    "10k": Desk(10_000, 15, 1024, "RootA(384)", 0.7),
    "50k": Desk(50_000, 45, 1024, "RootA(384)", 7),
    "100k": Desk(100_000, 30, 2048, "RootA(384)", 15),
    "147k": Desk(147_000, 45, 2048, "RootA(384)", 25),
    "300k": Desk(300_000, 16, 8192, "RootA(384, interpolations=1)", 70),
    "600k": Desk(600_000, 6, 4096, "RootA(384, interpolations=1)", 28),
    "1281k": Desk(1_281_000, 6, 4096, "RootA(384, interpolations=1)", 60),
}
BATCH = 500

TESTED = 20_000
"""Of more images than 147,000, whose reading is a search, so many are read: to 0.4 points."""

PAPER = {"10k": 99, "50k": 98.1, "100k": 96.2, "147k": 92.8, "300k": 91.4, "600k": 89.2,
         "1281k": 87.1}  # fmt: skip
"""Training accuracy, %."""

SMALL: Settings = {"image_size": 32}
LARGE_BATCH: Settings = {"batch_size": 512}
"""ImageNet's images as the paper takes them for more than 147,000 labels."""

PAPER_EPOCHS = 100
MEASURE = "test_accuracy/train"
"""Of the network in evaluation mode, on the images it was trained on."""


def part(name: str, labels: int | str, interpolated: bool = False) -> Part:
    """A number of labels: `labels` at paper scale, those of `DESK` at a desk."""
    desk = DESK[name]

    def make(scale: Scale) -> Settings:
        if scale == "paper":
            return settings(
                "paper", data="i1k", model="encoder" if interpolated else "vit_s",
                epochs=PAPER_EPOCHS, system=_paper_system(interpolated),
                data_changes=SMALL if interpolated else None,
                loader_changes={"unique_labels": labels, **(LARGE_BATCH if interpolated else {})},
                train_changes={"lr": 1e-5} if interpolated else None,
            )  # fmt: skip
        found = settings(
            "desk", data="i1k", model="vit_s", epochs=desk.epochs, system=desk.system,
            loader_changes={
                "batch_size": BATCH,
                "unique_labels": "all",
                **({"unique_tests": TESTED} if interpolated else {}),
            },
            # The test set is the training images: once, at the end, is enough.
            train_changes={"eval_every": desk.epochs},
            model_changes={"hidden": desk.hidden},
        )  # fmt: skip
        return {**found, "data": own_spec("many.ManyPictures", count=desk.labels)}

    return training(name, make, minutes=desk.minutes)


FIRST = 20_000
"""Labels of the first stage, of pictures drawn from those of 300,000 labels."""

CHOSEN_DIM = 160
"""Of prototypes from the data: A_160 has a root for each label of the first stage."""


def first(scale: Scale) -> Settings | NotRun:
    """Sec. 6.6's first stage: a network learns to tell few of the pictures apart."""
    if scale == "paper":
        return NotRun("it is for a desk; at this scale sec6_6 chooses prototypes from the data")
    found = settings(
        "desk", data="i1k", model="vit_s", epochs=15, system=f"RootA({CHOSEN_DIM})",
        loader_changes={"batch_size": BATCH, "unique_labels": FIRST},
        train_changes={"eval_every": 15},
    )  # fmt: skip
    return {**found, "data": own_spec("many.ManyPictures", count=DESK["300k"].labels)}


def chosen(name: str, epochs: int, minutes: float) -> Part:
    """Each picture gets the code nearest to its embedding by the first stage's network."""

    def make(scale: Scale) -> Settings | NotRun:
        if scale == "paper":
            return NotRun("it is for a desk; at this scale sec6_6 chooses prototypes from the data")
        found = settings(
            "desk", data="i1k", model="vit_s", epochs=epochs, dim=CHOSEN_DIM, loss=None,
            prototypes={"source": "teacher", "teacher": "{first}"}, init="{first}",
            loader_changes={
                "batch_size": 1000,
                "unique_labels": "all",
                **({"unique_tests": TESTED} if name == "1281k" else {}),
            },
            train_changes={"eval_every": epochs},
        )  # fmt: skip
        # The frame of the first stage stays, whose network this one begins with.
        head = changed(found["head"], {"rotate": False})
        return {
            **found,
            "head": head,
            "data": own_spec("many.ManyPictures", count=DESK[name].labels),
        }

    return training(f"chosen_{name}", make, minutes=minutes, needs=["first"])


def _paper_system(interpolated: bool) -> str:
    return "RootA(384, interpolations=1)" if interpolated else "RootA(384)"


READ: Mapping[str, Criterion] = {
    name: Criterion(
        f"With {name} labels the paper's {paper} % of the images are read, to two points.",
        lambda f, name=name, paper=paper: f.mean(name, MEASURE) >= paper - 2,
    )
    for name, paper in PAPER.items()
}

LEARNS: Mapping[str, Criterion] = {
    name: Criterion(
        f"At least a hundred times as many images are read as by chance among {d.labels:,} labels.",
        lambda f, name=name, labels=d.labels: f.mean(name, MEASURE) >= 100 * 100 / labels,
    )
    for name, d in DESK.items()
}


CHOSEN = {
    "10k": (5, 0.5), "50k": (5, 2), "100k": (4, 3), "147k": (3, 3), "300k": (3, 10),
    "600k": (3, 33), "1281k": (2, 25),
}  # fmt: skip
"""Epochs and expected minutes."""


def _rows(number: int, name: str, setting: str) -> list[Row]:
    """The paper's figure, and whether anything is learned at all, which a desk has time for."""
    column, where = "training accuracy, %", f"Table 8, exp. {number}"
    return [
        Row(f"{name} labels, {setting}", column, PAPER[name], where, name, MEASURE, READ[name],
            digits=2, chosen=f"chosen_{name}"),
        Row(f"{name} labels, {setting}: learns", column, "", where, name, MEASURE, LEARNS[name],
            digits=3),
    ]  # fmt: skip


EXPERIMENT = Experiment(
    "table8",
    __doc__ or "",
    [
        part("10k", 10_000),
        part("50k", 50_000),
        part("100k", 100_000),
        part("147k", 147_000),
        part("300k", 300_000, interpolated=True),
        part("600k", 600_000, interpolated=True),
        part("1281k", "all", interpolated=True),
        training("first", first, minutes=2),
        *(chosen(name, *own) for name, own in CHOSEN.items()),
    ],
    [
        *_rows(1, "10k", "A_384"),
        *_rows(2, "50k", "A_384"),
        *_rows(3, "100k", "A_384"),
        *_rows(4, "147k", "A_384"),
        *_rows(5, "300k", "one interpolation"),
        *_rows(6, "600k", "one interpolation"),
        *_rows(7, "1281k", "one interpolation"),
    ],
)  # fmt: skip
