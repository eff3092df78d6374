"""Stanford Online Products: 120,053 photographs of 22,634 products."""

from __future__ import annotations

from pathlib import Path

from .datasets import FileImages
from .errors import check_image_size
from .listed import UNSEEN, check_root, color_images, listed_images, numbered, read_list
from .source import Content, DataSource, RetrievalSet

_COLUMNS = ("image_id", "class_id", "super_class_id", "path")


class StanfordOnlineProducts(DataSource):
    """Stanford Online Products (arXiv 1511.06452), as Stanford_Online_Products.zip unpacks.

    `root/Ebay_train.txt`, `root/Ebay_test.txt` and `root/bicycle_final/*.JPG`, ... The 11,318
    classes of the first list (59,551 images) are trained on, the 11,316 of the second (60,502) are
    the retrieval set "unseen", each image searched for among the others.

    Args:
        root: the folder with the lists.
        image_size: height and width in pixels: the shorter side is scaled to it, then the center
            is cut out.

    Raises:
        DataError: in `read`, when lists or images are missing or do not fit; in loading, when an
            image cannot be decoded.
    """

    default_transform = "rootspace.data.Mild"

    def __init__(self, root: str | Path, image_size: int = 224) -> None:
        check_image_size(image_size)
        self.root = Path(root).expanduser()
        self._shape = color_images(image_size)

    def read(self) -> Content:
        check_root(self.root, "Stanford Online Products, with Ebay_train.txt")
        names, train = self._part("Ebay_train.txt")
        unseen_names, unseen = self._part("Ebay_test.txt")
        found = RetrievalSet(unseen_names, unseen, top=(1, 10, 100, 1000))
        notes = train.notes()
        return Content(names, train, {}, self._shape, notes, retrieval={UNSEEN: found})

    def _part(self, name: str) -> tuple[list[str], FileImages]:
        rows = read_list(self.root / name, _COLUMNS, skip=1)
        names, labels = numbered([row[1] for row in rows])
        files = [row[3] for row in rows]
        return names, listed_images(self.root, files, labels, self._shape, self.root / name)
