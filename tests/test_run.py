"""`rootspace.load`: what a run takes, and that nothing in its folder runs code."""

from __future__ import annotations

import pickle
import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from PIL import Image

import rootspace
from rootspace.cli import main
from rootspace.runs.folder import finish, reopen


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("run") / "run"
    options = ["--data.num_classes=10", "--data.image_size=16", "--model.width=4"]
    options += ["--train.epochs=2", "--head.dim=8", f"--run.dir={folder}"]
    assert main(["train", *options]) == 0
    return folder


@pytest.fixture
def copy(trained: Path, tmp_path: Path) -> Path:
    shutil.copytree(trained, tmp_path / "run")
    return tmp_path / "run"


class Touch:
    """Unpickled, it would make a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return Path.touch, (self.path,)  # pyright: ignore[reportReturnType]


def test_inputs_of_every_kind(trained: Path) -> None:
    run = rootspace.load(trained)
    path = min((trained / "samples").glob("*.png"))
    image = Image.open(path)
    array = np.asarray(image)
    tensor = torch.from_numpy(array.copy())[None]
    expected = run.embed(path)
    assert expected.shape == (1, 8) and expected.dtype == torch.float32
    for given in (str(path), path.read_bytes(), image, array, tensor, [path, array], tensor[None]):
        found = run.embed(given)
        torch.testing.assert_close(found, expected.expand_as(found), rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(run.embed(iter([path, array])), run.embed([path, array]))
    assert run.embed([]).shape == (0, 8)
    prediction = run.predict([path, path], k=3)
    assert prediction.label.shape == prediction.cosine.shape == (2, 3)
    assert [len(names) for names in prediction.name] == [3, 3]
    assert prediction.name[0][0] == run.names[int(prediction.label[0, 0])]
    with ThreadPoolExecutor(4) as pool:
        for found in pool.map(run.embed, [path] * 8):
            assert torch.equal(found, expected)
    assert run.device == torch.device("cpu")


def test_floats_and_other_shapes_are_refused(trained: Path) -> None:
    run = rootspace.load(trained)
    for given in (torch.zeros(1, 16, 16), np.zeros((16, 16)), torch.zeros(2, 1, 16, 16)):
        with pytest.raises(TypeError):
            run.embed(given)
    with pytest.raises(ValueError, match="must be a batch of shape"):
        run.embed(torch.zeros(2, 1, 8, 8, dtype=torch.uint8))
    with pytest.raises(ValueError, match="samples' is a folder: give the files in it"):
        run.predict([trained / "samples"])


def test_what_is_no_run(trained: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"nope is not a run folder: it does not exist\. Train"):
        rootspace.load(tmp_path / "nope")
    with pytest.raises(ValueError, match=r"is not a run folder: config\.yaml is missing\. Train"):
        rootspace.load(tmp_path)
    with pytest.raises(ValueError, match=r"'device' must be a device of torch, .*, not 'gpu'"):
        rootspace.load(trained, device="gpu")
    with pytest.raises(TypeError, match="'path' must be the path of a run folder, not None"):
        rootspace.load(None)  # pyright: ignore[reportArgumentType]


@pytest.mark.parametrize("name", ["config.yaml", "model.safetensors"])
def test_missing_and_damaged_files_are_named(copy: Path, name: str) -> None:
    (copy / name).write_bytes((copy / name).read_bytes()[:100] + b"\xff[")
    with pytest.raises(ValueError, match=name) as caught:
        rootspace.load(copy)
    assert "\n" not in str(caught.value)
    (copy / name).unlink()
    with pytest.raises(ValueError, match=name):
        rootspace.load(copy)


def test_pickles_do_not_run(copy: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    made, evil = tmp_path / "made", pickle.dumps(Touch(tmp_path / "made"))
    (copy / "model.safetensors").write_bytes(evil)
    finish(copy)
    with pytest.raises(ValueError, match=r"model\.safetensors"):
        rootspace.load(copy)
    (copy / "checkpoints/last.ckpt").write_bytes(evil)
    reopen(copy)
    assert main(["train", "--resume", f"--run.dir={copy}"]) == 2
    torch.save(Touch(made), copy / "checkpoints/last.ckpt")
    assert main(["train", "--resume", f"--run.dir={copy}"]) == 2
    assert "last.ckpt is damaged" in capsys.readouterr().err
    assert not made.exists()


def test_settings_do_not_run(copy: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config, made = copy / "config.yaml", tmp_path / "made"
    before = config.read_text()
    config.write_text(f"{before}\nx: !!python/object/apply:os.system ['touch {made}']\n")
    finish(copy)
    with pytest.raises(ValueError, match=r"config\.yaml"):
        rootspace.load(copy)
    code = f"import pathlib\npathlib.Path({str(made)!r}).touch()\nclass Net: ...\n"
    (tmp_path / "side_effect.py").write_text(code)
    monkeypatch.syspath_prepend(tmp_path)
    settings = yaml.safe_load(before)
    settings["model"] = {"class_path": "side_effect.Net"}
    config.write_text(yaml.safe_dump(settings))
    finish(copy)
    with pytest.raises(ValueError, match=r"side_effect\.Net"):
        rootspace.load(copy)
    assert not made.exists()
    with pytest.raises(ValueError):
        rootspace.load(copy, trust_code=True)
    assert made.exists()


def test_retired_classes_are_left_out_at_once(copy: Path) -> None:
    run = rootspace.load(copy)
    images = sorted((copy / "samples").glob("*.png"))
    first = run.predict(images, k=2)
    gone = first.name[0][0]
    assert main(["classes", str(copy), "retire", gone]) == 0
    after = run.predict(images, k=2)
    assert all(gone not in names for names in after.name)
    assert after.name[0][0] == first.name[0][1]
    assert main(["classes", str(copy), "restore", gone]) == 0
    assert run.predict(images, k=2).name == first.name


def test_several_threads_predict(trained: Path) -> None:
    run = rootspace.load(trained)
    images = sorted((trained / "samples").glob("*.png"))
    expected = run.predict(images, k=3).name
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda _: run.predict(images, k=3).name, range(24)))
    assert all(names == expected for names in found)
