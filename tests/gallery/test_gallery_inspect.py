"""`rootspace inspect` finds what was planted."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from rootspace.cli import main
from rootspace.gallery.inspection import doubts, looks, same_pictures


def answer(capsys: pytest.CaptureFixture[str], *arguments: object) -> Any:
    capsys.readouterr()
    assert main(["inspect", *map(str, arguments), "--format=json"]) == 0
    return json.loads(capsys.readouterr().out)


def brighter(source: Path, target: Path) -> None:
    """The same picture, a little brighter."""
    pixels = np.asarray(Image.open(source)).astype(np.float64)
    Image.fromarray((20 + 0.9 * pixels).clip(0, 255).astype(np.uint8)).save(target)


def pair(found: dict[str, Any]) -> set[str]:
    return {"/".join(Path(found[end]["name"]).parts[-3:]) for end in ("first", "second")}


@pytest.fixture
def planted(trained: Path, tmp_path: Path) -> Path:
    """The images of the run, with a leak, a duplicate and a wrong label."""
    root = tmp_path / "images"
    shutil.copytree(trained.parent / "images", root)
    brighter(root / "train/a/0.png", root / "val/a/leak.png")
    brighter(root / "train/f/0.png", root / "train/f/twice.png")
    (root / "train/猫/1.png").rename(root / "train/-e/wrong.png")
    return root


def test_data(capsys: pytest.CaptureFixture[str], trained: Path, planted: Path):
    data = ["--data=ImageFolder", f"--data.root={planted}", "--data.image_size=16"]
    found = answer(capsys, trained, *data, "--alike=0.999")
    assert found["images"] == 60 + 20 + 2
    assert [pair(one) for one in found["leaks"]] == [{"train/a/0.png", "val/a/leak.png"}]
    assert [pair(one) for one in found["duplicates"]] == [{"train/f/0.png", "train/f/twice.png"}]
    worst = found["mistakes"][0]
    assert worst["sample"]["name"].endswith("train/-e/wrong.png")
    assert worst["sample"]["label"] == "-e" and worst["other"] == "猫" and worst["margin"] < 0
    margins = [one["margin"] for one in (*found["mistakes"], *found["hardest"])]
    assert margins == sorted(margins)
    assert main(["inspect", str(trained), *data, "--alike=0.999", "--show=1"]) == 0
    text = capsys.readouterr().out
    assert "the same picture in two sets: 1" in text and "wrong.png (-e)" in text


def test_own_data_and_gallery(capsys: pytest.CaptureFixture[str], folder_run: Path, planted: Path):
    found = answer(capsys, folder_run, "--alike=0.9999")
    assert found["images"] == 80 and found["leaks"] == found["duplicates"] == []
    assert main(["index", str(folder_run), str(planted / "train")]) == 0
    found = answer(capsys, folder_run / "gallery", "--show=3")
    assert found["images"] == 61 and found["leaks"] == []
    assert len(found["hardest"]) == 3
    assert {"train/f/0.png", "train/f/twice.png"} in [pair(one) for one in found["duplicates"]]
    assert found["mistakes"][0]["sample"]["name"].endswith("train/-e/wrong.png")


def test_what_cannot_be(capsys: pytest.CaptureFixture[str], folder_run: Path, tmp_path: Path):
    for arguments, message in (
        ([tmp_path], "is not a run folder"),
        ([folder_run, "--show=-1"], "must not be negative"),
        ([folder_run, "--alike=2"], "'2'"),
        ([folder_run, "--data=Characters", "--data.num_classes=3"], "takes images of 3 x 16 x 16"),
    ):
        assert main(["inspect", *map(str, arguments)]) == 2
        assert message in capsys.readouterr().err


def test_pictures_are_compared_as_all_pairs_are():
    images = torch.randint(0, 256, (60, 3, 20, 24), dtype=torch.uint8)
    images[7] = (images[3] * 0.5).to(torch.uint8)
    images[9] = images[8]
    images[50:] = 77  # of one color: nothing to compare
    pictures = looks(images)
    assert pictures.shape == (60, 256) and not pictures[50:].any()
    gram = pictures @ pictures.T
    expected = {(i, j) for i, j in np.argwhere(gram >= 0.98).tolist() if i < j}
    assert {(one.first, one.second) for one in same_pictures(pictures)} == expected
    assert expected == {(3, 7), (8, 9)}


def test_doubts():
    vectors = np.eye(4, dtype=np.float32)
    z = np.array([[1, 0, 0, 0], [0.6, 0.8, 0, 0], [0, 0, 0.8, 0.6], [0, 0, 0, 1]], np.float32)

    def nearest(z: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
        order = np.argsort(-z, axis=1, kind="stable")[:, :k]
        return order, np.take_along_axis(z, order, axis=1)

    def cosines(z: np.ndarray, own: np.ndarray) -> np.ndarray:
        return (z * vectors[own]).sum(axis=-1)

    found = doubts(z, np.array([0, 0, 2, -1]), nearest, cosines, "abcd")
    assert [(one.sample, one.other) for one in found] == [(1, "b"), (2, "d"), (0, "b")]
    assert [round(one.margin, 3) for one in found] == [-0.2, 0.2, 1.0]
    assert doubts(z, np.full(4, -1), nearest, cosines, "abcd") == []
