"""Images in folders, one folder a class."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from rootspace.images import MAX_PIXELS, Interpolation

from .aside import set_aside
from .datasets import FileImages, LabeledDataset
from .errors import DataError, check_at_least
from .folders import TEST_FOLDERS, Listing, class_folders, is_image, list_images
from .preprocessing import of_photographs
from .source import Content, DataSource


class ImageFolder(DataSource):
    """Image files in one folder a class, such as ImageNet-1K.

    Either `root/train/<class>/*.png` with any of `root/val`, `root/valid`, `root/validation` and
    `root/test`, each a test set of that name; or without these, a share of the images is set aside
    as test set "test". Classes are sorted by name. Hidden files and folders, files of other kinds
    and what else lies beside `train` are not used, as the notes of the content say. Files are
    decoded when they are needed: the shorter side is scaled to `image_size`, then the center is cut
    out.

    Args:
        root: the folder.
        image_size: height and width in pixels; by default that of the images on which pretrained
            weights of the network were trained, else 32.
        grayscale: one channel instead of three.
        test_fraction: share of the images set aside (by `seed`) where there is no test folder,
            spread over the classes of three or more. 0 sets none aside.
        num_classes: draw so many classes at random (by `seed`), of the test folders too. Default:
            all. 84 of ImageNet-1K are about 108,000 training images, as i1kp of arXiv 2510.04090.
        test_folders: test sets by name, each a folder of class folders, relative to `root`; in the
            place of those above.
        seed: of the choice of test images and classes.
        max_pixels: of an image; larger ones are refused before they are decoded.
        interpolation: of scaling; by default as of `image_size`, else bilinear.

    Raises:
        DataError: in `read`, when folders are missing, empty or do not fit; in loading, when an
            image cannot be decoded.
    """

    default_transform = "rootspace.data.Mild"

    def __init__(
        self,
        root: str | Path,
        image_size: int | None = None,
        grayscale: bool = False,
        test_fraction: float = 0.1,
        num_classes: int | None = None,
        test_folders: dict[str, str] | None = None,
        seed: int = 0,
        max_pixels: int = MAX_PIXELS,
        interpolation: Interpolation | None = None,
    ) -> None:
        self.seed = seed
        if num_classes is not None:
            check_at_least("num_classes", num_classes, 2)
        if not 0 <= test_fraction < 1:
            raise DataError(
                f"Argument 'test_fraction' must be at least 0 and below 1, not {test_fraction}."
            )
        self.root = Path(root).expanduser()
        self.test_fraction = test_fraction
        self._num_classes = num_classes
        self._shape = of_photographs(image_size, grayscale, max_pixels, interpolation)
        self.test_folders = test_folders

    def read(self) -> Content:
        if not self.root.is_dir():
            raise DataError(f"Argument 'root' must be a folder of images, not '{self.root}'.")
        shape, listing = self._shape, Listing()
        train_root = self._train_root()
        test_roots = self._test_roots(train_root)
        taken = {root.resolve() for root in test_roots.values()}
        found = [n for n in class_folders(train_root) if not _holds(train_root / n, taken)]
        class_names = self._draw_classes(found)
        train = list_images(train_root, class_names, listing=listing)
        tests: dict[str, LabeledDataset] = {}
        for name, folder in test_roots.items():
            chosen = _tested_classes(folder, found, class_names, train_root)
            files, labels = list_images(folder, class_names, chosen, listing=listing)
            tests[name] = FileImages(folder, files, labels, shape)
        if not tests and self.test_fraction > 0:
            files, labels = train
            rows = set_aside(labels, class_names, self.test_fraction, self.seed)
            train, test = (
                (files.take(some.nonzero()[:, 0].numpy()), labels[some]) for some in (~rows, rows)
            )
            tests["test"] = FileImages(train_root, *test, shape)
        images = FileImages(train_root, *train, shape)
        notes = (*self._not_used(train_root, taken), *listing.notes(), *images.notes())
        return Content(class_names, images, tests, shape, notes)

    def _train_root(self) -> Path:
        train = self.root / "train"
        found = class_folders(self.root)
        if train.is_dir() and class_folders(train, needed=False):
            if self.test_folders is None and not {*TEST_FOLDERS} & {*found}:
                self._check_no_class(found)
            return train
        splits = [name for name in found if name.lower() in ("train", *TEST_FOLDERS)]
        if len(splits) > 1:
            raise DataError(
                f"Folder '{self.root}' holds {' and '.join(splits)}, which are no classes: name "
                f"the folder with the training classes 'train', the others "
                f"{', '.join(TEST_FOLDERS)}."
            )
        return self.root

    def _check_no_class(self, found: Sequence[str]) -> None:
        """Raise where 'train' may be one of several classes as well as the folder of all."""
        like_it = [name for name in found if name != "train" and _images_in(self.root / name)]
        if like_it:
            raise DataError(
                f"Folder '{self.root}' holds 'train', in which are folders, beside "
                f"{', '.join(like_it[:3])}, in which are images: if 'train' is a class, rename it; "
                f"if it holds the classes, give '{self.root / 'train'}' as 'root'."
            )

    def _test_roots(self, train_root: Path) -> dict[str, Path]:
        """Test set -> its folder."""
        if self.test_folders is None:
            if train_root == self.root:
                return {}
            folders = {name: self.root / name for name in TEST_FOLDERS}
            return {name: folder for name, folder in folders.items() if folder.is_dir()}
        roots = {name: self.root / folder for name, folder in self.test_folders.items()}
        for name, folder in roots.items():
            if not folder.is_dir():
                raise DataError(f"Argument 'test_folders': {name!r} must be a folder: {folder}.")
        return roots

    def _not_used(self, train_root: Path, taken: set[Path]) -> tuple[str, ...]:
        """What lies beside the training folder or its classes and is not used."""
        notes = []
        if loose := _images_in(train_root):
            shown = f"{len(loose):,} images beside the class folders of {train_root}"
            notes.append(f"not used: {shown}, such as {min(loose)}")
        if train_root != self.root:
            beside = [
                name
                for name in class_folders(self.root)
                if self.root / name != train_root and not _holds(self.root / name, taken)
            ]
            if beside:
                notes.append(f"not used: {', '.join(beside)} in {self.root}")
        return tuple(notes)

    def _draw_classes(self, names: list[str]) -> list[str]:
        if self._num_classes is None:
            return names
        if self._num_classes > len(names):
            raise DataError(
                f"Argument 'num_classes' must be at most {len(names)} (the class folders), not "
                f"{self._num_classes}."
            )
        generator = np.random.default_rng(self.seed)
        chosen = generator.choice(len(names), self._num_classes, replace=False)
        return [names[index] for index in sorted(chosen)]


def _images_in(folder: Path) -> list[str]:
    """Names of the image files in a folder, not below it."""
    return [e.name for e in folder.iterdir() if is_image(e.name) and e.is_file()]


def _holds(folder: Path, others: set[Path]) -> bool:
    """Whether a folder is one of the others, or some of them lie in it."""
    return any(other.is_relative_to(folder.resolve()) for other in others)


def _tested_classes(
    folder: Path, known: Sequence[str], class_names: Sequence[str], train_root: Path
) -> set[str]:
    """Which of the classes a test folder holds; training must know all that it holds."""
    names = set(class_folders(folder))
    unknown = sorted(names - set(known))
    if unknown:
        raise DataError(
            f"Folder '{folder}' holds classes that '{train_root}' lacks: {', '.join(unknown)}."
        )
    return names & set(class_names)
