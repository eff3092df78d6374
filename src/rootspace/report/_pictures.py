"""Images as data URIs."""

from __future__ import annotations

import base64
import io
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rootspace._extras import require
from rootspace.report._text import escape

LARGEST = 128
"""Images with a longer side are reduced to this many pixels; smaller ones are kept exactly."""


def data_uri(image: NDArray[Any]) -> str:
    """A uint8 image `[C, H, W]`, C = 1 or 3, as a PNG data URI."""
    pil = require("PIL.Image", extra="train", purpose="rootspace.report")
    channels, height, width = image.shape
    pixels = image[0] if channels == 1 else np.moveaxis(image, 0, -1)
    picture = pil.fromarray(np.ascontiguousarray(pixels))
    longest = max(height, width)
    if longest > LARGEST:
        size = (max(1, width * LARGEST // longest), max(1, height * LARGEST // longest))
        picture = picture.resize(size, pil.Resampling.LANCZOS)
    buffer = io.BytesIO()
    picture.save(buffer, format="PNG", optimize=True)
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode("ascii")


def picture(image: NDArray[Any], alt: str, target: int) -> str:
    """An <img> about `target` pixels large; small images grow by a whole factor."""
    _, height, width = image.shape
    longest = max(height, width)
    factor = target // longest if longest <= target else target / longest
    style = "pixelated" if longest <= target else "auto"
    return (
        f'<img src="{data_uri(image)}" alt="{escape(alt)}" width="{round(width * factor)}" '
        f'height="{round(height * factor)}" style="image-rendering: {style}">'
    )
