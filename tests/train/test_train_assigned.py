"""Class vectors from a file or from an earlier run, before the first epoch."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn.functional import cosine_similarity

from rootspace.cli import main
from rootspace.data import Characters
from rootspace.systems import PermutationCode, RootA
from rootspace.train import callbacks, read_run
from rootspace.train.assignment import embed_means, random_rotation
from rootspace.train.class_vectors import read_vectors

SMALL = [
    "train",
    "--data.num_classes=30",
    "--data.image_size=16",
    "--data.batch_size=32",
    "--model.width=4",
    "--train.lr=3e-3",
]
STUDENT = [*SMALL, "--loss.name=cosine", "--train.epochs=3"]


@pytest.fixture(scope="module")
def teacher(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("teacher") / "run"
    options = ["--loss.name=normalized_softmax", "--model.dim=20", "--train.epochs=2"]
    assert main([*SMALL, *options, f"--run.dir={folder}"]) == 0
    return folder


@pytest.fixture(scope="module")
def data() -> Characters:
    data = Characters(num_classes=30, image_size=16, batch_size=32)
    data.setup()
    return data


@pytest.mark.parametrize("dim", [12, 20, 24])
def test_teacher(dim: int, teacher: Path, data: Characters, tmp_path: Path):
    """The student has its own network, and the vectors nearest to the teacher's class means."""
    folder = tmp_path / "run"
    options = ["--classes.assignment=teacher", f"--classes.teacher={teacher}", f"--model.dim={dim}"]
    assert main([*STUDENT, *options, f"--run.dir={folder}"]) == 0
    metrics = json.loads((folder / "metrics.json").read_text())
    assert metrics["system"] == f"PermutationCode({dim}, levels=3)"
    assert metrics["order"] == "assigned" and metrics["parameters"]["head"] == 0
    rows = (folder / "metrics.csv").read_text().splitlines()[1:]
    assert len(rows) == 3 and not any(row.endswith(",,,") for row in rows), "no warm-up"

    means = embed_means(read_run(teacher).embedder, data)
    rotation = random_rotation(max(dim, 20), 0)[:dim, :20]
    expected = means.means(means.center(), rotation)
    vectors = read_run(folder).objective.class_vectors(torch.arange(30))
    cosine = cosine_similarity(expected, vectors)
    assert metrics["assignment"]["mean_cosine"] == pytest.approx(float(cosine.mean()), abs=1e-4)
    assert metrics["assignment"]["mean_cosine"] > 0.9
    assert metrics["assignment"]["smallest_angle"] > 1
    assert metrics["assignment"]["method"] == "nearest"


def test_file(data: Characters, tmp_path: Path):
    """Members of the system are kept; rows go by names where there are some."""
    system = RootA(8)
    numbers = torch.randperm(system.size)[:32]
    vectors = system.vectors(numbers)
    names = [*data.class_names[::-1], "extra", "more"]
    np.save(tmp_path / "v.npy", vectors.numpy())
    (tmp_path / "v.json").write_text(json.dumps(names))
    folder = tmp_path / "run"
    options = ["--classes.assignment=file", f"--classes.vectors={tmp_path / 'v.npy'}"]
    options += ["--classes.system=RootA(8)", f"--run.dir={folder}"]
    assert main([*STUDENT, *options, "--run.baselines=[combined,linear_ce]"]) == 0
    for run in (folder, folder / "baselines" / "combined"):
        classes = read_run(run).objective.classes
        torch.testing.assert_close(classes.vectors(torch.arange(30)), vectors[:30].flip(0))
    metrics = json.loads((folder / "metrics.json").read_text())
    assert metrics["assignment"]["mean_cosine"] == pytest.approx(1)


def test_file_gives_the_dimension(tmp_path: Path):
    np.save(tmp_path / "v.npy", np.random.default_rng(0).normal(size=(30, 40)))
    folder = tmp_path / "run"
    options = ["--classes.assignment=file", f"--classes.vectors={tmp_path / 'v.npy'}"]
    assert main([*STUDENT, *options, "--train.epochs=1", f"--run.dir={folder}"]) == 0
    metrics = json.loads((folder / "metrics.json").read_text())
    assert metrics["system"] == repr(PermutationCode(40))


def test_resume(teacher: Path, tmp_path: Path):
    """A resumed run goes on with the vectors of its checkpoint, and repeats an unbroken one."""
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    options = ["--classes.assignment=teacher", f"--classes.teacher={teacher}", "--model.dim=24"]
    assert main([*STUDENT, *options, f"--run.dir={whole}"]) == 0

    class Lost(Exception):
        pass

    def lose(self, trainer, module):
        original(self, trainer, module)
        if trainer.current_epoch == 1:
            raise Lost

    original = callbacks.Checkpoints.on_train_epoch_end
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(callbacks.Checkpoints, "on_train_epoch_end", lose)
        with pytest.raises(Lost):
            main([*STUDENT, *options, f"--run.dir={broken}"])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("rootspace.train.assignment.assign", None)  # not called again
        assert main(["train", "--resume", f"--run.dir={broken}"]) == 0
    old, new = (read_run(folder) for folder in (whole, broken))
    labels = torch.arange(30)
    assert torch.equal(old.objective.class_vectors(labels), new.objective.class_vectors(labels))
    for name, value in old.embedder.state_dict().items():
        assert torch.equal(value, new.embedder.state_dict()[name]), name


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--classes.assignment=teacher"], "'classes.teacher' must name the folder"),
        (["--classes.assignment=file"], "'classes.vectors' must name a .npy file"),
        (["--classes.teacher=x"], "'classes.teacher' needs 'classes.assignment' = 'teacher'"),
        (
            ["--classes.assignment=teacher", "--classes.teacher=nowhere"],
            "'classes.teacher': nowhere is not a run folder",
        ),
        (
            ["--classes.assignment=file", "--classes.vectors=nowhere.npy"],
            "'classes.vectors': nowhere.npy is not a .npy file",
        ),
    ],
)
def test_setting_errors(
    options: list[str], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    assert main([*STUDENT, *options, f"--run.dir={tmp_path / 'run'}"]) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


def test_teacher_of_other_images(teacher: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    options = ["--classes.assignment=teacher", f"--classes.teacher={teacher}"]
    options += ["--data.image_size=8", f"--run.dir={tmp_path / 'run'}"]
    assert main([*STUDENT, *options]) == 2
    assert "1 channels and 16 pixels, the data have 1 and 8" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


def test_file_errors(tmp_path: Path):
    path, names = tmp_path / "v.npy", ["a", "b", "\u2028"]

    def attempt(array: np.ndarray, match: str):
        np.save(path, array)
        with pytest.raises(ValueError, match=f"'classes.vectors'.*{match}"):
            read_vectors(path, 4, names)

    good = np.arange(1.0, 13.0, dtype=np.float32).reshape(3, 4)
    attempt(good[:, :3], "has dimension 3, the vector system 4")
    attempt(good[:2], "must hold 3 rows, one for each class of the data in their order, not 2")
    attempt(good[0], r"floats of shape \[classes, dim\], not float32\[4\]")
    attempt(good.astype(int), "not int64")
    attempt(np.where(good == 5, np.nan, good), "class 'b' in .* must be finite and not zero")
    attempt(good * (good > 4), "class 'a' in .* must be finite and not zero")
    np.savez(tmp_path / "v.npz", good)
    with pytest.raises(ValueError, match="not an archive"):
        read_vectors(tmp_path / "v.npz", 4, names)

    beside = tmp_path / "v.txt"
    beside.write_text("\u2028\na\nb\n", encoding="utf-8")
    np.save(path, good)
    assert torch.equal(read_vectors(path, 4, names), torch.from_numpy(good[[1, 2, 0]]))
    beside.write_text("a\nb\nc\n", encoding="utf-8")
    attempt(good, "lacks 1 of the 3 classes of the data, such as")
    beside.write_text("a\nb\na", encoding="utf-8")
    attempt(good, "must hold 3 different names")
    beside.unlink()
    (tmp_path / "v.json").write_text("{")
    attempt(good, "is not JSON")
