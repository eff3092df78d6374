from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from rootspace.data import DataError
from rootspace.data.preprocessing import to_tensor
from rootspace.images import crop_to_square, pad_to_square, read_image

RED = (255, 0, 0)


def save(path: Path, image: Image.Image, **arguments: Any) -> str:
    image.save(path, **arguments)
    return str(path)


@pytest.mark.parametrize(
    ("mode", "color", "expected"),
    [
        ("RGB", RED, RED),
        ("L", 100, (100, 100, 100)),
        ("1", 1, (255, 255, 255)),
        ("RGBA", (255, 0, 0, 255), RED),
        ("RGBA", (255, 0, 0, 0), (9, 9, 9)),
        ("LA", (100, 255), (100, 100, 100)),
        ("LA", (100, 0), (9, 9, 9)),
        ("I;16", 100 * 257, (100, 100, 100)),
    ],
)
def test_every_mode_becomes_rgb_and_gray(
    tmp_path: Path, mode: str, color: Any, expected: Any
) -> None:
    path = save(tmp_path / "a.png", Image.new(mode, (3, 2), color))
    rgb = read_image(path, 3, background=9)
    assert rgb.mode == "RGB" and rgb.size == (3, 2) and rgb.getpixel((1, 1)) == expected
    gray = read_image(path, 1, background=9)
    assert gray.mode == "L" and gray.getpixel((1, 1)) == Image.new("RGB", (1, 1), expected).convert(
        "L"
    ).getpixel((0, 0))


def test_palettes_with_and_without_transparency(tmp_path: Path) -> None:
    image = Image.new("P", (2, 1))
    image.putpalette([*RED, 0, 255, 0])
    image.putpixel((1, 0), 1)
    plain = read_image(save(tmp_path / "a.png", image), 3)
    assert [plain.getpixel((x, 0)) for x in (0, 1)] == [RED, (0, 255, 0)]
    clear = read_image(save(tmp_path / "b.png", image, transparency=0), 3)
    assert [clear.getpixel((x, 0)) for x in (0, 1)] == [(255, 255, 255), (0, 255, 0)]
    alphas = read_image(save(tmp_path / "c.png", image, transparency=bytes([0, 255])), 3)
    assert [alphas.getpixel((x, 0)) for x in (0, 1)] == [(255, 255, 255), (0, 255, 0)]


def test_cmyk_and_16_bit_tiff(tmp_path: Path) -> None:
    cmyk = read_image(save(tmp_path / "a.jpg", Image.new("CMYK", (8, 8), (0, 255, 255, 0))), 3)
    assert cmyk.getpixel((4, 4)) == pytest.approx(RED, abs=3)
    deep = Image.fromarray(np.full((2, 2), 200 * 257, dtype=np.uint16))
    assert read_image(save(tmp_path / "a.tif", deep), 1).getpixel((0, 0)) == 200


def test_a_photograph_is_turned_as_its_tag_says(tmp_path: Path) -> None:
    image = Image.new("RGB", (4, 2))
    exif = Image.Exif()
    exif[0x0112] = 6  # turn by a quarter
    assert read_image(save(tmp_path / "a.jpg", image, exif=exif), 3).size == (2, 4)


def test_crop_keeps_the_center() -> None:
    image = Image.new("RGB", (40, 20), (255, 255, 255))
    image.paste(RED, (10, 0, 30, 20))
    tensor = to_tensor(crop_to_square(image, 10))
    assert tensor.shape == (3, 10, 10) and tensor.dtype == torch.uint8
    inner = tensor[:, :, 1:-1]  # smoothing reaches one pixel in from the edge
    assert torch.equal(inner, torch.tensor(RED, dtype=torch.uint8)[:, None, None].expand_as(inner))


def test_pad_keeps_everything() -> None:
    tensor = to_tensor(pad_to_square(Image.new("L", (10, 40), 7), 20, fill=200))
    assert tensor.shape == (1, 20, 20) and tensor.is_contiguous()
    assert (tensor[..., 8:12] == 7).any() and (tensor == 7).sum() == 5 * 20
    assert pad_to_square(Image.new("RGB", (2, 1)), 4, fill=255).size == (4, 4)


def test_a_square_of_the_right_size_is_left_as_it_is() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (16, 16), dtype=np.uint8)
    for convert in (crop_to_square, lambda image, size: pad_to_square(image, size, 0)):
        assert np.array_equal(np.asarray(convert(Image.fromarray(pixels), 16)), pixels)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"Image file '.*nothing\.png' does not exist"):
        read_image(tmp_path / "nothing.png", 3)


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".webp", ".bmp"])
def test_a_damaged_file_is_named(tmp_path: Path, suffix: str) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    path = tmp_path / f"cut{suffix}"
    Image.fromarray(pixels).save(path)
    path.write_bytes(path.read_bytes()[:200])
    with pytest.raises(DataError, match=rf"'.*cut\{suffix}' cannot be decoded \(.+\): replace"):
        read_image(path, 3)


@pytest.mark.parametrize("content", [b"", b"text"])
def test_a_file_that_is_no_image_is_named(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "fake.png"
    path.write_bytes(content)
    with pytest.raises(DataError, match=r"fake\.png' cannot be decoded"):
        read_image(path, 1)


@pytest.mark.parametrize("size", [(3000, 1000), (1000, 3000), (2_200_000, 1)])
def test_large_images_are_converted_in_parts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, size: tuple[int, int]
) -> None:
    """What each step needs beside the image itself is small."""
    places = np.add.outer(np.arange(size[1]) // 7, np.arange(size[0]) // 5) % 2
    image = Image.fromarray(places.astype(np.uint8)).convert("P")
    image.putpalette([*RED, 0, 255, 0])
    path = save(tmp_path / "a.png", image, transparency=0)
    seen, whole = list[int](), Image.alpha_composite

    def composite(paper: Image.Image, over: Image.Image) -> Image.Image:
        seen.append(over.width * over.height)
        return whole(paper, over)

    monkeypatch.setattr(Image, "alpha_composite", composite)
    found = np.asarray(read_image(path, 3, background=9))
    np.testing.assert_array_equal(found, np.array([(9, 9, 9), (0, 255, 0)])[places])
    assert max(seen) <= 2**20 and sum(seen) == places.size
