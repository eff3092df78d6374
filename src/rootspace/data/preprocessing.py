"""From an image of any kind to a square uint8 tensor, as a run's network takes it."""

from __future__ import annotations

import io
import math
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, Literal

import numpy as np
import torch
from torch import Tensor

from rootspace._extras import require

from .errors import DataError

if TYPE_CHECKING:
    from PIL.Image import Image

_PURPOSE = "Reading image files"

IMAGENET_RGB = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
"""Mean and standard deviation of each channel, for pixels in [0, 1], as most image models use."""

IMAGENET_GRAY = ((0.449,), (0.226,))
"""Likewise, of the luminance."""


@dataclass(frozen=True)
class ImagePreprocessing:
    """How images become what a network takes; saved with a run.

    Attributes:
        channels: 1 (gray) or 3 (RGB).
        size: height and width in pixels.
        mean: of each channel over the training images, for pixels in [0, 1].
        std: likewise, the standard deviation.
        fit: `crop` scales the shorter side to `size` and cuts out the center; `pad` scales the
            longer side and fills the rest evenly with the background.
        background: gray value, 0 to 255, behind transparent pixels and around padded images.
        inner: with `crop`, scale to this size instead and surround it with black up to `size`.

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
        ):
            if not fits:
                raise ValueError(f"Argument '{name}' must be {wanted}, not {getattr(self, name)}.")

    def __call__(self, image: Any) -> Tensor:
        """One image -> uint8 `[C, size, size]`.

        Args:
            image: a path, the bytes of a file, a PIL image, a uint8 array `[H, W]` or `[H, W, C]`,
                or a uint8 tensor `[H, W]` or `[C, H, W]`.

        Raises:
            TypeError: something else, such as float pixels.
            DataError: a file that is missing or cannot be decoded, or a shape that is no image's.
        """
        if isinstance(image, str | os.PathLike):
            return self.square(read_image(Path(image), self.channels, self.background))
        if isinstance(image, bytes | bytearray | memoryview):
            source = io.BytesIO(bytes(image))
            return self.square(decode_image(source, "<bytes>", self.channels, self.background))
        if isinstance(image, Tensor | np.ndarray):
            image = from_pixels(image)
        module = require("PIL.Image", extra="data", purpose=_PURPOSE)
        if not isinstance(image, module.Image):
            raise TypeError(
                "Argument 'image' must be a path, bytes, a PIL image or uint8 pixels, not "
                f"{type(image).__name__}."
            )
        return self.square(convert_image(image, self.channels, self.background))

    def square(self, image: Image) -> Tensor:
        """An image of the right channels -> uint8 `[C, size, size]`."""
        if self.fit == "pad":
            return pad_to_square(image, self.size, self.background)
        if self.inner is None:
            return crop_to_square(image, self.size)
        return surrounded(crop_to_square(image, self.inner), self.size)

    def as_dict(self) -> dict[str, object]:
        """For JSON and YAML."""
        return {k: list(v) if isinstance(v, tuple) else v for k, v in asdict(self).items()}

    @classmethod
    def from_dict(cls, content: Mapping[str, Any]) -> ImagePreprocessing:
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


def from_pixels(pixels: Tensor | np.ndarray) -> Image:
    """uint8 pixels, array `[H, W]` or `[H, W, C]`, tensor `[H, W]` or `[C, H, W]`, as a PIL image.

    Raises:
        TypeError: other numbers than uint8.
        DataError: another shape.
    """
    if isinstance(pixels, Tensor):
        if pixels.dtype != torch.uint8:
            raise TypeError(f"Argument 'image' must hold uint8 pixels, not {pixels.dtype}.")
        if pixels.ndim not in (2, 3) or (pixels.ndim == 3 and pixels.shape[0] not in (1, 3, 4)):
            raise DataError(
                f"Argument 'image' must be a tensor [H, W] or [C, H, W] with C 1, 3 or 4, not "
                f"{list(pixels.shape)}."
            )
        pixels = (pixels if pixels.ndim == 2 else pixels.permute(1, 2, 0)).cpu().numpy()
    if pixels.dtype != np.uint8:
        raise TypeError(f"Argument 'image' must hold uint8 pixels, not {pixels.dtype}.")
    if pixels.ndim == 3 and pixels.shape[2] == 1:
        pixels = pixels[:, :, 0]
    if pixels.ndim not in (2, 3) or (pixels.ndim == 3 and pixels.shape[2] not in (3, 4)):
        raise DataError(
            f"Argument 'image' must be an array [H, W] or [H, W, C] with C 1, 3 or 4, not "
            f"{list(pixels.shape)}."
        )
    module = require("PIL.Image", extra="data", purpose=_PURPOSE)
    return module.fromarray(np.ascontiguousarray(pixels))


def surrounded(images: Tensor, size: int) -> Tensor:
    """`[..., H, W]` images in the middle of black ones of `size`."""
    before = (size - images.shape[-1]) // 2
    after = size - images.shape[-1] - before
    return torch.nn.functional.pad(images, (before, after, before, after))


def read_image(path: str | Path, channels: int, background: int = 255) -> Image:
    """Decode one file, see `decode_image`.

    Args:
        path: any file that Pillow reads.
        channels: 1 or 3.
        background: gray value, 0 to 255, behind transparent pixels.

    Raises:
        DataError: the file is missing or cannot be decoded.
    """
    if not Path(path).is_file():
        raise DataError(f"Image file '{path}' does not exist.")
    return decode_image(path, str(path), channels, background)


def decode_image(
    source: str | Path | BinaryIO, name: str, channels: int, background: int = 255
) -> Image:
    """Decode an image to gray (1 channel) or RGB (3 channels).

    Transparent pixels show the background, a photograph is turned as its EXIF tag says, and
    16-bit samples keep their high byte.

    Args:
        source: a path, or an open file of an image.
        name: of the image, for messages.
        channels: 1 or 3.
        background: gray value, 0 to 255, behind transparent pixels.

    Raises:
        DataError: it cannot be decoded.
    """
    module = require("PIL.Image", extra="data", purpose=_PURPOSE)
    try:
        with module.open(source) as opened:
            return convert_image(opened, channels, background)
    except Exception as error:  # Pillow's decoders raise almost anything on a damaged file.
        reason = " ".join(str(error).split()) or type(error).__name__
        raise DataError(
            f"Image file '{name}' cannot be decoded ({reason}): replace or remove it."
        ) from error


def convert_image(image: Image, channels: int, background: int = 255) -> Image:
    """An image in gray (1 channel) or RGB (3 channels), see `decode_image`."""
    module = require("PIL.Image", extra="data", purpose=_PURPOSE)
    image = require("PIL.ImageOps", extra="data", purpose=_PURPOSE).exif_transpose(image)
    if image.mode.startswith("I"):
        image = module.fromarray((np.asarray(image) >> 8).clip(0, 255).astype(np.uint8))
    if "A" in image.getbands() or "transparency" in image.info:
        image = image.convert("RGBA")
        paper = module.new("RGBA", image.size, (background,) * 3 + (255,))
        image = module.alpha_composite(paper, image)
    return image.convert("L" if channels == 1 else "RGB")


def crop_to_square(image: Image, size: int) -> Tensor:
    """Shorter side to `size`, then the central square: uint8 [C, size, size]."""
    # What torchvision's `resize` and `center_crop` do; it takes as long to import as torch.
    width, height = image.size
    short = min(width, height)
    width, height = int(size * width / short), int(size * height / short)
    resample = require("PIL.Image", extra="data", purpose=_PURPOSE).Resampling.BILINEAR
    if image.size != (width, height):
        image = image.resize((width, height), resample=resample)
    left, top = round((width - size) / 2), round((height - size) / 2)
    return to_tensor(image.crop((left, top, left + size, top + size)))


def pad_to_square(image: Image, size: int, fill: int) -> Tensor:
    """Longer side to `size`, the rest filled evenly on both sides: uint8 [C, size, size]."""
    module = require("PIL.ImageOps", extra="data", purpose=_PURPOSE)
    color = fill if image.mode == "L" else (fill,) * 3
    resample = require("PIL.Image", extra="data", purpose=_PURPOSE).Resampling.BILINEAR
    return to_tensor(module.pad(image, (size, size), method=resample, color=color))


def to_tensor(image: Image) -> Tensor:
    """Its pixels: uint8 [C, H, W]."""
    pixels = np.array(image)  # a copy: tensors need memory that may be written
    return torch.from_numpy(pixels.reshape(*pixels.shape[:2], -1)).permute(2, 0, 1).contiguous()


def channel_statistics(
    images: Tensor, most: int = 10_000
) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and standard deviation of each channel, for pixels in [0, 1].

    Counted in whole numbers, so the result does not depend on the number of threads.

    Args:
        images: uint8 [N, C, H, W].
        most: read at most so many images, evenly spread.
    """
    num_read = min(len(images), most)
    chosen = images[torch.arange(num_read) * len(images) // num_read]
    values = torch.arange(256, dtype=torch.float64) / 255
    mean, std = [], []
    for channel in range(images.shape[1]):
        share = torch.bincount(chosen[:, channel].flatten(), minlength=256).double()
        share /= share.sum()
        center = float((share * values).sum())
        mean.append(center)
        # Images of one color must not lead to a division by zero.
        std.append(max(float((share * (values - center) ** 2).sum().sqrt()), 1 / 255))
    return tuple(mean), tuple(std)
