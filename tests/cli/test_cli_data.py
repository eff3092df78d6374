"""`rootspace train` for a few steps on data sets of files, then `evaluate` and `predict`."""

from __future__ import annotations

import io
import json
from pathlib import Path

import numpy as np
import pytest
import torch
import webdataset
from PIL import Image

from rootspace import load
from rootspace.cli import main
from rootspace.data.datasets import ArrayImages
from rootspace.data.unique import images_tested, unique_images

CLASSES = ["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"]
SMALL = ["--model.width=4", "--train.epochs=2", "--train.lr=3e-3", "--loader.batch_size=8"]


def picture(number: int) -> Image.Image:
    """Of one colour and some noise, the colour by `number % 4`."""
    generator = np.random.default_rng(number)
    colour = np.array([[200, 40, 40], [40, 200, 40], [40, 40, 200], [200, 200, 40]])[number % 4]
    return Image.fromarray((colour + generator.integers(-40, 40, (32, 32, 3))).astype(np.uint8))


def make_tree(root: Path, folders: dict[str, list[str]]) -> Path:
    number = 0
    for folder, names in folders.items():
        (root / folder).mkdir(parents=True)
        for name in names:
            picture(number).save(root / folder / name)
            number += 1
    return root


def cinic10(root: Path) -> list[str]:
    names = [f"n02691156_{i}.png" for i in range(2)] + ["cifar10-train-1.png"]
    make_tree(root, {f"{s}/{c}": names for s in ("train", "valid", "test") for c in CLASSES})
    return ["--data.complete=false", "--data.test_splits=[valid, test]"]


def imagenet(root: Path) -> list[str]:
    names = [f"n{i:08d}" for i in range(6)]
    tree = {f"train/{n}": [f"{n}_{i}.JPEG" for i in range(6)] for n in names}
    make_tree(root, tree | {f"val/{n}": [f"ILSVRC2012_val_{n}.JPEG"] for n in names})
    return ["--data.num_classes=4", "--data.seed=3", "--transform=rootspace.data.Light1"]


def shards(root: Path) -> list[str]:
    for folder, count in (("train", 20), ("val", 8)):
        (root / folder).mkdir(parents=True)
        with webdataset.TarWriter(str(root / folder / "0.tar")) as writer:  # pyright: ignore[reportAttributeAccessIssue]
            for number in range(count):
                buffer = io.BytesIO()
                picture(number).save(buffer, "png")
                sample = {"__key__": f"{number}", "png": buffer.getvalue(), "cls": number % 4}
                writer.write(sample)
    return []


@pytest.mark.parametrize(
    ("name", "make", "classes", "tests"),
    [
        ("CINIC10", cinic10, 10, {"valid": 20, "test": 20}),
        ("ImageFolder", imagenet, 4, {"val": 4}),
        ("WebDataset", shards, 4, {"val": 8}),
    ],
)
def test_a_data_set(name, make, classes, tests, tmp_path: Path, monkeypatch, capsys):
    monkeypatch.setenv("ROOTSPACE_CACHE", str(tmp_path / "cache"))
    options = make(tmp_path / "data")
    run = tmp_path / "run"
    arguments = [f"--data={name}", f"--data.root={tmp_path / 'data'}", *options, *SMALL]
    assert main(["train", *arguments, f"--run.dir={run}"]) == 0
    metrics = json.loads((run / "metrics.json").read_text())
    assert metrics["num_classes"] == classes
    assert {test: result["images"] for test, result in metrics["test"].items()} == tests
    capsys.readouterr()
    assert main(["evaluate", str(run), "--top=1", "--format=json"]) == 0
    assert json.loads(capsys.readouterr().out) == metrics["test"]


def test_unique_labels(tmp_path: Path, capsys):
    root = make_tree(tmp_path / "data", {f"train/{n}": ["0.png", "1.png"] for n in "abcd"})
    run = tmp_path / "run"
    arguments = ["--data=ImageFolder", f"--data.root={root}", "--loader.unique_labels=6"]
    arguments += ["--run.baselines=[LinearHead]", "--transform=rootspace.data.Light1"]
    assert main(["train", *arguments, *SMALL, f"--run.dir={run}"]) == 0
    metrics = json.loads((run / "metrics.json").read_text())
    assert metrics["num_classes"] == 6 and metrics["test"]["train"]["images"] == 6
    names = load(run).names
    assert len(names) == 6 and all((root / "train" / name).is_file() for name in names)
    assert load(run / "baselines/LinearHead").names == names
    capsys.readouterr()
    assert main(["evaluate", str(run), "--top=1", "--format=json"]) == 0
    assert json.loads(capsys.readouterr().out) == metrics["test"]
    assert main(["predict", str(run), str(root / "train/a/0.png")]) == 0
    assert ".png" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--loader.unique_labels=1"], "unique_labels' must be 'all' or a number of at least 2"),
        (["--loader.unique_labels=99999999"], "unique_labels' must be at most"),
        (["--loader.unique_labels=some"], "unique_labels"),
        (["--loader.unique_tests=2"], "'loader.unique_tests' needs 'loader.unique_labels'"),
        (["--loader.unique_labels=6", "--loader.unique_tests=0"], "unique_tests' must be at least"),
        (["--loader.unique_labels=6", "--loader.unique_tests=7"], "must be at most 6 (the labels)"),
        (["--transform=heavy"], "transform"),
        (["--data=CINIC10", "--data.root=nowhere"], "must be CINIC-10's folder"),
        (["--data=CINIC10"], "root"),
        (["--data=WebDataset", "--data.root=nowhere"], "must be a folder of shards"),
    ],
)
def test_wrong_settings(options: list[str], message: str, tmp_path: Path, capsys):
    assert main(["train", *options, f"--run.dir={tmp_path / 'run'}"]) == 2
    error = capsys.readouterr().err.strip().splitlines()[-1]
    assert ": error: " in error and message in error
    assert not (tmp_path / "run").exists()


def test_some_unique_labels_are_tested():
    images = torch.arange(40, dtype=torch.uint8)[:, None, None, None].expand(40, 1, 2, 2)
    unique = unique_images(ArrayImages(images, torch.zeros(40, dtype=torch.int64)), 30, seed=1)
    assert images_tested(unique, None, seed=1) is unique
    some = images_tested(unique, 7, seed=1)
    assert len(some) == 7 and len(set(some.labels.tolist())) == 7
    for place, label in enumerate(some.labels.tolist()):
        assert some.batch([place])[0].equal(unique.batch([label])[0])
    assert not images_tested(unique, 7, seed=2).labels.equal(some.labels)
