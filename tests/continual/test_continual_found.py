"""What `rootspace extend` finds in new data: classes, images and test sets, and nothing new."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from commands import error
from PIL import Image

from rootspace.cli import main
from rootspace.data import StoredImages
from rootspace.extend import extension
from rootspace.runs import RunRecord
from rootspace.runs.folder import is_finished, read_config

SMALL = ["--data.image_size=16", "--loader.batch_size=8", "--train.epochs=1"]


def images(folder: Path, names: str, per: int, seed: int) -> Path:
    """Noise in one folder a class, each a letter."""
    chance = np.random.default_rng(seed)
    for name in names:
        (folder / name).mkdir(parents=True, exist_ok=True)
        for number in range(per):
            pixels = chance.integers(0, 256, (16, 16, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(folder / name / f"{seed}-{number}.png")
    return folder


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """Classes a, b and c with a test set `val`."""
    images(tmp_path / "old/train", "abc", 4, 1)
    images(tmp_path / "old/val", "abc", 1, 2)
    data = ["--data=ImageFolder", f"--data.root={tmp_path / 'old'}", "--model.width=4"]
    formula = ["--prototypes.source=formula", "--head.dim=8"]
    assert main(["train", *data, *SMALL, *formula, f"--run.dir={tmp_path / 'run'}"]) == 0
    return tmp_path / "run"


def extend(run: Path, root: Path, name: str) -> list[str]:
    return [
        *("extend", str(run), "--data=ImageFolder", f"--data.root={root}"),
        *(*SMALL, f"--run.dir={run.parent / name}"),
    ]


def sets_of(folder: Path) -> dict[str, int]:
    return {name: test.images for name, test in RunRecord.read(folder).test.items()}


def test_what_was_found(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    new = images(tmp_path / "new/train", "cd", 3, 3).parent
    images(new / "val", "d", 2, 4)
    images(new / "test", "c", 2, 5)
    assert main(extend(run, new, "more")) == 0
    said = capsys.readouterr().err
    assert "1 new classes, 3 kept, 6 new images, 12 remembered\n" in said
    assert said.index("new images") < said.index("epoch 1/1")
    assert sets_of(tmp_path / "more") == {"val": 3, "val@more": 2, "test": 2}
    newer = images(tmp_path / "newer/train", "ef", 3, 6).parent
    images(newer / "val", "e", 1, 7)
    assert main(extend(tmp_path / "more", newer, "again")) == 0
    names = {"val": 3, "val@more": 2, "test": 2, "val@again": 1}
    assert sets_of(tmp_path / "again") == names
    parts = json.loads((tmp_path / "again/manifest.json").read_text())["sha256"]
    assert "replay/images.npy" in parts


def test_an_extension_goes_on_elsewhere(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    """With its new data moved and other workers; all other settings hold."""
    new = images(tmp_path / "new/train", "de", 3, 3).parent
    with monkeypatch.context() as patch:
        patch.setattr(extension, "fit", None)
        with pytest.raises(TypeError):
            main(extend(run, new, "more"))
    new.rename(tmp_path / "moved")
    resume = ["extend", str(run), "--resume", f"--run.dir={tmp_path / 'more'}"]
    assert "'root' must be a folder of images" in error(capsys, *resume)
    place = [f"--data.root={tmp_path / 'moved'}", "--loader.num_workers=1"]
    for other in ("--train.epochs=2", "--loader.batch_size=4", "--memory.size=3", "--data.seed=1"):
        message = error(capsys, *resume, *place, other)
        assert "'--resume' takes no other settings" in message
        assert other.split("=")[0] in message and "more --train.epochs" not in message
    assert main([*resume, *place]) == 0
    config = read_config(tmp_path / "more")
    assert config.loader.num_workers == 1 and is_finished(tmp_path / "more")
    parts = [config.data.init_args["new"], *config.data.init_args["old"]]
    roots = [part["init_args"]["data"]["init_args"]["root"] for part in parts]
    assert roots == [str(tmp_path / "moved"), str(tmp_path / "old")]


def test_nothing_new(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    message = error(capsys, *extend(run, tmp_path / "old", "more"))
    assert "must bring a class or an image" in message and "all 3 classes and 12 images" in message
    assert not (tmp_path / "more").exists()
    more = images(shutil.copytree(tmp_path / "old", tmp_path / "copy") / "train", "a", 1, 9)
    assert main(extend(run, more.parent, "more")) == 0
    assert "0 new classes, 3 kept, 1 new images, 12 remembered" in capsys.readouterr().err


def test_a_folder_that_has_grown(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    """The run's own data with a class more: its test set is one, under its name."""
    images(tmp_path / "old/train", "d", 3, 3)
    images(tmp_path / "old/val", "d", 1, 4)
    assert main(extend(run, tmp_path / "old", "more")) == 0
    assert "1 new classes, 3 kept, 3 new images, 12 remembered" in capsys.readouterr().err
    assert sets_of(tmp_path / "more") == {"val": 4}


def test_resuming_on_other_data(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    new = images(tmp_path / "new/train", "de", 3, 3).parent
    assert main(extend(run, new, "more")) == 0
    for name in ("manifest.json", "metrics.json", "checkpoints/last.ckpt"):
        (tmp_path / "more" / name).unlink()
    (new / "train/d").rename(new / "train/z")
    message = error(capsys, "extend", run, "--resume", f"--run.dir={tmp_path / 'more'}")
    assert "not those that the run was begun on" in message and "new, such as 'z'" in message
    (new / "train/z").rename(new / "train/d")
    (new / "train/d/3-0.png").unlink()
    message = error(capsys, "extend", run, "--resume", f"--run.dir={tmp_path / 'more'}")
    assert "training inputs instead of" in message


def test_settings_that_do_not_fit(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    new = images(tmp_path / "new/train", "de", 3, 3).parent
    arguments = extend(run, new, "more")
    assert "needs a validation set" not in error(capsys, *arguments, "--train.keep=worst")
    (tmp_path / "old/val").rename(tmp_path / "old/gone")
    assert "needs a validation set" in error(capsys, *arguments, "--train.keep=best")
    assert not (tmp_path / "more").exists()


def test_a_share_of_the_new_images_is_for_choosing(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    new = images(tmp_path / "new/train", "de", 4, 3).parent
    arguments = [*extend(run, new, "more"), "--loader.validation=0.25", "--train.keep=best"]
    message = error(capsys, *arguments)
    assert "'loader.validation' must be 0, not 0.25: the validation set" in message
    assert not (tmp_path / "more").exists()
    (tmp_path / "old/val").rename(tmp_path / "old/test")
    assert main(arguments) == 0
    found = RunRecord.read(tmp_path / "more")
    assert found.test["validation"].images == 2 and found.best_epoch is not None
    memory = StoredImages(tmp_path / "more/start/replay")
    assert f"5 new images, {len(memory)} remembered" in capsys.readouterr().err
    assert len(StoredImages(tmp_path / "more/replay")) == len(memory) + 5
