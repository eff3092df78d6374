"""The settings of a run that do not belong to a data set, a model or a loss."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal


@dataclass
class RunConfig:
    """Where a run goes and what it is compared with.

    Attributes:
        dir: run folder; must not hold another run.
        baselines: losses to train as well, with the same network, data and epochs, into
            `baselines/` of the run folder, for example `[normalized_softmax, linear_ce]`.
    """

    dir: str = "runs/default"
    baselines: list[str] = field(default_factory=list)


@dataclass
class ClassesConfig:
    """Which vectors the classes own.

    Attributes:
        system: a vector system such as `RootA(384, interpolations=1)`; by default `RootA(n)` with
            n the embedding dimension if given, else the smallest that holds the classes.
        order: `shuffled` (A_nr) or `natural` (A_n).
        seed: of the shuffle.
    """

    system: str | None = None
    order: Literal["shuffled", "natural"] = "shuffled"
    seed: int = 0


@dataclass
class TrainConfig:
    """Optimisation, the paper's Algorithm 1 and Sec. 4.1 by default.

    Attributes:
        epochs: passes over the training data.
        lr: AdamW's peak learning rate.
        weight_decay: AdamW's.
        schedule: `constant`, or `cosine` down to zero.
        warmup_steps: steps of linear warm-up.
        gradient_clip: largest gradient norm, 0 for none.
        precision: of the network; losses are computed in float32 at least.
        seed: of weights, order and dropout; the same seed gives the same run on the CPU.
        eval_every: epochs between evaluations on the test sets; the last is always evaluated.
        checkpoint_minutes: longest time between checkpoints within an epoch.
        accelerator: `auto`, `cpu`, `gpu`, ...
        devices: how many; more than one trains with DistributedDataParallel.
    """

    epochs: int = 10
    lr: float = 1e-4
    weight_decay: float = 1e-5
    schedule: Literal["constant", "cosine"] = "constant"
    warmup_steps: int = 0
    gradient_clip: float = 0.0
    precision: Literal["32", "bf16", "16"] = "32"
    seed: int = 0
    eval_every: int = 1
    checkpoint_minutes: float = 10.0
    accelerator: str = "auto"
    devices: int = 1

    def __post_init__(self) -> None:
        for name in ("epochs", "eval_every", "devices"):
            if getattr(self, name) < 1:
                raise ValueError(
                    f"Argument 'train.{name}' must be at least 1, not {getattr(self, name)}."
                )
        for name in ("lr", "checkpoint_minutes"):
            if not getattr(self, name) > 0:
                raise ValueError(
                    f"Argument 'train.{name}' must be positive, not {getattr(self, name)}."
                )
        for name in ("weight_decay", "warmup_steps", "gradient_clip"):
            if getattr(self, name) < 0:
                raise ValueError(
                    f"Argument 'train.{name}' must not be negative, not {getattr(self, name)}."
                )
