"""Training images drawn anew in each epoch, as a function of (seed, epoch, image) alone."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable
from typing import Any, Literal, TypeAlias

import torch
from torch import Tensor

from rootspace._extras import require
from rootspace.images import Interpolation

from .errors import DataError
from .preprocessing import ImagePreprocessing

# Inception's crop, as `decode_jpeg_and_inception_crop` of big_vision draws it.
_AREA, _ASPECT = (0.05, 1.0), (3 / 4, 4 / 3)
_WEAKEST = 0.1
"""Factor of the color operations at magnitude 0, where 1 changes nothing."""
_LARGEST = 8
"""Sides of the result that a padded picture is scaled down to, so that none takes gigabytes."""

Fit: TypeAlias = Literal["crop", "pad"]


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
        area: smallest and largest share of the picture that a crop shows. A twentieth of a small
            picture, as light1 has it, may show nothing of what it is.
        fit: of test images; `pad` crops from the picture filled to a square. By default that of the
            run.
        background: gray value, 0 to 255, of what is filled; likewise.
        interpolation: of scaling; likewise.

    Raises:
        ValueError: shares or another setting that cannot be.
    """

    def __init__(
        self,
        size: int | None = None,
        area: tuple[float, float] = _AREA,
        fit: Fit | None = None,
        background: int | None = None,
        interpolation: Interpolation | None = None,
    ) -> None:
        low, high = area
        if not 0 < low <= high <= 1:
            raise ValueError(
                "Argument 'transform.area' must be two shares in (0, 1], the smaller one first, "
                f"not {area}."
            )
        self.size = size
        self.area = (low, high)
        self._scaling = _Scaling(fit or "crop", background, interpolation or "bilinear")

    def __call__(self, image: Tensor) -> Tensor:
        """uint8 `[C, h, w]`, C 1 or 3 -> uint8 `[C, size, size]`, with torch's random numbers."""
        transforms = require("torchvision.transforms.v2", extra="data", purpose="Augmentation")
        size = min(image.shape[1:]) if self.size is None else self.size
        F, scaling = transforms.functional, self._scaling
        if scaling.fit == "pad":
            image = scaling.padded(F, image, min(max(image.shape[1:]), _LARGEST * size))
        mode = F.InterpolationMode(scaling.interpolation)
        image = transforms.RandomResizedCrop(
            size, scale=self.area, ratio=_ASPECT, interpolation=mode
        )(image)
        image = transforms.RandomHorizontalFlip()(image)
        for operation in torch.randint(_NUM_OPERATIONS, (2,)).tolist():
            if operation < len(_OPERATIONS):
                image = _OPERATIONS[operation](F, image)
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


class Mild:
    """Small changes that keep what an image shows, of any kind: nothing is flipped or inverted.

    A rotation, a scale and a shift, drawn evenly, around the center of the square that a test image
    is cut or filled to; what comes into view continues the edge. Then brightness, contrast and
    saturation in random order, as torchvision's `ColorJitter` has them, and some images in gray.

    Args:
        degrees: largest rotation, to both sides.
        translate: largest shift in each direction, as a share of the side.
        scale: smallest and largest factor of the size.
        brightness: largest change, as a share; as of `ColorJitter`.
        contrast: likewise.
        saturation: likewise; does nothing to gray images.
        grayscale: probability of gray.
        flip: probability of a horizontal flip: 0.5 where left and right mean nothing.
        size: of the result; by default that of the run, and outside of one the shorter side.
        fit: of test images; `crop` or `pad`, see `ImagePreprocessing`. By default that of the run.
        background: gray value, 0 to 255, around padded images; likewise.
        interpolation: of scaling; likewise.

    Raises:
        ValueError: a setting that cannot be.
    """

    def __init__(
        self,
        degrees: float = 10.0,
        translate: float = 0.08,
        scale: tuple[float, float] = (0.9, 1.1),
        brightness: float = 0.2,
        contrast: float = 0.2,
        saturation: float = 0.2,
        grayscale: float = 0.1,
        flip: float = 0.0,
        size: int | None = None,
        fit: Fit | None = None,
        background: int | None = None,
        interpolation: Interpolation | None = None,
    ) -> None:
        given = dict(locals())
        low, high = scale
        for name, fits, wanted in (
            ("degrees", 0 <= degrees <= 180, "in [0, 180]"),
            ("translate", 0 <= translate < 1, "in [0, 1)"),
            ("scale", 0 < low <= high <= 10, "two factors in (0, 10], the smaller one first"),
            ("brightness", 0 <= brightness <= 1, "in [0, 1]"),
            ("contrast", 0 <= contrast <= 1, "in [0, 1]"),
            ("saturation", 0 <= saturation <= 1, "in [0, 1]"),
            ("grayscale", 0 <= grayscale <= 1, "in [0, 1]"),
            ("flip", 0 <= flip <= 1, "in [0, 1]"),
            ("size", size is None or size >= 1, "at least 1"),
        ):
            if not fits:
                raise ValueError(
                    f"Argument 'transform.{name}' must be {wanted}, not {given[name]}."
                )
        transforms = require("torchvision.transforms.v2", extra="data", purpose="Augmentation")
        self.degrees = degrees
        self.translate = translate
        self.scale = (low, high)
        self.size = size
        self._scaling = _Scaling(fit or "crop", background, interpolation or "bilinear")
        self._color = transforms.Compose(
            [
                transforms.ColorJitter(brightness, contrast, saturation),
                transforms.RandomGrayscale(grayscale),
                transforms.RandomHorizontalFlip(flip),
            ]
        )
        # How far beyond the edge a corner comes, in sides of the image.
        turned = math.sqrt(2) * math.sin(math.radians(45 + min(degrees, 45)))
        self._reach = (0.5 + translate) * turned / low - 0.5

    def __call__(self, image: Tensor) -> Tensor:
        """uint8 `[C, h, w]`, C 1 or 3 -> uint8 `[C, size, size]`, with torch's random numbers."""
        F = require("torchvision.transforms.v2.functional", extra="data", purpose="Augmentation")
        short = min(image.shape[1:])
        size = short if self.size is None else self.size
        if self._scaling.fit == "pad":
            image = self._scaling.padded(F, image, size)
        else:
            # Of a long picture only its middle: scaled as a whole it might take gigabytes.
            image = F.center_crop(image, [min(side, 3 * short) for side in image.shape[1:]])
            image = self._scaling.resized(F, image, [size])
        margin = math.ceil(max(0, self._reach) * size) + 1
        image = F.pad(image, [margin], padding_mode="edge")
        image = F.center_crop(image, [size + 2 * margin])
        angle, factor, *shift = torch.rand(4).tolist()
        low, high = self.scale
        image = F.affine(
            image,
            angle=(2 * angle - 1) * self.degrees,
            translate=[(2 * part - 1) * self.translate * size for part in shift],
            scale=low + (high - low) * factor,
            shear=[0.0],
            interpolation=F.InterpolationMode.BILINEAR,
        )
        return self._color(F.center_crop(image, [size]))


class _Scaling:
    """How test images are scaled, for a transform that scales likewise."""

    def __init__(self, fit: Fit, background: int | None, interpolation: Interpolation) -> None:
        background = 255 if background is None else background
        for name, value, fits, wanted in (
            ("fit", fit, fit in ("crop", "pad"), "'crop' or 'pad'"),
            ("background", background, 0 <= background <= 255, "from 0 to 255"),
            (
                "interpolation",
                interpolation,
                interpolation in ("bilinear", "bicubic"),
                "'bilinear' or 'bicubic'",
            ),
        ):
            if not fits:
                raise ValueError(f"Argument 'transform.{name}' must be {wanted}, not {value!r}.")
        self.fit = fit
        self.background = background
        self.interpolation = interpolation

    def resized(self, F: Any, image: Tensor, size: list[int]) -> Tensor:
        """As torchvision's `resize`."""
        return F.resize(image, size, interpolation=F.InterpolationMode(self.interpolation))

    def padded(self, F: Any, image: Tensor, size: int) -> Tensor:
        """As `pad_to_square` of a PIL image: `[C, h, w]` -> `[C, size, size]`."""
        long = max(image.shape[1:])
        height, width = (max(1, round(side / long * size)) for side in image.shape[1:])
        top, left = round((size - height) / 2), round((size - width) / 2)
        around = [left, top, size - width - left, size - height - top]
        return F.pad(self.resized(F, image, [height, width]), around, fill=self.background)


class Unchanged:
    """Leaves training inputs as they are, where the data would have a transform by default."""

    def __call__(self, x: Any) -> Any:
        return x


UNCHANGED = (f"{Unchanged.__module__}.{Unchanged.__qualname__}", "rootspace.data.Unchanged")
"""Import paths by which settings ask for no transform at all."""


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
