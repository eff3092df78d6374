"""WebDataset shards: samples in tar files."""

from __future__ import annotations

import glob
import io
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from rootspace.images import MAX_PIXELS, Interpolation

from .cache import default_cache_directory
from .datasets import EncodedImages, LabeledDataset
from .errors import DataError
from .folders import TEST_FOLDERS
from .preprocessing import ImagePreprocessing, of_photographs
from .shard_index import ShardIndex, read_index
from .source import Content, DataSource

if TYPE_CHECKING:
    from PIL.Image import Image

_NAMES_FILE = "classnames.txt"


class WebDataset(DataSource):
    """Samples in tar files ("shards") as the webdataset package writes and reads them.

    Members of a shard that follow one another and share their name up to the first dot are a
    sample: an image (`jpg`, `png`, `webp`, ...) and its label, a number or a name, either in a
    member `cls` or in a field of a member `json`. Other members do not matter. Classes are sorted
    by number or name. `root/classnames.txt`, if there, names the classes: line i (from 0) is class
    i, which samples give by its number or its name, and a class may then have no image.

    Shards are read at random, by an index of where each image lies: one pass over the headers, kept
    in a cache directory. Read as a stream, as the webdataset package does, an interrupted epoch
    could not go on where it was, the seed could not give an order that mixes all samples, and
    nobody would know how many there are. What this costs: shards must lie on a disk (no addresses,
    no pipes) and be uncompressed, and random reads are slow on spinning disks. In a distributed
    run every process reads its own samples, from all shards.

    Args:
        root: the folder.
        train_shards: glob of the training shards, relative to `root`.
        test_shards: test sets: name -> glob. Default: those of `val/*.tar`, `valid/*.tar`,
            `validation/*.tar` and `test/*.tar` that match anything.
        image_size: height and width in pixels: the shorter side is scaled to it, then the center is
            cut out; by default that of the images on which pretrained weights of the network were
            trained, else 32.
        grayscale: one channel instead of three.
        label_key: the field of `json` members that holds the label.
        cache_dir: where the index is kept. Default: $ROOTSPACE_CACHE, or rootspace in the user's
            cache directory.
        max_pixels: of an image; larger ones are refused before they are decoded.
        interpolation: of scaling; by default as of `image_size`, else bilinear.

    Raises:
        DataError: in `read`, when shards are missing, damaged or compressed, or a sample lacks its
            image or its label; in loading, when an image cannot be decoded.
    """

    default_transform = "rootspace.data.Mild"

    def __init__(
        self,
        root: str | Path,
        train_shards: str = "train/*.tar",
        test_shards: dict[str, str] | None = None,
        image_size: int | None = None,
        grayscale: bool = False,
        label_key: str = "label",
        cache_dir: str | None = None,
        max_pixels: int = MAX_PIXELS,
        interpolation: Interpolation | None = None,
    ) -> None:
        self.root = Path(root).expanduser()
        self.train_shards = train_shards
        self.test_shards = test_shards
        self.label_key = label_key
        self._shape = of_photographs(image_size, grayscale, max_pixels, interpolation)
        self._cache = Path(cache_dir).expanduser() if cache_dir else default_cache_directory()

    def read(self) -> Content:
        if not self.root.is_dir():
            raise DataError(f"Argument 'root' must be a folder of shards, not '{self.root}'.")
        train_shards = self._find("train_shards", self.train_shards)
        test_shards = self._find_tests()
        for name, shards in test_shards.items():
            if both := set(shards) & set(train_shards):
                raise DataError(
                    f"Argument 'test_shards' must not match '{min(both)}' for '{name}', which is "
                    "trained on."
                )
        index = read_index(train_shards, self.label_key, self._cache)
        if not len(index.keys):
            raise DataError(f"The shards '{self.root / self.train_shards}' hold no samples.")
        class_names, label_of = self._classes(index)
        tests: dict[str, LabeledDataset] = {}
        for name, shards in test_shards.items():
            test_index = read_index(shards, self.label_key, self._cache)
            tests[name] = self._dataset(shards, test_index, label_of)
        train = self._dataset(train_shards, index, label_of)
        return Content(class_names, train, tests, self._shape, train.notes())

    def _find(self, argument: str, pattern: str) -> list[Path]:
        shards = self._matching(pattern)
        if not shards:
            raise DataError(
                f"Argument '{argument}' must match tar files in '{self.root}', unlike '{pattern}'."
            )
        return shards

    def _matching(self, pattern: str) -> list[Path]:
        if Path(pattern).is_absolute():
            raise DataError(
                f"Arguments 'train_shards' and 'test_shards' must be relative to 'root', not "
                f"'{pattern}'."
            )
        # Not `Path.glob`, whose `*` also matches hidden files, such as those that macOS adds.
        found = glob.glob(pattern, root_dir=self.root, recursive=True)
        return sorted(path for name in found if (path := self.root / name).is_file())

    def _find_tests(self) -> dict[str, list[Path]]:
        if self.test_shards is not None:
            return {
                name: self._find("test_shards", pattern)
                for name, pattern in self.test_shards.items()
            }
        found = {folder: self._matching(f"{folder}/*.tar") for folder in TEST_FOLDERS}
        return {folder: shards for folder, shards in found.items() if shards}

    def _classes(self, index: ShardIndex) -> tuple[list[str], dict[str, int]]:
        """Label -> name, and from labels as the shards have them to labels."""
        path = self.root / _NAMES_FILE
        if path.is_file():
            # Not `splitlines`, which also splits at characters that a name may hold.
            try:
                text = path.read_text(encoding="utf-8")
            except UnicodeDecodeError as error:
                raise DataError(f"'{path}' must be UTF-8: {error}.") from error
            names = text.removesuffix("\n").split("\n")
            names = [name.removesuffix("\r") for name in names]
            # A sample may give either; what is both is a number.
            label_of = {name: label for label, name in enumerate(names)}
            return names, label_of | {str(label): label for label in range(len(names))}
        values = sorted(index.values, key=lambda value: (not value.isdecimal(), _padded(value)))
        return values, {value: label for label, value in enumerate(values)}

    def _dataset(
        self, shards: list[Path], index: ShardIndex, label_of: dict[str, int]
    ) -> ShardImages:
        for value in index.values:
            if value not in label_of:
                raise DataError(
                    f"Shard '{shards[0]}' or one after it holds the class '{value}', which must "
                    f"be a line of '{self.root / _NAMES_FILE}' or, without that file, a class of "
                    "the training shards."
                )
        labels = np.array([label_of[value] for value in index.values], dtype=np.int64)[index.label]
        return ShardImages(shards, index, torch.from_numpy(labels), self._shape)


class ShardImages(EncodedImages):
    """Images that lie in tar files.

    Args:
        shards: the tar files.
        index: where the N images lie in them.
        labels: int64 [N].
        preprocessing: of the images.
    """

    def __init__(
        self,
        shards: list[Path],
        index: ShardIndex,
        labels: Tensor,
        preprocessing: ImagePreprocessing,
    ) -> None:
        super().__init__(labels, preprocessing)
        self.shards = shards
        self.index = index

    def decode(self, index: int) -> Image:
        path = self.shards[int(self.index.shard[index])]
        size = int(self.index.size[index])
        try:
            # Opened for each image: worker processes must not share a place in a file.
            with path.open("rb") as file:
                file.seek(int(self.index.start[index]))
                data = file.read(size)
        except OSError as error:
            raise DataError(f"Shard '{path}' cannot be read: {error.strerror}.") from error
        if len(data) != size:
            raise DataError(f"Shard '{path}' has become shorter since training began.")
        return self.preprocessing.decode(io.BytesIO(data), f"{path}/{self.index.keys[index]}")

    def name(self, index: int) -> str:
        """The shard and the sample's key."""
        return f"{self.shards[int(self.index.shard[index])].name}/{self.index.keys[index]}"


def _padded(value: str) -> str:
    """Sorts numbers by size where they are compared as text."""
    return value.zfill(20) if value.isdecimal() else value
