"""The paper's scale: settings are valid, and runs go a few steps on small made trees."""

from __future__ import annotations

import json
import pickle
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from torchvision.datasets import cifar

from papers.lsc2510.experiment import SCALES, NotRun, Part, Scale
from papers.lsc2510.experiments import EXPERIMENTS
from papers.lsc2510.runner import Store, Task
from papers.lsc2510.settings import changed
from papers.lsc2510.training import config_of
from rootspace.building import make_head
from rootspace.config import Config
from rootspace.data import make_data
from rootspace.data.cinic10 import CLASS_NAMES
from rootspace.train.training import train

SYNSETS = 90
"""Classes of the made ImageNet; the paper's part of it has 84."""


def trainings(scale: Scale) -> Iterator[tuple[str, Part, dict[str, Any]]]:
    for name, experiment in EXPERIMENTS.items():
        for part in experiment.parts:
            settings = part.settings[scale]
            if not isinstance(settings, NotRun) and "train" in settings:
                yield name, part, dict(settings)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """ImageNet-1K, CINIC-10 and CIFAR-10 in small, in their own layouts."""
    root = tmp_path_factory.mktemp("data")
    generator = np.random.default_rng(0)

    def picture(path: Path, width: int, height: int) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        pixels = generator.integers(0, 256, (height, width, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(path)

    for number in range(SYNSETS):
        synset = f"n{1440764 + number:08d}"
        for index in range(2):
            picture(root / f"imagenet/train/{synset}/{synset}_{index}.JPEG", 50, 40)
        picture(root / f"imagenet/val/{synset}/ILSVRC2012_val_{number:08d}.JPEG", 40, 50)
    for split in ("train", "valid", "test"):
        for name in CLASS_NAMES:
            picture(root / f"cinic10/{split}/{name}/n02691156_1.png", 32, 32)
            picture(root / f"cinic10/{split}/{name}/n02691156_2.png", 32, 32)
            picture(root / f"cinic10/{split}/{name}/cifar10-train-1.png", 32, 32)
    folder = root / "cifar-10-batches-py"
    folder.mkdir()
    for name in [*(f"data_batch_{number}" for number in range(1, 6)), "test_batch"]:
        pixels = generator.integers(0, 256, (4, 3072), dtype=np.uint8)
        batch = {"data": pixels, "labels": [0, 1, 2, 3], "batch_label": name}
        (folder / name).write_bytes(pickle.dumps(batch))
    (folder / "batches.meta").write_bytes(pickle.dumps({"label_names": list(CLASS_NAMES)}))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(cifar, "check_integrity", lambda *arguments: True)  # of the published files
        yield root


@pytest.mark.parametrize("scale", SCALES)
def test_settings_are_those_of_train(scale: Scale):
    """They are complete and valid; the paper's are set where defaults are others."""
    for name, part, settings in trainings(scale):
        config = Config.from_dict(settings)
        for section, spec in config.specs():
            spec.resolve(object, section)
        steady = scale == "paper" or (name, part.name) in (("fig6", "first"), ("fig7", "begins"))
        schedule = "constant" if steady else "cosine"
        assert config.train.schedule == schedule, (name, part.name)
        if scale == "paper":
            assert config.train.warmup_steps == 0
        assert config.optimizer.init_args == {"weight_decay": 1e-5}
        if config.model.name == "Encoder":
            assert config.model.init_args["normalize"] is False
        elif scale == "paper":
            assert config.model.init_args["name"].startswith("vit_small")
        if scale == "paper":
            assert config.train.lr in (1e-4, 1e-5)
        chosen = part.name.startswith("chosen") or (name, part.name) == ("sec6_6", "code")
        from_data = chosen or (name, part.name) == ("sec6_6", "roots")
        if not part.needs:
            wanted = "data" if from_data else "formula"
            assert config.prototypes.source == wanted, (name, part.name)
        if config.prototypes.source in ("file", "teacher"):
            assert config.head.init_args["contrastive_weight"] == 0
        learned = config.head.name == "LinearHead"
        assert (config.loss is None) == (learned or chosen)
        if config.prototypes.source in ("data", "formula"):  # others need what a part before made
            make_head(config, ["a", "b", "c"])


def test_the_84_classes(data: Path):
    settings = EXPERIMENTS["table5"].part("cos_9").settings["paper"]
    assert not isinstance(settings, NotRun)
    config = Config.from_dict(settings)
    args = {**config.data.init_args, "root": f"{data}/imagenet"}
    found = make_data(replace(config, data=replace(config.data, init_args=args)))
    found.setup()
    assert found.num_classes == 84
    assert found.preprocessing is not None and found.preprocessing.size == 224
    assert len(found.train_dataset) == 2 * 84


FEW: dict[str, Any] = {"num_classes": 4}
RUNS: list[tuple[str, str, dict[str, Any], dict[str, Any], int]] = [
    # The encoder on CINIC-10, in two dimensions.
    ("fig7", "five", {}, {}, 10),
    # ViT-S on CINIC-10, augmented, tested on CIFAR-10.
    ("table3", "ce", {}, {}, 20),
    # ViT-S at 224 pixels on the part of ImageNet, augmented.
    ("table6", "anp_augmented", FEW, {}, 8),
    # ViT-S at 224 pixels on ImageNet, every image its own class.
    ("table8", "10k", {}, {"unique_labels": 4}, 4),
    # The encoder at 32 pixels on ImageNet, interpolated.
    ("table8", "300k", {}, {"unique_labels": 6}, 6),
    # ViT-S with prototypes chosen from the data.
    ("sec6_6", "roots", FEW, {}, 8),
]


@pytest.mark.parametrize(
    ("experiment", "name", "changes", "loading", "images"),
    RUNS,
    ids=[f"{e}-{p}" for e, p, *_ in RUNS],
)
def test_a_few_steps(
    experiment: str,
    name: str,
    changes: dict[str, Any],
    loading: dict[str, Any],
    images: int,
    data: Path,
    tmp_path: Path,
):
    part = EXPERIMENTS[experiment].part(name)
    settings: Any = part.settings["paper"]
    if settings["data"]["class_path"].endswith("CINIC10"):
        changes = {**changes, "complete": False}
    settings = {
        **settings,
        "data": changed(settings["data"], changes),
        "loader": {**settings["loader"], "batch_size": 4, "num_workers": 0, **loading},
        "train": {**settings["train"], "epochs": 1, "accelerator": "cpu", "precision": "32"},
    }
    job = Store(tmp_path, "paper", data).job(
        Task(experiment, part, 0), settings, lambda share: None
    )
    train(config_of(job))
    metrics = json.loads((job.folder / "metrics.json").read_text())
    assert f"{images} training images" in metrics["data"]
    if experiment == "table3":
        assert list(metrics["test"]) == ["test", "cifar10"]
    if "Timm" in settings["model"]["class_path"]:
        assert 21e6 < metrics["parameters"]["backbone"] < 23e6
    else:
        assert 8e6 < metrics["parameters"]["backbone"] < 10e6
