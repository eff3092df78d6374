"""Market-1501: 32,668 pictures of 1,501 persons by six cameras."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from .datasets import FileImages
from .errors import DataError, check_image_size
from .folders import is_image
from .listed import UNSEEN, check_root, color_images, numbered
from .source import Content, DataSource, RetrievalSet
from .strings import Strings

_FOLDERS = ("bounding_box_train", "query", "bounding_box_test")
_NAME = re.compile(r"(-1|\d+)_c(\d+)", re.ASCII)
_JUNK = "-1"


@dataclass(frozen=True)
class _Part:
    """The images of a folder: files, persons and cameras, one of each an image."""

    files: list[str]
    persons: list[str]
    cameras: Tensor
    junk: int


class Market1501(DataSource):
    """Market-1501 (Zheng et al. 2015), and other data in its layout, such as DukeMTMC-reID.

    `root/bounding_box_train`, `query` and `bounding_box_test` with files such as
    `0002_c1s1_000451_03.jpg`: the person, then the camera. `root` may also be the folder above
    "Market-1501-v15.09.15". 751 persons (12,936 images) are trained on. Of 750 others 3,368 images
    are the queries of the retrieval set "unseen" and 15,913 its gallery, with the distractors
    (person 0000) and without the junk (person -1). A gallery image of the query's person by the
    same camera is left out of that query's ranking.

    Args:
        root: the folder.
        image_size: height and width in pixels. Pictures are twice as high as wide: the longer side
            is scaled to it, the rest is white.

    Raises:
        DataError: in `read`, when folders or images are missing or have other names; in loading,
            when an image cannot be decoded.
    """

    default_transform = "rootspace.data.Mild"

    def __init__(self, root: str | Path, image_size: int = 128) -> None:
        check_image_size(image_size)
        self.root = Path(root).expanduser()
        self._shape = color_images(image_size, fit="pad")

    def read(self) -> Content:
        check_root(self.root, f"Market-1501, with {', '.join(_FOLDERS)}")
        inner = self.root / "Market-1501-v15.09.15"
        root = inner if inner.is_dir() else self.root
        train, query, gallery = (_read(root / folder) for folder in _FOLDERS)
        names, labels = numbered(train.persons)
        others, both = numbered([*query.persons, *gallery.persons])
        number = len(query.persons)
        unseen = RetrievalSet(
            others,
            self._images(root / "query", query, both[:number]),
            self._images(root / "bounding_box_test", gallery, both[number:]),
            query.cameras,
            gallery.cameras,
        )
        images = self._images(root / "bounding_box_train", train, labels)
        junk = sum(part.junk for part in (train, query, gallery))
        notes = (f"not used: {junk:,} junk images, named {_JUNK}_...",) if junk else ()
        return Content(names, images, {}, self._shape, notes, retrieval={UNSEEN: unseen})

    def _images(self, folder: Path, part: _Part, labels: list[int]) -> FileImages:
        return FileImages(folder, Strings.of(part.files), torch.tensor(labels), self._shape)


def _read(folder: Path) -> _Part:
    if not folder.is_dir():
        raise DataError(f"Market-1501's folder '{folder}' does not exist: copy it again.")
    files, persons, cameras, junk = [], [], [], 0
    for name in sorted(entry.name for entry in folder.iterdir() if is_image(entry.name)):
        match = _NAME.match(name)
        if match is None:
            raise DataError(
                f"Folder '{folder}' holds an image named '{name}'; names begin with person and "
                "camera, such as 0002_c1s1_000451_03.jpg: remove it."
            )
        if match[1] == _JUNK:
            junk += 1
            continue
        files.append(name)
        persons.append(match[1])
        cameras.append(int(match[2]))
    if not files:
        raise DataError(f"Folder '{folder}' holds no images: copy them there.")
    return _Part(files, persons, torch.tensor(cameras), junk)
