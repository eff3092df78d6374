"""Training parts for real: a small classifier, its means as targets, and an interrupted run."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml

from papers.lsc2510.experiment import (
    Bars,
    Chart,
    Criterion,
    Experiment,
    Figures,
    Job,
    Picture,
    Row,
    Scale,
    Settings,
)
from papers.lsc2510.measures import (
    class_groups,
    distances,
    save_means,
    space_picture,
    training_images,
    within_classes,
)
from papers.lsc2510.runner import reproduce
from papers.lsc2510.settings import COSINE, spec
from papers.lsc2510.training import config_of, train, training
from rootspace._files import write_text
from rootspace.data import make_data
from rootspace.run import TRUST_CODE, load
from rootspace.train.module import RunModule
from rootspace.train.training import train as train_here

BASE: Settings = {
    "data": spec("data.Characters", num_classes=20, image_size=16),
    "loader": {"batch_size": 32},
    "model": spec("models.Encoder", width=4),
    "train": {"epochs": 2, "lr": 3e-3, "schedule": "constant", "warmup_steps": 0},
}


def classifier(scale: Scale) -> Settings:
    return {**BASE, "head": spec("heads.LinearHead", dim=3), "prototypes": {"source": "formula"}}


def matching(scale: Scale) -> Settings:
    return {
        **BASE,
        "head": spec("heads.PrototypeHead", dim=3, system="Table", contrastive_weight=0.0),
        "prototypes": {"source": "file", "vectors": "{ce}/mixed.npy"},
        "loss": COSINE,
        "run": {"init": "{ce}"},
    }


def _falls(figures: Figures) -> bool:
    first, last = figures.curve("mixed", "train_loss")
    return last < first


AFTER = [save_means, class_groups(5), training_images, space_picture]
LEARNS = Criterion("The loss falls.", _falls)


def job(out: Path, settings: Settings, seed: int = 3) -> Job:
    return Job("tiny", "ce", "desk", seed, settings, out / "run" / "seed3", out)


@pytest.mark.slow
def test_from_a_classifier_to_its_means_as_targets(out: Path):
    ce = training("ce", classifier, minutes=0.1, after=AFTER)
    mixed = training("mixed", matching, minutes=0.1, needs=["ce"], after=[within_classes])
    row = Row("mixed", "training loss", "", "Table 4", "mixed", "train_loss", LEARNS)
    figures = [
        Picture("Fig. 1: space", ["ce"]),
        Chart("Fig. 2: loss", "train_loss", {"mixed": "mixed", "ce": "classifier"}),
        Bars("Fig. 3: accuracy", "accuracy, %", {"old": ("ce", "old_accuracy")}),
    ]
    tiny = {"tiny": Experiment("tiny", "Tiny.\n\nNothing.", [ce, mixed], [row], figures=figures)}
    (result,) = reproduce(tiny, out)
    assert result.verdict == "trend holds"
    record = json.loads((out / "parts" / "tiny" / "ce-seed0.json").read_text())
    values = record["outcome"]["values"]
    assert values["epochs"] == 2 and 0 <= values["train_accuracy"] <= 100
    assert {"old_accuracy", "new_accuracy", "pair_distance"} <= set(values)
    right = 5 * values["old_accuracy"] + 15 * values["new_accuracy"]
    assert values["read_accuracy"] == pytest.approx(right / 20)
    assert len(record["outcome"]["curves"]["train_loss"]) == 2
    folder = out / "runs" / "tiny" / "ce" / "seed0"
    assert not (folder / "checkpoints").exists(), "not needed any more"
    means, other = (np.load(folder / f"{name}.npy") for name in ("means", "mixed"))
    assert means.shape == (20, 3)
    assert sorted(means.tolist()) == sorted(other.tolist())
    assert (means != other).any(axis=1).all(), "a class has kept its own mean"
    # The targets are the mixed means themselves, and training began with the classifier's network.
    trained = load(out / "runs" / "tiny" / "mixed" / "seed0")
    vectors = trained.model.head.vectors(torch.arange(20))
    unit = other / np.linalg.norm(other, axis=1, keepdims=True)
    np.testing.assert_allclose(vectors.numpy(), unit, atol=1e-6)
    data = make_data(trained.config)
    data.setup()
    batches = [(trained.embed_batch(images), labels) for images, labels in data.in_order()]
    z, labels = (torch.cat(parts).numpy() for parts in zip(*batches, strict=True))
    z = z / np.linalg.norm(z, axis=1, keepdims=True)
    groups = [z[labels == label] for label in range(20)]
    variance = np.mean([group.var(axis=0) for group in groups])
    offsets = [np.linalg.norm(g.mean(axis=0) - v) for g, v in zip(groups, unit, strict=True)]
    record = json.loads((out / "parts" / "tiny" / "mixed-seed0.json").read_text())
    values = record["outcome"]["values"]
    assert values["within_std"] == pytest.approx(variance**0.5, rel=1e-4)
    assert values["mean_offset"] == pytest.approx(np.mean(offsets), rel=1e-4)
    assert trained.config.run.init == str(folder)
    page = (out / "reproduction.html").read_text()
    assert page.count("data:image/png;base64,") == 3


def test_an_interrupted_run_is_continued(out: Path):
    """Killed after its first epoch, it goes on with --resume; with other settings it is refused."""
    tried = job(out, classifier("desk"))
    config = config_of(tried)
    tried.folder.parent.mkdir(parents=True)
    wanted = yaml.safe_dump(config.as_dict(), sort_keys=False)
    write_text(tried.folder.with_name("seed3.yaml"), wanted)

    class Killed(Exception):
        pass

    original = RunModule.on_train_epoch_start

    def kill(module: RunModule) -> None:
        if module.current_epoch == 1:
            raise Killed
        original(module)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(RunModule, "on_train_epoch_start", kill)
        with pytest.raises(Killed):
            train_here(config)
    assert not (tried.folder / "manifest.json").exists()
    with pytest.raises(ValueError, match="holds a run with other settings"):
        train(job(out, matching("desk")))
    train(tried)
    metrics = json.loads((tried.folder / "metrics.json").read_text())
    assert metrics["epochs"] == 2
    log = tried.folder.with_name("seed3.log").read_text()
    assert "epoch 2/2" in log and "epoch 1/2" not in log, "the first epoch is not trained again"
    train(tried)  # finished: nothing is run
    assert TRUST_CODE not in os.environ, "of the run's process alone"
    assert tried.folder.with_name("seed3.log").read_text() == log
    with pytest.raises(ValueError, match="holds a run with other settings"):
        train(job(out, matching("desk")))  # nor taken for another


def test_a_run_that_fails_says_why(out: Path):
    head = spec("heads.PrototypeHead", system="RootA(2)", dim=3)
    settings = {**classifier("desk"), "loss": COSINE, "head": head}
    with pytest.raises(ValueError, match=r"training failed: .*'head\.dim' disagree"):
        train(job(out, settings))


def test_distances():
    found = distances(torch.tensor([[1.0, 0.0], [0.0, 2.0], [-3.0, 0.0]]))
    assert found["pair_distance"] == pytest.approx((1 + 1 + 2) / 3)
    assert found["nearest_distance"] == pytest.approx(1)
