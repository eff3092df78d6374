"""From an image of any kind to a square picture, as a run's network takes it. No torch here."""

from __future__ import annotations

import io
import math
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, Literal, Self, TypeAlias

import numpy as np

from rootspace._errors import DataError
from rootspace._extras import require

if TYPE_CHECKING:
    from PIL.Image import Image

_PURPOSE = "Reading image files"

MAX_PIXELS = 89_478_485
"""Of an image before it is scaled, if nothing else is set: where Pillow begins to warn."""

_NOT_READ = ("EPS", "FITS")
"""Of Pillow's formats: the first runs another program, the second says nothing of its range."""

NESTING = ("BLP", "ICNS", "ICO", "IPTC")
"""Pillow's formats whose header may name another size than that of the picture within."""

_PART = 2**20
"""Pixels that are converted together, so that steps between take little memory: of a large image
there are the decoded pixels and the converted ones."""

_LONG = 10
"""Longer than so many times its height or width, only what is needed of an image is scaled."""

_TURNS = {2: 0, 3: 3, 4: 1, 5: 5, 6: 4, 7: 6, 8: 2}
"""EXIF orientation -> `Image.Transpose` that undoes it."""

Interpolation: TypeAlias = Literal["bilinear", "bicubic"]

_REACH = {"bilinear": 1, "bicubic": 2}
"""Of each interpolation, in pixels of the smaller image: what a pixel there is computed from."""


@dataclass(frozen=True)
class ImageShape:
    """How images become what a network takes; saved with a run, and in its ONNX file.

    Attributes:
        channels: 1 (gray) or 3 (RGB).
        size: height and width in pixels.
        mean: of each channel over the training images, for pixels in [0, 1].
        std: likewise, the standard deviation.
        fit: `crop` scales the shorter side to `size` and cuts out the center; `pad` scales the
            longer side and fills the rest evenly with the background.
        background: gray value, 0 to 255, behind transparent pixels and around padded images.
        inner: with `crop`, scale to this size instead and surround it with black up to `size`.
        max_pixels: of an image before it is scaled; larger ones are refused before they are
            decoded. A larger limit than Pillow's own also raises that, for the whole process.
        interpolation: of scaling, `bilinear` or `bicubic`, smoothed where an image becomes smaller.

    Raises:
        ValueError: values that cannot be, such as in a run's file that somebody changed.
    """

    channels: int
    size: int
    mean: tuple[float, ...]
    std: tuple[float, ...]
    fit: Literal["crop", "pad"] = "crop"
    background: int = 255
    inner: int | None = None
    max_pixels: int = MAX_PIXELS
    interpolation: Interpolation = "bilinear"

    def __post_init__(self) -> None:
        each = f"one number for each of {self.channels} channels"
        for name, fits, wanted in (
            ("channels", self.channels in (1, 3), "1 or 3"),
            ("size", isinstance(self.size, int) and self.size >= 1, "at least 1"),
            ("mean", _are_numbers(self.mean, self.channels), each),
            (
                "std",
                _are_numbers(self.std, self.channels) and min(self.std) > 0,
                f"{each}, positive",
            ),
            ("fit", self.fit in ("crop", "pad"), "'crop' or 'pad'"),
            ("background", 0 <= self.background <= 255, "from 0 to 255"),
            ("inner", self.inner is None or 1 <= self.inner <= self.size, f"1 to {self.size}"),
            ("max_pixels", self.max_pixels >= 1, "at least 1"),
            ("interpolation", self.interpolation in _REACH, "'bilinear' or 'bicubic'"),
        ):
            if not fits:
                raise ValueError(f"Argument '{name}' must be {wanted}, not {getattr(self, name)}.")

    def pixels(self, image: Any) -> np.ndarray:
        """One image -> uint8 `[C, size, size]`.

        Args:
            image: a path, the bytes of a file, a PIL image, or a uint8 array `[H, W]` or
                `[H, W, C]`.

        Raises:
            TypeError: something else, such as float pixels.
            DataError: a file that is missing or cannot be decoded, or a shape that is no image's.
        """
        if isinstance(image, str | os.PathLike):
            return to_pixels(self.square(self.read(Path(image))))
        if isinstance(image, bytes | bytearray | memoryview):
            return to_pixels(self.square(self.decode(io.BytesIO(bytes(image)), "<bytes>")))
        if isinstance(image, np.ndarray):
            image = from_pixels(image)
        module = require("PIL.Image", extra="data", purpose=_PURPOSE)
        if not isinstance(image, module.Image):
            raise TypeError(
                "Argument 'image' must be a path, bytes, a PIL image or uint8 pixels, not "
                f"{type(image).__name__}."
            )
        return to_pixels(self.square(self.convert(image)))

    def read(self, path: Path) -> Image:
        """A file in its own size, see `read_image`."""
        return read_image(path, self.channels, self.background, self.max_pixels)

    def open(self, source: BinaryIO, name: str) -> Image:
        """An image whose header has been read, for `convert`, see `open_image`."""
        return open_image(source, name, self.max_pixels)

    def decode(self, source: BinaryIO, name: str) -> Image:
        """An open file or the content of one in its own size, see `decode_image`."""
        return decode_image(source, name, self.channels, self.background, self.max_pixels)

    def convert(self, image: Image, name: str = "<PIL image>") -> Image:
        """A PIL image in its own size, see `convert_image`."""
        return convert_image(image, self.channels, self.background, self.max_pixels, name)

    def square(self, image: Image) -> Image:
        """An image of the right channels, scaled and cut or filled to `size` by `size`."""
        if self.fit == "pad":
            return pad_to_square(image, self.size, self.background, self.interpolation)
        if self.inner is None:
            return crop_to_square(image, self.size, self.interpolation)
        return _surrounded(crop_to_square(image, self.inner, self.interpolation), self.size)

    def describe(self) -> str:
        """Size, scaling and normalization in a few words."""
        mean, std = (", ".join(f"{v:.4g}" for v in values) for values in (self.mean, self.std))
        return (
            f"images {self.channels}x{self.size}x{self.size}, {self.interpolation}, mean {mean}, "
            f"std {std}"
        )

    def as_dict(self) -> dict[str, object]:
        """For JSON and YAML."""
        return {k: list(v) if isinstance(v, tuple) else v for k, v in asdict(self).items()}

    @classmethod
    def from_dict(cls, content: Mapping[str, Any]) -> Self:
        """From what `as_dict` gave.

        Raises:
            ValueError: it is something else.
        """
        parts: Any = {k: tuple(v) if isinstance(v, list) else v for k, v in content.items()}
        try:
            return cls(**parts)
        except TypeError as error:
            known = ", ".join(part.name for part in fields(cls))
            raise ValueError(
                f"Argument 'content' must hold {known}, not {', '.join(map(str, content))}."
            ) from error


def _are_numbers(values: tuple[float, ...], count: int) -> bool:
    return len(values) == count and all(
        isinstance(value, int | float) and math.isfinite(value) for value in values
    )


def from_pixels(pixels: np.ndarray) -> Image:
    """uint8 pixels `[H, W]` or `[H, W, C]` as a PIL image.

    Raises:
        TypeError: other numbers than uint8.
        DataError: another shape.
    """
    if pixels.dtype != np.uint8:
        raise TypeError(f"Argument 'image' must hold uint8 pixels, not {pixels.dtype}.")
    if pixels.ndim == 3 and pixels.shape[2] == 1:
        pixels = pixels[:, :, 0]
    if (
        pixels.ndim not in (2, 3)
        or (pixels.ndim == 3 and pixels.shape[2] not in (3, 4))
        or not pixels.size
    ):
        raise DataError(
            f"Argument 'image' must be an array [H, W] or [H, W, C] with C 1, 3 or 4, not "
            f"{list(pixels.shape)}."
        )
    module = require("PIL.Image", extra="data", purpose=_PURPOSE)
    return module.fromarray(np.ascontiguousarray(pixels))


def to_pixels(image: Image) -> np.ndarray:
    """The pixels of a PIL image: uint8 `[C, H, W]`, a copy."""
    pixels = np.array(image)
    channels = pixels.reshape(*pixels.shape[:2], -1)
    return np.ascontiguousarray(channels.transpose(2, 0, 1))


def read_image(
    path: str | Path, channels: int, background: int = 255, max_pixels: int = MAX_PIXELS
) -> Image:
    """Decode one file, see `decode_image`.

    Raises:
        DataError: the file is missing or cannot be decoded.
    """
    if Path(path).is_dir():
        raise DataError(f"Image file '{path}' is a folder: give the files in it.")
    if not Path(path).is_file():
        raise DataError(f"Image file '{path}' does not exist.")
    try:
        # Not by its name: Pillow would map it into memory, and then gets turned TIFF files wrong.
        with open(path, "rb") as file:
            return decode_image(file, str(path), channels, background, max_pixels)
    except OSError as error:
        raise DataError(f"Image file '{path}' cannot be read: {error.strerror}.") from error


def decode_image(
    source: BinaryIO,
    name: str,
    channels: int,
    background: int = 255,
    max_pixels: int = MAX_PIXELS,
) -> Image:
    """Decode an image to gray (1 channel) or RGB (3 channels), in its own size.

    Transparent pixels show the background, a photograph is turned as its EXIF tag says, of an
    animation the first picture counts, 16-bit samples keep their high byte, and float ones are
    taken from [0, 1] to [0, 255].

    Args:
        source: an open file of an image.
        name: of the image, for messages.
        channels: 1 or 3.
        background: gray value, 0 to 255, behind transparent pixels.
        max_pixels: refuse an image that has more, before its pixels are decoded.

    Raises:
        DataError: it cannot be decoded, is too large, or has numbers whose range nobody knows.
    """
    with open_image(source, name, max_pixels) as opened:
        return convert_image(opened, channels, background, max_pixels, name)


def open_image(source: BinaryIO, name: str, max_pixels: int = MAX_PIXELS) -> Image:
    """An image of which Pillow has read the header, for `convert_image`.

    Its size is not to be trusted in formats that hold whole files of other formats (`NESTING`),
    some of which are decoded here already.

    Args:
        source: an open file of an image.
        name: of the image, for messages.
        max_pixels: that others will allow; Pillow's own limit is raised to it.

    Raises:
        DataError: it is of no known format, or its header is damaged.
    """
    module = require("PIL.Image", extra="data", purpose=_PURPOSE)
    module.preinit()  # the usual formats are tried first
    module.init()
    own = module.MAX_IMAGE_PIXELS
    if own is not None and own < max_pixels:
        module.MAX_IMAGE_PIXELS = max_pixels  # pyright: ignore[reportAttributeAccessIssue]
    formats = [kind for kind in module.ID if kind not in _NOT_READ]
    try:
        opened = module.open(source, formats=formats)
    except Exception as error:  # Pillow's decoders raise almost anything on a damaged file.
        raise _undecodable(name, error) from error
    return opened


def convert_image(
    image: Image,
    channels: int,
    background: int = 255,
    max_pixels: int = MAX_PIXELS,
    name: str = "<PIL image>",
) -> Image:
    """An image in gray (1 channel) or RGB (3 channels), see `decode_image`."""
    module = require("PIL.Image", extra="data", purpose=_PURPOSE)
    width, height = image.size
    if not 1 <= width * height <= max_pixels:
        raise DataError(
            f"Image file '{name}' must have 1 to {max_pixels:,} pixels ('max_pixels'), not "
            f"{width:,} x {height:,}: scale it down or replace it."
        )
    key = _transparent_color(image, name)
    try:
        image.load()
        loaded = _turned(image)
    except Exception as error:  # as in `open_image`
        raise _undecodable(name, error) from error
    mode = "L" if channels == 1 else "RGB"
    width, height = loaded.size
    if width * height <= _PART:
        return _opaque(loaded, image, key, background, mode, name)
    whole = module.new(mode, loaded.size)
    step = max(1, _PART // min(width, height))
    for start in range(0, max(width, height), step):
        box = (
            (0, start, width, min(start + step, height))
            if height >= width
            else (start, 0, min(start + step, width), height)
        )
        part = _opaque(loaded.crop(box), image, key, background, mode, name)
        whole.paste(part, box[:2])
    return whole


def _opaque(
    loaded: Image, image: Image, key: Any, background: int, mode: Literal["L", "RGB"], name: str
) -> Image:
    """Some pixels of a loaded image in its final mode.

    Args:
        loaded: the pixels.
        image: that they are from.
        key: the color of it that is transparent, None for none.
        background: gray value behind what is transparent.
        mode: the final one.
        name: of the image, for messages.
    """
    module = require("PIL.Image", extra="data", purpose=_PURPOSE)
    try:
        if loaded.mode in ("RGBa", "La"):  # Pillow drops the alpha of these
            loaded = loaded.convert(loaded.mode.upper())
        elif loaded.mode in ("1", "LAB"):
            loaded = loaded.convert("L" if loaded.mode == "1" else "RGB")
    except Exception as error:  # as in `open_image`
        raise _undecodable(name, error) from error
    alpha = None
    if key is not None:
        same = np.asarray(loaded) == key
        alpha = module.fromarray(np.uint8(255) * ~(same.all(2) if same.ndim == 3 else same))
    if loaded.mode == "F" or loaded.mode.startswith("I"):
        loaded = module.fromarray(_bytes_of(image, np.asarray(loaded), name))
    try:
        if alpha is not None:
            loaded = module.merge("RGBA", (*(loaded.split() * 3)[:3], alpha))
        if loaded.has_transparency_data:
            paper = module.new("RGBA", loaded.size, (background,) * 3 + (255,))
            loaded = module.alpha_composite(paper, loaded.convert("RGBA"))
        return loaded.convert(mode)
    except Exception as error:  # as in `open_image`
        raise _undecodable(name, error) from error


def _undecodable(name: str, error: Exception) -> DataError:
    reason = reason_of(error)
    return DataError(f"Image file '{name}' cannot be decoded ({reason}): replace it.")


def reason_of(error: Exception) -> str:
    """What a decoder says of a damaged file, in one line."""
    if type(error).__name__ == "UnidentifiedImageError":  # which names an object of Python
        return "it is of no known format"
    return " ".join(str(error).split()) or type(error).__name__


def _transparent_color(image: Image, name: str) -> Any:
    """The one color that a PNG without alpha calls transparent, as its pixels will have it.

    Raises:
        DataError: 16 bits of each channel, of which Pillow keeps 8.
    """
    key = image.info.get("transparency")
    if image.mode not in ("1", "L", "RGB", "I", "I;16") or key is None or isinstance(key, bytes):
        return None
    tile: Any = getattr(image, "tile", None)  # emptied by loading
    raw = str(tile[0][3]) if tile and image.format == "PNG" else ""
    if raw == "RGB;16B":
        raise DataError(
            f"Image file '{name}' has 16 bits a channel and a transparent color: save it with 8."
        )
    return key * {"L;2": 85, "L;4": 17}.get(raw, 1) if isinstance(key, int) else key


def _turned(image: Image) -> Image:
    """A loaded image as its EXIF orientation says it is seen."""
    try:
        turn = _TURNS.get(image.getexif().get(0x0112))  # pyright: ignore[reportArgumentType]
    except Exception:  # damaged tags, not damaged pixels
        turn = None
    module = require("PIL.Image", extra="data", purpose=_PURPOSE)
    return image if turn is None else image.transpose(module.Transpose(turn))


def _bytes_of(image: Image, pixels: np.ndarray, name: str) -> np.ndarray:
    """uint8 of the pixels of an image that has more than a byte for each, `[H, W]` both.

    Raises:
        DataError: nobody knows which of their numbers is white.
    """
    tags = getattr(image, "tag_v2", {})  # of TIFF
    if image.mode == "F":
        low, high = float(pixels.min()), float(pixels.max())
        if not (low >= 0 and high <= 1):  # NaN too
            raise DataError(
                f"Image file '{name}' has float pixels from {low:.6g} to {high:.6g}: save them in "
                "[0, 1], or with 8 or 16 bits."
            )
        found = np.rint(pixels * 255).astype(np.uint8)
    elif image.mode == "I" and image.format not in ("PNG", "PPM"):
        raise DataError(
            f"Image file '{name}' has 32-bit or signed pixels, and which of them is white nobody "
            "knows: save it with 8 or 16 bits."
        )
    else:
        bits = 12 if tags.get(258) == (12,) else 16
        found = (pixels >> (bits - 8)).clip(0, 255).astype(np.uint8)
    return 255 - found if tags.get(262) == 0 else found  # "white is zero"


def crop_to_square(image: Image, size: int, interpolation: Interpolation = "bilinear") -> Image:
    """Shorter side to `size`, then the central square."""
    if max(image.size) > _LONG * min(image.size):
        return _middle(image, size, interpolation)
    # What torchvision's `resize` and `center_crop` do; it takes as long to import as torch.
    width, height = image.size
    short = min(width, height)
    width, height = int(size * width / short), int(size * height / short)
    if image.size != (width, height):
        image = image.resize((width, height), resample=_resampling(interpolation))
    left, top = round((width - size) / 2), round((height - size) / 2)
    return image.crop((left, top, left + size, top + size))


def _middle(image: Image, size: int, interpolation: Interpolation) -> Image:
    """The same square, for which nothing is scaled that is then cut off."""
    short, long = min(image.size), max(image.size)
    scaled = int(size * long / short)
    start, step = round((scaled - size) / 2), long / scaled
    begin, end = start * step, (start + size) * step
    margin = math.ceil(max(step, 1) * _REACH[interpolation]) + 1
    first, last = max(0, math.floor(begin) - margin), min(long, math.ceil(end) + margin)
    if image.width == long:
        part = image.crop((first, 0, last, short))
        box = (begin - first, 0, end - first, short)
    else:
        part = image.crop((0, first, short, last))
        box = (0, begin - first, short, end - first)
    return part.resize((size, size), _resampling(interpolation), box)


def _resampling(interpolation: Interpolation) -> Any:
    """Pillow's own, which smooths."""
    module = require("PIL.Image", extra="data", purpose=_PURPOSE)
    return module.Resampling[interpolation.upper()]


def pad_to_square(
    image: Image, size: int, fill: int, interpolation: Interpolation = "bilinear"
) -> Image:
    """Longer side to `size`, the rest filled evenly on both sides."""
    module = require("PIL.Image", extra="data", purpose=_PURPOSE)
    width, height = (max(1, round(side / max(image.size) * size)) for side in image.size)
    square = module.new(image.mode, (size, size), fill if image.mode == "L" else (fill,) * 3)
    place = (round((size - width) / 2), round((size - height) / 2))
    square.paste(image.resize((width, height), _resampling(interpolation)), place)
    return square


def _surrounded(image: Image, size: int) -> Image:
    """An image in the middle of a black one of `size`."""
    module = require("PIL.Image", extra="data", purpose=_PURPOSE)
    black = module.new(image.mode, (size, size), 0)
    black.paste(image, ((size - image.width) // 2, (size - image.height) // 2))
    return black
