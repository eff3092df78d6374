"""From an image file to a square uint8 tensor."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

import numpy as np
import torch
from torch import Tensor

from rootspace._extras import require

from ._errors import DataError

if TYPE_CHECKING:
    from PIL.Image import Image

_PURPOSE = "Reading image files"


def read_image(path: str | Path, channels: int, background: int = 255) -> Image:
    """Decode one file, see `decode_image`.

    Args:
        path: any file that Pillow reads.
        channels: 1 or 3.
        background: grey value, 0 to 255, behind transparent pixels.

    Raises:
        DataError: the file is missing or cannot be decoded.
    """
    if not Path(path).is_file():
        raise DataError(f"Image file '{path}' does not exist.")
    return decode_image(path, str(path), channels, background)


def decode_image(
    source: str | Path | BinaryIO, name: str, channels: int, background: int = 255
) -> Image:
    """Decode an image to grey (1 channel) or RGB (3 channels).

    Transparent pixels show the background, a photograph is turned as its EXIF tag says, and
    16-bit samples keep their high byte.

    Args:
        source: a path, or an open file of an image.
        name: of the image, for messages.
        channels: 1 or 3.
        background: grey value, 0 to 255, behind transparent pixels.

    Raises:
        DataError: it cannot be decoded.
    """
    module = require("PIL.Image", extra="data", purpose=_PURPOSE)
    transpose = require("PIL.ImageOps", extra="data", purpose=_PURPOSE).exif_transpose
    try:
        with module.open(source) as opened:
            image = transpose(opened)
            if image.mode.startswith("I"):
                image = module.fromarray((np.asarray(image) >> 8).clip(0, 255).astype(np.uint8))
            if "A" in image.getbands() or "transparency" in image.info:
                image = image.convert("RGBA")
                paper = module.new("RGBA", image.size, (background,) * 3 + (255,))
                image = module.alpha_composite(paper, image)
            return image.convert("L" if channels == 1 else "RGB")
    except Exception as error:  # Pillow's decoders raise almost anything on a damaged file.
        reason = " ".join(str(error).split()) or type(error).__name__
        raise DataError(
            f"Image file '{name}' cannot be decoded ({reason}): replace or remove it."
        ) from error


def crop_to_square(image: Image, size: int) -> Tensor:
    """Shorter side to `size`, then the central square: uint8 [C, size, size]."""
    functional = require("torchvision.transforms.v2.functional", extra="data", purpose=_PURPOSE)
    return to_tensor(functional.center_crop(functional.resize(image, [size]), [size]))


def pad_to_square(image: Image, size: int, fill: int) -> Tensor:
    """Longer side to `size`, the rest filled evenly on both sides: uint8 [C, size, size]."""
    module = require("PIL.ImageOps", extra="data", purpose=_PURPOSE)
    colour = fill if image.mode == "L" else (fill,) * 3
    resample = require("PIL.Image", extra="data", purpose=_PURPOSE).Resampling.BILINEAR
    return to_tensor(module.pad(image, (size, size), method=resample, color=colour))


def to_tensor(image: Image) -> Tensor:
    """Its pixels: uint8 [C, H, W]."""
    pixels = np.array(image)  # a copy: tensors need memory that may be written
    return torch.from_numpy(pixels.reshape(*pixels.shape[:2], -1)).permute(2, 0, 1).contiguous()
