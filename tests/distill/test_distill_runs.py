"""`rootspace distill` as a user calls it: shared classes, a teacher that leaves, stopped runs."""

from __future__ import annotations

import gc
import json
import weakref
from pathlib import Path
from typing import Any

import pytest
import torch
from distill_settings import DATA, SMALL
from safetensors.torch import load_file
from torch import nn

from image_folders import write_images
from rootspace.cli import main
from rootspace.distill import distillation, targets, teachers
from rootspace.heads import PrototypeHead
from rootspace.model_file import Model
from rootspace.run import load
from rootspace.runs import RunRecord
from rootspace.runs.folder import read_config
from rootspace.train.callbacks import Checkpoints
from rootspace.train.module import RunModule

STUDENT = ["distill", *SMALL, "--train.epochs=2"]
LABELS = torch.arange(30)


def vectors_of(folder: Path) -> torch.Tensor:
    """`[30, dim]` prototypes of a run."""
    return load(folder).model.head.vectors(LABELS)


@pytest.mark.parametrize("teacher", ["code", "formula"])
def test_a_teacher_hands_on_its_own_vectors(
    teacher: str, request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """The very class map, without a pass."""
    folder, run = request.getfixturevalue(teacher), tmp_path / "run"
    monkeypatch.setattr(distillation, "take_targets", None)
    assert main([*STUDENT, f"--teacher.run={folder}", f"--run.dir={run}"]) == 0
    old, new = (load(f).class_map for f in (folder, run))
    assert old is not None and new is not None
    assert repr(old) == repr(new) and old.names == new.names
    assert torch.equal(vectors_of(folder), vectors_of(run))
    assert json.loads((run / "metrics.json").read_text())["teacher"]["targets"] == "own"
    config = read_config(run)
    assert config.loss is not None and config.loss.init_args["negatives"] == 4096
    head = load(run).model.head
    assert isinstance(head, PrototypeHead) and not head.needs_pairs


def test_a_teacher_that_a_file_names_brings_its_data_too(code: Path, tmp_path: Path):
    run, path = tmp_path / "run", tmp_path / "student.yaml"
    path.write_text(f"teacher: {{run: {code}}}\nrun: {{dir: {run}}}\ntrain: {{epochs: 1}}\n")
    student = [*SMALL[len(DATA) :], "--config", str(path)]
    assert main(["distill", *student]) == 0
    assert read_config(run).data == read_config(code).data
    assert torch.equal(vectors_of(code), vectors_of(run))


def test_fewer_classes_than_the_teacher(code: Path, tmp_path: Path):
    """Ten of its classes in the data: the student answers with the teacher's labels."""
    run = tmp_path / "run"
    names = load(code).names[20:]
    ranges = ",".join(f"U+{ord(name):04X}" for name in reversed(names))
    options = ["--data=Characters", f"--data.ranges={ranges}", "--data.image_size=16"]
    student = [*STUDENT[:1], *SMALL[len(DATA) :], "--train.epochs=2", *options]
    assert main([*student, f"--teacher.run={code}", f"--run.dir={run}"]) == 0
    assert load(run).names == load(code).names
    assert json.loads((run / "metrics.json").read_text())["num_classes"] == 30
    assert torch.equal(vectors_of(run), vectors_of(code))
    assert main(["evaluate", str(run), *options]) == 0


def test_the_teacher_leaves_before_the_first_step(
    learned: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    seen: list[weakref.ref[nn.Module]] = []
    alive: list[bool] = []
    opened, stepped = teachers.read_teacher, RunModule.training_step

    def read(*arguments: Any) -> Model:
        teacher = opened(*arguments)
        seen.append(weakref.ref(teacher.embedder.network))
        return teacher

    def step(self: RunModule, batch: Any, batch_idx: int) -> Any:
        alive.append(seen[0]() is not None)
        return stepped(self, batch, batch_idx)

    monkeypatch.setattr(teachers, "read_teacher", read)
    monkeypatch.setattr(RunModule, "training_step", step)
    gc.disable()  # it must not hang on a cycle
    try:
        options = [f"--teacher.run={learned}", f"--run.dir={tmp_path / 'run'}"]
        assert main([*STUDENT, *options]) == 0
    finally:
        gc.enable()
    assert len(seen) == 1 and alive and not any(alive)


class Lost(Exception):
    pass


def lose(*_: object, **__: object) -> None:
    raise Lost


@pytest.mark.parametrize("targets", ["codes", "images"])
def test_resuming_needs_no_teacher(
    targets: str, learned: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """Killed after the first epoch, and before it; the folder may move in between."""
    whole = tmp_path / "whole"
    options = [f"--teacher.run={learned}", f"--teacher.targets={targets}"]
    assert main([*STUDENT, *options, f"--run.dir={whole}"]) == 0
    expected = load_file(whole / "model.safetensors")
    saved = Checkpoints.on_train_epoch_end

    def after_an_epoch(self: Checkpoints, trainer: Any, module: Any) -> None:
        saved(self, trainer, module)
        raise Lost

    places: list[tuple[Any, str, Any]] = [(Checkpoints, "on_train_epoch_end", after_an_epoch)]
    places += [(distillation, "_head", lose)]
    for number, (owner, name, breaking) in enumerate(places):
        run = tmp_path / f"broken{number}"
        with monkeypatch.context() as patch:
            patch.setattr(owner, name, breaking)
            with pytest.raises(Lost):
                main([*STUDENT, *options, f"--run.dir={run}"])
        run = run.rename(tmp_path / f"moved{number}")
        with monkeypatch.context() as patch:
            patch.setattr(distillation, "open_teacher", lose)
            assert main(["distill", "--resume", f"--run.dir={run}"]) == 0
        found = load_file(run / "model.safetensors")
        assert all(torch.equal(expected[name], found[name]) for name in expected)
    before = (whole / "model.safetensors").read_bytes()
    assert main(["distill", "--resume", f"--run.dir={whole}"]) == 0
    assert (whole / "model.safetensors").read_bytes() == before


def test_a_student_goes_on_elsewhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    """With its data moved and other workers; all other settings hold."""
    photos = write_images(tmp_path / "photos", "abc", 6, 0)
    small = ["--data=ImageFolder", f"--data.root={photos}", "--model.width=4", "--train.epochs=1"]
    small += ["--loader.batch_size=8", "--head.dim=8"]
    teacher, run = tmp_path / "teacher", tmp_path / "run"
    assert main(["train", *small, f"--run.dir={teacher}"]) == 0
    with monkeypatch.context() as patch:
        patch.setattr(distillation, "_head", lose)
        with pytest.raises(Lost):
            main(["distill", *small, f"--teacher.run={teacher}", f"--run.dir={run}"])
    photos.rename(tmp_path / "moved")
    resume = ["distill", "--resume", f"--run.dir={run}"]
    place = [f"--data.root={tmp_path / 'moved'}", "--loader.num_workers=1"]
    assert main(resume) == 2 and "'root' must be a folder" in capsys.readouterr().err
    for other in ("--train.epochs=2", "--teacher.targets=means"):
        assert main([*resume, *place, other]) == 2
        assert "'--resume' takes no other settings" in capsys.readouterr().err
    assert main([*resume, *place]) == 0
    config = read_config(run)
    assert config.data.init_args["root"] == str(tmp_path / "moved")
    assert config.loader.num_workers == 1 and RunRecord.read(run).epochs == 1


def test_stopped_in_the_pass(
    learned: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
):
    """Half a pass leaves nothing under a final name; resuming makes it anew."""
    run, options = tmp_path / "run", [f"--teacher.run={learned}", "--head.dim=16"]
    with monkeypatch.context() as patch:
        finite, calls = torch.isfinite, []

        def stop(z: torch.Tensor) -> torch.Tensor:
            calls.append(z)
            if len(calls) == 2:
                raise KeyboardInterrupt
            return finite(z)

        patch.setattr(targets.torch, "isfinite", stop)
        assert main([*STUDENT, *options, f"--run.dir={run}"]) == 130
    assert f"rootspace distill --resume --run.dir {run}" in capsys.readouterr().err
    assert not (run / "targets").exists()
    assert main([*STUDENT, *options, f"--run.dir={run}"]) == 2
    assert "must be new or empty" in capsys.readouterr().err
    assert main(["predict", str(run), "x.png"]) == 2
    assert main(["train", "--resume", f"--run.dir={run}"]) == 2
    assert "has a teacher. Continue it with `rootspace distill --resume" in capsys.readouterr().err
    assert main(["distill", "--resume", "--train.lr=1", f"--run.dir={run}"]) == 2
    assert "'--resume' takes no other settings" in capsys.readouterr().err
    assert main(["distill", "--resume", f"--run.dir={run}"]) == 0
    assert sorted(p.name for p in (run / "targets").glob("*.npy")) == ["vectors.npy"]
    config = read_config(run)
    assert config.teacher is not None and config.teacher.targets == "codes"
    assert config.head.init_args["contrastive_weight"] == 0


def test_a_distilled_run_can_be_extended(code: Path, tmp_path: Path):
    run, more = tmp_path / "run", tmp_path / "more"
    assert main([*STUDENT, f"--teacher.run={code}", f"--run.dir={run}"]) == 0
    options = ["--data=Characters", "--data.image_size=16", "--data.ranges=U+0410-U+0413"]
    options += ["--train.epochs=1"]
    assert main(["extend", str(run), *options, "--memory.size=20", f"--run.dir={more}"]) == 0
    assert torch.equal(vectors_of(run), vectors_of(more))
    assert len(load(more).names) == 34 and read_config(more).teacher is None


def test_an_extended_run_as_teacher(code: Path, tmp_path: Path):
    """The student learns from what the run remembers and its new images."""
    teacher, run = tmp_path / "teacher", tmp_path / "run"
    new = ["--data=Characters", "--data.image_size=16", "--data.ranges=U+0410-U+0413"]
    options = [*new, "--train.epochs=1", "--memory.size=60"]
    assert main(["extend", str(code), *options, f"--run.dir={teacher}"]) == 0
    student = ["--model.width=4", "--train.epochs=1", f"--teacher.run={teacher}"]
    assert main(["distill", *student, f"--run.dir={run}"]) == 0
    assert load(run).names == load(teacher).names
    metrics = json.loads((run / "metrics.json").read_text())
    assert metrics["num_classes"] == 34 and len(metrics["test"]) == 4


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ([], "Exactly one of the arguments 'teacher.run', 'teacher.timm' and"),
        (
            ["--teacher.run=x", "--teacher.embeddings=e.npy"],
            "not 'teacher.run' and 'teacher.embeddings'",
        ),
        (["--teacher.run=nowhere"], "'teacher.run': nowhere is not a run folder"),
        (["--teacher.run=nowhere", "--teacher.targets=codes"], "'teacher.run': nowhere is not"),
        (["--teacher.timm=resnet10t"], "'teacher.weights' must be the file of a checkpoint"),
        (["--teacher.run=x", "--teacher.weights=y"], "with 'teacher.timm', and only then, not 'y'"),
        (["--teacher.embeddings=nowhere.npy"], "'teacher.embeddings' must be a file: nowhere.npy"),
        (["--teacher.embeddings=x.npy", "--teacher.targets=own"], "'own' needs 'teacher.run'"),
        (["--teacher.run={learned}", "--teacher.targets=own"], "has a learned head (NormalizedH"),
        (["--teacher.run={learned}", "--teacher.targets=x"], "teacher.targets"),
        (["--teacher.run={code}", "--data.num_classes=40"], "lacks"),
        (["--teacher.run={code}", "--head.dim=25"], "'head.dim'"),
        (["--teacher.run={code}", "--head.system=RootA(9)"], "'head.system' must be left"),
        (
            ["--teacher.run={code}", "--teacher.targets=means", "--head.system=RootA(9)"],
            "'head.system' = 'RootA(9)' needs 'teacher.targets' = 'codes', not 'means'",
        ),
        (["--teacher.run={learned}", "--data.image_size=8"], "takes images of 1 x 16 x 16"),
        (["--teacher.run={learned}", "--head=LinearHead"], "'head' must be a PrototypeHead"),
        (["--teacher.run={learned}", "--loss.scale=-1"], "'scale' must be positive"),
        (
            ["--teacher.run={learned}", "--run.baselines=[CosFaceHead]"],
            "'run.baselines' must be left",
        ),
        (["--teacher.run={learned}", "--run.init=nowhere"], "'run.init': nowhere"),
        (
            ["--teacher.run={learned}", "--prototypes.source=formula"],
            "'prototypes.source' must be left out to distill, not 'formula'",
        ),
        (
            ["--teacher.run={learned}", "--prototypes.refine=2"],
            "'prototypes.refine' must be left out to distill, not 2",
        ),
    ],
)
def test_errors_before_any_work(
    options: list[str], message: str, learned: Path, code: Path, tmp_path: Path, capsys
):
    filled = [option.format(learned=learned, code=code) for option in options]
    run = tmp_path / "run"
    assert main([*STUDENT, *filled, f"--run.dir={run}"]) == 2
    assert message in capsys.readouterr().err
    assert not run.exists()


def test_a_student_contrasts_nothing(learned: Path, tmp_path: Path) -> None:
    """So one input of a class in a batch is enough, whatever the targets are made of."""
    run = tmp_path / "run"
    given = [f"--teacher.run={learned}", "--loader.per_class=1", f"--run.dir={run}"]
    assert main([*STUDENT, *given]) == 0
    assert json.loads((run / "metrics.json").read_text())["teacher"]["targets"] == "codes"


def test_resuming_another_run(learned: Path, capsys: pytest.CaptureFixture[str]):
    assert main(["distill", "--resume", f"--run.dir={learned}"]) == 2
    assert "has no teacher. Continue it with `rootspace train --resume" in capsys.readouterr().err


def test_help(capsys: pytest.CaptureFixture[str]):
    assert main(["distill", "--help"]) == 0
    assert "--teacher.run" in capsys.readouterr().out
