"""The one pass of the teacher, and the files that it leaves for the student.

    vectors.npy    [classes, dim]: means of the teacher's embeddings, or its own prototypes
    images.npy     [images, dim]: its embedding of each training image, for the targets `images`
    classes.json   the classes of the teacher, for the targets `own`
    data.json      which data that was
    manifest.json  SHA-256 of these

Both arrays are float32 and written in blocks; the folder appears when it is complete.
"""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from rootspace._files import appearing
from rootspace._terminal import say, tracked
from rootspace.choosing import random_isometry
from rootspace.classes import ClassMap, ClassMeans
from rootspace.data import DataModule
from rootspace.runs.folder import VECTORS, finish
from rootspace.train.begun import DATA, write_data

from .teachers import Teacher

IMAGES, CLASSES = "images.npy", "classes.json"
RAW = "raw.npy"
BLOCK = 2**14
"""Rows that are worked on together."""


def take_targets(
    folder: Path,
    teacher: Teacher,
    data: DataModule,
    dim: int,
    seed: int | None,
    *,
    images: bool,
) -> None:
    """Embed every training image once and write what the student needs.

    O(num_classes * dim) memory up to the limit of `ClassMeans`, beyond it and for the images in
    files; nothing grows on the device.

    Args:
        folder: to write.
        teacher: whose embeddings to take.
        data: set up; each class has a training image.
        dim: of the student.
        seed: of the rotation before classes get codes, or onto another dimension; None for none.
        images: whether to keep the embedding of each image.

    Raises:
        ValueError: an embedding is not finite.
    """
    started, labels = time.perf_counter(), data.train_dataset.labels
    with appearing(folder) as temporary:
        means = ClassMeans(data.num_classes, teacher.dim, temporary)
        raw = _array(temporary / RAW, len(labels), teacher.dim) if images else None
        batches = tracked(teacher.batches(), "The teacher's embeddings", teacher.num_batches)
        for embeddings, rows in batches:
            z = embeddings.float().cpu()
            finite = torch.isfinite(z).all(dim=1)
            if not bool(finite.all()):
                raise ValueError(
                    f"The teacher's embedding of training image {int(rows[~finite][0])} is not "
                    "finite."
                )
            means.add(z, labels[rows])
            if raw is not None:
                raw[rows.numpy()] = z.numpy()
        center, rotation = means.center(), random_isometry(dim, teacher.dim, seed)
        _save(temporary / VECTORS, means.means(center, rotation))
        if raw is not None:
            turned = _array(temporary / IMAGES, len(labels), dim)
            for start in range(0, len(raw), BLOCK):
                part = torch.from_numpy(raw[start : start + BLOCK])
                turned[start : start + BLOCK] = ((part - center) @ rotation.T).numpy()
            turned.flush()
            (temporary / RAW).unlink()
        write_data(temporary, data)
        finish(temporary, VECTORS, IMAGES, DATA)
    took = f"{len(labels):,} embeddings in {time.perf_counter() - started:.0f} s"
    say(f"The teacher is done: {took}.")


def take_own(folder: Path, classes: ClassMap, names: list[str], data: DataModule) -> None:
    """Write the classes of a teacher, whose prototypes the student shares.

    Args:
        folder: to write.
        classes: of the teacher.
        names: of its classes.
        data: of the student, set up.
    """
    classes.names = names
    with appearing(folder) as temporary:
        classes.save(temporary / CLASSES)
        write_data(temporary, data)
        finish(temporary, *(path.name for path in temporary.iterdir()))


def _array(path: Path, rows: int, dim: int) -> np.memmap:
    return np.lib.format.open_memmap(path, "w+", np.float32, (rows, dim))


def _save(path: Path, values: Tensor) -> None:
    array = _array(path, *values.shape)
    for start in range(0, len(values), BLOCK):
        array[start : start + BLOCK] = values[start : start + BLOCK].numpy()
    array.flush()
