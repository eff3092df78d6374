"""What may change around a run that goes on, and what is noticed before it does harm."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import replace
from pathlib import Path

import lightning as L
import numpy as np
import pytest
import torch
from PIL import Image

from rootspace.cli._main import main
from rootspace.config import ClassSpec, Config, LoaderConfig, PrototypesConfig, RunConfig
from rootspace.config import TrainConfig as Train
from rootspace.continual.live import open_registry
from rootspace.heads import NormalizedHead
from rootspace.run import load
from rootspace.runs import EpochRow, RunRecord
from rootspace.runs import folder as files
from rootspace.train.callbacks import Checkpoints
from rootspace.train.module import RunModule
from rootspace.train.training import train

Losing = Callable[[int], AbstractContextManager[None]]


class Killed(Exception):
    """The process ended here."""


NAMES = ("ant", "bee", "cat")


def images(root: Path, names: tuple[str, ...] = NAMES, count: int = 8, seed: int = 0) -> Path:
    """A folder of PNG files for each class: a gray of its own under noise."""
    random = np.random.default_rng(seed)
    for number, name in enumerate(names):
        (root / name).mkdir(parents=True, exist_ok=True)
        for i in range(count):
            pixels = random.normal(60 * number + 40, 8, (16, 16, 3)).clip(0, 255)
            Image.fromarray(pixels.astype(np.uint8)).save(root / name / f"{i}.png")
    return root


def config(folder: Path, data: Path, head: str = "PrototypeHead", epochs: int = 3) -> Config:
    spec = {"dim": 8} if head != "PrototypeHead" else {}
    return Config(
        data=ClassSpec("rootspace.data.ImageFolder", {"root": str(data), "image_size": 16}),
        model=ClassSpec("rootspace.models.Encoder", {"width": 4}),
        head=ClassSpec(f"rootspace.heads.{head}", spec),
        loader=LoaderConfig(batch_size=4),
        prototypes=PrototypesConfig(refine=0),
        run=RunConfig(dir=str(folder)),
        train=Train(epochs=epochs, lr=1e-3),
    )


@pytest.fixture
def data(tmp_path: Path) -> Path:
    images(tmp_path / "data/train")
    images(tmp_path / "data/val", count=2, seed=1)
    return tmp_path / "data"


def _rename(data: Path) -> None:
    for part in ("train", "val"):
        (data / part / "ant").rename(data / part / "zebu")


def _add_class(data: Path) -> None:
    images(data / "train", ("dog",))


def _remove_image(data: Path) -> None:
    (data / "train/bee/0.png").unlink()


def _move_image(data: Path) -> None:
    (data / "train/bee/0.png").rename(data / "train/cat/new.png")


def _remove_tests(data: Path) -> None:
    shutil.rmtree(data / "val/cat")


@pytest.mark.parametrize("head", ["PrototypeHead", "NormalizedHead"])
@pytest.mark.parametrize(
    ("change", "message"),
    [
        (_rename, r"1 classes are new, such as 'zebu'; 1 classes are gone, such as 'ant'\."),
        (_add_class, r"1 classes are new, such as 'dog'; 32 training inputs instead of 24\."),
        (_remove_image, r"23 training inputs instead of 24\."),
        (_move_image, r"the training inputs have other classes\."),
        (_remove_tests, r"test sets \{'val': 4\} instead of \{'val': 6\}\."),
    ],
)
def test_other_data_are_refused(
    data: Path,
    tmp_path: Path,
    lost_after: Losing,
    change: Callable[[Path], None],
    message: str,
    head: str,
):
    run = config(tmp_path / "run", data, head)
    with lost_after(2):
        train(run)
    state = (tmp_path / "run/checkpoints/last.ckpt").read_bytes()
    change(data)
    with pytest.raises(ValueError, match=rf"not those that the run was begun on: {message} Bring"):
        train(run, resume=True)
    assert (tmp_path / "run/checkpoints/last.ckpt").read_bytes() == state
    assert not files.is_finished(tmp_path / "run")


def test_an_image_that_cannot_be_read_may_be_replaced(
    data: Path, tmp_path: Path, lost_after: Losing
):
    """As the message advises; a run that went on without it would be on other data."""
    run, image = config(tmp_path / "run", data), data / "train/bee/0.png"
    with lost_after(1):
        train(run)
    image.write_bytes(b"no image")
    with pytest.raises(ValueError, match=r"0.png' cannot be decoded .*: replace it\."):
        train(run, resume=True)
    image.unlink()
    with pytest.raises(ValueError, match="that cannot be read, any other of its class will do"):
        train(run, resume=True)
    shutil.copy(data / "train/bee/1.png", image)
    record = train(run, resume=True)
    assert record is not None and record.epochs == run.train.epochs


def test_data_may_be_moved(data: Path, tmp_path: Path, lost_after: Losing):
    whole, broken = (config(tmp_path / name, data) for name in ("whole", "broken"))
    train(whole)
    with lost_after(1):
        train(broken)
    data.rename(tmp_path / "elsewhere")
    resume = ["train", "--resume", f"--run.dir={tmp_path}/broken"]
    assert main([*resume, f"--data.root={tmp_path}/elsewhere"]) == 0
    for name, value in load(tmp_path / "whole").model.embedder.state_dict().items():
        assert torch.equal(value, load(tmp_path / "broken").model.embedder.state_dict()[name])
    assert files.read_config(tmp_path / "broken").data.init_args["root"].endswith("elsewhere")
    assert main([*resume, "--data.image_size=32"]) == 2


def test_a_finished_run_trains_longer(data: Path, tmp_path: Path):
    folder = tmp_path / "run"
    train(config(folder, data))
    (folder / files.REJECTOR).write_text("{}")  # of these weights
    for change in (["rename", "ant", "Ameise", "--keep"], ["retire", "bee"]):
        assert main(["classes", str(folder), *change]) == 0
    first, vectors = load(folder).model.embedder.state_dict(), _vectors(folder)
    assert main(["train", "--resume", f"--run.dir={folder}", "--train.epochs=2"]) == 2
    assert files.is_finished(folder)
    assert main(["train", "--resume", f"--run.dir={folder}", "--train.epochs=5"]) == 0
    assert [row.epoch for row in EpochRow.read(folder)] == [1, 2, 3, 4, 5]
    assert RunRecord.read(folder).epochs == 5
    assert files.read_config(folder).train.epochs == 5
    assert not (folder / files.REJECTOR).exists()
    later = load(folder).model.embedder.state_dict()
    assert any(not torch.equal(first[name], later[name]) for name in first)
    assert _vectors(folder) != vectors, "else this test shows nothing"
    with open_registry(folder, load(folder).class_map, NAMES) as registry:
        assert [entry.vector for entry in registry.entries()] == _vectors(folder)
        assert registry.names(range(3)) == ["Ameise", "bee", "cat"] and registry.find("ant") == 0
        assert registry.retired().tolist() == [1] and registry.entry(2).images == 8
        actions = [change.action for change in registry.history()]
        assert actions == ["create", "rename", "alias", "retire", "choose"]
        with pytest.raises(ValueError, match="keeps its label and vector"):
            registry.give_vectors({0: b"another"})
    assert main(["classes", str(folder), "restore", "bee"]) == 0


def _vectors(folder: Path) -> list[int] | list[bytes]:
    classes = load(folder).class_map
    assert classes is not None
    return classes.vector_ids(torch.arange(3))


def test_a_ruined_state_replaces_no_good_one(data: Path, tmp_path: Path):
    run = config(tmp_path / "run", data)
    ruinous = replace(
        run,
        train=Train(epochs=1, lr=1e36, warmup_steps=0),
        optimizer=ClassSpec("torch.optim.AdamW", {"weight_decay": 1e3}),
        loader=LoaderConfig(batch_size=24),
        prototypes=PrototypesConfig("formula"),
    )
    with pytest.raises(ValueError, match=r"Training diverged before step 1: the weights .* not"):
        train(ruinous)
    assert not (tmp_path / "run/checkpoints/last.ckpt").exists()
    assert not files.is_finished(tmp_path / "run")


def test_a_network_that_does_not_fit_is_refused_before_anything_is_written(
    data: Path, tmp_path: Path
):
    run = config(tmp_path / "run", data)
    for spec, message in (
        (
            ClassSpec("torch.nn.Flatten"),
            r"Flatten must give embeddings \[B, \d+\], .* not \[2, 768",
        ),
        (
            ClassSpec("torch.nn.Linear", {"in_features": 5, "out_features": 8}),
            r"Linear cannot take",
        ),
    ):
        with pytest.raises(ValueError, match=rf"Argument 'model': {message}"):
            train(replace(run, model=spec))
        assert not (tmp_path / "run").exists()


def test_a_tilde_is_the_users_folder(data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    train(replace(config(tmp_path, data), run=RunConfig(dir="~/x")))
    assert files.is_finished(tmp_path / "x")
    assert PrototypesConfig("teacher", teacher="~/x").teacher == f"{tmp_path}/x"


@pytest.mark.slow
def test_another_number_of_processes_finishes_the_epoch(tmp_path: Path, data: Path):
    """Of 12 batches in one process four are seen: two processes see four of the rest each."""
    images(data / "train", count=32)
    run = replace(config(tmp_path / "run", data), loader=LoaderConfig(batch_size=8))
    run = replace(run, prototypes=PrototypesConfig("formula"), train=Train(2, warmup_steps=2))
    stop = tmp_path / "stop.py"
    files.write_config(tmp_path, run)
    stop.write_text(
        "import os, signal, sys\n"
        "from rootspace.train.module import RunModule\n"
        "step = RunModule.training_step\n"
        "def training_step(self, batch, index):\n"
        "    if index == 3:\n"
        "        os.kill(os.getpid(), signal.SIGINT)\n"
        "    return step(self, batch, index)\n"
        "RunModule.training_step = training_step\n"
        "from rootspace.cli._main import main\n"
        "sys.exit(main(sys.argv[1:]))\n"
    )
    assert _run(stop, "train", f"--config={tmp_path}/config.yaml") == 130
    both = ("--train.devices=2", "--train.accelerator=cpu")
    assert _run("-m", "rootspace", "train", "--resume", f"--run.dir={run.run.dir}", *both) == 0
    rows = EpochRow.read(tmp_path / "run")
    assert [row.step for row in rows] == [4 + 4, 4 + 4 + 6]
    assert all("val" in row.tests for row in rows)
    assert rows[-1].lr == 0  # the schedule has come to its end


def _run(*arguments: str | Path) -> int:
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.run(
        [sys.executable, *arguments], env=environment, timeout=240, check=False
    ).returncode


def _chosen_by(folder: Path, data: Path, **settings: object) -> Config:
    run = config(folder, data, "NormalizedHead")
    # A rate that explodes: the first epochs are the best ones.
    rate = ClassSpec("torch.optim.lr_scheduler.StepLR", {"step_size": 3, "gamma": 1e3})
    loader = LoaderConfig(batch_size=4, validation=0.3)
    train = Train(epochs=6, lr=1e-2, **settings)  # pyright: ignore[reportArgumentType]
    return replace(run, train=train, loader=loader, scheduler=rate)


def test_the_best_epoch_is_kept_by_the_validation_set(tmp_path: Path):
    data = images(tmp_path / "photos")
    run = _chosen_by(tmp_path / "run", data, keep="best")
    run = replace(run, data=replace(run.data, init_args={**run.data.init_args, "test_fraction": 0}))
    record = train(run)
    assert record is not None and list(record.test) == ["validation"]
    accuracy = [row.tests["validation"] for row in EpochRow.read(tmp_path / "run")]
    assert record.best_epoch == accuracy.index(max(accuracy)) + 1
    assert record.test["validation"].accuracy == pytest.approx(max(accuracy))
    assert accuracy[-1] < max(accuracy), "else this test shows nothing"


def test_training_ends_early(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    data = images(tmp_path / "photos")
    run = _chosen_by(tmp_path / "run", data, early_stopping=2)
    record = train(run)
    accuracy = [row.tests["validation"] for row in EpochRow.read(tmp_path / "run")]
    best = accuracy.index(max(accuracy))
    assert record is not None and record.epochs == len(accuracy) == best + 3 < 6
    assert (
        "Training ends: no better validation accuracy in 2 evaluations" in capsys.readouterr().err
    )
    again = train(run, resume=True)
    assert again == RunRecord.read(tmp_path / "run")
    longer = train(replace(run, train=replace(run.train, epochs=9)), resume=True)
    assert longer is not None and longer.epochs == record.epochs + 2  # none better


def test_a_run_that_was_killed_after_its_early_end_stays_ended(tmp_path: Path, lost_after: Losing):
    data = images(tmp_path / "photos")
    whole = train(_chosen_by(tmp_path / "whole", data, early_stopping=1))
    assert whole is not None and whole.epochs < 6
    broken = _chosen_by(tmp_path / "broken", data, early_stopping=1)
    with lost_after(whole.epochs):
        train(broken)
    record = train(broken, resume=True)
    assert record is not None and record.epochs == whole.epochs
    assert record.test == whole.test


def test_the_best_epoch_is_there_when_the_last_state_names_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """A run that is killed between the two files of an epoch, which no later one surpasses."""
    run = _chosen_by(tmp_path / "run", images(tmp_path / "photos"), keep="best")
    monkeypatch.setattr(RunModule, "quality", lambda self: -float(self.current_epoch))
    save = Checkpoints._save

    def lose(self: Checkpoints, trainer: L.Trainer, name: str) -> None:
        save(self, trainer, name)
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(Checkpoints, "_save", lose)
        with pytest.raises(Killed):
            train(run)
    record = train(run, resume=True)
    assert record is not None and record.best_epoch == 1


def test_stopped_while_gradients_add_up(
    tmp_path: Path, data: Path, monkeypatch: pytest.MonkeyPatch
):
    """A run is saved between two steps of the optimizer, not between two batches of one."""
    whole, broken = (config(tmp_path / name, data) for name in ("whole", "broken"))
    train(_accumulating(whole))
    save = Checkpoints._save

    def lose(self: Checkpoints, trainer: L.Trainer, name: str) -> None:
        save(self, trainer, name)
        raise Killed

    with monkeypatch.context() as patch, pytest.raises(Killed):
        patch.setattr(Checkpoints, "_save", lose)
        train(_accumulating(broken, checkpoint_minutes=1e-9))
    state = torch.load(tmp_path / "broken/checkpoints/last.ckpt", weights_only=True)
    assert state["global_step"] == 1 and state["epoch"] == 0
    train(_accumulating(broken), resume=True)
    found = load(tmp_path / "broken").model.embedder.state_dict()
    for name, value in load(tmp_path / "whole").model.embedder.state_dict().items():
        assert torch.equal(value, found[name]), name


def _accumulating(run: Config, **settings: float) -> Config:
    return replace(run, train=replace(run.train, accumulate_grad_batches=3, **settings))


@pytest.mark.parametrize(
    ("baseline", "message"),
    [
        ("LearnedHead", "must name a complete class, not rootspace.heads.LearnedHead, which leav"),
        (f"{__name__}.Headless", "Headless: Argument 'head': .*unexpected keyword argument 'dim'"),
    ],
)
def test_a_baseline_that_cannot_be_made_is_noticed_first(
    data: Path, tmp_path: Path, baseline: str, message: str
):
    run = config(tmp_path / "run", data)
    with pytest.raises(ValueError, match=rf"^Argument 'run.baselines'.*{message}"):
        train(replace(run, run=replace(run.run, baselines=[baseline])))
    assert not (tmp_path / "run").exists()


class Headless(NormalizedHead):
    """A head that takes no dimension."""

    def __init__(self, names: list[str]) -> None:
        super().__init__(dim=8, names=names)


def test_choices_need_a_validation_set(data: Path, tmp_path: Path):
    (data / "val").rename(data / "test")
    for settings in ({"early_stopping": 3}, {"keep": "best"}):
        run = config(tmp_path / "run", data)
        with pytest.raises(ValueError, match=r"train\.\w+' = .* needs a validation set: set 'load"):
            train(replace(run, train=replace(run.train, **settings)))
        assert not (tmp_path / "run").exists()
    (data / "test").rename(data / "valid")
    run = replace(config(tmp_path / "run", data), loader=LoaderConfig(validation=0.1))
    with pytest.raises(ValueError, match=r"have the validation set 'valid'"):
        train(run)


def test_what_happens_to_the_prototypes_is_said(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    run = config(tmp_path / "run", data)
    train(replace(run, train=replace(run.train, lr=1e-9)))
    said = capsys.readouterr().err
    assert "Encoder: " in said and " parameters, precision 32, on cpu; 6 batches an epoch" in said
    assert "chose the prototypes after epoch 1 (mean cosine" in said
    assert "chose again the prototypes after epoch 3" in said
