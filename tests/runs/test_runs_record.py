"""Records of runs: written and read again, and what is wrong in them is named."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from rootspace.runs import (
    ChoiceRecord,
    EpochRow,
    Evaluation,
    Parameters,
    RunRecord,
    TeacherRecord,
    TestResult,
    Training,
)

RECORD = RunRecord(
    version="0.1.0",
    finished="2026-01-31 12:00:00",
    method="prototypes",
    loss="cosine",
    system="RootA(5)",
    capacity=2**70,
    num_classes=3,
    dim=5,
    model="encoder",
    data="three classes",
    batch_size=8,
    epochs=2,
    seconds=1.5,
    seconds_per_epoch=0.75,
    device="cpu",
    parameters=Parameters(backbone=10, head=2),
    bytes_per_class=0,
    training_bytes_per_class=0,
    train=Training(loss=0.5),
    test={"a/b": TestResult(0.5, 4), "c": TestResult(1.0, 2, 0.5)},
    choice=ChoiceRecord(0.9, 1, "exact", 0.1),
    teacher=TeacherRecord("codes", run="runs/teacher"),
)
ROWS = [
    EpochRow(1, 10, 1.5, 1e-3, 2.0, math.nan, {"a": math.nan, "b/c": math.nan}),
    EpochRow(2, 20, 3.0, 2e-5, 1.0, 0.5, {"a": 0.25, "b/c": 1.0}),
]


def evaluation(**changes: Any) -> Evaluation:
    images = np.zeros((2, 1, 4, 4), np.uint8)
    return replace(
        Evaluation(
            embeddings=np.zeros((6, 5), np.float32),
            embedding_labels=np.zeros(6, np.int64),
            class_vectors=np.eye(3, 5, dtype=np.float32),
            class_vector_labels=np.arange(3),
            class_labels=np.arange(3),
            class_names=np.array(["a", "б", ""]),
            confusion_set=np.array(["test", "test"]),
            confusion_true=np.array([0, 1]),
            confusion_predicted=np.array([1, 2]),
            confusion_cosine=np.array([0.5, 0.25], np.float32),
            confusion_images=images,
            confusion_true_images=images + 1,
            confusion_predicted_images=images + 2,
        ),
        **changes,
    )


def test_a_record_comes_back(tmp_path: Path):
    RECORD.write(tmp_path)
    assert RunRecord.read(tmp_path) == RECORD
    assert RECORD.has_prototypes and RECORD.parameters.total == 12
    content = json.loads((tmp_path / "metrics.json").read_text())
    assert content["test"] == {
        "a/b": {"accuracy": 0.5, "images": 4},
        "c": {"accuracy": 1.0, "images": 2, "mean_accuracy": 0.5},
    }
    assert "scale" not in content and "parent" not in content
    assert RECORD.as_json() == content


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"speed": 1}, r"metrics\.json: 'speed' is unknown"),
        ({"teacher": {"targets": "own", "age": 3}}, r"'teacher\.age' is unknown"),
        ({"teacher": {}}, r"has no 'teacher\.targets'; it must be a string"),
        ({"train": None}, r"'train' must be an object, not None"),
        ({"test": {"a": {"accuracy": True, "images": 1}}}, r"'test\.a\.accuracy' must be a number"),
        ({"choice": {"mean_cosine": "high"}}, r"has no 'choice\.collisions'"),
        ({"replayed_images": 0.5}, r"'replayed_images' must be an integer, not 0\.5"),
    ],
)
def test_what_is_wrong_in_a_record_is_named(tmp_path: Path, changes: dict, message: str):
    (tmp_path / "metrics.json").write_text(json.dumps({**RECORD.as_json(), **changes}))
    with pytest.raises(ValueError, match=message):
        RunRecord.read(tmp_path)


def test_every_required_field_is_missed(tmp_path: Path):
    optional = {f for f, value in vars(RECORD).items() if value is None}
    optional |= {"system", "capacity", "choice", "teacher"}
    for name, value in RECORD.as_json().items():
        content = {key: other for key, other in RECORD.as_json().items() if key != name}
        (tmp_path / "metrics.json").write_text(json.dumps(content))
        if name in optional:
            assert RunRecord.read(tmp_path) == replace(RECORD, **{name: None}), value
        else:
            with pytest.raises(ValueError, match=rf"metrics\.json has no '{name}'; it must be an?"):
                RunRecord.read(tmp_path)


def test_no_record(tmp_path: Path):
    with pytest.raises(FileNotFoundError):
        RunRecord.read(tmp_path)
    with pytest.raises(FileNotFoundError):
        EpochRow.read(tmp_path)
    with pytest.raises(FileNotFoundError):
        Evaluation.read(tmp_path)


def test_epochs_come_back(tmp_path: Path):
    EpochRow.write(tmp_path, ROWS)
    text = (tmp_path / "metrics.csv").read_text()
    assert text.splitlines() == [
        "epoch,step,seconds,lr,train/loss,train/accuracy,test/a/accuracy,test/b/c/accuracy",
        "1,10,1.5,0.001,2.0,,,",
        "2,20,3.0,2e-05,1.0,0.5,0.25,1.0",
    ]
    first, second = EpochRow.read(tmp_path)
    assert second == ROWS[1]
    assert (first.epoch, first.lr) == (1, 1e-3) and isinstance(first.step, int)
    assert math.isnan(first.accuracy) and all(map(math.isnan, first.tests.values()))
    (tmp_path / "metrics.csv").write_text(text.replace("\n2,", "\n2.5,"))
    with pytest.raises(ValueError, match=r"column 'epoch': .*2\.5"):
        EpochRow.read(tmp_path)


def test_an_evaluation_comes_back(tmp_path: Path):
    evaluation().write(tmp_path)
    found = Evaluation.read(tmp_path, dim=5)
    for name, array in vars(evaluation()).items():
        np.testing.assert_array_equal(getattr(found, name), array)
    assert found.names == {0: "a", 1: "б", 2: ""}
    first, second = found.confusions
    assert (first.true, first.predicted, first.cosine) == (0, 1, 0.5)
    assert second.predicted_sample.max() == 2
    with pytest.raises(ValueError, match=r"'embeddings' must be \[S dim\] \(S = 6, dim = 4\)"):
        Evaluation.read(tmp_path, dim=4)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"confusion_images": np.zeros((2, 1, 4, 4), np.int8)}, "must be uint8, not int8"),
        ({"embedding_labels": np.zeros(6)}, "must be integers, not float64"),
        ({"class_names": np.zeros(3)}, "must be text, not float64"),
        ({"class_vectors": np.zeros((3, 4))}, r"\(P = 3, dim = 5\), not \[3, 4\]"),
        ({"confusion_true": np.zeros((2, 1), int)}, r"must be \[Q\] \(Q = 2\), not \[2, 1\]"),
    ],
)
def test_a_wrong_evaluation_is_not_written(tmp_path: Path, changes: dict, message: str):
    with pytest.raises(ValueError, match=message):
        evaluation(**changes).write(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_unknown_arrays(tmp_path: Path):
    arrays = vars(evaluation())
    np.savez(tmp_path / "evaluation.npz", **arrays, more=np.zeros(1))
    with pytest.raises(ValueError, match=r"evaluation\.npz: array 'more' is unknown"):
        Evaluation.read(tmp_path)
