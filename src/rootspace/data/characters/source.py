"""Characters drawn from fonts: the data set that every machine already has."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from ..cache import default_cache_directory
from ..datasets import ArrayImages
from ..errors import DataError, check_at_least, check_image_size
from ..preprocessing import DEFAULT_SIZE, ImagePreprocessing, channel_statistics
from ..source import Content, DataSource
from .cache import cached_pictures
from .drawing import Pictures
from .fonts import choose_faces
from .ranges import parse_ranges

_PAPER = 255


class Characters(DataSource):
    """Gray pictures of Unicode characters: a class is a character, a font gives one image of each.

    Characters that every font holds are used; separators, controls, combining marks and private
    characters are not. Those whose pictures are the same in all training fonts (Latin A, Greek
    Alpha, Cyrillic A) are one class, named after the first of them; `aliases` lists all. Each test
    font is a test set of its own, named like its file. Ink is dark (0), paper white (255).

    Pictures are drawn once and kept in a cache directory, whatever `num_classes` and `seed` are.

    Args:
        train_fonts: fonts to train on: names of installed fonts ("TW-Kai-98_1", with or without
            extension), paths, or globs of either; "#2" at the end takes the third face of a
            collection. Default: the faces of the DejaVu family that matplotlib brings, less those
            tested.
        test_fonts: fonts to test on, likewise; an empty list tests on none. Default: two DejaVu
            faces, less those trained on, which hold no Han, Hangul or Indic characters.
        ranges: Unicode ranges to take characters from, such as "U+4E00-U+9FA5"; several in a list
            or separated by commas. Default: everything.
        num_classes: draw so many classes at random (by `seed`). Default: all.
        image_size: height and width in pixels; by default that of the images on which pretrained
            weights of the network were trained, else 32.
        cache_dir: where drawn pictures are kept. Default: $ROOTSPACE_CACHE, or rootspace in the
            user's cache directory.
        seed: of the choice of classes.

    Raises:
        DataError: in `read`, when fonts are missing or share no character.

    Example:
        >>> Characters(ranges="U+0041-U+005A", num_classes=5).read().class_names
        ['G', 'I', 'M', 'O', 'S']
    """

    def __init__(
        self,
        train_fonts: list[str] | None = None,
        test_fonts: list[str] | None = None,
        ranges: str | list[str] | None = None,
        num_classes: int | None = None,
        image_size: int | None = None,
        cache_dir: str | None = None,
        seed: int = 0,
    ) -> None:
        self.seed = seed
        image_size = DEFAULT_SIZE if image_size is None else image_size
        check_image_size(image_size)
        if num_classes is not None:
            check_at_least("num_classes", num_classes, 2)
        self._fonts = (train_fonts, test_fonts)
        self._ranges = None if ranges is None else parse_ranges(ranges)
        self._num_classes = num_classes
        self._size = image_size
        self._cache = Path(cache_dir).expanduser() if cache_dir else default_cache_directory()
        self._aliases: list[list[str]] = []
        self._font_rows: dict[str, Tensor] = {}

    def read(self) -> Content:
        train_faces, test_faces = choose_faces(*self._fonts)
        faces = train_faces + test_faces
        pictures = cached_pictures(faces, self._ranges, self._size, self._cache)
        groups = merge_identical(pictures.images[: len(train_faces)])
        groups = self._draw_classes(groups)
        self._aliases = [[chr(pictures.codes[member]) for member in group] for group in groups]
        images = _one_per_class(pictures, groups)
        self._font_rows = dict(zip((face.name for face in faces), images, strict=True))
        train = _dataset(images[: len(train_faces)])
        mean, std = channel_statistics(train.images)
        return Content(
            class_names=[names[0] for names in self._aliases],
            train=train,
            tests={face.name: _dataset(self._font_rows[face.name][None]) for face in test_faces},
            # A scanned character: the longer side scaled, white all around.
            preprocessing=ImagePreprocessing(1, self._size, mean, std, "pad", _PAPER),
        )

    def _draw_classes(self, groups: list[list[int]]) -> list[list[int]]:
        if self._num_classes is None:
            return groups
        if self._num_classes > len(groups):
            raise DataError(
                f"Argument 'num_classes' must be at most {len(groups)} (the characters these fonts "
                f"share), not {self._num_classes}."
            )
        generator = np.random.default_rng(self.seed)
        chosen = generator.choice(len(groups), self._num_classes, replace=False)
        return [groups[index] for index in sorted(chosen)]

    def _check_read(self) -> None:
        if not self._font_rows:
            raise RuntimeError("Call Characters.read() first.")

    @property
    def aliases(self) -> list[list[str]]:
        """Label -> all characters of the class; the first is its name."""
        self._check_read()
        return self._aliases

    @property
    def fonts(self) -> list[str]:
        """Names of the training faces, then of the test faces."""
        self._check_read()
        return list(self._font_rows)

    def image_of(self, label: int, font: str) -> Tensor:
        """The picture of a class in a training or test font: uint8 [1, H, W]."""
        self._check_read()
        if font not in self._font_rows:
            raise DataError(
                f"Argument 'font' must be one of {list(self._font_rows)}, not '{font}'."
            )
        return self._font_rows[font][label]


def merge_identical(images: np.ndarray) -> list[list[int]]:
    """Groups of characters that no font tells apart, in order of their first members.

    Args:
        images: uint8 [fonts, N, H, W].

    Returns:
        A partition of range(N), members ascending.
    """
    groups: dict[bytes, list[int]] = {}
    for character in range(images.shape[1]):
        digest = hashlib.sha256(images[:, character].tobytes()).digest()
        groups.setdefault(digest, []).append(character)
    return list(groups.values())


def _one_per_class(pictures: Pictures, groups: list[list[int]]) -> Tensor:
    """uint8 [fonts, classes, 1, H, W], without a copy when every character is a class."""
    images = pictures.images
    if len(groups) < images.shape[1]:
        images = images[:, [group[0] for group in groups]]
    return torch.from_numpy(images).unsqueeze(2)


def _dataset(images: Tensor) -> ArrayImages:
    """All images of [fonts, classes, 1, H, W], labeled with their classes."""
    fonts, classes = images.shape[:2]
    return ArrayImages(images.flatten(0, 1), torch.arange(classes).repeat(fonts))
