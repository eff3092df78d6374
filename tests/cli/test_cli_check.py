"""`rootspace check` on the command line, and training that leaves broken files out."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from rootspace.cli import main
from rootspace.runs import RunRecord


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Two classes of 6 training and 2 test images."""
    rng = np.random.default_rng(0)
    for split, count in (("train", 6), ("val", 2)):
        for name in "ab":
            folder = tmp_path / "photos" / split / name
            folder.mkdir(parents=True)
            for i in range(count):
                pixels = rng.integers(0, 256, (20, 24, 3), dtype=np.uint8)
                Image.fromarray(pixels).save(folder / f"{i}.png")
    return tmp_path / "photos"


def break_some(photos: Path) -> None:
    (photos / "train/a/3.png").write_bytes(b"no image")
    (photos / "val/a/0.png").write_bytes((photos / "train/b/1.png").read_bytes())


def test_clean_data(photos: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for arguments in ([str(photos)], ["--data", "ImageFolder", f"--data.root={photos}"]):
        assert main(["check", *arguments]) == 0
        out = capsys.readouterr().out
        assert "Nothing is wrong." in out and "test sets: val (4)" in out and "SAME" not in out
        assert "the first image is 24 x 20, scaled to 32 x 32" in out


def test_what_is_wrong_is_said(photos: Path, capsys: pytest.CaptureFixture[str]) -> None:
    break_some(photos)
    assert main(["check", str(photos), "--workers", "1", "--few", "6"]) == 1
    out = capsys.readouterr().out
    assert "CANNOT BE READ: 1\n  train: Image file" in out and "train/a/3.png" in out
    assert "SAME IMAGE IN SEVERAL CLASSES: 1\n  train/b/1.png (b) = val/a/0.png (a)" in out
    assert "classes with fewer than 6 training images: 1\n  a: 5" in out


def test_as_json(photos: Path, capsys: pytest.CaptureFixture[str]) -> None:
    break_some(photos)
    assert main(["check", str(photos), "--data.image_size", "24", "--format", "json"]) == 1
    found = json.loads(capsys.readouterr().out)
    assert found["clean"] is False and found["sets"]["train"]["scaled_up"] == 11
    assert found["broken"][0]["place"] == {"set": "train", "name": "a/3.png", "label": "a"}
    assert [d["across"] for d in found["duplicates"]] == ["classes"]


def test_long_lists_are_cut(photos: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for i in range(5):
        (photos / f"train/b/{i}.png").write_bytes(b"")
    assert main(["check", str(photos), "--show", "2"]) == 1
    out = capsys.readouterr().out
    assert "CANNOT BE READ: 5" in out and "... and 3 more: --show 5, or --format json" in out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "'FOLDER' or '--data' must name the data"),
        (["nothing"], "'root' must be a folder of images, not 'nothing'"),
        (["--data.root", "x"], "'--data' must name the class"),
        (["x", "--workers", "-1"], "'--workers' must be a number of processes, 0 or more, not"),
        (["x", "--data.nothing", "1"], "nothing"),
    ],
)
def test_what_cannot_be_checked(
    arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["check", *arguments]) == 2
    assert message in capsys.readouterr().err


def test_training_without_broken_files(photos: Path, tmp_path: Path) -> None:
    (photos / "train/a/3.png").write_bytes(b"no image")
    options = ["--data=ImageFolder", f"--data.root={photos}", "--model.width=4"]
    options += ["--train.epochs=1", "--loader.batch_size=4", "--train.accelerator=cpu"]
    assert main(["train", *options, f"--run.dir={tmp_path / 'stops'}"]) == 2
    run = tmp_path / "run"
    assert main(["train", *options, "--loader.skip_broken=true", f"--run.dir={run}"]) == 0
    data = RunRecord.read(run).data
    assert "left out: 1 of train that cannot be read: a/3.png" in data
