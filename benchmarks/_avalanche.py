"""Strategies of Avalanche (avalanche-lib) on the images, network and schedule of a benchmark."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from _runs import accuracy_by_name
from avalanche.benchmarks import benchmark_from_datasets
from avalanche.benchmarks.utils import AvalancheDataset, DataAttribute
from avalanche.core import SupervisedPlugin
from avalanche.training.plugins import EvaluationPlugin
from avalanche.training.storage_policy import ClassBalancedBuffer
from avalanche.training.supervised import ER_ACE, Replay
from torch import nn
from torch.utils.data import TensorDataset

from rootspace.config import Config, TrainConfig
from rootspace.data import DataModule, LabeledDataset
from rootspace.models import Embedder, Encoder
from rootspace.train.module import learning_rate_factor


class Schedule(SupervisedPlugin):
    """The learning rate of rootspace's runs: its warm-up and cosine, anew in each experience.

    Args:
        config: with the peak of the first experience.
        rate: of the peak in the others, relative to that.
    """

    def __init__(self, config: TrainConfig, rate: float) -> None:
        super().__init__()
        self.config, self.rate = config, rate
        self.step = 0

    def before_training_exp(self, strategy: Any, **kwargs: Any) -> None:
        self.step = 0

    def before_training_iteration(self, strategy: Any, **kwargs: Any) -> None:
        steps = self.config.epochs * len(strategy.dataloader)
        assert self.config.lr is not None
        peak = self.config.lr * (self.rate if strategy.experience.current_experience else 1.0)
        for group in strategy.optimizer.param_groups:
            group["lr"] = peak * learning_rate_factor(self.step, steps, self.config)
        self.step += 1


def train_strategy(
    name: str, parts: Sequence[DataModule], size: dict[str, Any], rate: float, seed: int
) -> list[list[float]]:
    """Train on all experiences in turn; a learned linear layer with cross-entropy over all classes.

    Half of each batch is of the memory once there is one, as Avalanche has it, so that a batch is
    as large as elsewhere.

    Args:
        name: `Replay` or `ER_ACE`.
        parts: data of the experiences, whose class names are their labels.
        size: fields of the benchmark's `Size`.
        rate: learning rate of all experiences but the first, relative to that.
        seed: of weights and order.

    Returns:
        Accuracies after each experience on those so far.
    """
    torch.manual_seed(seed)
    shape = parts[0].preprocessing
    assert shape is not None
    network = Encoder(size["dim"], shape.channels, size["width"])
    config = TrainConfig(
        epochs=size["epochs"], lr=network.default_lr, warmup_steps=size["warmup_steps"]
    )
    embedder = Embedder(network, shape.mean, shape.std)
    model = nn.Sequential(embedder, nn.Linear(size["dim"], len(parts) * size["classes"]))
    half = size["batch_size"] // 2
    common = {
        "model": model,
        "optimizer": torch.optim.AdamW(model.parameters(), **Config().optimizer.init_args),
        "criterion": nn.CrossEntropyLoss(),
        "mem_size": size["memory"],
        "train_mb_size": half,
        "batch_size_mem": half,
        "train_epochs": size["epochs"],
        "eval_mb_size": 256,
        "plugins": [Schedule(config, rate)],
        "evaluator": EvaluationPlugin(),
    }
    strategy = (BalancedReplay if name == "Replay" else ER_ACE)(**common)
    train = [dataset(part, part.train_dataset) for part in parts]
    accuracy: list[list[float]] = []
    for experience in benchmark_from_datasets(train=train).streams["train"]:
        strategy.train(experience)
        model.eval()
        seen = parts[: len(accuracy) + 1]
        accuracy.append(
            [accuracy_by_name(part, lambda images: model(images).argmax(dim=-1)) for part in seen]
        )
        model.train()
    return accuracy


class BalancedReplay(Replay):
    """Avalanche's replay with a memory that is balanced by class, as the others are."""

    def __init__(self, *, mem_size: int, batch_size_mem: int, **settings: Any) -> None:
        super().__init__(mem_size=mem_size, **settings)
        (plugin,) = (p for p in self.plugins if type(p).__name__ == "ReplayPlugin")
        plugin.batch_size_mem = batch_size_mem
        plugin.storage_policy = ClassBalancedBuffer(mem_size, adaptive_size=True)


def dataset(part: DataModule, images: LabeledDataset) -> AvalancheDataset:
    """Images in memory, under the labels that the names of their classes are."""
    names = torch.tensor([int(name) for name in part.class_names])
    pixels, labels = images.batch(range(len(images)))
    targets = names[labels].tolist()
    tensors = TensorDataset(pixels, names[labels])
    attributes = [
        DataAttribute(targets, name="targets"),
        DataAttribute([0] * len(targets), name="targets_task_labels", use_in_getitem=True),
    ]
    return AvalancheDataset(tensors, data_attributes=attributes)
