"""Cars-196: 16,185 photographs of 196 models of cars."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal, NamedTuple

import torch

from rootspace._extras import require

from .errors import DataError, check_image_size
from .listed import by_classes, by_images, check_root, check_split, color_images, listed_images
from .source import Content, DataSource

_LISTS = "cars_annos.mat, or devkit/cars_meta.mat"


class _Car(NamedTuple):
    file: str
    label: int
    is_train: bool


class Cars196(DataSource):
    """Stanford Cars (Krause et al. 2013), in either of its two layouts.

    `root/cars_annos.mat` and `root/car_ims/*.jpg`; or, as torchvision's `StanfordCars` has it,
    `root/devkit/cars_meta.mat`, `devkit/cars_train_annos.mat` and `cars_test_annos_withlabels.mat`
    (in `root` or `devkit`), `root/cars_train/*.jpg` and `root/cars_test/*.jpg`. By default the
    protocol of metric learning (arXiv 1511.06452): the first 98 classes (8,054 images) are trained
    on, the other 98 (8,131) are the retrieval set "unseen", each image searched for among the
    others.

    Args:
        root: the folder.
        split: `classes`, see above; `images` trains on all 196 classes, with the data set's own
            8,144 training and 8,041 test images, for the accuracy on a closed set.
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
        check_root(root, f"Cars-196, with {_LISTS}")
        whole, devkit = root / "cars_annos.mat", root / "devkit"
        source = whole if whole.is_file() else devkit
        if whole.is_file():
            names = _names(whole)
            cars = list(_cars(whole, "relative_im_path", ""))
        elif (devkit / "cars_meta.mat").is_file():
            names = _names(devkit / "cars_meta.mat")
            test = "cars_test_annos_withlabels.mat"
            tests = root / test if (root / test).is_file() else devkit / test
            cars = [
                *_cars(devkit / "cars_train_annos.mat", "fname", "cars_train/", is_train=True),
                *_cars(tests, "fname", "cars_test/", is_train=False),
            ]
        else:
            raise DataError(
                f"Argument 'root' must be the folder of Cars-196, with {_LISTS}, not '{root}'."
            )
        wrong = [car for car in cars if not 0 <= car.label < len(names)]
        if wrong:
            raise DataError(
                f"'{source}' gives '{wrong[0].file}' the class {wrong[0].label + 1}: classes are "
                f"from 1 to {len(names)}. Copy it again."
            )
        labels = [car.label for car in cars]
        images = listed_images(root, [car.file for car in cars], labels, self._shape, source)
        if self.split == "classes":
            return by_classes(images, names, self._shape, top=(1, 2, 4, 8))
        return by_images(images, torch.tensor([car.is_train for car in cars]), names, self._shape)


def _load(path: Path) -> dict[str, Any]:
    module = require("scipy.io", extra="train", purpose="Cars196")
    try:
        return module.loadmat(str(path), simplify_cells=True)
    except FileNotFoundError as error:
        raise DataError(f"'{path}' does not exist: copy it there.") from error
    except Exception as error:  # scipy raises almost anything for damaged files
        reason = " ".join(str(error).split()) or type(error).__name__
        raise DataError(f"'{path}' cannot be read ({reason}): copy it again.") from error


def _names(path: Path) -> list[str]:
    try:
        return [str(name) for name in _load(path)["class_names"]]
    except (KeyError, TypeError) as error:
        raise DataError(f"'{path}' has no list 'class_names': copy it again.") from error


def _cars(path: Path, file: str, folder: str, is_train: bool | None = None) -> Iterator[_Car]:
    """The images of a list.

    Args:
        path: of the list.
        file: its field with the name of an image.
        folder: before that name.
        is_train: whether they are training images; None where the list says so itself.
    """
    content = _load(path)
    try:
        for row in content["annotations"]:
            trained = not int(row["test"]) if is_train is None else is_train
            yield _Car(f"{folder}{row[file]}", int(row["class"]) - 1, trained)
    except (KeyError, TypeError, ValueError, IndexError) as error:
        raise DataError(
            f"'{path}' must have 'annotations' with '{file}', 'class'"
            f"{' and test' if is_train is None else ''}: copy it again."
        ) from error
