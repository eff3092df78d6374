"""Table 8: every image a class of its own.

Images of ImageNet-1K under labels of their own, on the roots of A_384 in random order: ViT-S reads
99 % of 10,000 and 92.8 % of 147,000 of them after training. For 300,000 and more one interpolation
adds vectors, the learning rate is 1e-5, images are of 32 x 32 pixels and the encoder reads 91.4 %
of 300,000 to 87.1 % of 1,281,000.

At a desk, encoder of width 16, rate 1e-3: 10,000 characters (30 epochs), 50,000 pictures of
Fashion-MNIST (8), then Han characters in all faces of Debian's font packages: 100,000 (3 epochs),
147,000, 300,000 and 500,000 (1 each). The last two take the smallest A_n with one interpolation
(A_67, A_80; Sec. 5.4) instead of A_384, where reading an image among classes that own one vector in
a hundred is a search over all classes. A desk has no time for more epochs: from 50,000 labels on
its figures show that such training runs, in constant memory, and not how far it gets. More
different pictures of Han characters than half a million these faces do not give.

    python -m papers.lsc2510 --only table8
    python -m papers.lsc2510 --only table8 --scale paper --data DIR

Hardware: two cores and 4 GB; at paper scale one GPU (days). To be expected: the paper's accuracies
after as many epochs as it takes.
"""

from __future__ import annotations

from collections.abc import Mapping

from ..experiment import Criterion, Experiment, NotRun, Part, Row, Scale, Settings
from ..settings import settings, spec
from ..training import training

HAN_FONTS = [
    *(f"NotoSansCJK-{style}" for style in (
        "Thin", "Light", "DemiLight", "Regular", "Medium", "Bold", "Black"
    )),
    *(f"NotoSerifCJK-{style}" for style in (
        "ExtraLight", "Light", "Regular", "Medium", "SemiBold", "Bold", "Black"
    )),
    "wqy-zenhei",
    "wqy-microhei",
    "TW-Sung-98_1",
    "TW-Kai-98_1",
    "HanaMinA",
    "LXGWWenKai-Light",
    "LXGWWenKai-Regular",
    "LXGWWenKai-Bold",
    "BabelStoneHan",
    "DroidSansFallbackFull",
]  # fmt: skip
"""24 faces of 20,902 Han characters each: 501,648 pictures."""

HAN = (
    spec("data.Characters", train_fonts=HAN_FONTS, test_fonts=[], ranges="U+4E00-U+9FA5"),
    256,
)
DEJAVU = spec("data.Characters", test_fonts=[]), 64
FASHION = spec("data.FashionMNIST"), 128
"""Data at a desk, and their batch size."""

SMALL: Settings = {"image_size": 32}
LARGE_BATCH: Settings = {"batch_size": 512}
"""ImageNet's images as the paper takes them for more than 147,000 labels."""

DESK_LABELS = {"10k": 10_000, "50k": 50_000, "100k": 100_000, "147k": 147_000, "300k": 300_000,
               "600k": 500_000, "1281k": 1_281_000}  # fmt: skip
"""Images, each a class of its own. A desk has 500,000 different ones at most: `HAN_FONTS`."""

PAPER_EPOCHS = 100
MEASURE = "test_accuracy/train"
"""Of the network in evaluation mode, on the images it was trained on."""


def part(
    name: str,
    labels: int | str,
    minutes: float,
    *,
    desk: tuple[Settings, int] | NotRun,
    desk_epochs: int = 1,
    desk_system: str = "RootA(384)",
    interpolated: bool = False,
) -> Part:
    """A number of labels: `labels` at paper scale, `DESK_LABELS` images of `desk` at a desk."""

    def make(scale: Scale) -> Settings | NotRun:
        if scale == "paper":
            return settings(
                "paper", data="i1k", model="encoder" if interpolated else "vit_s",
                epochs=PAPER_EPOCHS, system=_paper_system(interpolated),
                data_changes=SMALL if interpolated else None,
                loader_changes={"unique_labels": labels, **(LARGE_BATCH if interpolated else {})},
                train_changes={"lr": 1e-5} if interpolated else None,
            )  # fmt: skip
        if isinstance(desk, NotRun):
            return desk
        data, batch_size = desk
        found = settings(
            "desk", data="i1k", model="encoder", epochs=desk_epochs, system=desk_system,
            loader_changes={"batch_size": batch_size, "unique_labels": DESK_LABELS[name]},
            # The test set is the training images: once, at the end, is enough.
            train_changes={"eval_every": desk_epochs},
        )  # fmt: skip
        return {**found, "data": data}

    return training(name, make, minutes=minutes)


def _paper_system(interpolated: bool) -> str:
    return "RootA(384, interpolations=1)" if interpolated else "RootA(384)"


READ: Mapping[str, Criterion] = {
    name: Criterion(
        f"With {name} labels at least 80 % of the images are read.",
        lambda f, name=name: f.mean(name, MEASURE) >= 80,
    )
    for name in DESK_LABELS
}

LEARNS: Mapping[str, Criterion] = {
    name: Criterion(
        f"At least a hundred times as many images are read as by chance among {labels:,} labels.",
        lambda f, name=name, labels=labels: f.mean(name, MEASURE) >= 100 * 100 / labels,
    )
    for name, labels in DESK_LABELS.items()
}


def _rows(number: int, name: str, setting: str, paper: float) -> list[Row]:
    """The paper's figure, and whether anything is learned at all, which a desk has time for."""
    column, where = "training accuracy, %", f"Table 8, exp. {number}"
    return [
        Row(f"{name} labels, {setting}", column, paper, where, name, MEASURE, READ[name], digits=2),
        Row(f"{name} labels, {setting}: learns", column, "", where, name, MEASURE, LEARNS[name],
            digits=3),
    ]  # fmt: skip


EXPERIMENT = Experiment(
    "table8",
    __doc__ or "",
    [
        part("10k", 10_000, 5.0, desk=DEJAVU, desk_epochs=30),
        part("50k", 50_000, 7.5, desk=FASHION, desk_epochs=8),
        part("100k", 100_000, 7, desk=HAN, desk_epochs=3),
        part("147k", 147_000, 5.0, desk=HAN),
        part("300k", 300_000, 8, desk=HAN, interpolated=True,
             desk_system="RootA(67, interpolations=1)"),
        part("600k", 600_000, 13, desk=HAN, interpolated=True,
             desk_system="RootA(80, interpolations=1)"),
        part("1281k", "all", 0, interpolated=True, desk=NotRun(
            "no machine-local source has 1.28 million different pictures, and an epoch over them "
            "alone would take a desk half an hour"
        )),
    ],
    [
        *_rows(1, "10k", "A_384", 99),
        *_rows(2, "50k", "A_384", 98.1),
        *_rows(3, "100k", "A_384", 96.2),
        *_rows(4, "147k", "A_384", 92.8),
        *_rows(5, "300k", "one interpolation", 91.4),
        *_rows(6, "600k", "one interpolation (500k at a desk)", 89.2),
        *_rows(7, "1281k", "one interpolation", 87.1),
    ],
)  # fmt: skip
