"""Images kept in a folder: arrays on disk that are mapped, not read."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from rootspace._files import appearing

from .datasets import Batch, LabeledDataset
from .errors import DataError, check_labels, check_one_each

FORMAT = 1
"""Version of the folder that `store_images` writes."""

FILES = IMAGES, LABELS, KEYS, ABOUT = "images.npy", "labels.npy", "keys.npy", "about.json"


class StoredImages(LabeledDataset):
    """The images of a folder that `store_images` wrote.

    Takes 16 bytes of memory an image; the images are read from the disk when they are asked for.

    Args:
        folder: it.

    Raises:
        DataError: it is missing, or something else.
    """

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)
        try:
            about = json.loads((self.folder / ABOUT).read_text(encoding="utf-8"))
            if about["format"] != FORMAT:
                raise DataError(
                    f"'{folder}' has format {about['format']}, this version reads {FORMAT}: "
                    "upgrade it."
                )
            # Mapped: a header may claim any size, and only what the file holds is looked at.
            images, labels, self.keys = (
                np.load(self.folder / name, mmap_mode="r", allow_pickle=False)
                for name in (IMAGES, LABELS, KEYS)
            )
            self.class_names: list[str] = list(about["class_names"])
            self.image_shape: tuple[int, int, int] = tuple(about["image_shape"])
        except DataError:
            raise
        except Exception as error:  # json and numpy raise almost anything for damaged files
            reason = " ".join(str(error).split()) or type(error).__name__
            raise DataError(f"'{folder}' holds no stored images: {reason}.") from error
        size = len(labels) if labels.ndim == 1 else -1
        for name, array, dtype, shape in (
            (IMAGES, images, np.uint8, (size, *self.image_shape)),
            (LABELS, labels, np.int64, (size,)),
            (KEYS, self.keys, np.float64, (size,)),
        ):
            if array.dtype != dtype or array.shape != shape:
                raise DataError(
                    f"'{self.folder / name}' must hold {np.dtype(dtype)} {list(shape)}, not "
                    f"{array.dtype} {list(array.shape)}: copy the folder again."
                )
        check_labels(labels, size, len(self.class_names), str(self.folder / LABELS))
        super().__init__(torch.from_numpy(np.array(labels)))
        self.keys = np.array(self.keys)

    def batch(self, indices: Sequence[int]) -> Batch:
        # Opened anew each time, 0.1 ms: a mapping that is kept would be copied, with all images,
        # into worker processes that are not forked.
        mapped = np.load(self.folder / IMAGES, mmap_mode="r", allow_pickle=False)
        places = np.asarray(indices)
        return torch.from_numpy(mapped[places]), self.labels[torch.from_numpy(places)]

    def original(self, index: int) -> Tensor:
        return self.batch([index])[0][0]


def store_images(
    folder: Path,
    images: Iterable[Tensor],
    labels: np.ndarray,
    keys: np.ndarray,
    class_names: Sequence[str],
    image_shape: tuple[int, int, int],
) -> None:
    """Write images into a new folder, all or nothing; a batch at a time is in memory.

    Args:
        folder: of `StoredImages`, which must not exist.
        images: batches, uint8 [B, C, H, W], N images in all.
        labels: int64 [N].
        keys: float64 [N], a number that goes with each image.
        class_names: label -> name, of classes without an image too.
        image_shape: (C, H, W).

    Raises:
        DataError: there are not as many labels and keys as images.
    """
    check_one_each("keys", len(keys), len(labels), "labels")
    with appearing(folder) as new:
        shape = (len(labels), *image_shape)
        mapped = np.lib.format.open_memmap(new / IMAGES, "w+", np.dtype(np.uint8), shape)
        start = 0
        for batch in images:
            stop = start + len(batch)
            if stop <= len(labels):  # else they are counted only
                mapped[start:stop] = batch.numpy()
            start = stop
        check_one_each("labels", len(labels), start, "images")
        mapped.flush()
        np.save(new / LABELS, labels)
        np.save(new / KEYS, keys)
        about = {"format": FORMAT, "image_shape": image_shape, "class_names": list(class_names)}
        (new / ABOUT).write_text(json.dumps(about, ensure_ascii=False) + "\n", encoding="utf-8")
