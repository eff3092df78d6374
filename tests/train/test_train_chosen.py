"""Prototypes from the data: the stage before the choice, the choice, and the stage after it."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

import pytest
import torch
from torch import Tensor
from torch.nn.functional import cosine_similarity

from rootspace import load
from rootspace.classes import Assignment
from rootspace.cli import main
from rootspace.heads import PrototypeHead
from rootspace.runs import EpochRow, RunRecord
from rootspace.systems import PermutationCode
from rootspace.train import training

SMALL = [
    "train",
    "--data.num_classes=30",
    "--data.image_size=16",
    "--loader.batch_size=32",
    "--model.width=4",
    "--head.dim=24",
    "--loss=CosineLoss",
    "--prototypes.after=0.5",
    "--train.lr=3e-3",
]
Losing = Callable[[int], AbstractContextManager[None]]


@pytest.fixture
def choices(monkeypatch: pytest.MonkeyPatch) -> list[Tensor]:
    """The means of every choice that a head is asked for, as they come."""
    means: list[Tensor] = []
    original = PrototypeHead.choose

    def choose(self: PrototypeHead, given: Tensor, *frame: Tensor | None) -> Assignment:
        means.append(given)
        return original(self, given, *frame)

    monkeypatch.setattr(PrototypeHead, "choose", choose)
    return means


def same_weights(one: Path, other: Path) -> None:
    old, new = (load(folder).model for folder in (one, other))
    for name, value in old.embedder.state_dict().items():
        assert torch.equal(value, new.embedder.state_dict()[name]), name
    labels = torch.arange(old.head.num_classes)
    assert torch.equal(old.head.vectors(labels), new.head.vectors(labels))
    assert torch.equal(old.head.transform(torch.eye(24)), new.head.transform(torch.eye(24)))


@pytest.mark.slow
def test_learns_faster_than_with_prototypes_by_formula(tmp_path: Path) -> None:
    """With hundreds of classes and ten images of each, an arbitrary table is hard to learn."""
    accuracy = {}
    more = ["--data.num_classes=300", "--model.width=8", "--head.dim=48", "--train.epochs=6"]
    for way, after in (("data", 0.34), ("formula", 0.1)):  # the second is the default, not acting
        folder = tmp_path / way
        options = [f"--run.dir={folder}", f"--prototypes.source={way}"]
        options.append(f"--prototypes.after={after}")
        assert main([*SMALL, *more, *options]) == 0
        tests = [test.accuracy for test in RunRecord.read(folder).test.values()]
        accuracy[way] = sum(tests) / len(tests)
    assert accuracy["data"] > accuracy["formula"] + 0.2


def test_run_folder(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "run"
    assert main([*SMALL, f"--run.dir={folder}", "--train.epochs=4"]) == 0
    record = RunRecord.read(folder)
    assert record.system == "PermutationCode(24, levels=3)" and record.order == "assigned"
    assert record.bytes_per_class == 8  # less than 3 * 24 / 8
    assert record.choice is not None and record.choice.mean_cosine > 0.9
    assert record.parameters.head == 0
    rows = EpochRow.read(folder)
    # Train accuracy from the third epoch on; the test sets are read with the first vectors already.
    assert [math.isnan(row.accuracy) for row in rows] == [True, True, False, False]
    assert [all(map(math.isnan, row.tests.values())) for row in rows] == [True, False, False, False]
    capsys.readouterr()
    assert main(["evaluate", str(folder), "--top=1", "--format=json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert {name: test["accuracy"] for name, test in found.items()} == {
        name: test.accuracy for name, test in record.test.items()
    }
    class_map = load(folder).class_map
    assert class_map is not None and class_map.num_classes == 30
    vectors = class_map.vectors(torch.arange(30), dtype=torch.float64)
    largest = (vectors @ vectors.T).fill_diagonal_(-1).max()
    assert record.choice.smallest_angle == pytest.approx(float(largest.acos().rad2deg()), abs=1e-3)


@pytest.mark.parametrize("lost", [1, 3, 4])
def test_resume(lost: int, tmp_path: Path, lost_after: Losing, choices: list[Tensor]) -> None:
    """Checkpoints hold the stage, its vectors and when they were chosen; each choice is made once.

    After the first epoch there are none, and after the last one nothing is left to train.
    """
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    assert main([*SMALL, f"--run.dir={whole}", "--train.epochs=4"]) == 0
    assert len(choices) == 2
    with lost_after(lost):
        main([*SMALL, f"--run.dir={broken}", "--train.epochs=4"])
    assert main(["train", "--resume", f"--run.dir={broken}"]) == 0
    assert len(choices) == 4
    same_weights(whole, broken)
    rows = [
        [line.split(",")[:2] + line.split(",")[3:] for line in text.splitlines()]
        for text in ((folder / "metrics.csv").read_text() for folder in (whole, broken))
    ]
    assert rows[0] == rows[1]
    old, new = (RunRecord.read(folder) for folder in (whole, broken))
    assert old.test == new.test and old.train == new.train
    assert old.choice and new.choice and old.choice.mean_cosine == new.choice.mean_cosine


def test_a_run_killed_between_its_last_epoch_and_its_figures_does_not_choose_again(
    tmp_path: Path, choices: list[Tensor], monkeypatch: pytest.MonkeyPatch
) -> None:
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    options = [*SMALL, "--train.epochs=3"]
    assert main([*options, f"--run.dir={whole}"]) == 0
    with monkeypatch.context() as patch:
        patch.setattr(training, "evaluate", None)
        with pytest.raises(TypeError, match="not callable"):  # as a process that ends here
            main([*options, f"--run.dir={broken}"])
    assert not (broken / "manifest.json").exists()
    assert len(choices) == 4
    assert main(["train", "--resume", f"--run.dir={broken}"]) == 0
    assert len(choices) == 4
    same_weights(whole, broken)


@pytest.mark.parametrize(("again", "times"), [("never", 1), ("end", 2), ("epochs", 3)])
def test_classes_get_the_vectors_nearest_to_what_their_means_have_become(
    again: str, times: int, tmp_path: Path, choices: list[Tensor]
) -> None:
    folder = tmp_path / "run"
    options = ["--train.epochs=4", "--head.system=PermutationCode(24)"]
    assert main([*SMALL, *options, f"--run.dir={folder}", f"--prototypes.again={again}"]) == 0
    assert len(choices) == times
    class_map = load(folder).class_map
    assert class_map is not None
    expected = PermutationCode(24).quantize(choices[-1])
    cosine = cosine_similarity(class_map.vectors(torch.arange(30)), expected)
    assert float(cosine.min()) > 1 - 1e-6  # so few classes never meet
    # The table of epochs ends with the vectors that the run keeps.
    tests = [test.accuracy for test in RunRecord.read(folder).test.values()]
    assert list(EpochRow.read(folder)[-1].tests.values()) == pytest.approx(tests, abs=1e-6)


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ("--loader.neighbors=0", "'loader.neighbors' must be at least 1"),
        ("--prototypes.after=1.5", "'prototypes.after' must be a share of the epochs in [0, 1]"),
        ("--prototypes.after=-0.1", "'prototypes.after' must be a share of the epochs in [0, 1]"),
        ("--prototypes.refine=-1", "'prototypes.refine' must be at least 0"),
        ("--prototypes.again=often", "prototypes.again"),
        ("--loader.per_class=0", "'loader.per_class' must be at least 1"),
        ("--loader.per_class=1", "'loader.per_class' must be at least 2"),
        ("--head.temperature=0", "must be positive"),
    ],
)
def test_errors(
    option: str, message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*SMALL, option, "--train.epochs=5", f"--run.dir={tmp_path / 'run'}"]) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


def test_every_image_a_class(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Self-supervised: pairs are two draws of an image, and each image gets a vector of its own."""
    unique = [a for a in SMALL if "lr" not in a]
    unique += ["--loader.unique_labels=200", f"--run.dir={tmp_path / 'run'}", "--train.epochs=5"]
    assert main(unique) == 2
    assert "set 'transform'" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()
    assert main([*unique, "--transform=rootspace.data.Light1"]) == 0
    record = RunRecord.read(tmp_path / "run")
    assert record.num_classes == record.test["train"].images == 200
    assert record.test["train"].accuracy > 0.1  # 0.005 by chance
