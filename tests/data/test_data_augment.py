"""light1: what its operations do, and that its draws depend on seed, epoch and image alone."""

from __future__ import annotations

import random
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image, ImageOps
from timm.data import auto_augment
from torchvision.transforms.v2 import functional

from rootspace.data import DataError, EpochLoader, EpochSampler, FashionMNIST, ImageFolder, _augment
from rootspace.data._augment import light1


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
def test_operations_are_those_of_timm(place: int, name: str | None):
    image = picture()
    found = _augment._OPERATIONS[place](functional, image)
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
    assert len(_augment._OPERATIONS) == len(NAMES)


@pytest.mark.parametrize(
    "name", ["Rotate", "ShearX", "ShearY", "TranslateXRel", "TranslateYRel", "SolarizeAdd"]
)
def test_the_others_change_nothing_in_timm_either(name: str):
    assert torch.equal(from_timm(name, picture()), picture())


def test_operations_are_drawn_evenly(monkeypatch: pytest.MonkeyPatch):
    """Two of sixteen, with replacement: each of the nine twice in sixteen draws."""
    drawn: Counter[int] = Counter()

    def note(place: int):
        def operation(functional, image):
            drawn[place] += 1
            return image

        return operation

    monkeypatch.setattr(_augment, "_OPERATIONS", tuple(note(place) for place in range(9)))
    image = torch.zeros(1, 8, 8, dtype=torch.uint8)
    for _ in range(1600):
        light1(image, 8)
    assert set(drawn) == set(range(9)) and all(150 < count < 250 for count in drawn.values())


def test_crops_and_flips(monkeypatch: pytest.MonkeyPatch):
    """5 to 100 % of the area, seen in a picture that holds its own coordinates."""
    monkeypatch.setattr(_augment, "_OPERATIONS", ())
    rows, columns = torch.meshgrid(torch.arange(200), torch.arange(200), indexing="ij")
    image = torch.stack([rows, columns, rows]).to(torch.uint8)
    areas, flips = [], 0
    for _ in range(300):
        out = light1(image, 16).int()
        assert out.shape == (3, 16, 16)
        height, width = (out[0, -1] - out[0, 0]).float().mean(), out[1, :, -1] - out[1, :, 0]
        flips += bool(width.float().mean() < 0)
        areas.append(float(height * width.float().mean().abs()) * (16 / 15) ** 2 / 200**2)
    assert 0.03 < min(areas) < 0.12 and 0.85 < max(areas) < 1.05
    assert 110 < flips < 190


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("size", [(24, 40), (8, 8), (300, 9), (1, 1)])
def test_any_shape(channels: int, size: tuple[int, int]):
    for _ in range(30):
        out = light1(picture(*size, channels), 8)
        assert out.shape == (channels, 8, 8) and out.dtype == torch.uint8


# ---------------------------------------------------------------- draws


def make(root: Path, **arguments) -> ImageFolder:
    data = ImageFolder(root, 16, test_fraction=0, augment="light1", batch_size=4, **arguments)
    data.setup()
    return data


@pytest.fixture
def root(make_images) -> Path:
    return make_images({"a": 6, "b": 5}, size=(30, 24))


def epoch(loader: EpochLoader, number: int) -> list[torch.Tensor]:
    loader.epoch_sampler.set_epoch(number)
    return [images for images, _ in loader]


def by_image(data: ImageFolder, number: int) -> dict[int, torch.Tensor]:
    """The draw of each image, found by the order of the samples."""
    loader = data.train_dataloader()
    images = torch.cat(epoch(loader, number))
    return {sample % 11: image for sample, image in zip(loader.epoch_sampler, images, strict=True)}


def same(a: list[torch.Tensor], b: list[torch.Tensor]) -> bool:
    return len(a) == len(b) and all(map(torch.equal, a, b))


def test_draws_depend_on_seed_and_epoch(root: Path):
    loader = make(root).train_dataloader()
    first = epoch(loader, 0)
    assert same(epoch(loader, 0), first) and not same(epoch(loader, 1), first)
    assert same(epoch(make(root).train_dataloader(), 0), first)
    other = make(root)
    other.order_seed = 1  # as a run of another seed has it
    assert not same(epoch(other.train_dataloader(), 0), first)
    again, fresh = by_image(make(root), 0), by_image(make(root), 1)
    assert not any(torch.equal(again[i], fresh[i]) for i in again)


def test_draws_do_not_depend_on_workers_batches_or_what_came_before(root: Path):
    first = by_image(make(root), 3)
    for data in (make(root, num_workers=2), make(root)):
        data.batch_size = 3
        torch.manual_seed(99)
        found = by_image(data, 3)
        assert found.keys() == first.keys()
        assert all(torch.equal(found[i], first[i]) for i in first)


@pytest.mark.parametrize("num_workers", [0, 2])
def test_a_killed_epoch_goes_on_where_it_was(root: Path, num_workers: int):
    whole = epoch(make(root).train_dataloader(), 5)
    loader = make(root).train_dataloader()
    loader.epoch_sampler.set_epoch(5)
    batches = iter(loader)
    seen = [next(batches)[0]]
    resumed = make(root, num_workers=num_workers).train_dataloader()
    resumed.load_state_dict(loader.state_dict())
    assert same(seen + epoch(resumed, 5), whole)


def test_loading_leaves_the_global_generator_alone(root: Path):
    loader, state = make(root).train_dataloader(), torch.get_rng_state()
    epoch(loader, 0)
    assert torch.equal(torch.get_rng_state(), state)


def test_labels_belong_to_the_images(root: Path):
    data = make(root)
    loader = data.train_dataloader()
    for number in (0, 7):
        loader.epoch_sampler.set_epoch(number)
        samples = list(loader.epoch_sampler)
        assert [sample // 11 for sample in samples] == [number] * 11
        labels = torch.cat([labels for _, labels in loader])
        assert torch.equal(labels, data.train_dataset.labels[torch.tensor(samples) % 11])


def test_only_training_is_augmented(root: Path, make_idx):
    data = make(root)
    plain = ImageFolder(root, 16, test_fraction=0, batch_size=4)
    plain.setup()
    for augmented, other in zip(data.means_dataloader(), plain.means_dataloader(), strict=True):
        assert torch.equal(augmented[0], other[0])
    fashion = FashionMNIST(make_idx(), augment="light1", batch_size=4)
    fashion.setup()
    tests = torch.cat([images for images, _ in fashion.test_dataloader()[0]])
    assert torch.equal(tests, fashion.test_datasets["test"].__getitems__(range(5))[0])
    (images, labels), *_ = fashion.train_dataloader()
    assert images.shape == (4, 1, 32, 32) and labels.dtype == torch.int64


def test_the_crop_is_of_the_whole_picture(make_images, monkeypatch: pytest.MonkeyPatch):
    """Not of the central square that a test image is."""
    monkeypatch.setattr(_augment, "_OPERATIONS", ())
    monkeypatch.setattr(_augment, "_AREA", (0.05, 0.051))
    root = make_images({"a": 2, "b": 2}, size=(160, 40))
    for path in root.rglob("*.png"):
        pixels = np.zeros((40, 160, 3), dtype=np.uint8)
        pixels[:, :50] = 255  # the central square, 60 to 100, is black
        Image.fromarray(pixels).save(path)
    data = ImageFolder(root, 16, test_fraction=0, augment="light1", batch_size=4)
    data.setup()
    loader = data.train_dataloader()
    assert max(int(images.max()) for number in range(9) for images in epoch(loader, number)) == 255
    assert all(int(images.max()) == 0 for images, _ in data.means_dataloader())


def test_an_unknown_augmentation():
    with pytest.raises(DataError, match="'augment' must be one of none, light1, not 'heavy'"):
        FashionMNIST(augment="heavy")  # pyright: ignore[reportArgumentType]


def test_processes_of_a_distributed_run_draw_what_one_would(
    root: Path, monkeypatch: pytest.MonkeyPatch
):
    whole, shared = by_image(make(root), 2), {}
    for rank in (0, 1):
        monkeypatch.setattr(EpochSampler, "_rank_and_world", lambda _, rank=rank: (rank, 2))
        part = by_image(make(root), 2)
        assert len(part) == 6  # one image is taken twice
        shared |= part
    assert shared.keys() == whole.keys()
    assert all(torch.equal(shared[i], whole[i]) for i in whole)
