"""From an image of any kind to a square uint8 tensor, as a run's network takes it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from rootspace.images import ImageShape, Interpolation, to_pixels

from .errors import DataError, check_image_size

if TYPE_CHECKING:
    from PIL.Image import Image

IMAGENET_RGB = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
"""Mean and standard deviation of each channel, for pixels in [0, 1], as most image models use."""

IMAGENET_GRAY = ((0.449,), (0.226,))
"""Likewise, of the luminance."""

DEFAULT_SIZE = 32
"""Height and width in pixels where nothing says more."""


@dataclass(frozen=True)
class ImagePreprocessing(ImageShape):
    """How images become tensors; see `ImageShape` for its settings."""

    def __call__(self, image: Any) -> Tensor:
        """One image -> uint8 `[C, size, size]`.

        Args:
            image: a path, the bytes of a file, a PIL image, a uint8 array `[H, W]` or `[H, W, C]`,
                or a uint8 tensor `[H, W]` or `[C, H, W]`.

        Raises:
            TypeError: something else, such as float pixels.
            DataError: a file that is missing or cannot be decoded, or a shape that is no image's.
        """
        return torch.from_numpy(self.pixels(to_array(image) if torch.is_tensor(image) else image))


def of_photographs(
    image_size: int | None,
    grayscale: bool,
    max_pixels: int,
    interpolation: Interpolation | None,
) -> ImagePreprocessing:
    """Of color or gray images of any kind, 32 x 32 and bilinear by default.

    Raises:
        DataError: a size that cannot be.
    """
    size = DEFAULT_SIZE if image_size is None else image_size
    check_image_size(size)
    mean, std = IMAGENET_GRAY if grayscale else IMAGENET_RGB
    return ImagePreprocessing(
        len(mean),
        size,
        mean,
        std,
        max_pixels=max_pixels,
        interpolation=interpolation or "bilinear",
    )


def to_array(pixels: Tensor) -> Any:
    """A uint8 tensor `[H, W]` or `[C, H, W]` as an array `[H, W]` or `[H, W, C]`.

    Raises:
        TypeError: other numbers than uint8.
        DataError: another shape.
    """
    if pixels.dtype != torch.uint8:
        raise TypeError(f"Argument 'image' must hold uint8 pixels, not {pixels.dtype}.")
    if pixels.ndim not in (2, 3) or (pixels.ndim == 3 and pixels.shape[0] not in (1, 3, 4)):
        raise DataError(
            f"Argument 'image' must be a tensor [H, W] or [C, H, W] with C 1, 3 or 4, not "
            f"{list(pixels.shape)}."
        )
    return (pixels if pixels.ndim == 2 else pixels.permute(1, 2, 0)).cpu().numpy()


def surrounded(images: Tensor, size: int) -> Tensor:
    """`[..., H, W]` images in the middle of black ones of `size`."""
    before = (size - images.shape[-1]) // 2
    after = size - images.shape[-1] - before
    return torch.nn.functional.pad(images, (before, after, before, after))


def to_tensor(image: Image) -> Tensor:
    """The pixels of a PIL image: uint8 `[C, H, W]`."""
    return torch.from_numpy(to_pixels(image))


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
