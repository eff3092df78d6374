"""Warm-up, assignment and the stage after it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from torch.nn.functional import cosine_similarity

from rootspace import ClassMap
from rootspace.classes import assign
from rootspace.cli import main
from rootspace.models import Encoder
from rootspace.systems import PermutationCode
from rootspace.train import Embedder, assignment, callbacks, read_run
from rootspace.train.assignment import fold, random_rotation

SMALL = [
    "train",
    "--data.num_classes=30",
    "--data.image_size=16",
    "--data.batch_size=32",
    "--model.width=4",
    "--model.dim=24",
    "--loss.name=cosine",
    "--classes.assignment=warmup",
    "--warmup.epochs=2",
    "--train.lr=3e-3",
]


def test_learns_faster_than_with_random_vectors(tmp_path: Path):
    """With hundreds of classes and ten images of each, an arbitrary table is hard to learn."""
    accuracy = {}
    more = ["--data.num_classes=300", "--model.width=8", "--model.dim=48", "--train.epochs=6"]
    for way in ("warmup", "random"):
        folder = tmp_path / way
        options = [f"--run.dir={folder}", f"--classes.assignment={way}"]
        assert main([*SMALL, *more, *options]) == 0
        metrics = json.loads((folder / "metrics.json").read_text())
        tests = [test["accuracy"] for test in metrics["test"].values()]
        accuracy[way] = sum(tests) / len(tests)
    assert accuracy["warmup"] > accuracy["random"] + 0.2


def test_run_folder(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    folder = tmp_path / "run"
    assert main([*SMALL, f"--run.dir={folder}", "--train.epochs=4"]) == 0
    metrics = json.loads((folder / "metrics.json").read_text())
    assert metrics["system"] == "PermutationCode(24, levels=3)" and metrics["order"] == "assigned"
    assert metrics["bytes_per_class"] == 8  # less than 3 * 24 / 8
    assert metrics["choice"]["mean_cosine"] > 0.9
    assert metrics["parameters"]["head"] == 0
    rows = (folder / "metrics.csv").read_text().splitlines()[1:]
    # Train accuracy from the third epoch on; the test sets are read with the first vectors already.
    assert [row.split(",")[5] == "" for row in rows] == [True, True, False, False]
    assert [row.endswith(",,") for row in rows] == [True, False, False, False]
    capsys.readouterr()
    assert main(["evaluate", str(folder), "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == metrics["test"]
    classes = read_run(folder).objective.classes
    assert isinstance(classes, ClassMap) and classes.num_classes == 30


def test_resume_in_the_second_stage(tmp_path: Path):
    """Checkpoints of the second stage hold the vectors that the first one chose."""
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    assert main([*SMALL, f"--run.dir={whole}", "--train.epochs=4"]) == 0

    # A run that lost its end: all that is there is the checkpoint after epoch 3.
    class Lost(Exception):
        pass

    def lose(self, trainer, module):
        original(self, trainer, module)
        if trainer.current_epoch == 2:
            raise Lost

    original = callbacks.Checkpoints.on_train_epoch_end
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(callbacks.Checkpoints, "on_train_epoch_end", lose)
        with pytest.raises(Lost):
            main([*SMALL, f"--run.dir={broken}", "--train.epochs=4"])
    assert main(["train", "--resume", f"--run.dir={broken}"]) == 0
    old, new = (read_run(folder) for folder in (whole, broken))
    for name, value in old.embedder.state_dict().items():
        assert torch.equal(value, new.embedder.state_dict()[name]), name


@pytest.mark.parametrize(("reassign", "times"), [("never", 1), ("end", 2), ("epochs", 3)])
def test_classes_get_the_vectors_nearest_to_what_their_means_have_become(
    reassign: str, times: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    means = []
    monkeypatch.setattr(assignment, "assign", lambda *args: means.append(args[1]) or assign(*args))
    folder = tmp_path / "run"
    options = ["--train.epochs=4", "--classes.system=PermutationCode(24)"]
    assert main([*SMALL, *options, f"--run.dir={folder}", f"--warmup.reassign={reassign}"]) == 0
    assert len(means) == times
    classes = read_run(folder).objective.classes
    expected = PermutationCode(24).quantize(means[-1])
    cosine = cosine_similarity(classes.vectors(torch.arange(30)), expected)
    assert float(cosine.min()) > 1 - 1e-6  # so few classes never meet
    # The table of epochs ends with the vectors that the run keeps.
    metrics = json.loads((folder / "metrics.json").read_text())
    last = (folder / "metrics.csv").read_text().splitlines()[-1].split(",")
    tests = [test["accuracy"] for test in metrics["test"].values()]
    assert [float(value) for value in last[-2:]] == pytest.approx(tests, abs=1e-6)


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ("--warmup.neighbors=0", "'warmup.neighbors' must be at least 1"),
        ("--warmup.epochs=9", "'warmup.epochs' must be at most 'train.epochs'"),
        ("--warmup.epochs=0", "'warmup.epochs' must be at least 1"),
        ("--warmup.per_class=1", "'warmup.per_class' must be at least 2"),
        ("--warmup.temperature=0", "must be positive"),
    ],
)
def test_errors(option: str, message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    assert main([*SMALL, option, "--train.epochs=5", f"--run.dir={tmp_path / 'run'}"]) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


def test_fold_changes_the_layer_and_not_what_it_knows():
    torch.manual_seed(0)
    embedder = Embedder(Encoder(16, 1, 4), (0.5,), (0.5,)).eval()
    images = torch.randint(0, 255, (20, 1, 16, 16), dtype=torch.uint8)
    with torch.no_grad():
        before = embedder(images)
        center, rotation = before.mean(0), random_rotation(16, seed=3)
        fold(embedder.network.head, center, rotation)
        after = embedder(images)
    torch.testing.assert_close(after, (before - center) @ rotation.T, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(rotation @ rotation.T, torch.eye(16), atol=1e-5, rtol=0)


def test_a_permutation_code_is_near_any_direction():
    z = torch.randn(500, 128)
    for levels, expected in ((1, 0.90), (2, 0.958), (3, 0.976), (4, 0.984)):
        code = PermutationCode(128, levels).quantize(z)
        assert cosine_similarity(z, code).mean() == pytest.approx(expected, abs=0.003)


def test_every_image_a_class(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    """Self-supervised: pairs are two draws of an image, and each image gets a vector of its own."""
    unique = [a for a in SMALL if "epochs" not in a and "lr" not in a]
    unique += ["--data.unique_labels=200", f"--run.dir={tmp_path / 'run'}", "--train.epochs=5"]
    assert main(unique) == 2
    assert "set 'data.augment'" in capsys.readouterr().err
    assert main([*unique, "--data.augment=light1"]) == 0
    metrics = json.loads((tmp_path / "run/metrics.json").read_text())
    assert metrics["num_classes"] == metrics["test"]["train"]["images"] == 200
    assert metrics["test"]["train"]["accuracy"] > 0.1  # 0.005 by chance
