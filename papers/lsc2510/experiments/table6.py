"""Table 6: A_n and its positive half on 84 classes, with and without augmentation.

ViT-S with 384 dimensions. Without augmentation both A_n and A_np (one of each pair of opposite
roots) reach 98 % of the training images; with it (light1) A_np reaches 94 % and A_n fails. The
roots are taken in their natural order, the first 84 of them.

At a desk: 84 characters, `PatchNetwork`, 100 epochs; crops and training accuracy as for Table 3.

    python -m papers.lsc2510 --only table6
    python -m papers.lsc2510 --only table6 --scale paper --data DIR

Hardware: two cores; at paper scale one GPU. To be expected: augmentation hurts, A_n more than A_np.
The natural order of roots is a convention: the paper does not give its own.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from ..experiment import Chart, Criterion, Experiment, Part, Row, Scale, Settings, training_accuracy
from ..measures import READ, training_images
from ..settings import settings
from ..training import training

EPOCHS: Mapping[Scale, int] = {"desk": 100, "paper": 100}
SYSTEMS = {"an": "RootA(384)", "anp": "RootA(384, positive=True)"}


def part(system: str, augmented: bool) -> Part:
    def make(scale: Scale) -> Settings:
        return settings(
            scale, data="i1kp", model="vit_s", epochs=EPOCHS[scale],
            system=SYSTEMS[system], prototypes={"order": "natural"}, augmented=augmented,
        )  # fmt: skip

    return _trained(system, augmented, make)


def chosen(augmented: bool) -> Part:
    def make(scale: Scale) -> Settings:
        return settings(
            scale, data="i1kp", model="vit_s", dim=384, prototypes={"source": "data"}, loss=None,
            epochs=EPOCHS[scale], augmented=augmented,
        )  # fmt: skip

    return _trained("chosen", augmented, make)


def _trained(name: str, augmented: bool, make: Callable[[Scale], Settings]) -> Part:
    return training(
        f"{name}_augmented" if augmented else name, make, minutes=2.0 if augmented else 1.0,
        after=[training_images],
    )  # fmt: skip


PLAIN = Criterion(
    "Without augmentation A_n and A_np end within 5 points of each other, above 50 %.",
    lambda f: (
        abs(f.mean("an", READ) - f.mean("anp", READ)) <= 5
        and min(f.mean("an", READ), f.mean("anp", READ)) > 50
    ),
)
AUGMENTED = Criterion(
    "With augmentation A_n ends at least 20 points below A_np.",
    lambda f: f.mean("an_augmented", READ) <= f.mean("anp_augmented", READ) - 20,
)


def _row(
    number: int, setting: str, paper: float | str, part: str, criterion: Criterion, chosen: str = ""
) -> Row:
    where = f"Table 6, exp. {number}"
    return training_accuracy(where, setting, paper, part, criterion, chosen, READ)


EXPERIMENT = Experiment(
    "table6",
    __doc__ or "",
    [
        *(part(system, augmented) for augmented in (False, True) for system in SYSTEMS),
        *(chosen(augmented) for augmented in (False, True)),
    ],
    [
        _row(1, "A_n", 98, "an", PLAIN),
        _row(2, "A_n, augmentation", "-", "an_augmented", AUGMENTED),
        _row(3, "A_np", 98, "anp", PLAIN, "chosen"),
        _row(4, "A_np, augmentation", 94, "anp_augmented", AUGMENTED, "chosen_augmented"),
    ],
    figures=[
        Chart(
            "Training accuracy with augmentation",
            "train_accuracy",
            {"an_augmented": "A_n", "anp_augmented": "A_np"},
        )
    ],
)
