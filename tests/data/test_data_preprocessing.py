"""From an image of any kind to what a network takes."""

from __future__ import annotations

import io
import json
import pickle
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from rootspace.data import DataError, ImagePreprocessing
from rootspace.data.preprocessing import surrounded, to_tensor
from rootspace.images import crop_to_square, pad_to_square

RGB = ((0.5, 0.4, 0.3), (0.2, 0.2, 0.1))
CROP = ImagePreprocessing(3, 16, *RGB)
PAD = ImagePreprocessing(1, 16, (0.9,), (0.3,), "pad", background=200)
INNER = ImagePreprocessing(1, 32, (0.3,), (0.3,), background=0, inner=28)
BICUBIC = ImagePreprocessing(1, 16, (0.9,), (0.3,), "pad", interpolation="bicubic")
ALL = (CROP, PAD, INNER, BICUBIC)


def picture(height: int = 20, width: int = 31, channels: int = 3) -> np.ndarray:
    generator = np.random.default_rng(height)
    shape = (height, width) if channels == 1 else (height, width, channels)
    return generator.integers(0, 256, shape, dtype=np.uint8)


def as_path(image: Image.Image, folder: Path) -> object:
    image.save(folder / "a.png")
    return folder / "a.png"


def as_bytes(image: Image.Image, folder: Path) -> object:
    buffer = io.BytesIO()
    image.save(buffer, "png")
    return buffer.getvalue()


def as_array(image: Image.Image, folder: Path) -> object:
    return np.asarray(image)


def as_tensor(image: Image.Image, folder: Path) -> object:
    pixels = torch.from_numpy(np.array(image))
    return pixels if pixels.ndim == 2 else pixels.permute(2, 0, 1)


KINDS: list[Callable[[Image.Image, Path], object]] = [
    as_path,
    lambda image, folder: str(as_path(image, folder)),
    as_bytes,
    lambda image, folder: bytearray(as_bytes(image, folder)),  # pyright: ignore
    lambda image, folder: image,
    as_array,
    as_tensor,
]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("channels", [1, 3, 4])
@pytest.mark.parametrize("shape", ALL)
def test_every_kind_of_image_gives_the_same_pixels(
    kind: Callable[[Image.Image, Path], object],
    channels: int,
    shape: ImagePreprocessing,
    tmp_path: Path,
) -> None:
    image = Image.fromarray(picture(channels=channels))
    found = shape(kind(image, tmp_path))
    assert found.dtype == torch.uint8 and found.is_contiguous()
    assert found.shape == (shape.channels, shape.size, shape.size)
    assert torch.equal(found, shape(image))


def test_the_pixels_are_those_of_the_cut() -> None:
    image = Image.fromarray(picture())
    gray = image.convert("L")
    assert torch.equal(CROP(image), to_tensor(crop_to_square(image, 16)))
    assert torch.equal(PAD(image), to_tensor(pad_to_square(gray, 16, 200)))
    assert torch.equal(INNER(image), surrounded(to_tensor(crop_to_square(gray, 28)), 32))
    inside = INNER(image)
    assert torch.equal(inside[:, 2:30, 2:30], to_tensor(crop_to_square(gray, 28)))
    inside[:, 2:30, 2:30] = 0
    assert not inside.any()


@pytest.mark.parametrize("shape", [CROP, INNER])
def test_a_picture_of_the_right_size_is_left_as_it_is(shape: ImagePreprocessing) -> None:
    size = shape.inner or shape.size
    pixels = picture(size, size, 3 if shape.channels == 3 else 1)
    expected = torch.from_numpy(pixels.reshape(size, size, -1)).permute(2, 0, 1)
    assert torch.equal(shape(pixels), surrounded(expected, shape.size))


@pytest.mark.parametrize(
    "pixels", [np.zeros((8, 8)), torch.zeros(3, 8, 8), torch.zeros(8, 8).int()]
)
def test_other_numbers_than_bytes_are_refused(pixels: np.ndarray | torch.Tensor) -> None:
    with pytest.raises(TypeError, match=f"'image' must hold uint8 pixels, not {pixels.dtype}"):
        CROP(pixels)


@pytest.mark.parametrize("image", [None, 3, [1, 2]])
def test_what_is_no_image_is_refused(image: object) -> None:
    message = (
        f"'image' must be a path, bytes, a PIL image or uint8 pixels, not {type(image).__name__}"
    )
    with pytest.raises(TypeError, match=message):
        CROP(image)


@pytest.mark.parametrize(
    ("pixels", "message"),
    [
        (torch.zeros(5, 8, 8).byte(), r"tensor \[H, W\] or \[C, H, W\] .* not \[5, 8, 8\]"),
        (torch.zeros(2, 3, 8, 8).byte(), r"not \[2, 3, 8, 8\]"),
        (np.zeros((8, 8, 2), np.uint8), r"array \[H, W\] or \[H, W, C\] .* not \[8, 8, 2\]"),
        (np.zeros(8, np.uint8), r"not \[8\]"),
        (b"no image", "'<bytes>' cannot be decoded"),
        ("nothing.png", r"'nothing\.png' does not exist"),
    ],
)
def test_what_cannot_be_read_is_named(pixels: object, message: str) -> None:
    with pytest.raises(DataError, match=message):
        CROP(pixels)


@pytest.mark.parametrize("shape", ALL)
def test_settings_come_back(shape: ImagePreprocessing) -> None:
    content = json.loads(json.dumps(shape.as_dict()))
    assert ImagePreprocessing.from_dict(content) == shape == pickle.loads(pickle.dumps(shape))


def test_padded_pictures_are_scaled_as_the_setting_says() -> None:
    image = Image.fromarray(picture(40, 40, 1))
    for name in ("bilinear", "bicubic"):
        shape = ImagePreprocessing(1, 16, (0.9,), (0.3,), "pad", interpolation=name)
        expected = np.asarray(image.resize((16, 16), Image.Resampling[name.upper()]))
        assert shape(image)[0].numpy().tobytes() == expected.tobytes()
    with pytest.raises(ValueError, match=r"'interpolation' must be 'bilinear' or 'bicubic', not"):
        ImagePreprocessing.from_dict({**CROP.as_dict(), "interpolation": "lanczos"})


@pytest.mark.parametrize("change", [{"sized": 3}, {"size": None}])
def test_settings_of_something_else(change: dict[str, int | None]) -> None:
    content = {k: v for k, v in {**CROP.as_dict(), **change}.items() if v is not None}
    with pytest.raises(ValueError, match="'content' must hold channels, size, mean, std, fit"):
        ImagePreprocessing.from_dict(content)
