"""Training images drawn anew in each epoch, as a function of (seed, epoch, image) alone."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from rootspace._extras import require

from .errors import DataError
from .preprocessing import ImagePreprocessing

# Inception's crop, as `decode_jpeg_and_inception_crop` of big_vision draws it.
_AREA, _ASPECT = (0.05, 1.0), (3 / 4, 4 / 3)
_WEAKEST = 0.1
"""Factor of the color operations at magnitude 0, where 1 changes nothing."""


class Light1:
    """ "light1" of Steiner et al. (arXiv 2106.10270), what the paper augments with.

    A random crop of 5 to 100 % of the area, scaled to a square; a flip with probability 1/2; then
    RandAugment (arXiv 1909.13719) with two operations at magnitude 0; no mixup.

    Magnitude 0 means what it means in that paper's code (big_vision, `randaug(2,0)`), which counts
    from another end than torchvision. Its sixteen operations are then autocontrast, equalize,
    invert twice (once as solarize from 0 on), posterize to one bit, color, contrast, brightness
    and sharpness at a tenth, and seven that change nothing (rotation, shears and shifts by nothing,
    an empty cut-out, solarize by adding nothing). In torchvision's `RandAugment(2, 0)` all but
    autocontrast and equalize change (next to) nothing.

    Args:
        size: of the result; by default that of the run, and outside of one the shorter side.
    """

    def __init__(self, size: int | None = None) -> None:
        self.size = size

    def __call__(self, image: Tensor) -> Tensor:
        """uint8 `[C, h, w]`, C 1 or 3 -> uint8 `[C, size, size]`, with torch's random numbers."""
        transforms = require("torchvision.transforms.v2", extra="data", purpose="Augmentation")
        size = min(image.shape[1:]) if self.size is None else self.size
        image = transforms.RandomResizedCrop(size, scale=_AREA, ratio=_ASPECT)(image)
        image = transforms.RandomHorizontalFlip()(image)
        for operation in torch.randint(_NUM_OPERATIONS, (2,)).tolist():
            if operation < len(_OPERATIONS):
                image = _OPERATIONS[operation](transforms.functional, image)
        return image


_OPERATIONS: tuple[Callable[[Any, Tensor], Tensor], ...] = (
    lambda F, image: F.autocontrast(image),
    lambda F, image: F.equalize(image),
    lambda F, image: F.invert(image),
    lambda F, image: F.invert(image),
    # To no bits at all, but TensorFlow shifts the eight bits of a byte by seven at most.
    lambda F, image: F.posterize(image, 1),
    lambda F, image: F.adjust_saturation(image, _WEAKEST),
    lambda F, image: F.adjust_contrast(image, _WEAKEST),
    lambda F, image: F.adjust_brightness(image, _WEAKEST),
    lambda F, image: F.adjust_sharpness(image, _WEAKEST),
)
"""Those that change an image at magnitude 0, given torchvision's functions."""
_NUM_OPERATIONS = 16
"""With those that do not."""


class ImageTransform:
    """Anybody's transform on images as `Transformed` draws them.

    torchvision's transforms get a uint8 tensor `[C, h, w]`; those that take `image=`, as
    albumentations' do, an array `[h, w, C]`. A transform with generators of its own is seeded for
    each image by its `set_random_seed`, as albumentations' have it. What they return is brought to
    the shape of the run.

    Args:
        transform: any callable on an image.
        preprocessing: of the images.
    """

    def __init__(self, transform: Callable[..., Any], preprocessing: ImagePreprocessing) -> None:
        self.transform = transform
        self.preprocessing = preprocessing
        self._by_keyword = takes_keyword(transform)
        self._set_seed = getattr(transform, "set_random_seed", None)

    def __call__(self, image: Tensor) -> Tensor:
        """uint8 `[C, h, w]` -> uint8 `[C, size, size]`.

        Raises:
            DataError: the transform returns something that is no image of uint8 pixels.
        """
        if self._set_seed is not None:
            self._set_seed(int(torch.randint(2**31, ())))
        if self._by_keyword:
            found = self.transform(image=image.permute(1, 2, 0).numpy())
            found = found["image"] if isinstance(found, dict) else found
        else:
            found = self.transform(image)
        shape = self.preprocessing
        wanted = (shape.channels, shape.size, shape.size)
        if isinstance(found, Tensor) and found.dtype == torch.uint8 and found.shape == wanted:
            return found.as_subclass(Tensor).contiguous()
        try:
            return shape(found)
        except (TypeError, ValueError) as error:
            reason = str(error).removeprefix("Argument 'image' ")
            raise DataError(
                f"Argument 'transform': what {type(self.transform).__name__} returns {reason}"
            ) from error


def takes_keyword(transform: Callable[..., Any]) -> bool:
    """Whether a transform takes its image as `image=`, as albumentations' do."""
    if any(
        c.__module__.partition(".")[0] == "albumentations" for c in inspect.getmro(type(transform))
    ):
        return True
    try:
        parameters = inspect.signature(transform).parameters
    except (TypeError, ValueError):
        return False
    image = parameters.get("image")
    return image is not None and image.kind is inspect.Parameter.KEYWORD_ONLY
