"""`rootspace distill` as a user calls it: shared classes, a teacher that leaves, stopped runs."""

from __future__ import annotations

import gc
import json
import weakref
from pathlib import Path

import pytest
import torch
import yaml
from distill_settings import DATA, SMALL
from safetensors.torch import load_file

from rootspace.cli import main
from rootspace.distill import _targets, _teachers, distillation
from rootspace.train import LSCModule, callbacks, read_run

STUDENT = ["distill", *SMALL, "--train.epochs=2"]
LABELS = torch.arange(30)


@pytest.mark.parametrize("teacher", ["code", "formula"])
def test_a_teacher_hands_on_its_own_vectors(teacher: str, request, tmp_path: Path, monkeypatch):
    """The very class map, without a pass."""
    folder, run = request.getfixturevalue(teacher), tmp_path / "run"
    monkeypatch.setattr(distillation, "take_targets", None)
    assert main([*STUDENT, f"--teacher.run={folder}", f"--run.dir={run}"]) == 0
    old, new = (json.loads((f / "classes.json").read_text()) for f in (folder, run))
    assert old == new
    old, new = (read_run(f).objective.class_vectors(LABELS) for f in (folder, run))
    assert torch.equal(old, new)
    assert json.loads((run / "metrics.json").read_text())["teacher"]["targets"] == "own"
    again = tmp_path / "again"  # the resolved settings train the same student without a teacher
    options = ["--config", str(run / "config.yaml"), f"--run.dir={again}"]
    assert main(["train", *options]) == 0
    one, other = (load_file(f / "model.safetensors") for f in (run, again))
    assert all(torch.equal(one[name], other[name]) for name in one)


def test_fewer_classes_than_the_teacher(code: Path, tmp_path: Path):
    """Ten of its classes in the data: the student answers with the teacher's labels."""
    run = tmp_path / "run"
    names = read_run(code).names[20:]
    ranges = ",".join(f"U+{ord(name):04X}" for name in reversed(names))
    options = [f"--data.ranges={ranges}", "--data.num_classes=null", f"--teacher.run={code}"]
    assert main([*STUDENT, *options, f"--run.dir={run}"]) == 0
    trained = read_run(run)
    assert trained.names == read_run(code).names
    assert json.loads((run / "metrics.json").read_text())["num_classes"] == 30
    own = read_run(code).objective.class_vectors(LABELS)
    assert torch.equal(trained.objective.class_vectors(LABELS), own)
    assert main(["evaluate", str(run), *options[:2], *DATA[1:]]) == 0


def test_the_teacher_leaves_before_the_first_step(learned: Path, tmp_path: Path, monkeypatch):
    teachers, alive = [], []
    opened, stepped = _teachers.read_teacher, LSCModule.training_step

    def read(*arguments):
        teacher = opened(*arguments)
        teachers.append(weakref.ref(teacher.embedder.network))
        return teacher

    def step(self, batch, batch_idx):
        alive.append(teachers[0]() is not None)
        return stepped(self, batch, batch_idx)

    monkeypatch.setattr(_teachers, "read_teacher", read)
    monkeypatch.setattr(LSCModule, "training_step", step)
    gc.disable()  # it must not hang on a cycle
    try:
        options = [f"--teacher.run={learned}", f"--run.dir={tmp_path / 'run'}"]
        assert main([*STUDENT, *options]) == 0
    finally:
        gc.enable()
    assert len(teachers) == 1 and alive and not any(alive)


class Lost(Exception):
    pass


def lose(*_: object, **__: object) -> None:
    raise Lost


@pytest.mark.parametrize("targets", ["codes", "images"])
def test_resuming_needs_no_teacher(targets: str, learned: Path, tmp_path: Path, monkeypatch):
    """Killed after the first epoch, and before it; the folder may move in between."""
    whole = tmp_path / "whole"
    options = [f"--teacher.run={learned}", f"--teacher.targets={targets}"]
    assert main([*STUDENT, *options, f"--run.dir={whole}"]) == 0
    expected = load_file(whole / "model.safetensors")
    saved = callbacks.Checkpoints.on_train_epoch_end

    def after_an_epoch(self, trainer, module):
        saved(self, trainer, module)
        raise Lost

    places = [(callbacks.Checkpoints, "on_train_epoch_end", after_an_epoch)]
    places += [(distillation, "build_parts", lose)]
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


def test_stopped_in_the_pass(learned: Path, tmp_path: Path, monkeypatch, capsys):
    """Half a pass leaves nothing under a final name; resuming makes it anew."""
    run, options = tmp_path / "run", [f"--teacher.run={learned}", "--model.dim=16"]
    with monkeypatch.context() as patch:
        finite, calls = torch.isfinite, []

        def stop(z):
            calls.append(z)
            if len(calls) == 2:
                raise KeyboardInterrupt
            return finite(z)

        patch.setattr(_targets.torch, "isfinite", stop)
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
    assert sorted(p.name for p in (run / "targets").iterdir()) == ["vectors.npy"]
    config = yaml.safe_load((run / "config.yaml").read_text())
    assert config["teacher"]["targets"] == "codes" and config["classes"]["assignment"] == "file"


def test_a_distilled_run_can_be_extended(code: Path, tmp_path: Path):
    run, more = tmp_path / "run", tmp_path / "more"
    assert main([*STUDENT, f"--teacher.run={code}", f"--run.dir={run}"]) == 0
    options = ["--data.ranges=U+0410-0413", "--data.num_classes=null", "--train.epochs=1"]
    assert main(["extend", str(run), *options, "--memory.size=20", f"--run.dir={more}"]) == 0
    old, new = (read_run(f).objective.class_vectors(LABELS) for f in (run, more))
    assert torch.equal(old, new)


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
        (["--teacher.timm=resnet10t"], "'teacher.weights' must be the path of a checkpoint"),
        (["--teacher.run=x", "--teacher.weights=y"], "'y' needs 'teacher.timm', not 'teacher.run'"),
        (["--teacher.embeddings=nowhere.npy"], "'teacher.embeddings' must be a file: nowhere.npy"),
        (["--teacher.embeddings=x.npy", "--teacher.targets=own"], "'own' needs 'teacher.run'"),
        (["--teacher.run={learned}", "--teacher.targets=own"], "has a learned head (normalized_"),
        (["--teacher.run={learned}", "--teacher.targets=x"], "teacher.targets"),
        (["--teacher.run={code}", "--data.num_classes=40"], "lacks"),
        (["--teacher.run={code}", "--model.dim=25"], "'model.dim'"),
        (["--teacher.run={code}", "--classes.system=RootA(9)"], "'classes.system' must be left"),
        (
            ["--teacher.run={code}", "--teacher.targets=means", "--classes.system=RootA(9)"],
            "'classes.system' = 'RootA(9)' needs 'teacher.targets' = 'codes', not 'means'",
        ),
        (["--teacher.run={learned}", "--data.image_size=8"], "1 channels and 16 pixels"),
        (["--teacher.run={learned}", "--loss.name=linear_ce"], "'loss.name' must be one of"),
        (["--teacher.run={learned}", "--loss.scale=-1"], "'scale' must be positive"),
        (["--teacher.run={learned}", "--run.baselines=[cosface]"], "'run.baselines' must be left"),
        (["--teacher.run={learned}", "--run.init=nowhere"], "'run.init': nowhere"),
        (
            ["--teacher.run={learned}", "--classes.assignment=random"],
            "'classes.assignment' must be left out to distill, not 'random'",
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


def test_resuming_another_run(learned: Path, capsys):
    assert main(["distill", "--resume", f"--run.dir={learned}"]) == 2
    assert "has no teacher. Continue it with `rootspace train --resume" in capsys.readouterr().err
    assert main(["distill", "--resume"]) == 2
    assert "'--run.dir' must name the folder" in capsys.readouterr().err


def test_help(capsys):
    with pytest.raises(SystemExit):
        main(["distill", "--help"])
    assert "--teacher.run" in capsys.readouterr().out
