"""Prototypes from a file or from an earlier run, before the first epoch."""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn.functional import cosine_similarity

from rootspace import load
from rootspace.choosing import class_means, random_isometry
from rootspace.cli import main
from rootspace.config import ClassSpec, Config, LoaderConfig
from rootspace.data import DataModule, make_data
from rootspace.heads import PrototypeHead
from rootspace.runs import EpochRow, RunRecord
from rootspace.systems import PermutationCode, RootA
from rootspace.train import training
from rootspace.vector_file import read_vectors

SMALL = [
    "train",
    "--data.num_classes=30",
    "--data.image_size=16",
    "--loader.batch_size=32",
    "--model.width=4",
    "--train.lr=3e-3",
]
STUDENT = [*SMALL, "--loss=CosineLoss", "--train.epochs=3"]


@pytest.fixture(scope="module")
def teacher(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("teacher") / "run"
    options = ["--head=NormalizedHead", "--head.dim=20", "--train.epochs=2"]
    assert main([*SMALL, *options, f"--run.dir={folder}"]) == 0
    return folder


@pytest.fixture(scope="module")
def data() -> DataModule:
    source = ClassSpec("rootspace.data.Characters", {"num_classes": 30, "image_size": 16})
    data = make_data(Config(data=source, loader=LoaderConfig(batch_size=32)))
    data.setup()
    return data


@pytest.mark.parametrize("dim", [12, 20, 24])
def test_teacher(dim: int, teacher: Path, data: DataModule, tmp_path: Path) -> None:
    """The student has its own network, and the vectors nearest to the teacher's class means."""
    folder = tmp_path / "run"
    options = ["--prototypes.source=teacher", f"--prototypes.teacher={teacher}"]
    assert main([*STUDENT, *options, f"--head.dim={dim}", f"--run.dir={folder}"]) == 0
    record = RunRecord.read(folder)
    assert record.system == f"PermutationCode({dim}, levels=3)"
    assert record.order == "assigned" and record.parameters.head == 0
    rows = EpochRow.read(folder)
    assert len(rows) == 3
    assert all(row.accuracy >= 0 for row in rows), "the first epoch knows the prototypes"

    means = class_means(load(teacher).model.embedder, data.in_order(), 30)
    expected = means.means(means.center(), random_isometry(dim, 20, 0))
    vectors = load(folder).model.head.vectors(torch.arange(30))
    cosine = cosine_similarity(expected, vectors)
    assert record.choice is not None
    assert record.choice.mean_cosine == pytest.approx(float(cosine.mean()), abs=1e-4)
    assert record.choice.mean_cosine > 0.9
    assert record.choice.smallest_angle is not None and record.choice.smallest_angle > 1


def test_file(data: DataModule, tmp_path: Path) -> None:
    """Members of the system are kept; rows go by names where there are some."""
    system = RootA(8)
    numbers = torch.randperm(system.size)[:32]
    vectors = system.vectors(numbers)
    names = [*list(data.class_names)[::-1], "extra", "more"]
    np.save(tmp_path / "v.npy", vectors.numpy())
    (tmp_path / "v.json").write_text(json.dumps(names))
    folder = tmp_path / "run"
    options = ["--prototypes.source=file", f"--prototypes.vectors={tmp_path / 'v.npy'}"]
    options += ["--head.system=RootA(8)", f"--run.dir={folder}"]
    assert main([*STUDENT, *options, "--run.baselines=[LinearHead]"]) == 0
    class_map = load(folder).class_map
    assert class_map is not None
    torch.testing.assert_close(class_map.vectors(torch.arange(30)), vectors[:30].flip(0))
    record = RunRecord.read(folder)
    assert record.choice is not None and record.choice.mean_cosine == pytest.approx(1)
    learned = RunRecord.read(folder / "baselines" / "LinearHead")
    assert learned.choice is None and learned.dim == 8


def test_file_gives_the_dimension(tmp_path: Path) -> None:
    np.save(tmp_path / "v.npy", np.random.default_rng(0).normal(size=(30, 40)))
    folder = tmp_path / "run"
    options = ["--prototypes.source=file", f"--prototypes.vectors={tmp_path / 'v.npy'}"]
    assert main([*STUDENT, *options, "--train.epochs=1", f"--run.dir={folder}"]) == 0
    assert RunRecord.read(folder).system == repr(PermutationCode(40))


def test_resume(
    teacher: Path, tmp_path: Path, lost_after: Callable[[int], AbstractContextManager[None]]
) -> None:
    """A resumed run goes on with the vectors of its checkpoint, and repeats an unbroken one."""
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    options = ["--prototypes.source=teacher", f"--prototypes.teacher={teacher}", "--head.dim=24"]
    assert main([*STUDENT, *options, f"--run.dir={whole}"]) == 0
    with lost_after(2):
        main([*STUDENT, *options, f"--run.dir={broken}"])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(PrototypeHead, "choose", None)  # not called again
        patch.setattr(training, "read_teacher", None)
        assert main(["train", "--resume", f"--run.dir={broken}"]) == 0
    old, new = (load(folder).model for folder in (whole, broken))
    labels = torch.arange(30)
    assert torch.equal(old.head.vectors(labels), new.head.vectors(labels))
    for name, value in old.embedder.state_dict().items():
        assert torch.equal(value, new.embedder.state_dict()[name]), name
    fits = [RunRecord.read(folder).choice for folder in (whole, broken)]
    assert fits[0] and fits[1] and fits[0].mean_cosine == fits[1].mean_cosine


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--prototypes.source=teacher"], "'prototypes.teacher' must name the folder"),
        (["--prototypes.source=file"], "'prototypes.vectors' must name a .npy file"),
        (
            ["--prototypes.teacher=x"],
            "'prototypes.teacher' needs 'prototypes.source' = 'teacher', not 'data'",
        ),
        (
            ["--prototypes.source=teacher", "--prototypes.teacher=nowhere"],
            "'prototypes.teacher': nowhere is not a run folder",
        ),
        (
            ["--prototypes.source=file", "--prototypes.vectors=nowhere.npy"],
            "'prototypes.vectors': nowhere.npy is not a .npy file",
        ),
    ],
)
def test_setting_errors(
    options: list[str], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*STUDENT, *options, f"--run.dir={tmp_path / 'run'}"]) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


def test_teacher_of_other_images(
    teacher: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options = ["--prototypes.source=teacher", f"--prototypes.teacher={teacher}"]
    options += ["--data.image_size=8", f"--run.dir={tmp_path / 'run'}"]
    assert main([*STUDENT, *options]) == 2
    error = capsys.readouterr().err
    assert "'prototypes.teacher'" in error
    assert "takes images of 1 x 16 x 16, the data have images of 1 x 8 x 8" in error
    assert not (tmp_path / "run").exists()


def test_file_errors(tmp_path: Path) -> None:
    path, names = tmp_path / "v.npy", ["a", "b", "\u2028"]

    def attempt(array: np.ndarray, match: str) -> None:
        np.save(path, array)
        with pytest.raises(ValueError, match=f"'prototypes.vectors'.*{match}"):
            read_vectors(path, 4, names)

    good = np.arange(1.0, 13.0, dtype=np.float32).reshape(3, 4)
    attempt(good[:, :3], "has dimension 3, the vector system 4")
    attempt(good[:2], "must hold 3 rows, one for each class of the data in their order, not 2")
    attempt(good[0], r"floats of shape \[classes, dim\], not float32\[4\]")
    attempt(good.astype(int), "not int64")
    for other in (">f4", np.longdouble):
        attempt(good.astype(other), "must hold floats of 16, 32 or 64 bits in the byte order of")
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
    beside.write_text("b\n\u2028\na\n", encoding="utf-8-sig")  # as editors on Windows save it
    np.save(path, good)
    assert torch.equal(read_vectors(path, 4, names), torch.from_numpy(good[[2, 0, 1]]))
    beside.write_bytes("b\nc\né\n".encode("latin-1"))
    attempt(good, r"v\.txt must be UTF-8: 'utf-8' codec")
    beside.write_text("a\nb\na", encoding="utf-8")
    attempt(good, "must hold 3 different names")
    beside.unlink()
    (tmp_path / "v.json").write_text("{")
    attempt(good, "is not JSON")
