"""Very many different pictures without a download, each a class of its own (Table 8)."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator

import torch
from torch import Tensor
from torch.nn.functional import affine_grid, grid_sample

from rootspace.data import Characters, FashionMNIST
from rootspace.data.datasets import ArrayImages
from rootspace.data.errors import DataError
from rootspace.data.preprocessing import ImagePreprocessing, channel_statistics
from rootspace.data.source import Content, DataSource

HAN = "U+3400-U+4DBF,U+4E00-U+9FFF,U+20000-U+2A6DF"
"""The Han characters of Unicode with extensions A and B; a face gives those that it holds."""

FACES = [
    # Faces of a design of their own, then those of extension B, then other weights of these.
    *("NotoSansCJK-Regular", "NotoSerifCJK-Regular", "TW-Kai-98_1", "wqy-zenhei", "HanaMinA"),
    *("LXGWWenKai-Regular", "BabelStoneHan", "TW-Sung-98_1", "wqy-microhei"),
    *("DroidSansFallbackFull", "HanaMinB", "TW-Kai-Ext-B-98_1", "TW-Sung-Ext-B-98_1"),
    *(f"NotoSansCJK-{style}" for style in ("Thin", "Black", "Light", "Bold")),
    *(f"NotoSerifCJK-{style}" for style in ("ExtraLight", "Black", "Light", "Bold")),
    *(f"NotoSansCJK-{style}" for style in ("DemiLight", "Medium")),
    *(f"NotoSerifCJK-{style}" for style in ("Medium", "SemiBold")),
    *(f"LXGWWenKai-{style}" for style in ("Light", "Bold")),
]

SIZE = 32
TURN, SHEAR, SHIFT, SCALE = math.radians(25), 0.2, 0.1, (0.8, 1.15)
"""Largest rotation, shear and shift (in halves of a side) of a variant, and its factors of size."""

BATCH = 10_000


class ManyPictures(DataSource):
    """The first so many of a fixed sequence of gray pictures, no two of them equal.

    First the 70,000 of Fashion-MNIST, then the Han characters of `FACES`, face by face, then
    variants of all these, turned, sheared, scaled and shifted at random by `seed`. Pictures that
    came before are left out. A picture's class is where it comes from; give each a class of its own
    by `loader.unique_labels`.

    Args:
        count: number of pictures.
        seed: of the variants.

    Raises:
        DataError: in `read`, when fonts or Fashion-MNIST are missing.
    """

    def __init__(self, count: int, seed: int = 0) -> None:
        if count < 2:
            raise DataError(f"Argument 'count' must be at least 2, not {count}.")
        self.count = count
        self.seed = seed

    def read(self) -> Content:
        """uint8 `[count, 1, 32, 32]` with the number of each picture's origin as its label."""
        images = torch.empty(self.count, 1, SIZE, SIZE, dtype=torch.uint8)
        labels = torch.empty(self.count, dtype=torch.int64)
        names: list[str] = []
        seen: set[bytes] = set()
        filled = 0

        def add(name: str, some: Tensor) -> None:
            nonlocal filled
            if name not in names:
                names.append(name)
            new = some[_unseen(some, seen)][: self.count - filled]
            images[filled : filled + len(new)] = new
            labels[filled : filled + len(new)] = names.index(name)
            filled += len(new)

        for name, some in _originals():
            add(name, some)
            if filled == self.count:
                break
        originals = filled
        generator = torch.Generator().manual_seed(self.seed)
        while filled < self.count:
            rows = torch.randint(originals, (BATCH,), generator=generator)
            add("variants", varied(images[rows], generator))
        mean, std = channel_statistics(images)
        shape = ImagePreprocessing(1, SIZE, mean, std, background=0)
        return Content(names, ArrayImages(images, labels), {}, shape)


def _originals() -> Iterator[tuple[str, Tensor]]:
    """Where pictures come from, and they, uint8 `[N, 1, 32, 32]`."""
    fashion = FashionMNIST(image_size=SIZE).read()
    for data in (fashion.train, *fashion.tests.values()):
        assert isinstance(data, ArrayImages)
        yield "Fashion-MNIST", data.images
    for face in FACES:
        train = Characters([face], [], HAN, image_size=SIZE).read().train
        assert isinstance(train, ArrayImages)
        yield face, 255 - train.images  # light on dark, as Fashion-MNIST


def varied(images: Tensor, generator: torch.Generator) -> Tensor:
    """Each picture turned, sheared, scaled and shifted at random; uint8 `[N, 1, H, W]`."""
    angle, shear, across, down, size = torch.rand(5, len(images), generator=generator) * 2 - 1
    low, high = SCALE
    inverse = 1 / (low + (high - low) * (size + 1) / 2)
    cosine, sine = inverse * torch.cos(TURN * angle), inverse * torch.sin(TURN * angle)
    theta = torch.stack(
        [
            torch.stack([cosine, SHEAR * shear * cosine - sine, SHIFT * across], -1),
            torch.stack([sine, SHEAR * shear * sine + cosine, SHIFT * down], -1),
        ],
        -2,
    )
    grid = affine_grid(theta, list(images.shape), align_corners=False)
    found = grid_sample(images.float(), grid, align_corners=False)
    return found.round().clamp(0, 255).to(torch.uint8)


def _unseen(images: Tensor, seen: set[bytes]) -> Tensor:
    """Places of the pictures that are not among those seen, nor there twice; they are seen then."""
    places = []
    for place, image in enumerate(images.numpy()):
        digest = hashlib.blake2b(image.tobytes(), digest_size=16).digest()
        if digest not in seen:
            seen.add(digest)
            places.append(place)
    return torch.tensor(places, dtype=torch.int64)
