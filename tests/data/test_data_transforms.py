"""Transforms: what light1 does, those of others, and draws by seed, epoch and image alone."""

from __future__ import annotations

import math
import random
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from loading import epoch, ready, training
from PIL import Image, ImageOps
from timm.data import auto_augment
from torch.utils.data import Dataset
from torchvision.transforms.v2 import functional

from rootspace.cli._config import config_parser, parse
from rootspace.config import ClassSpec, Config, LoaderConfig
from rootspace.data import (
    DataError,
    DataModule,
    FashionMNIST,
    ImageFolder,
    ImagePreprocessing,
    Light1,
    Mild,
    TorchData,
    make_data,
    module,
    transforms,
)
from rootspace.data.transforms import ImageTransform
from rootspace.images import Interpolation
from rootspace.sampling import ClassBatchSampler, ResumableLoader


def picture(height: int = 24, width: int = 40, channels: int = 3) -> torch.Tensor:
    """Smooth, in a part of the range, so that every operation changes it."""
    generator = torch.Generator().manual_seed(1)
    coarse = torch.rand(1, channels, 4, 6, generator=generator) * 150 + 40
    smooth = torch.nn.functional.interpolate(coarse, (height, width), mode="bilinear")
    return smooth[0].to(torch.uint8)


def from_timm(name: str, image: torch.Tensor) -> torch.Tensor:
    """timm's operation at magnitude 0, which counts as the TensorFlow code does."""
    (operation,) = auto_augment.rand_augment_ops(0, prob=1.0, transforms=[name])
    random.seed(0)  # of signs, which do not matter at magnitude 0
    pixels = np.asarray(operation(Image.fromarray(image.permute(1, 2, 0).numpy())))
    return torch.tensor(pixels).permute(2, 0, 1)


NAMES = ["AutoContrast", "Equalize", "Invert", "Solarize", None]
NAMES += ["Color", "Contrast", "Brightness", "Sharpness"]


@pytest.mark.parametrize(("place", "name"), list(enumerate(NAMES)))
def test_operations_are_those_of_timm(place: int, name: str | None) -> None:
    image = picture()
    found = transforms._OPERATIONS[place](functional, image)
    assert found.dtype == torch.uint8 and not torch.equal(found, image)
    if name is None:  # timm keeps no bit, TensorFlow one
        expected = np.asarray(
            ImageOps.posterize(Image.fromarray(image.permute(1, 2, 0).numpy()), 1)
        )
        assert np.array_equal(found.permute(1, 2, 0), expected)
    else:
        difference = (found.int() - from_timm(name, image).int()).abs()
        # Rounding, and autocontrast's table of whole numbers.
        assert difference.max() <= 2 and difference.float().mean() < 1
    assert len(transforms._OPERATIONS) == len(NAMES)


@pytest.mark.parametrize(
    "name", ["Rotate", "ShearX", "ShearY", "TranslateXRel", "TranslateYRel", "SolarizeAdd"]
)
def test_the_others_change_nothing_in_timm_either(name: str) -> None:
    assert torch.equal(from_timm(name, picture()), picture())


def test_operations_are_drawn_evenly(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two of sixteen, with replacement: each of the nine twice in sixteen draws."""
    drawn: Counter[int] = Counter()

    def note(place: int) -> Callable[[Any, torch.Tensor], torch.Tensor]:
        def operation(functional: Any, image: torch.Tensor) -> torch.Tensor:
            drawn[place] += 1
            return image

        return operation

    monkeypatch.setattr(transforms, "_OPERATIONS", tuple(note(place) for place in range(9)))
    image = torch.zeros(1, 8, 8, dtype=torch.uint8)
    for _ in range(1600):
        Light1(8)(image)
    assert set(drawn) == set(range(9)) and all(150 < count < 250 for count in drawn.values())


@pytest.mark.parametrize("low", [0.05, 0.8])
def test_crops_and_flips(low: float, monkeypatch: pytest.MonkeyPatch) -> None:
    """5 to 100 % of the area or as asked, seen in a picture that holds its own coordinates."""
    monkeypatch.setattr(transforms, "_OPERATIONS", ())
    rows, columns = torch.meshgrid(torch.arange(200), torch.arange(200), indexing="ij")
    image = torch.stack([rows, columns, rows]).to(torch.uint8)
    areas, flips = [], 0
    for _ in range(300):
        out = (Light1(16) if low == 0.05 else Light1(16, area=(low, 1.0)))(image).int()
        assert out.shape == (3, 16, 16)
        height, width = (out[0, -1] - out[0, 0]).float().mean(), out[1, :, -1] - out[1, :, 0]
        flips += bool(width.float().mean() < 0)
        areas.append(float(height * width.float().mean().abs()) * (16 / 15) ** 2 / 200**2)
    assert low - 0.05 < min(areas) < low + 0.07 and 0.85 < max(areas) < 1.05
    assert 110 < flips < 190


@pytest.mark.parametrize("area", [(0.0, 1.0), (0.5, 0.2), (0.5, 1.5), (math.nan, 1.0)])
def test_shares_that_cannot_be(area: tuple[float, float]) -> None:
    with pytest.raises(ValueError, match=r"'transform.area' must be two shares in \(0, 1\]"):
        Light1(16, area=area)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("size", [(24, 40), (8, 8), (300, 9), (1, 1)])
def test_any_shape(channels: int, size: tuple[int, int]) -> None:
    for _ in range(30):
        out = Light1(8)(picture(*size, channels))
        assert out.shape == (channels, 8, 8) and out.dtype == torch.uint8


# ---------------------------------------------------------------- draws


def light1(shape: ImagePreprocessing | None) -> ImageTransform:
    assert shape is not None
    return ImageTransform(Light1(shape.size), shape)


def make(root: Path, seed: int = 0, **loader: Any) -> ResumableLoader:
    """The training loader of a folder of 11 images."""
    source = ImageFolder(root, 16, test_fraction=0)
    return training(ready(source, light1, **{"batch_size": 4, "per_class": 1} | loader), seed)


@pytest.fixture
def root(make_images: Callable[..., Path]) -> Path:
    return make_images({"a": 6, "b": 5}, size=(30, 24))


def samples(loader: ResumableLoader, number: int) -> list[int]:
    """The numbers of the samples of an epoch, in its order."""
    loader.batches.set_epoch(number)
    return [sample for batch in loader.batches for sample in batch]


def by_image(loader: ResumableLoader, number: int) -> dict[int, torch.Tensor]:
    """The draw of each image, found by the order of the samples."""
    order = samples(loader, number)
    images = torch.cat(epoch(loader, number))
    return {sample % 11: image for sample, image in zip(order, images, strict=True)}


def same(a: list[torch.Tensor], b: list[torch.Tensor]) -> bool:
    return len(a) == len(b) and all(map(torch.equal, a, b))


def test_draws_depend_on_seed_and_epoch(root: Path) -> None:
    loader = make(root)
    first = epoch(loader, 0)
    assert same(epoch(loader, 0), first) and not same(epoch(loader, 1), first)
    assert same(epoch(make(root), 0), first)
    assert not same(epoch(make(root, seed=1), 0), first)
    again, fresh = by_image(make(root), 0), by_image(make(root), 1)
    assert not any(torch.equal(again[i], fresh[i]) for i in again)


def test_draws_do_not_depend_on_workers_batches_or_what_came_before(root: Path) -> None:
    first = by_image(make(root), 3)
    for arguments in ({"num_workers": 2}, {}):
        torch.manual_seed(99)
        found = by_image(make(root, batch_size=3, **arguments), 3)
        assert found.keys() == first.keys()
        assert all(torch.equal(found[i], first[i]) for i in first)


@pytest.mark.parametrize("num_workers", [0, 2])
def test_a_killed_epoch_goes_on_where_it_was(root: Path, num_workers: int) -> None:
    whole = epoch(make(root), 5)
    loader = make(root)
    loader.batches.set_epoch(5)
    batches = iter(loader)
    seen = [next(batches)[0]]
    resumed = make(root, num_workers=num_workers)
    resumed.load_state_dict(loader.state_dict())
    assert same(seen + epoch(resumed, 5), whole)


def test_labels_belong_to_the_images(root: Path) -> None:
    loader = make(root)
    expected = ImageFolder(root, 16, test_fraction=0).read().train.labels
    for number in (0, 7):
        order = samples(loader, number)
        assert [sample // 11 for sample in order] == [number] * 11
        loader.batches.set_epoch(number)
        labels = torch.cat([labels for _, labels in loader])
        assert torch.equal(labels, expected[torch.tensor(order) % 11])


def test_only_training_is_augmented(root: Path, make_idx: Callable[..., Path]) -> None:
    folder = ImageFolder(root, 16, test_fraction=0)
    augmented, plain = (ready(folder, draw, batch_size=4) for draw in (light1, None))
    for image, other in zip(augmented.in_order(), plain.in_order(), strict=True):
        assert torch.equal(image[0], other[0])
    fashion = ready(FashionMNIST(make_idx()), light1, batch_size=4)
    tests = torch.cat([images for images, _ in fashion.test_loaders()[0]])
    assert torch.equal(tests, fashion.test_datasets["test"].batch(range(5))[0])
    (images, labels), *_ = training(fashion)
    assert images.shape == (4, 1, 32, 32) and labels.dtype == torch.int64


def test_the_crop_is_of_the_whole_picture(
    make_images: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not of the central square that a test image is."""
    monkeypatch.setattr(transforms, "_OPERATIONS", ())
    monkeypatch.setattr(transforms, "_AREA", (0.05, 0.051))
    root = make_images({"a": 2, "b": 2}, size=(160, 40))
    for path in root.rglob("*.png"):
        pixels = np.zeros((40, 160, 3), dtype=np.uint8)
        pixels[:, :50] = 255  # the central square, 60 to 100, is black
        Image.fromarray(pixels).save(path)
    data = ready(ImageFolder(root, 16, test_fraction=0), light1, batch_size=4)
    loader = training(data)
    assert max(int(images.max()) for number in range(9) for images in epoch(loader, number)) == 255
    assert all(int(images.max()) == 0 for images, _ in data.in_order())


def test_processes_of_a_distributed_run_draw_what_one_would(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole, shared = by_image(make(root), 2), {}
    for rank in (0, 1):
        monkeypatch.setattr(ClassBatchSampler, "_rank_and_world", lambda _, rank=rank: (rank, 2))
        part = by_image(make(root), 2)
        assert len(part) == 6  # one image is taken twice
        shared |= part
    assert shared.keys() == whole.keys()
    assert all(torch.equal(shared[i], whole[i]) for i in whole)


# ---------------------------------------------------------------- of others


class Noise:
    """A transform as albumentations' are: it takes `image=`, and draws from numpy and random."""

    def __call__(self, *, image: np.ndarray) -> dict[str, np.ndarray]:
        assert image.dtype == np.uint8 and image.ndim == 3 and image.shape[2] in (1, 3)
        shift = np.random.randint(1, 100, image.shape) + random.randrange(100)  # noqa: NPY002
        return {"image": (image // 2 + shift // 2).astype(np.uint8)}


def speckled(image: torch.Tensor) -> torch.Tensor:
    """A transform that draws from all three generators."""
    drawn = np.random.randint(50) + random.randrange(50) + int(torch.randint(50, ()))  # noqa: NPY002
    return image // 2 + torch.randint(50, image.shape, dtype=torch.uint8) + drawn // 3


def to_float(image: torch.Tensor) -> torch.Tensor:
    return image / 255


CROP = ClassSpec("torchvision.transforms.v2.RandomResizedCrop", {"scale": [0.2, 0.5]})
FLIP = ClassSpec("torchvision.transforms.v2.RandomHorizontalFlip")
COMPOSE = {"transforms": [{"class_path": CROP.class_path, "init_args": {"size": 9}}, vars(FLIP)]}
SPECS = {
    "light1": ClassSpec("rootspace.data.Light1"),
    "torchvision": CROP,
    "composed": ClassSpec("torchvision.transforms.v2.Compose", COMPOSE),
    "by keyword": ClassSpec(f"{__name__}.Noise"),
    "a function": ClassSpec(f"{__name__}.speckled"),
}


def described(root: Path, spec: ClassSpec, **loader: Any) -> DataModule:
    """The data as a run's settings describe them."""
    source = ClassSpec(
        "rootspace.data.ImageFolder", {"root": str(root), "image_size": 16, "test_fraction": 0}
    )
    settings = LoaderConfig(batch_size=4, per_class=1, **loader)
    data = make_data(Config(data=source, transform=spec, loader=settings))
    data.setup()
    return data


def set_seeds(seed: int) -> None:
    torch.manual_seed(seed)
    np.random.seed(seed)  # noqa: NPY002
    random.seed(seed)


def numpy_state() -> np.ndarray:
    return np.random.get_state(legacy=False)["state"]["key"]  # noqa: NPY002


@pytest.mark.parametrize("spec", SPECS.values(), ids=SPECS)
def test_any_transform_is_reproducible(root: Path, spec: ClassSpec) -> None:
    """Per seed, epoch and image, whatever the workers; global generators stay as they are."""
    loader = training(described(root, spec))
    set_seeds(1)
    state = torch.get_rng_state(), numpy_state(), random.getstate()
    first = by_image(loader, 3)
    assert torch.equal(torch.get_rng_state(), state[0])
    assert np.array_equal(numpy_state(), state[1])
    assert random.getstate() == state[2]
    assert all(
        image.shape == (3, 16, 16) and image.dtype == torch.uint8 for image in first.values()
    )
    set_seeds(2)
    again = by_image(training(described(root, spec, num_workers=2)), 3)
    assert again.keys() == first.keys() == set(range(11))
    assert all(torch.equal(again[i], first[i]) for i in first)
    other, seed = by_image(loader, 4), by_image(training(described(root, spec), seed=1), 3)
    for found in (other, seed):
        assert sum(torch.equal(found[i], first[i]) for i in first) < 4


def test_a_transform_gets_the_whole_picture_and_the_run_its_shape() -> None:
    shape = ImagePreprocessing(1, 8, (0.5,), (0.5,))
    got: list[torch.Tensor] = []

    def keep(image: torch.Tensor) -> torch.Tensor:
        got.append(image)
        return image

    out = ImageTransform(keep, shape)(picture(24, 40, 1))
    assert got[0].shape == (1, 24, 40)
    assert out.shape == (1, 8, 8) and torch.equal(out, shape(picture(24, 40, 1)))
    # What has the right shape is taken as it is, also in the form of an array or of a PIL image.
    small = picture(8, 8, 1)
    for found in (small, small[0].numpy(), Image.fromarray(small[0].numpy())):
        assert torch.equal(ImageTransform(lambda _, found=found: found, shape)(small), small)


def test_the_gray_pictures_of_a_transform_by_keyword_have_an_axis() -> None:
    shape = ImagePreprocessing(1, 8, (0.5,), (0.5,))
    assert ImageTransform(Noise(), shape)(picture(8, 8, 1)).shape == (1, 8, 8)


@pytest.mark.parametrize("num_workers", [0, 1])
def test_float_results_are_refused(root: Path, num_workers: int) -> None:
    data = described(root, ClassSpec(f"{__name__}.to_float"), num_workers=num_workers)
    message = (
        "^Argument 'transform': what function returns must hold uint8 pixels, not torch.float32"
    )
    with pytest.raises(DataError, match=message):
        list(training(data))


def test_light1_takes_the_size_of_the_run(root: Path) -> None:
    """Also where the command line has written down that it is not given."""
    for arguments in ({}, {"size": None}, {"size": 16}):
        spec = ClassSpec("rootspace.data.Light1", arguments)
        config = parse(["--transform", spec.class_path], config_parser("", Config()), "")
        assert config.transform is not None and config.transform.class_path == spec.class_path
        loaders = (training(described(root, made)) for made in (spec, config.transform))
        assert same(*(epoch(loader, 0) for loader in loaders))
    assert Light1()(picture(24, 40)).shape == (3, 24, 24)


def test_missing_arguments_are_named(root: Path) -> None:
    data = described(root, ClassSpec("rootspace.data.ImagePreprocessing", {"channels": 1}))
    with pytest.raises(
        ValueError, match=r"ImagePreprocessing: missing a required argument: 'mean'"
    ):
        training(data)


# ------------------------------------------------------------------------------------- Mild

NOTHING = {"degrees": 0.0, "translate": 0.0, "scale": (1.0, 1.0), "grayscale": 0.0}
NOTHING |= {"brightness": 0.0, "contrast": 0.0, "saturation": 0.0}


def mild(size: int | None, **settings: Any) -> Mild:
    """Only what is named."""
    return Mild(**{**NOTHING, **settings}, size=size)


@pytest.mark.parametrize("size", [None, 24, 16, 50])
def test_mild_without_anything_is_the_cut_of_a_test_image(size: int | None) -> None:
    image = picture()
    side = size or 24
    expected = functional.center_crop(functional.resize(image, [side]), [side])
    assert torch.equal(mild(size)(image), expected)


class Pictures(Dataset[Any]):
    """Two images higher than wide, and two wider than high."""

    targets = (0, 1, 0, 1)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, int]:
        return picture(*((40, 24) if index < 2 else (25, 61))), self.targets[index]

    def __len__(self) -> int:
        return len(self.targets)


class Padded(TorchData):
    """A source whose images are filled to a square, as those of Market-1501."""

    background = 255

    def _shape(self, size: int) -> ImagePreprocessing | None:
        shape = super()._shape(size)
        assert shape is not None
        return replace(shape, fit="pad", background=self.background)


class PaddedBlack(Padded):
    background = 0


@pytest.mark.parametrize("kind", [TorchData, Padded, PaddedBlack])
@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic"])
@pytest.mark.parametrize("size", [16, 50])
def test_mild_without_anything_is_the_test_image(
    kind: type[TorchData],
    interpolation: Interpolation,
    size: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """However test images are prepared; torch and Pillow round by one."""
    source = kind(Pictures(), image_size=size, test_fraction=0, interpolation=interpolation)
    monkeypatch.setattr(module, "as_source", lambda _: source)
    spec = ClassSpec("rootspace.data.Mild", NOTHING)
    data = make_data(
        Config(data=ClassSpec(f"{__name__}.Pictures"), transform=spec, loader=LoaderConfig())
    )
    data.setup()
    assert data.make_transform is not None and data.preprocessing is not None
    draw = data.make_transform(data.preprocessing)
    for row in range(4):
        original = data.train_dataset.original(row)
        difference = (draw(original).int() - data.preprocessing(original).int()).abs()
        assert difference.max() <= 1


@pytest.mark.parametrize("size", [(64, 16), (1, 3000), (9, 9)])
def test_light1_crops_from_the_filled_picture(
    size: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(transforms, "_OPERATIONS", ())
    image = torch.full((3, *size), 200, dtype=torch.uint8)
    out = Light1(16, area=(1.0, 1.0), fit="pad", background=0)(image)
    assert out.shape == (3, 16, 16) and int(out.max()) > 0
    assert (int(out.min()) == 0) == (size[0] != size[1])


@pytest.mark.parametrize("kind", [Mild, Light1])
@pytest.mark.parametrize(
    ("name", "value"), [("fit", "stretch"), ("background", 256), ("interpolation", "nearest")]
)
def test_preparations_that_cannot_be(
    kind: type[Mild | Light1], name: str, value: int | str
) -> None:
    with pytest.raises(ValueError, match=rf"'transform\.{name}' must be .*, not '?{value}"):
        kind(**{name: value})  # pyright: ignore[reportArgumentType]


def test_transforms_of_others_get_the_size_only(root: Path) -> None:
    """torchvision takes `interpolation` as a kind of its own."""
    bicubic = {"root": str(root), "image_size": 16, "interpolation": "bicubic"}
    source = ClassSpec("rootspace.data.ImageFolder", bicubic)
    data = make_data(Config(data=source, transform=CROP, loader=LoaderConfig()))
    data.setup()
    assert next(iter(training(data)))[0].shape[1:] == (3, 16, 16)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("size", [(24, 40), (8, 8), (300, 9), (1, 1), (1, 3000)])
def test_mild_takes_any_shape(channels: int, size: tuple[int, int]) -> None:
    far = {"degrees": 180, "scale": (0.5, 2), "translate": 0.4, "flip": 1}
    cases: list[dict[str, Any]] = [{}, far, {"fit": "pad"}]
    for settings in cases:
        out = Mild(**settings, size=8)(picture(*size, channels))
        assert out.shape == (channels, 8, 8) and out.dtype == torch.uint8


def test_mild_moves_as_far_as_its_settings_say() -> None:
    """Seen in a picture whose pixels hold their own coordinates."""
    rows, columns = torch.meshgrid(torch.arange(101), torch.arange(101), indexing="ij")
    image = torch.stack([rows, columns, rows]).to(torch.uint8)
    shifts, angles, factors = [], [], []
    for _ in range(200):
        out = mild(101, translate=0.1)(image).int()
        shifts.append((out[:2, 50, 50] - 50).tolist())
        out = mild(101, degrees=20)(image).float()
        across = out[:2, 50, 80] - out[:2, 50, 20]
        angles.append(float(torch.atan2(across[0], across[1]).rad2deg()))
        out = mild(101, scale=(0.8, 1.25))(image).float()
        factors.append(60 / float(out[1, 50, 80] - out[1, 50, 20]))
    assert 9 <= max(map(max, shifts)) <= 10 and -10 <= min(map(min, shifts)) <= -9
    assert 18 < max(angles) < 21.5 and -21.5 < min(angles) < -18
    assert 1.2 < max(factors) < 1.27 and 0.79 < min(factors) < 0.83


@pytest.mark.parametrize(
    "settings", [{}, {"degrees": 45, "translate": 0.3, "scale": (0.4, 0.5)}, {"degrees": 180}]
)
@pytest.mark.parametrize("value", [0, 255])
def test_mild_never_shows_what_is_beyond_the_picture(settings: dict[str, Any], value: int) -> None:
    image = torch.full((3, 20, 33), value, dtype=torch.uint8)
    for _ in range(50):
        out = mild(20, **{"degrees": 10, "translate": 0.08, "scale": (0.9, 1.1), **settings})(image)
        assert (out == value).all()


def test_mild_colors() -> None:
    image = picture()
    gray = mild(24, grayscale=1.0)(image)
    assert torch.equal(gray[0], gray[1]) and torch.equal(gray[0], gray[2])
    cut = mild(24)(image)
    assert torch.equal(mild(24, flip=1.0)(image), cut.flip(2))
    means = [float(mild(24, brightness=0.2)(image).float().mean()) for _ in range(100)]
    mean = float(cut.float().mean())
    assert 0.79 * mean < min(means) < 0.85 * mean and 1.15 * mean < max(means) < 1.21 * mean


@pytest.mark.parametrize(
    "settings",
    [
        {"degrees": -1},
        {"translate": 1},
        {"scale": (1.1, 0.9)},
        {"scale": (0, 1)},
        {"brightness": 2},
        {"grayscale": 1.5},
        {"flip": float("nan")},
        {"size": 0},
    ],
)
def test_mild_settings_that_cannot_be(settings: dict[str, Any]) -> None:
    ((name, value),) = settings.items()
    with pytest.raises(ValueError, match=rf"'transform\.{name}' must be .*, not ") as found:
        Mild(**settings)
    assert str(value) in str(found.value)


def test_mild_by_its_short_name(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text("transform:\n  class_path: Mild\n  init_args: {degrees: 3}\n")
    for arguments in (
        ["--transform", "Mild", "--transform.degrees", "3"],
        ["--transform=Mild", "--transform.degrees=3"],
        [f"--config={tmp_path / 'a.yaml'}"],
    ):
        config = parse(arguments, config_parser("test", Config()), "test")
        assert config.transform is not None
        assert config.transform.class_path == "rootspace.data.Mild"
        assert config.transform.init_args["degrees"] == 3
