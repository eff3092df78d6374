"""CUB-200-2011: 11,788 photographs of 200 kinds of birds."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import torch

from .errors import DataError, check_image_size
from .listed import (
    by_classes,
    by_images,
    check_root,
    check_split,
    color_images,
    listed_images,
    read_list,
)
from .source import Content, DataSource


class CUB200(DataSource):
    """Caltech-UCSD Birds-200-2011 (Wah et al. 2011), as CUB_200_2011.tgz unpacks.

    `root/images.txt`, `image_class_labels.txt`, `classes.txt`, `train_test_split.txt` and
    `root/images/001.Black_footed_Albatross/*.jpg`. By default the protocol of metric learning
    (arXiv 1511.06452): the first 100 classes (5,864 images) are trained on, the other 100 (5,924)
    are the retrieval set "unseen", each image searched for among the others.

    Args:
        root: the folder with the lists.
        split: `classes`, see above; `images` trains on all 200 classes, with the data set's own
            5,994 training and 5,794 test images, for the accuracy on a closed set.
        image_size: height and width in pixels: the shorter side is scaled to it, then the center
            is cut out.

    Raises:
        DataError: in `read`, when lists or images are missing or do not fit; in loading, when an
            image cannot be decoded.
    """

    default_transform = "rootspace.data.Mild"

    def __init__(
        self,
        root: str | Path,
        split: Literal["classes", "images"] = "classes",
        image_size: int = 224,
    ) -> None:
        check_image_size(image_size)
        check_split(split)
        self.root = Path(root).expanduser()
        self.split = split
        self._shape = color_images(image_size)

    def read(self) -> Content:
        root = self.root
        check_root(root, "CUB-200-2011, with images.txt")
        listing = root / "images.txt"
        files = dict(read_list(listing, ("image", "file")))
        names = dict(read_list(root / "classes.txt", ("class", "name")))
        number = {key: label for label, key in enumerate(names)}
        owners = self._of_images("image_class_labels.txt", "class", files)
        unknown = [image for image, owner in owners.items() if owner not in number]
        if unknown:
            raise DataError(
                f"List '{root / 'image_class_labels.txt'}' gives image {unknown[0]} the class "
                f"{owners[unknown[0]]}, which classes.txt does not have: copy both again."
            )
        labels = [number[owners[image]] for image in files]
        images = listed_images(root / "images", list(files.values()), labels, self._shape, listing)
        if self.split == "classes":
            return by_classes(images, list(names.values()), self._shape, top=(1, 2, 4, 8))
        training = self._of_images("train_test_split.txt", "is_training", files)
        is_train = torch.tensor([training[image] == "1" for image in files])
        return by_images(images, is_train, list(names.values()), self._shape)

    def _of_images(self, name: str, column: str, files: dict[str, str]) -> dict[str, str]:
        """Image -> what a list says of it.

        Raises:
            DataError: it is of other images.
        """
        found = dict(read_list(self.root / name, ("image", column)))
        if found.keys() != files.keys():
            raise DataError(
                f"List '{self.root / name}' must be of the {len(files):,} images of images.txt, "
                f"not of {len(found):,}: copy both again."
            )
        return found
