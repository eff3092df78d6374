"""Training images drawn anew in each epoch, as a function of (seed, epoch, image) alone."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import contextmanager
from typing import Any, Literal, TypeAlias

import numpy as np
import torch
from torch import Tensor

from rootspace._extras import require

from ._datasets import Batch, LabelledImages

Augmentation: TypeAlias = Literal["none", "light1"]
"""How training images are varied: not at all, or as in `light1`."""

# Inception's crop, as `decode_jpeg_and_inception_crop` of big_vision draws it.
_AREA, _ASPECT = (0.05, 1.0), (3 / 4, 4 / 3)
_WEAKEST = 0.1
"""Factor of the colour operations at magnitude 0, where 1 changes nothing."""


def light1(image: Tensor, size: int) -> Tensor:
    """One draw of "light1" of Steiner et al. (arXiv 2106.10270).

    A random crop of 5 to 100 % of the area, scaled to a square; a flip with probability 1/2; then
    RandAugment (arXiv 1909.13719) with two operations at magnitude 0; no mixup.

    Magnitude 0 means what it means in that paper's code (big_vision, `randaug(2,0)`), which counts
    from another end than torchvision. Its sixteen operations are then autocontrast, equalize,
    invert twice (once as solarize from 0 on), posterize to one bit, colour, contrast, brightness
    and sharpness at a tenth, and seven that change nothing (rotation, shears and shifts by nothing,
    an empty cut-out, solarize by adding nothing). In torchvision's `RandAugment(2, 0)` all but
    autocontrast and equalize change (next to) nothing.

    Args:
        image: uint8 [C, h, w], C 1 or 3.
        size: of the result.

    Returns:
        uint8 [C, size, size]; random numbers come from torch's global generator on the CPU.
    """
    transforms = require("torchvision.transforms.v2", extra="data", purpose="Augmentation")
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


class AugmentedImages(LabelledImages):
    """Images of another data set, each drawn anew whenever its epoch changes.

    Samples go by number: image i of N in epoch e is sample `e * N + i`, so a draw is a function of
    the sample alone. It does not matter which process makes it, after how many others, or whether
    the run was interrupted before.

    Args:
        images: to draw from.
        draw: from uint8 [C, h, w] to uint8 [C, H, W], with random numbers from torch's global
            generator on the CPU, which is as before after each batch.
        seed: of the draws.
    """

    def __init__(self, images: LabelledImages, draw: Callable[[Tensor], Tensor], seed: int) -> None:
        super().__init__(images.labels)
        self.images = images
        self.draw = draw
        self.seed = seed

    def __getitems__(self, indices: Sequence[int]) -> Batch:
        drawn = []
        with _generator_kept():
            for sample in indices:
                # torch looks at 32 bits of a seed: mix those of all numbers into them.
                (mixed,) = np.random.SeedSequence([self.seed, sample]).generate_state(1)
                torch.default_generator.manual_seed(int(mixed))
                drawn.append(self.draw(self.images.original(sample % len(self))))
        return torch.stack(drawn), self.labels[torch.as_tensor(indices) % len(self)]

    def original(self, index: int) -> Tensor:
        return self.images.original(index % len(self))

    def name(self, index: int) -> str | None:
        return self.images.name(index % len(self))


@contextmanager
def _generator_kept() -> Any:
    # Not `torch.manual_seed`, which reaches the generators of other devices too.
    state = torch.default_generator.get_state()
    try:
        yield
    finally:
        torch.default_generator.set_state(state)
