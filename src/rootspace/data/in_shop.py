"""In-Shop Clothes Retrieval: 52,712 pictures of 7,982 articles of clothing."""

from __future__ import annotations

from pathlib import Path

from .datasets import FileImages
from .errors import DataError, check_image_size
from .listed import UNSEEN, check_root, color_images, listed_images, numbered, read_list
from .source import Content, DataSource, RetrievalSet

_LIST = "list_eval_partition.txt"
_COLUMNS = ("image_name", "item_id", "evaluation_status")
_PARTS = ("train", "query", "gallery")


class InShop(DataSource):
    """In-Shop Clothes Retrieval Benchmark of DeepFashion (Liu et al. 2016).

    `root/list_eval_partition.txt` or `root/Eval/list_eval_partition.txt`, and the images it names,
    `img/WOMEN/...`, in `root` or `root/Img`. 3,997 articles (25,882 images) are trained on. Of
    3,985 others 14,218 images are the queries of the retrieval set "unseen" and 12,612 its gallery.

    Args:
        root: the folder.
        image_size: height and width in pixels: the shorter side is scaled to it, then the center
            is cut out.

    Raises:
        DataError: in `read`, when the list or images are missing or do not fit; in loading, when
            an image cannot be decoded.
    """

    default_transform = "rootspace.data.Mild"

    def __init__(self, root: str | Path, image_size: int = 224) -> None:
        check_image_size(image_size)
        self.root = Path(root).expanduser()
        self._shape = color_images(image_size)

    def read(self) -> Content:
        check_root(self.root, f"the In-Shop benchmark, with {_LIST}")
        places = (self.root / _LIST, self.root / "Eval" / _LIST)
        source = next((place for place in places if place.is_file()), places[0])
        rows = read_list(source, _COLUMNS, skip=2)
        parts = {part: [row[:2] for row in rows if row[2] == part] for part in _PARTS}
        if sum(map(len, parts.values())) < len(rows) or not all(parts.values()):
            raise DataError(
                f"List '{source}' must call each image {', '.join(_PARTS)}, and have some of each."
            )
        names, labels = numbered([item for _, item in parts["train"]])
        train = self._images(parts["train"], labels, source)
        others, both = numbered([item for part in _PARTS[1:] for _, item in parts[part]])
        number = len(parts["query"])
        unseen = RetrievalSet(
            others,
            self._images(parts["query"], both[:number], source),
            self._images(parts["gallery"], both[number:], source),
            top=(1, 10, 20, 30),
        )
        notes = train.notes()
        return Content(names, train, {}, self._shape, notes, retrieval={UNSEEN: unseen})

    def _images(self, rows: list[list[str]], labels: list[int], source: Path) -> FileImages:
        inner = self.root / "Img"
        root = inner if inner.is_dir() else self.root
        return listed_images(root, [file for file, _ in rows], labels, self._shape, source)
