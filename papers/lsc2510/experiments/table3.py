"""Table 3: mean embeddings of a classifier as targets, with augmentation.

A ViT-S trained on CINIC-10 with augmentation (light1) reads 99 % of the training images with a
classifier layer, and 75 % of CIFAR-10; one trained to put images on the first one's mean embeddings
89 and 63 %: training with the cosine loss alone does not give a poor network.

At a desk: 10,000 pictures of Fashion-MNIST, `PatchNetwork` for ViT-S, 15 epochs; a test set of the
same kind stands for CIFAR-10. Crops show at least four fifths of a picture of 32 pixels, instead of
a twentieth. Training accuracy is that of the training images as they are, by the trained network:
the paper does not say whether its own is that of crops.

    python -m papers.lsc2510 --only table3
    python -m papers.lsc2510 --only table3 --scale paper --data DIR

Hardware: two cores; at paper scale one GPU. To be expected: CEembs some points below cross-entropy.
"""

from __future__ import annotations

from collections.abc import Mapping

from ..experiment import Criterion, Experiment, Row, Scale, Settings
from ..measures import MEANS, READ, save_means, training_images
from ..settings import settings
from ..training import training

EPOCHS: Mapping[Scale, int] = {"desk": 15, "paper": 100}
DIM = 384


def classifier(scale: Scale) -> Settings:
    return settings(
        scale, data="cinic", model="vit_s_32", dim=DIM, learned=True, epochs=EPOCHS[scale],
        augmented=True,
    )  # fmt: skip


def matching(scale: Scale) -> Settings:
    targets = {"source": "file", "vectors": f"{{ce}}/{MEANS}"}
    return settings(
        scale, data="cinic", model="vit_s_32", dim=DIM, system="Table", prototypes=targets,
        epochs=EPOCHS[scale], augmented=True,
    )  # fmt: skip


def chosen(scale: Scale) -> Settings:
    return settings(
        scale, data="cinic", model="vit_s_32", dim=DIM, prototypes={"source": "data"}, loss=None,
        epochs=EPOCHS[scale], augmented=True,
    )  # fmt: skip


NEARLY = Criterion(
    "CEembs lose at most the paper's 10 points of training accuracy to cross-entropy.",
    lambda f: f.mean("ceembs", READ) >= f.mean("ce", READ) - 10,
)
GENERALIZES = Criterion(
    "CEembs lose at most the paper's 12 points of generalization accuracy to cross-entropy.",
    lambda f: f.mean("ceembs", "test_accuracy") >= f.mean("ce", "test_accuracy") - 12,
)
TRAIN, GENERAL = "training accuracy, %", "generalization accuracy, %"

EXPERIMENT = Experiment(
    "table3",
    __doc__ or "",
    [
        training("ce", classifier, minutes=3.2, after=[save_means, training_images]),
        training("ceembs", matching, minutes=3.2, needs=["ce"], after=[training_images]),
        training("chosen", chosen, minutes=3.5, after=[training_images]),
    ],
    [
        Row("cross-entropy", TRAIN, 99, "Table 3, exp. 1", "ce", READ, NEARLY),
        Row("cross-entropy", GENERAL, 75, "Table 3, exp. 1", "ce", "test_accuracy", GENERALIZES),
        Row("CEembs", TRAIN, 89, "Table 3, exp. 2", "ceembs", READ, NEARLY,
            chosen="chosen"),
        Row("CEembs", GENERAL, 63, "Table 3, exp. 2", "ceembs", "test_accuracy", GENERALIZES,
            chosen="chosen"),
    ],
)  # fmt: skip
