"""Characters drawn from fonts: the data set that every machine already has."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from ._augment import Augmentation
from ._base import Content, ImageData, channel_statistics
from ._cache import cached_pictures, default_cache_directory
from ._datasets import ArrayDataset
from ._decode import pad_to_square, read_image
from ._errors import DataError, check_at_least, check_image_size
from ._fonts import choose_faces
from ._pictures import Pictures
from ._ranges import parse_ranges
from ._unique import UniqueLabels

_PAPER = 255


class Characters(ImageData):
    """Grey pictures of Unicode characters: a class is a character, a font gives one image of each.

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
        image_size: height and width in pixels.
        cache_dir: where drawn pictures are kept. Default: $ROOTSPACE_CACHE, or rootspace in the
            user's cache directory.
        batch_size: images a batch.
        num_workers: processes that load images; 0 is fastest here, as the images are in memory.
        seed: of the order of the training images and of the choice of classes.
        augment: `light1` draws every training image anew in each epoch: random crop, flip and two
            random operations; `none` takes it as it is.
        unique_labels: make each training image a class of its own: `all`, or so many of them, drawn
            by `seed`. They are the one test set too, "train", which is never augmented.

    Raises:
        DataError: in `setup`, when fonts are missing or share no character.

    Example:
        >>> data = Characters(ranges="U+0041-U+005A", num_classes=5)
        >>> data.setup()
        >>> data.class_names
        ['G', 'I', 'M', 'O', 'S']
    """

    name = "characters"

    def __init__(
        self,
        train_fonts: list[str] | None = None,
        test_fonts: list[str] | None = None,
        ranges: str | list[str] | None = None,
        num_classes: int | None = None,
        image_size: int = 32,
        cache_dir: str | None = None,
        *,
        batch_size: int = 256,
        num_workers: int = 0,
        seed: int = 0,
        augment: Augmentation = "none",
        unique_labels: UniqueLabels = None,
    ) -> None:
        super().__init__(
            batch_size=batch_size,
            num_workers=num_workers,
            seed=seed,
            augment=augment,
            unique_labels=unique_labels,
        )
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

    def prepare_data(self) -> None:
        """Draw the pictures; of several processes on a machine, the first alone does."""
        self.setup()

    def _read(self) -> Content:
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
            image_shape=(1, self._size, self._size),
            train=train,
            tests={face.name: _dataset(self._font_rows[face.name][None]) for face in test_faces},
            mean=mean,
            std=std,
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

    @property
    def aliases(self) -> list[list[str]]:
        """Label -> all characters of the class; the first is its name."""
        assert self.content
        return self._aliases

    @property
    def fonts(self) -> list[str]:
        """Names of the training faces, then of the test faces."""
        assert self.content
        return list(self._font_rows)

    def image_of(self, label: int, font: str) -> Tensor:
        """The picture of a class in a training or test font: uint8 [1, H, W]."""
        assert self.content
        if font not in self._font_rows:
            raise DataError(
                f"Argument 'font' must be one of {list(self._font_rows)}, not '{font}'."
            )
        return self._font_rows[font][label]

    def load_image(self, path: str | Path) -> Tensor:
        """A scanned character as a test image: grey, the longer side scaled, white all around."""
        return pad_to_square(read_image(path, channels=1, background=_PAPER), self._size, _PAPER)


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


def _dataset(images: Tensor) -> ArrayDataset:
    """All images of [fonts, classes, 1, H, W], labelled with their classes."""
    fonts, classes = images.shape[:2]
    return ArrayDataset(images.flatten(0, 1), torch.arange(classes).repeat(fonts))
