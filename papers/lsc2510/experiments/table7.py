"""Table 7 and Figure 8: target configurations for 1,000 classes.

ViT-S with 384 dimensions on ImageNet-1K. A_n and A_np in their natural order fail even without
augmentation; a classifier reaches 89 % of the training images, its mean embeddings as targets
(CEembs) 89 %, and A_nr, the roots of A_n in random order, 87.9 % without and 84.6 % with
augmentation. Training with A_nr is slower than with CEembs (Fig. 8).

At a desk: 1,000 characters in ten faces, `PatchNetwork`, 25 epochs, 80 with augmentation; crops
and training accuracy as for Table 3. The classifier whose means are the targets is trained without
augmentation there, and the one with it stands beside A_nr with augmentation.

    python -m papers.lsc2510 --only table7
    python -m papers.lsc2510 --only table7 --scale paper --data DIR

Hardware: two cores; at paper scale one GPU (days). To be expected: the natural order puts all
classes on the first one or two coordinates, and stays far behind.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Mapping, Sequence

from ..experiment import (
    Chart,
    Criterion,
    Experiment,
    NotRun,
    Part,
    Row,
    Scale,
    Settings,
    training_accuracy,
)
from ..measures import MEANS, READ, save_means, training_images
from ..settings import COSINE, settings
from ..training import training

EPOCHS: Mapping[Scale, int] = {"desk": 25, "paper": 100}
AUGMENTED_EPOCHS: Mapping[Scale, int] = {"desk": 80, "paper": 100}
DIM = 384


def run(
    system: str | None = None,
    prototypes: Settings | None = None,
    learned: bool = False,
    augmented: bool = False,
    loss: Settings | None = COSINE,
):
    def make(scale: Scale) -> Settings:
        return settings(
            scale, data="i1k", model="vit_s", dim=DIM, system=system, prototypes=prototypes,
            learned=learned, epochs=(AUGMENTED_EPOCHS if augmented else EPOCHS)[scale],
            augmented=augmented, loss=loss,
        )  # fmt: skip

    return make


def roots(order: str, positive: bool = False, augmented: bool = False):
    system = f"RootA({DIM}, positive=True)" if positive else f"RootA({DIM})"
    return run(system, {"order": order}, augmented=augmented)


def classifier(scale: Scale) -> Settings:
    return run(learned=True, augmented=scale == "paper")(scale)


def augmented_classifier(scale: Scale) -> Settings | NotRun:
    if scale == "paper":
        return NotRun("it is the classifier of experiment 3")
    return run(learned=True, augmented=True)(scale)


CEEMBS: Settings = {"source": "file", "vectors": f"{{ce}}/{MEANS}"}
CHOSEN: Settings = {"source": "data"}


def part(name: str, make: Callable[[Scale], Settings | NotRun], needs: Sequence[str] = ()) -> Part:
    after = [save_means, training_images] if name == "ce" else [training_images]
    minutes = 12 if "augmented" in name else 1.1
    return training(name, make, minutes=minutes, needs=needs, after=after)


PARTS: list[Part] = [
    part("an", roots("natural")),
    part("anp", roots("natural", positive=True)),
    part("ce", classifier),
    part("ce_augmented", augmented_classifier),
    part("ceembs", run("Table", CEEMBS), needs=["ce"]),
    part("anr", roots("shuffled")),
    part("anr_augmented", roots("shuffled", augmented=True)),
    part("chosen", run(prototypes=CHOSEN, loss=None)),
    part("chosen_augmented", run(prototypes=CHOSEN, loss=None, augmented=True)),
]


def _behind(part: str):
    return lambda f: f.mean(part, READ) <= f.mean("anr", READ) - 20


AN_FAILS = Criterion("A_n in natural order ends at least 20 points below A_nr.", _behind("an"))
ANP_FAILS = Criterion("A_np in natural order ends at least 20 points below A_nr.", _behind("anp"))
CEEMBS_TRAIN = Criterion(
    "CEembs end at most 5 points below the classifier they come from.",
    lambda f: f.mean("ceembs", READ) >= f.mean("ce", READ) - 5,
)
ANR_TRAINS = Criterion(
    "A_nr ends at most 10 points below CEembs.",
    lambda f: f.mean("anr", READ) >= f.mean("ceembs", READ) - 10,
)
ANR_BEARS = Criterion(
    "With augmentation A_nr ends at most 10 points below A_nr without.",
    lambda f: f.mean("anr_augmented", READ) >= f.mean("anr", READ) - 10,
)
CE_BEARS = Criterion(
    "With augmentation the classifier ends at most 10 points below the one without.",
    lambda f: f.mean("ce_augmented", READ) >= f.mean("ce", READ) - 10,
)
SLOWER = Criterion(
    "The training loss of A_nr, averaged over all epochs, is above that of CEembs.",
    lambda f: (
        statistics.mean(f.curve("anr", "train_loss"))
        > statistics.mean(f.curve("ceembs", "train_loss"))
    ),
)


def _row(
    number: int, setting: str, paper: float | str, part: str, criterion: Criterion, chosen: str = ""
) -> Row:
    where = f"Table 7, exp. {number}"
    return training_accuracy(where, setting, paper, part, criterion, chosen, READ)


EXPERIMENT = Experiment(
    "table7",
    __doc__ or "",
    PARTS,
    [
        _row(1, "A_n", "-", "an", AN_FAILS),
        _row(2, "A_np", "-", "anp", ANP_FAILS),
        _row(3, "cross-entropy (at a desk without augmentation)", 89, "ce", CEEMBS_TRAIN),
        _row(3, "cross-entropy, augmentation, at a desk", "", "ce_augmented", CE_BEARS),
        _row(4, "CEembs", 89, "ceembs", CEEMBS_TRAIN),
        _row(5, "A_nr", 87.9, "anr", ANR_TRAINS, "chosen"),
        _row(6, "A_nr, augmentation", 84.6, "anr_augmented", ANR_BEARS, "chosen_augmented"),
        Row("CEembs", "training loss at the end", "", "Fig. 8", "ceembs", "train_loss", SLOWER,
            digits=4),
        Row("A_nr", "training loss at the end", "", "Fig. 8", "anr", "train_loss", SLOWER,
            digits=4),
    ],
    figures=[
        Chart("Fig. 8: training loss", "train_loss", {"ceembs": "CEembs", "anr": "A_nr"}),
        Chart("Training accuracy without augmentation", "train_accuracy",
              {"an": "A_n", "anp": "A_np", "anr": "A_nr", "ceembs": "CEembs"}),
    ],
)  # fmt: skip
