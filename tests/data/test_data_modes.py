"""Images of every mode and depth are read right or refused by name; the oracle is arithmetic."""

from __future__ import annotations

import colorsys
import io
import resource
import struct
import tracemalloc
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from encoders import (
    FLOAT,
    GRAY,
    GRAY_ALPHA,
    PALETTE,
    RGB,
    RGBA,
    SIGNED,
    UNSIGNED,
    png,
    tiff,
)
from PIL import Image, ImageOps
from torchvision.transforms.v2 import functional

from rootspace import images
from rootspace.data import DataError, ImagePreprocessing
from rootspace.data.preprocessing import to_tensor
from rootspace.images import MAX_PIXELS, Interpolation, crop_to_square, pad_to_square

SIDE = 16
PAPER = 200
COLOR = ImagePreprocessing(3, SIDE, (0.5,) * 3, (0.5,) * 3, background=PAPER)
ONE = ImagePreprocessing(1, SIDE, (0.5,), (0.5,), background=PAPER)
BANDS = {"1": 1, "L": 1, "LA": 2, "La": 2, "PA": 2, "RGBA": 4, "RGBa": 4, "RGBX": 4, "CMYK": 4}
COLORS = np.random.default_rng(1).integers(0, 256, (256, 3))


@pytest.fixture(params=["whole", "in parts"], autouse=True)
def _parts(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Large images are converted part by part."""
    if request.param == "in parts":
        monkeypatch.setattr(images, "_PART", 3 * SIDE + 5)


def random(bands: int, bits: int = 8, seed: int = 0) -> np.ndarray:
    """`[SIDE, SIDE, bands]`."""
    return np.random.default_rng(seed).integers(0, 2**bits, (SIDE, SIDE, bands))


def over_paper(color: np.ndarray, alpha: np.ndarray) -> np.ndarray:
    """Colors `[H, W, 1 or 3]` with alpha `[H, W]` in [0, 1] over the background."""
    shown = color * alpha[..., None] + PAPER * (1 - alpha[..., None])
    return np.broadcast_to(shown, (*shown.shape[:2], 3))


def check(image: object, rgb: np.ndarray, tolerance: float = 1) -> None:
    """What is read, in color and in gray, is `rgb`, floats `[SIDE, SIDE, 3]`."""
    found = COLOR(image).permute(1, 2, 0).numpy().astype(float)
    assert np.abs(found - rgb).max() <= tolerance + 0.5
    gray = rgb @ [0.299, 0.587, 0.114]
    assert np.abs(ONE(image)[0].numpy() - gray).max() <= tolerance + 0.5


def from_hsv(v: np.ndarray) -> np.ndarray:
    flat = [colorsys.hsv_to_rgb(*pixel) for pixel in (v / 255).reshape(-1, 3).tolist()]
    return np.array(flat).reshape(v.shape) * 255


def from_ycbcr(v: np.ndarray) -> np.ndarray:
    y, cb, cr = (v - [0, 128, 128]).transpose(2, 0, 1)
    rgb = [y + 1.402 * cr, y - 0.344136 * cb - 0.714136 * cr, y + 1.772 * cb]
    return np.stack(rgb, 2).clip(0, 255)


def from_lab(v: np.ndarray) -> np.ndarray:
    """CIE L*a*b* under D50, as TIFF has it, to sRGB."""
    light, a, b = (
        v[..., 0] / 255 * 100,
        *(v[..., 1:].astype(np.int8).astype(float).transpose(2, 0, 1)),
    )
    y = (light + 16) / 116
    f = np.stack([y + a / 500, y, y - b / 200], 2)
    xyz = np.where(f > 6 / 29, f**3, 3 * (6 / 29) ** 2 * (f - 4 / 29)) * [0.9642, 1, 0.8249]
    matrix = np.array(  # adapted to D50, Bradford
        [
            [3.1338561, -1.6168667, -0.4906146],
            [-0.9787684, 1.9161415, 0.0334540],
            [0.0719453, -0.2289914, 1.4052427],
        ]
    )
    linear = (xyz @ matrix.T).clip(0, 1)
    return 255 * np.where(linear > 0.0031308, 1.055 * linear ** (1 / 2.4) - 0.055, 12.92 * linear)


def expected(mode: str, v: np.ndarray) -> tuple[np.ndarray, float]:
    """What pixels of a mode look like, and how far rounding may be off."""
    rgb, tolerance = EXPECTED[mode]
    return np.broadcast_to(rgb(v), (*v.shape[:2], 3)).astype(float), tolerance


EXPECTED: dict[str, tuple[Callable[[np.ndarray], np.ndarray], float]] = {
    "1": (lambda v: v, 0),
    "L": (lambda v: v, 0),
    "LA": (lambda v: over_paper(v[..., :1], v[..., 1] / 255), 1),
    "La": (lambda v: v[..., :1] + PAPER * (1 - v[..., 1:] / 255), 1),  # alpha is multiplied in
    "P": (lambda v: COLORS[v[..., 0]], 0.01),
    "PA": (lambda v: over_paper(COLORS[v[..., 0]], v[..., 1] / 255), 1),
    "RGB": (lambda v: v, 0.01),
    "RGBX": (lambda v: v[..., :3], 0.01),
    "RGBA": (lambda v: over_paper(v[..., :3], v[..., 3] / 255), 1),
    "RGBa": (lambda v: v[..., :3] + PAPER * (1 - v[..., 3:] / 255), 1),
    "CMYK": (lambda v: (255 - v[..., :3]) * (255 - v[..., 3:]) / 255, 1),
    "YCbCr": (from_ycbcr, 1),
    "HSV": (from_hsv, 3),
    "LAB": (from_lab, 3),
}


MODES = ["1", "L", "LA", "La", "P", "PA", "RGB", "RGBA", "RGBa", "RGBX", "CMYK", "YCbCr"]


def pillow(mode: str) -> tuple[Image.Image, np.ndarray]:
    values = random(BANDS.get(mode, 1 if mode == "P" else 3), seed=len(mode))
    if mode == "1":
        values = (values > 127) * 255
    if mode in ("La", "RGBa"):
        values[..., :-1] = values[..., :-1] * values[..., -1:] // 255
    if mode == "LAB":  # colors that a screen can show
        values = random(3, 5) + np.array([112, 0, 0])
    if mode == "YCbCr":
        values = random(3, 5) + 112
    data = values.astype(np.uint8)
    image = Image.new(mode, (SIDE, SIDE))
    if mode in ("P", "PA"):
        image.putpalette(COLORS.astype(np.uint8).tobytes())
    packed = np.packbits(data[..., 0], axis=1) if mode == "1" else data
    image.frombytes(packed.tobytes())
    return image, values


@pytest.mark.parametrize("mode", [*MODES, "HSV", "LAB"])
def test_every_mode_of_pillow(mode: str) -> None:
    image, values = pillow(mode)
    before = image.tobytes()
    check(image, *expected(mode, values))
    assert image.mode == mode and image.tobytes() == before, "the caller's own"


FORMATS = [("1", "bmp"), ("L", "gif"), ("P", "gif"), ("P", "bmp"), ("RGB", "webp")]
FORMATS += [("RGB", "ppm"), ("RGB", "tga"), ("RGBA", "tga"), ("RGB", "jp2"), ("RGBA", "webp")]
FORMATS += [(mode, "tiff") for mode in (*MODES, "LAB") if mode not in ("La", "YCbCr", "RGBa")]


@pytest.mark.parametrize(("mode", "kind"), FORMATS)
def test_every_mode_in_files(mode: str, kind: str, tmp_path: Path) -> None:
    image, values = pillow(mode)
    options: dict[str, Any] = {"lossless": True} if kind == "webp" else {}
    image.save(tmp_path / f"a.{kind}", **options)
    check(tmp_path / f"a.{kind}", *expected(mode, values))


@pytest.mark.parametrize("bits", [1, 2, 4, 8, 16])
@pytest.mark.parametrize("clear", [False, True])
def test_gray_png_of_every_depth(bits: int, clear: bool) -> None:
    values = random(1, bits)
    color = int(values[3, 5, 0])
    chunks = {"tRNS": struct.pack(">H", color)} if clear else {}
    alpha = (values[..., 0] != color).astype(float) if clear else np.ones((SIDE, SIDE))
    seen = values >> 8 if bits == 16 else values * (255 // (2**bits - 1))
    check(png(values, GRAY, bits, **chunks), over_paper(seen, alpha), 0)


def test_only_one_of_65536_grays_is_transparent() -> None:
    values = np.full((SIDE, SIDE, 1), 1000) + np.arange(SIDE)[:, None, None]
    alpha = (values[..., 0] != 1003).astype(float)
    check(png(values, GRAY, 16, tRNS=struct.pack(">H", 1003)), over_paper(values >> 8, alpha), 0)


@pytest.mark.parametrize("bits", [1, 2, 4, 8])
@pytest.mark.parametrize("alphas", [b"", b"\0", b"\x80\xff"])
def test_palette_png_of_every_depth(bits: int, alphas: bytes) -> None:
    values = random(1, bits)
    palette = COLORS[: 2**bits].astype(np.uint8).tobytes()
    chunks = {"PLTE": palette} | ({"tRNS": alphas} if alphas else {})
    alpha = np.full(256, 255)
    alpha[: len(alphas)] = list(alphas)
    rgb = over_paper(COLORS[values[..., 0]], alpha[values[..., 0]] / 255)
    check(png(values, PALETTE, bits, **chunks), rgb)


@pytest.mark.parametrize("bits", [8, 16])
@pytest.mark.parametrize(("kind", "bands"), [(RGB, 3), (GRAY_ALPHA, 2), (RGBA, 4)])
def test_color_png_of_every_depth(kind: int, bands: int, bits: int) -> None:
    values = random(bands, bits)
    seen = values >> (bits - 8)
    rgb = seen if kind == RGB else over_paper(seen[..., :-1], seen[..., -1] / 255)
    check(png(values, kind, bits), rgb)


def test_a_transparent_color_of_png() -> None:
    values = random(3, 2)
    color = values[2, 3]
    alpha = (values != color).any(2).astype(float)
    content = png(values, RGB, 8, tRNS=struct.pack(">HHH", *color))
    check(content, over_paper(values, alpha), 0)
    with pytest.raises(DataError, match="16 bits a channel and a transparent color"):
        COLOR(png(values, RGB, 16, tRNS=struct.pack(">HHH", *color)))


@pytest.mark.parametrize("white", [255, 0])
@pytest.mark.parametrize("bits", [8, 12, 16])
def test_gray_tiff_of_every_depth(bits: int, white: int) -> None:
    if (bits, white) == (12, 0):
        pytest.skip("Pillow does not read it")
    values = random(1, bits)
    seen = (values >> (bits - 8)) if white else 255 - (values >> (bits - 8))
    check(tiff(values[..., 0], bits, white=white), np.repeat(seen, 3, 2), 0)


@pytest.mark.parametrize("white", [255, 0])
def test_float_tiff_from_0_to_1(white: int) -> None:
    values = np.random.default_rng(0).random((SIDE, SIDE)).astype(np.float32)
    seen = np.rint((values if white else 1 - values) * 255)[..., None]
    check(tiff(values, 32, FLOAT, white=white), np.repeat(seen, 3, 2), 1)


@pytest.mark.parametrize("wrong", [np.nan, np.inf, -0.1, 1.1, 255])
def test_floats_of_another_range_are_refused(wrong: float, tmp_path: Path) -> None:
    values = np.full((SIDE, SIDE), 0.5, np.float32)
    values[3, 4] = wrong
    (tmp_path / "a.tif").write_bytes(tiff(values, 32, FLOAT))
    with pytest.raises(DataError, match=r"'.*a\.tif' has float pixels from .*: save them in \[0"):
        COLOR(tmp_path / "a.tif")
    with pytest.raises(DataError, match="'<PIL image>' has float pixels"):
        COLOR(Image.fromarray(values))


@pytest.mark.parametrize(("bits", "kind"), [(32, UNSIGNED), (32, SIGNED), (16, SIGNED)])
def test_integers_of_an_unknown_range_are_refused(bits: int, kind: int, tmp_path: Path) -> None:
    (tmp_path / "a.tif").write_bytes(tiff(random(1)[..., 0], bits, kind))
    with pytest.raises(DataError, match=r"'.*a\.tif' has 32-bit or signed pixels"):
        COLOR(tmp_path / "a.tif")


def test_gray_ppm_of_every_depth() -> None:
    for most in (1, 100, 255, 4095, 65535):
        values = random(1, 16) % (most + 1)
        sample = values.astype(np.uint8 if most < 256 else ">u2")
        content = f"P5 {SIDE} {SIDE} {most}\n".encode() + sample.tobytes()
        check(content, np.repeat(values / most * 255, 3, 2), 1)


def test_what_only_another_program_reads_is_refused(tmp_path: Path) -> None:
    Image.new("RGB", (4, 4)).save(tmp_path / "a.eps")
    (tmp_path / "a.eps").rename(tmp_path / "a.png")
    with pytest.raises(DataError, match=r"a\.png' cannot be decoded"):
        COLOR(tmp_path / "a.png")


@pytest.mark.parametrize("kind", ["jpg", "png", "webp", "tiff"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_every_orientation(orientation: int, kind: str, tmp_path: Path) -> None:
    upright = np.kron(random(1)[:8, :8, 0], np.ones((4, 4)))[:, :24].astype(np.uint8)
    # How EXIF describes them: what the first row and the first column of the file are.
    stored = {
        1: upright,
        2: upright[:, ::-1],
        3: upright[::-1, ::-1],
        4: upright[::-1],
        5: upright.T,
        6: np.rot90(upright),
        7: upright[::-1, ::-1].T,
        8: np.rot90(upright, -1),
    }[orientation]
    exif = Image.Exif()
    exif[0x0112] = orientation
    options: dict[str, Any] = {"jpg": {"quality": 100}, "webp": {"lossless": True}}.get(kind, {})
    Image.fromarray(np.ascontiguousarray(stored)).save(tmp_path / f"a.{kind}", exif=exif, **options)
    found = np.asarray(ONE.read(tmp_path / f"a.{kind}")).astype(int)
    assert found.shape == upright.shape and np.abs(found - upright).max() <= 3


def test_damaged_tags_of_a_whole_photograph_do_not_matter(tmp_path: Path) -> None:
    pixels = np.repeat(random(1).astype(np.uint8), 3, 2)
    buffer = io.BytesIO()
    exif = b"Exif\0\0MM\0*\0\0\0\x08\xff\xff" + bytes(range(60))
    Image.fromarray(pixels).save(buffer, "jpeg", quality=100, exif=exif)
    with pytest.warns(UserWarning, match="EXIF"):
        check(buffer.getvalue(), pixels, 3)


@pytest.mark.parametrize("kind", ["gif", "png", "webp", "tiff"])
def test_the_first_picture_of_an_animation(kind: str, tmp_path: Path) -> None:
    frames = [Image.new("L", (SIDE, SIDE), value) for value in (10, 250, 90)]
    options: dict[str, Any] = {"lossless": True} if kind == "webp" else {}
    frames[0].save(tmp_path / f"a.{kind}", save_all=True, append_images=frames[1:], **options)
    check(tmp_path / f"a.{kind}", np.full((SIDE, SIDE, 3), 10.0))


# ----------------------------------------------------------------------------------- shapes


def reference(image: Image.Image, size: int, interpolation: str) -> torch.Tensor:
    """The whole image scaled, then its center."""
    mode = functional.InterpolationMode(interpolation)
    scaled = functional.resize(image, [size], mode)  # pyright: ignore[reportArgumentType]
    return to_tensor(functional.center_crop(scaled, [size]))  # pyright: ignore[reportArgumentType]


INTERPOLATIONS: tuple[Interpolation, ...] = ("bilinear", "bicubic")


@pytest.mark.parametrize("interpolation", INTERPOLATIONS)
@pytest.mark.parametrize(
    "size", [(1, 8000), (8000, 1), (3, 1000), (1001, 7), (20, 4000), (33, 331), (501, 50), (2, 21)]
)
@pytest.mark.parametrize("side", [8, 31, 32])
def test_long_pictures_are_cut_before_they_are_scaled(
    size: tuple[int, int], side: int, interpolation: Interpolation
) -> None:
    # Bicubic overshoots, and Pillow cuts that off after its first pass, in either direction.
    low, high = (0, 256) if interpolation == "bilinear" else (64, 192)
    pixels = np.random.default_rng(0).integers(low, high, (size[1], size[0], 3), dtype=np.uint8)
    image = Image.fromarray(pixels)
    found = to_tensor(crop_to_square(image, side, interpolation)).int()
    assert (found - reference(image, side, interpolation).int()).abs().max() <= 1


@pytest.mark.parametrize("interpolation", INTERPOLATIONS)
@pytest.mark.parametrize("size", [(40, 40), (40, 399), (400, 40), (31, 32), (5, 50), (7, 3)])
def test_other_pictures_are_what_they_were(
    size: tuple[int, int], interpolation: Interpolation
) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    image = Image.fromarray(pixels)
    wanted = reference(image, 32, interpolation)
    assert torch.equal(to_tensor(crop_to_square(image, 32, interpolation)), wanted)


@pytest.mark.parametrize("size", [(1, 2_000_000), (2_000_000, 1)])
@pytest.mark.parametrize("fit", ["crop", "pad"])
def test_a_line_takes_little_memory(size: tuple[int, int], fit: str) -> None:
    shape = ImagePreprocessing(3, 224, (0.5,) * 3, (0.5,) * 3, "pad" if fit == "pad" else "crop")
    image = Image.new("L", size, 90)
    before = peak()
    found = shape(image)
    assert found.shape == (3, 224, 224) and (found == 90).any()
    assert peak() - before < 100_000  # kilobytes; all of it scaled would be 300 gigabytes
    if fit == "crop":
        assert (found == 90).all()


def peak() -> int:
    """Largest memory of this process so far, in kB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


@pytest.mark.parametrize("size", [(10, 40), (41, 10), (33, 33), (1, 1), (5, 64)])
def test_padding_is_pillows(size: tuple[int, int]) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (size[1], size[0]), dtype=np.uint8)
    image = Image.fromarray(pixels)
    wanted = ImageOps.pad(image, (20, 20), Image.Resampling.BILINEAR, color=7)
    assert np.array_equal(np.asarray(pad_to_square(image, 20, 7)), np.asarray(wanted))


# -------------------------------------------------------------------------------- too large


def test_too_many_pixels_are_refused_before_they_are_decoded(tmp_path: Path) -> None:
    small = ImagePreprocessing(3, 8, (0.5,) * 3, (0.5,) * 3, max_pixels=99)
    Image.new("L", (10, 10)).save(tmp_path / "a.png")
    message = r"'.*a\.png' must have 1 to 99 pixels \('max_pixels'\), not 10 x 10: scale"
    with pytest.raises(DataError, match=message):
        small(tmp_path / "a.png")
    with pytest.raises(DataError, match="'<PIL image>' must have 1 to 99 pixels"):
        small(np.zeros((10, 10), np.uint8))
    assert small(np.zeros((9, 11), np.uint8)).shape == (3, 8, 8)
    with pytest.raises(ValueError, match="'max_pixels' must be at least 1, not 0"):
        ImagePreprocessing(3, 8, (0.5,) * 3, (0.5,) * 3, max_pixels=0)


@pytest.mark.parametrize("width", [100_000_000, 1_000_000_000])
@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
def test_bombs(width: int, tmp_path: Path) -> None:
    content = png(np.zeros((1, 1, 1), int), GRAY, 8)
    header = struct.pack(">4sII", b"IHDR", width, 1) + content[24:29]
    changed = content[:12] + header + struct.pack(">I", zlib.crc32(header)) + content[33:]
    (tmp_path / "a.png").write_bytes(changed)
    tracemalloc.start()
    with pytest.raises(DataError, match=r"a\.png' .*(cannot be decoded|must have)"):
        COLOR(tmp_path / "a.png")
    assert tracemalloc.get_traced_memory()[1] < 1_000_000
    tracemalloc.stop()


def test_a_larger_limit_is_also_pillows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    with pytest.raises(DataError, match="'<bytes>' must have 1 to 90 pixels"):
        ImagePreprocessing(3, 8, (0.5,) * 3, (0.5,) * 3, max_pixels=90)(
            png(random(1)[:10, :10], 0, 8)
        )
    assert Image.MAX_IMAGE_PIXELS == 100
    check(png(random(1), GRAY, 8), np.repeat(random(1), 3, 2), 0)
    assert Image.MAX_IMAGE_PIXELS == MAX_PIXELS


@pytest.mark.parametrize("shape", [(0, 3), (3, 0), (0, 4, 3)])
def test_no_pixels(shape: tuple[int, ...]) -> None:
    with pytest.raises(DataError, match=r"must be an array .* not \["):
        COLOR(np.zeros(shape, np.uint8))
    with pytest.raises(DataError, match=r"must have 1 to .* pixels"):
        COLOR(Image.new("L", (shape[1], shape[0])))
