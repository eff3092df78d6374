"""The pieces of training: heads for settings, the schedule, the choice's moments, inputs."""

from __future__ import annotations

from typing import Any, Literal

import pytest
import torch
from PIL import Image
from torch.utils.data import Dataset

from rootspace.building import make_head
from rootspace.callbacks import ChoosePrototypes
from rootspace.config import ClassSpec, Config, PrototypesConfig, RunConfig, TrainConfig
from rootspace.data import DataModule
from rootspace.data.torch_dataset import as_source
from rootspace.heads import ArcFaceHead, CosFaceHead, LinearHead, NormalizedHead, PrototypeHead
from rootspace.models import Embedder
from rootspace.systems import Circle, PermutationCode, RootA, VectorSystem
from rootspace.train.checks import check_batches, contrasts
from rootspace.train.module import learning_rate_factor, make_optimizer
from rootspace.train.trainer import check_machine

FORMULA = PrototypesConfig(source="formula")


def config(
    prototypes: PrototypesConfig, head: str = "PrototypeHead", loss: str = "", **arguments: Any
) -> Config:
    return Config(
        head=ClassSpec(f"rootspace.heads.{head}", arguments),
        loss=ClassSpec(f"rootspace.losses.{loss}") if loss else None,
        prototypes=prototypes,
    )


@pytest.mark.parametrize(
    ("prototypes", "num_classes", "arguments", "expected"),
    [
        (FORMULA, 10, {}, RootA(3)),
        (FORMULA, 1281, {}, RootA(36)),
        (FORMULA, 1281, {"dim": 64}, RootA(64)),
        (FORMULA, 200, {"dim": 10}, RootA(10, interpolations=1)),
        (FORMULA, 3, {"system": "Circle(3)", "dim": 2}, Circle(3)),
        (PrototypesConfig(), 10, {}, PermutationCode(256)),
        (PrototypesConfig(), 1000, {"dim": 64}, PermutationCode(64)),
        (PrototypesConfig(), 3, {"system": "Circle(3)"}, Circle(3)),
        (PrototypesConfig(source="teacher", teacher="x"), 10, {"dim": 64}, PermutationCode(64)),
    ],
)
def test_system_of_a_config(
    prototypes: PrototypesConfig,
    num_classes: int,
    arguments: dict[str, Any],
    expected: VectorSystem,
) -> None:
    head = make_head(config(prototypes, **arguments), [str(i) for i in range(num_classes)])
    assert isinstance(head, PrototypeHead) and head.system == expected
    assert head.ready == (prototypes.source == "formula")
    assert head.names == [str(i) for i in range(num_classes)]
    assert not list(head.parameters())


@pytest.mark.parametrize("cls", [LinearHead, NormalizedHead, CosFaceHead, ArcFaceHead])
@pytest.mark.parametrize("prototypes", [FORMULA, PrototypesConfig()])
def test_learned_heads(cls: type, prototypes: PrototypesConfig) -> None:
    """Whatever the source of prototypes: they have none."""
    head = make_head(config(prototypes, cls.__name__, dim=8), ["a", "b", "c"])
    assert type(head) is cls and head.num_classes == 3 and head.dim == 8 and head.ready


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (config(FORMULA, system="RootA(9)", dim=8), "disagree"),
        (config(FORMULA, system="RootA(1)"), "'num_classes' must be at most 2"),
        (config(FORMULA, system="Table"), "needs 'prototypes.source' = 'file'"),
        (config(PrototypesConfig(), system="RootA(9)", dim=8), "must agree"),
        (config(PrototypesConfig(), system="RootA(1)"), "must have at least 3 vectors"),
        (config(PrototypesConfig(), "NoHead"), "'head'.*cannot be imported"),
        (config(PrototypesConfig(), loss="NoLoss"), "'loss'.*cannot be imported"),
        (config(PrototypesConfig(), "LinearHead", width=3), "'head'.*width"),
        (config(PrototypesConfig(), "LinearHead", loss="CosineLoss"), "'loss' must be left out"),
    ],
)
def test_heads_that_cannot_be(given: Config, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make_head(given, ["a", "b", "c"])


class TwoOfThree(Dataset[tuple[Image.Image, int]]):
    """No image of the last class."""

    classes = ("a", "b", "c")

    def __len__(self) -> int:
        return 6

    def __getitem__(self, index: int) -> tuple[Image.Image, int]:
        return Image.new("L", (8, 8), index), index % 2


def test_a_class_without_an_image_is_told_before_training() -> None:
    data = DataModule(as_source(TwoOfThree()))
    data.setup()
    head = PrototypeHead(3, 8)
    with pytest.raises(ValueError, match="1 of the 3 classes have none: 'c'"):
        check_batches(Config(), head, data, None)
    with pytest.raises(ValueError, match="1 of the 3 classes have none"):
        check_batches(Config(run=RunConfig(class_means=True)), LinearHead(3, 8), data, None)
    check_batches(Config(), LinearHead(3, 8), data, None)


def test_cosine_schedule() -> None:
    cosine = TrainConfig(schedule="cosine", warmup_steps=10)
    factors = [learning_rate_factor(step, 110, cosine) for step in range(110)]
    assert factors[:3] == pytest.approx([0.1, 0.2, 0.3])
    assert factors[10] == 1 and factors[60] == pytest.approx(0.5)
    assert factors[10:] == sorted(factors[10:], reverse=True) and factors[-1] < 1e-3
    # A run of few steps comes to its peak, and down again.
    short = [learning_rate_factor(step, 12, TrainConfig(warmup_steps=50)) for step in range(12)]
    assert short[:7] == pytest.approx([1 / 6, 2 / 6, 3 / 6, 4 / 6, 5 / 6, 1, 1])
    assert short[6:] == sorted(short[6:], reverse=True) and short[-1] < 0.1
    assert learning_rate_factor(0, 1, TrainConfig(warmup_steps=50)) == 1
    constant = TrainConfig(schedule="constant", warmup_steps=0)
    assert learning_rate_factor(0, 110, constant) == learning_rate_factor(50, 110, constant) == 1


def test_epochs_before_the_choice() -> None:
    assert [ChoosePrototypes(0.4).first(total) for total in (1, 2, 5, 7, 10)] == [1, 1, 2, 3, 4]
    assert ChoosePrototypes(3).first(3) == 3


@pytest.mark.parametrize(
    ("capabilities", "precision", "expected"),
    [
        ({"avx2": True, "avx512_bf16": False, "amx_bf16": False}, "bf16", True),
        ({"avx2": True, "avx512_bf16": True, "amx_bf16": False}, "bf16", False),
        ({"neon": True, "bf16": True}, "bf16", False),
        ({"avx2": True}, "32", False),
    ],
)
def test_slow_bfloat16_is_said(
    capabilities: dict[str, bool],
    precision: Literal["32", "bf16"],
    expected: bool,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: capabilities, raising=False)
    check_machine(Config(train=TrainConfig(accelerator="cpu", precision=precision)))
    assert ("--train.precision 32" in capsys.readouterr().err) == expected


def test_float16_is_for_gpus() -> None:
    with pytest.raises(
        ValueError, match=r"'train\.precision' must be 32 or bf16 on a CPU, not '16'"
    ):
        check_machine(Config(train=TrainConfig(accelerator="cpu", precision="16")))


def test_weights_decay_and_biases_and_norms_do_not() -> None:
    config = Config(optimizer=ClassSpec("torch.optim.AdamW", {"weight_decay": 0.05}))
    network = Embedder(torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.BatchNorm1d(4)))
    optimizer, _ = make_optimizer(config, network, LinearHead(5, 4))
    decays = {p: group["weight_decay"] for group in optimizer.param_groups for p in group["params"]}
    for name, parameter in network.named_parameters():
        assert decays[parameter] == (0.05 if name.endswith("0.weight") else 0.0), name


def test_embedder_normalizes_bytes() -> None:
    seen = []

    class Probe(torch.nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            seen.append(x)
            return x.flatten(1)

    embedder = Embedder(Probe(), mean=(0.5, 0.25), std=(0.5, 0.5))
    embedder(torch.full((1, 2, 3, 3), 255, dtype=torch.uint8))
    assert seen[0][0, 0].unique().item() == 1.0 and seen[0][0, 1].unique().item() == 1.5


@pytest.mark.parametrize(
    "prototypes",
    [
        PrototypesConfig(source="teacher", teacher="x"),
        PrototypesConfig(source="file", vectors="x.npy"),
    ],
)
@pytest.mark.parametrize("weight", [0.0, 0.5])
def test_a_resumed_run_makes_the_batches_of_its_beginning(
    prototypes: PrototypesConfig, weight: float
) -> None:
    """Prototypes are given before the loader is made, and once it is resumed after it."""
    settings = config(prototypes, dim=16, contrastive_weight=weight)
    head = make_head(settings, list("abc"))
    assert isinstance(head, PrototypeHead)
    resumed = contrasts(settings, head)
    head.choose(torch.randn(3, 16))
    assert contrasts(settings, head) == resumed == (weight > 0)
