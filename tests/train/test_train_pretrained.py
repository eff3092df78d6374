"""Runs whose network begins with weights that were trained before."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor
from torch.utils.data import Dataset

from image_folders import write_images
from rootspace import load
from rootspace.building import make_embedder, make_head
from rootspace.cli import main
from rootspace.config import ClassSpec, Config, RunConfig, TrainConfig
from rootspace.data import DataModule, ImageFolder, TorchData, data_with_images
from rootspace.train.module import make_optimizer
from rootspace.train.training import train, with_expected_images

timm = pytest.importorskip("timm")

NAME = "resnet10t"
OVERLAY = "{input_size: [3, 24, 24], mean: [0.5, 0.4, 0.3], std: [0.2, 0.2, 0.1]}"
MODEL = [
    *("--model=TimmBackbone", f"--model.name={NAME}"),
    f"--model.model_kwargs={{pretrained_cfg_overlay: {OVERLAY}}}",
]


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_images(tmp_path_factory.mktemp("photos"), ["a", "b", "c"], 6, seed=0)


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(3)
    state = timm.create_model(NAME, num_classes=5).state_dict()
    path = tmp_path_factory.mktemp("weights") / "w.safetensors"
    save_file(state, path)
    return path


@pytest.fixture(scope="module")
def run(photos: Path, weights: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("pretrained") / "run"
    options = [
        *("--data=ImageFolder", f"--data.root={photos}", "--loader.batch_size=4"),
        *(*MODEL, f"--model.checkpoint_path={weights}", "--model.freeze=all"),
        *("--train.epochs=2", "--head.dim=6", f"--run.dir={folder}"),
    ]
    assert main(["train", *options]) == 0
    return folder


def test_the_run_takes_images_as_its_weights_did(run: Path) -> None:
    found = load(run)
    shape = found.model.preprocessing
    assert shape is not None
    assert (shape.size, shape.interpolation) == (24, "bicubic")
    assert (shape.mean, shape.std) == ((0.5, 0.4, 0.3), (0.2, 0.2, 0.1))
    mean, std = found.model.embedder.mean, found.model.embedder.std
    assert mean is not None and std is not None
    assert torch.equal(mean.flatten(), torch.tensor(shape.mean))
    assert torch.equal(std.flatten(), torch.tensor(shape.std))
    arguments = found.config.data.init_args
    assert (arguments["image_size"], arguments["interpolation"]) == (24, "bicubic")


def test_a_frozen_network_keeps_its_weights(run: Path, weights: Path) -> None:
    given, prefix = load_file(weights), "embedder.network.backbone."
    found = load_file(run / "model.safetensors")
    kept = {k.removeprefix(prefix): v for k, v in found.items() if k.startswith(prefix)}
    assert len(kept) == len(given) - 2  # without the classifier
    assert all(torch.equal(value, given[name]) for name, value in kept.items())


def test_predicting_is_timm_with_timms_own_preprocessing(
    run: Path, weights: Path, photos: Path
) -> None:
    """The oracle: timm's model on the images as timm's evaluation prepares them."""
    model = timm.create_model(NAME, num_classes=5).eval()
    model.load_state_dict(load_file(weights))
    transform = timm.data.create_transform(
        (3, 24, 24),
        interpolation="bicubic",
        crop_pct=1.0,
        mean=(0.5, 0.4, 0.3),
        std=(0.2, 0.2, 0.1),
    )
    from PIL import Image  # noqa: PLC0415

    path, found = photos / "b" / "1.png", load(run)
    with Image.open(path) as image, torch.no_grad():
        pixels = transform(image.convert("RGB"))[None]
        features = model.forward_head(model.forward_features(pixels), pre_logits=True)
    network: Any = found.model.embedder.network
    expected = found.model.head.transform(network.projection(features))
    torch.testing.assert_close(found.embed(path), expected, atol=1e-4, rtol=1e-4)


def test_the_file_of_weights_may_be_gone(run: Path, photos: Path, weights: Path) -> None:
    hidden = weights.rename(weights.with_suffix(".away"))
    try:
        assert len(load(run).predict(photos / "a" / "0.png").name) == 1
        assert main(["evaluate", str(run)]) == 0
        others = ["--data=ImageFolder", f"--data.root={photos}"]  # at the size of the run
        assert main(["evaluate", str(run), *others]) == 0
    finally:
        hidden.rename(weights)


def test_another_run_goes_on_from_it(run: Path, photos: Path, tmp_path: Path) -> None:
    """`run.init` takes size, interpolation and statistics along, and needs no file of weights."""
    options = [
        *("--data=ImageFolder", f"--data.root={photos}", "--loader.batch_size=4"),
        *("--model=TimmBackbone", f"--model.name={NAME}", "--head.dim=6", "--train.epochs=1"),
        *(f"--run.init={run}", f"--run.dir={tmp_path / 'run'}", "--train.lr=1e-30"),
    ]
    assert main(["train", *options]) == 0
    old, new = load(run), load(tmp_path / "run")
    assert new.model.preprocessing == old.model.preprocessing
    for name, value in old.model.embedder.named_parameters():
        assert torch.allclose(value, new.model.embedder.get_parameter(name)), name


def test_an_extension_takes_images_of_the_same_size(run: Path, tmp_path: Path) -> None:
    more = write_images(tmp_path / "more", ["d", "e"], 6, seed=1)
    options = [str(run), "--data=ImageFolder", f"--data.root={more}", "--train.epochs=1"]
    assert main(["extend", *options, f"--run.dir={tmp_path / 'run'}"]) == 0
    assert load(tmp_path / "run").model.preprocessing == load(run).model.preprocessing


def config_of(weights: Path | None, **model: Any) -> Config:
    arguments = {"name": NAME, "checkpoint_path": None if weights is None else str(weights)}
    spec = ClassSpec("rootspace.models.TimmBackbone", {**arguments, **model})
    head = ClassSpec("rootspace.heads.NormalizedHead", {"dim": 6})
    return Config(model=spec, head=head, train=TrainConfig(lr=1e-2))


@pytest.mark.parametrize(
    ("model", "factors"),
    [
        ({}, [0.1, 1, 10]),
        ({"lr_factor": 0.5}, [0.5, 1, 10]),
        ({"freeze": "all"}, [1, 10]),
        ({"checkpoint_path": None}, [1, 1, 10]),
    ],
)
def test_rates_of_the_optimizer(model: dict[str, Any], factors: list[float], weights: Path) -> None:
    """Pretrained layers, the projection, the head: relative to `train.lr`."""
    config = config_of(weights, **model)
    head = make_head(config, ["a", "b", "c"])
    embedder = make_embedder(config.model, head.dim, None)
    optimizer, _ = make_optimizer(config, embedder, head)
    rates = dict.fromkeys(group["lr"] / 1e-2 for group in optimizer.param_groups)
    assert list(rates) == pytest.approx(list(dict.fromkeys(factors)))


def test_nothing_left_to_train(photos: Path, tmp_path: Path) -> None:
    config = Config(
        data=ClassSpec("rootspace.data.ImageFolder", {"root": str(photos)}),
        model=ClassSpec("rootspace.models.TimmBackbone", {"name": NAME, "freeze": "all"}),
        head=ClassSpec("rootspace.heads.PrototypeHead", {"dim": 512}),
        run=RunConfig(dir=str(tmp_path / "run")),
    )
    with pytest.raises(ValueError, match=r"'model': TimmBackbone must have parameters that"):
        train(config)
    assert not (tmp_path / "run").exists()


class Pictures(Dataset[Any]):
    """uint8 images of 10 x 10 pixels."""

    def __len__(self) -> int:
        return 8

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        return torch.full((3, 10, 10), index, dtype=torch.uint8), index % 2


def test_data_take_what_their_settings_leave_open(photos: Path, weights: Path) -> None:
    folder = ClassSpec("rootspace.data.ImageFolder", {"root": str(photos), "image_size": 16})
    filled = data_with_images(folder, 24, "bicubic").init_args
    assert (filled["image_size"], filled["interpolation"]) == (16, "bicubic")
    fixed = ClassSpec("rootspace.data.FashionMNIST", {})
    assert data_with_images(fixed, 24, "bicubic") == fixed
    config = Config(data=ClassSpec(f"{__name__}.Pictures"), model=config_of(weights).model)
    source = with_expected_images(config).data.build(TorchData, "data")
    assert (source.image_size, source.interpolation) == (176, "bicubic")
    data = DataModule(source)
    data.setup()
    assert data.preprocessing is not None and data.preprocessing.size == 176
    assert with_expected_images(Config()) == Config()


def test_a_file_that_fits_no_such_model(
    photos: Path, weights: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options = ["--data=ImageFolder", f"--data.root={photos}", "--model=TimmBackbone"]
    options += ["--model.name=resnet18", f"--model.checkpoint_path={weights}"]
    assert main(["train", *options, "--data.image_size=32", f"--run.dir={tmp_path / 'run'}"]) == 2
    error = capsys.readouterr().err
    assert "does not hold the weights of resnet18" in error and error.count("\n") < 4
    assert not (tmp_path / "run").exists()


def test_interpolation_of_a_folder(photos: Path) -> None:
    """Pillow's, by the setting's name."""
    from PIL import Image  # noqa: PLC0415

    data = ImageFolder(photos, 24, interpolation="bicubic", test_fraction=0).read()
    with Image.open(photos / "a" / "0.png") as image:
        expected = image.convert("RGB").resize((24, 24), Image.Resampling.BICUBIC)
    found = data.train.batch([0])[0][0].permute(1, 2, 0).numpy()
    assert found.tobytes() == expected.tobytes()
