"""The settings of a run that do not belong to a data set, a model or a loss."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

WARMUP_SHARE = 0.4
"""Of the epochs of a run."""

TABLE = "Table"
"""As `classes.system`: the vectors of the file that `classes.vectors` names."""


@dataclass
class RunConfig:
    """Where a run goes and what it is compared with.

    Attributes:
        dir: run folder; must not hold another run.
        baselines: losses to train as well, with the same network, data and epochs, into
            `baselines/` of the run folder, for example `[normalized_softmax, linear_ce]`.
        class_means: also report the accuracy by the nearest mean embedding of the training images
            of a class, which takes another pass over them.
        init: run folder whose network to begin with instead of new weights; of the same model,
            dimension and image shape, on any classes. Its input statistics come along.
    """

    dir: str = "runs/default"
    baselines: list[str] = field(default_factory=list)
    class_means: bool = False
    init: str | None = None


@dataclass
class ClassesConfig:
    """Which vectors the classes own.

    Attributes:
        system: a vector system such as `RootA(384, interpolations=1)`, or with `file` the word
            `Table` for the vectors of the file themselves (CEembs, Sec. 4.3). By default, for
            `random`, `RootA(n)` with n the embedding dimension if given, else the smallest that
            holds the classes; for the others the code that `rootspace.classes.code_for` names.
        order: `shuffled` (A_nr) or `natural` (A_n).
        seed: of the shuffle, and of the rotation before an assignment.
        assignment: `random` gives classes vectors by `order` (the paper's way). The others give
            each class the vector nearest to its mean (Sec. 6.6): `warmup` trains without class
            vectors first and takes the means of its own embeddings; `teacher` takes those of an
            earlier run and `file` those of a file, before the first epoch.
        rotate: with `warmup` and `teacher`, turn the embeddings at random before classes get their
            vectors, so that no coordinate is special.
        teacher: run folder of the earlier run, with `assignment: teacher`. Its embeddings of the
            training images may have any dimension.
        vectors: .npy file of one mean or vector a class, `[num_classes, dim]`, with `assignment:
            file`; in the order of the data's classes, or in that of a file of names beside it with
            the ending .txt (one a line) or .json (a list). Taken as they are: centre means first.
    """

    system: str | None = None
    order: Literal["shuffled", "natural"] = "shuffled"
    seed: int = 0
    assignment: Literal["random", "warmup", "teacher", "file"] = "warmup"
    rotate: bool = True
    teacher: str | None = None
    vectors: str | None = None

    def __post_init__(self) -> None:
        for assignment, name, what in (
            ("teacher", "teacher", "the folder of a finished run"),
            ("file", "vectors", "a .npy file of class vectors"),
        ):
            value, wanted = getattr(self, name), self.assignment == assignment
            if wanted and value is None:
                raise ValueError(
                    f"Argument 'classes.{name}' must name {what} with 'classes.assignment' = "
                    f"'{assignment}'."
                )
            if value is not None and not wanted:
                raise ValueError(
                    f"Argument 'classes.{name}' needs 'classes.assignment' = '{assignment}', not "
                    f"'{self.assignment}'."
                )
        if self.system == TABLE and self.assignment != "file":
            raise ValueError(
                f"Argument 'classes.system' = '{TABLE}' needs 'classes.assignment' = 'file', not "
                f"'{self.assignment}'."
            )


def default_loss(assignment: str) -> str:
    """Name of the loss where none is given, for an assignment of `ClassesConfig`.

    Random vectors take the softmax over their system; a code chosen from the data has none in
    closed form, and takes the one over the classes of the batch.
    """
    return "system_softmax" if assignment == "random" else "in_batch_softmax"


@dataclass
class WarmupConfig:
    """Training without class vectors, before and beside the loss, with `assignment: warmup`.

    Attributes:
        epochs: of `train.epochs` that only the contrastive loss trains, by default two of five; if
            all of them, classes get their vectors after the last.
        temperature: of the supervised contrastive loss (arXiv 2004.11362).
        per_class: images of a class in a batch.
        weight: of the contrastive loss once the classes have their vectors, 0 for none.
        neighbors: once the classes have their vectors, so many similar ones come into a batch
            together, where the losses tell them apart; 1 for random batches.
        reassign: when classes get new vectors, nearest to what their means have become: `end`
            (after the last epoch), `epochs` (after every epoch) or `never`.
        refine: rounds in which the means are moved, before that, to where similar classes are told
            apart best (`rootspace.classes.RefinedMeans`); 0 for the means themselves.
    """

    epochs: int | None = None
    temperature: float = 0.15
    per_class: int = 2
    weight: float = 0.5
    neighbors: int = 8
    reassign: Literal["end", "epochs", "never"] = "end"
    refine: int = 8

    def __post_init__(self) -> None:
        if self.epochs is not None and self.epochs < 1:
            raise ValueError(f"Argument 'warmup.epochs' must be at least 1, not {self.epochs}.")
        if self.per_class < 2:
            raise ValueError(
                f"Argument 'warmup.per_class' must be at least 2, not {self.per_class}."
            )
        if self.neighbors < 1:
            raise ValueError(
                f"Argument 'warmup.neighbors' must be at least 1, not {self.neighbors}."
            )
        if self.refine < 0:
            raise ValueError(f"Argument 'warmup.refine' must not be negative, not {self.refine}.")
        if not self.temperature > 0 or self.weight < 0:
            raise ValueError(
                "Arguments 'warmup.temperature' and 'warmup.weight' must be positive and not "
                f"negative, not {self.temperature} and {self.weight}."
            )

    def epochs_of(self, total: int) -> int:
        """Epochs of the warm-up in a run of `total` epochs.

        Raises:
            ValueError: it would be longer than the run.
        """
        epochs = max(1, round(WARMUP_SHARE * total)) if self.epochs is None else self.epochs
        if epochs > total:
            raise ValueError(
                f"Argument 'warmup.epochs' must be at most 'train.epochs', not {epochs} of {total}."
            )
        return epochs


@dataclass
class TrainConfig:
    """Optimisation.

    The defaults are measured ones (docs/comparison.md). The paper's (Sec. 4.1) are lr 1e-4,
    schedule `constant`, warmup_steps 0.

    Attributes:
        epochs: passes over the training data.
        lr: AdamW's peak learning rate; by default 6e-3 for the encoder and the paper's 1e-4 for a
            timm model.
        weight_decay: AdamW's.
        schedule: `constant`, or `cosine` down to zero.
        warmup_steps: steps of linear warm-up.
        gradient_clip: largest gradient norm, 0 for none.
        precision: of the network; losses are computed in float32 at least.
        seed: of weights, order and dropout; the same seed gives the same run on the CPU.
        eval_every: epochs between evaluations on the test sets; the last is always evaluated.
        checkpoint_minutes: longest time between checkpoints within an epoch.
        label_noise: share of the training images that get a wrong label, to see how much a method
            bears.
        accelerator: `auto`, `cpu`, `gpu`, ...
        devices: how many; more than one trains with DistributedDataParallel.
    """

    epochs: int = 10
    lr: float | None = None
    weight_decay: float = 1e-5
    schedule: Literal["constant", "cosine"] = "cosine"
    warmup_steps: int = 50
    gradient_clip: float = 0.0
    precision: Literal["32", "bf16", "16"] = "32"
    seed: int = 0
    eval_every: int = 1
    checkpoint_minutes: float = 10.0
    label_noise: float = 0.0
    accelerator: str = "auto"
    devices: int = 1

    def __post_init__(self) -> None:
        for name in ("epochs", "eval_every", "devices"):
            if getattr(self, name) < 1:
                raise ValueError(
                    f"Argument 'train.{name}' must be at least 1, not {getattr(self, name)}."
                )
        for name in ("lr", "checkpoint_minutes"):
            value = getattr(self, name)
            if value is not None and not value > 0:
                raise ValueError(f"Argument 'train.{name}' must be positive, not {value}.")
        if not 0 <= self.seed < 2**31:
            raise ValueError(f"Argument 'train.seed' must lie in [0, 2**31), not {self.seed}.")
        if not 0 <= self.label_noise <= 1:
            raise ValueError(
                f"Argument 'train.label_noise' must lie in [0, 1], not {self.label_noise}."
            )
        for name in ("weight_decay", "warmup_steps", "gradient_clip"):
            if getattr(self, name) < 0:
                raise ValueError(
                    f"Argument 'train.{name}' must not be negative, not {getattr(self, name)}."
                )
