"""A file of embeddings, and which training image each row belongs to."""

from __future__ import annotations

import abc
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from rootspace._extras import require
from rootspace._terminal import one_line
from rootspace.data import FileImages, LabeledDataset, View
from rootspace.vector_file import open_array

SETTING = "Argument 'teacher.embeddings'"
BATCH = 4096
"""Rows read at once."""


class EmbeddingsFile(abc.ABC):
    """Rows of a file that belong to training images; others are passed over.

    Args:
        path: of the file.
        count: number of its rows.
        dim: of the embeddings.
        names: where the image of each row lies, None if the file does not say.
        images: the training images.

    Raises:
        ValueError: a training image has no row.
    """

    def __init__(
        self,
        path: Path,
        count: int,
        dim: int,
        names: Sequence[str] | None,
        images: LabeledDataset,
    ) -> None:
        self.path, self.dim = path, dim
        self.num_batches = -(-count // BATCH)
        if names is not None and images.name(0) is not None:
            self._image_of = rows_by_path(path, names, images)
        elif count == len(images):
            self._image_of = torch.arange(count)
        else:
            raise ValueError(
                f"{SETTING}: {path} must hold {len(images)} rows, one for each training image in "
                f"their order, not {count}."
            )

    @abc.abstractmethod
    def _arrays(self) -> Iterator[np.ndarray]:
        """`[B, dim]` rows, all of them in their order."""

    def batches(self) -> Iterator[tuple[Tensor, Tensor]]:
        """`[B, dim]` float32 embeddings, and the `[B]` numbers of their training images."""
        start = 0
        for array in self._arrays():
            image_of = self._image_of[start : start + len(array)]
            start += len(array)
            known = image_of >= 0
            yield torch.from_numpy(array.astype(np.float32))[known], image_of[known]


class NpyEmbeddings(EmbeddingsFile):
    """A .npy file `[images, dim]`, with the paths of the images in a .txt file beside it or not."""

    def __init__(self, path: Path, images: LabeledDataset) -> None:
        array = open_array(path, SETTING, "images")
        self._array, beside, names = array, path.with_suffix(".txt"), None
        if beside.is_file():
            names = beside.read_text(encoding="utf-8").removesuffix("\n").split("\n")
            if len(names) != len(array):
                raise ValueError(
                    f"{SETTING}: {beside} must hold {len(array)} paths, one for each row of "
                    f"{path.name}, not {len(names)}."
                )
        super().__init__(path, len(array), array.shape[1], names, images)

    def _arrays(self) -> Iterator[np.ndarray]:
        for start in range(0, len(self._array), BATCH):
            yield self._array[start : start + BATCH]


class ParquetEmbeddings(EmbeddingsFile):
    """A .parquet file with the columns `path` and `embedding`, as `rootspace embed` writes it."""

    def __init__(self, path: Path, images: LabeledDataset) -> None:
        arrow = require("pyarrow", extra="train", purpose="Reading Parquet")
        parquet = require("pyarrow.parquet", extra="train", purpose="Reading Parquet")
        try:
            self._file: Any = parquet.ParquetFile(path)
            kind = self._file.schema_arrow.field("embedding").type
            names = self._file.read(columns=["path"]).column("path").to_pylist()
            dim = kind.list_size  # of lists of one length, which others do not have
        except (OSError, KeyError, AttributeError, arrow.ArrowException) as error:
            raise ValueError(
                f"{SETTING}: {path} must hold the columns 'path' and 'embedding' that `rootspace "
                f"embed` writes: {error}"
            ) from error
        super().__init__(path, len(names), dim, names, images)

    def _arrays(self) -> Iterator[np.ndarray]:
        start = 0
        for batch in self._file.iter_batches(BATCH, columns=["embedding"]):
            column = batch.column(0)
            if column.null_count:  # `flatten` would leave them out
                row = start + int(column.is_null().to_numpy(zero_copy_only=False).argmax())
                raise ValueError(
                    f"{SETTING}: {self.path} must hold an embedding in each row; row {row} has "
                    "none."
                )
            start += len(column)
            values = column.flatten()
            yield values.to_numpy(zero_copy_only=False).reshape(-1, self.dim)


def open_embeddings(path: Path, images: LabeledDataset) -> EmbeddingsFile:
    """A file of embeddings, by its ending.

    Raises:
        ValueError: it is missing, holds something else, or lacks training images.
    """
    kinds: dict[str, type[NpyEmbeddings | ParquetEmbeddings]] = {
        ".npy": NpyEmbeddings,
        ".parquet": ParquetEmbeddings,
    }
    if path.suffix not in kinds:
        raise ValueError(f"{SETTING} must end in {' or '.join(kinds)}, not {path}.")
    if not path.is_file():
        raise ValueError(f"{SETTING} must be a file: {path} does not exist.")
    return kinds[path.suffix](path, images)


def rows_by_path(path: Path, names: Sequence[str], images: LabeledDataset) -> Tensor:
    """`[len(names)]` numbers of training images, -1 where a path is none.

    Paths may lie below any folder: what stands before the names of the images is found. Where
    several folders hold such names, as train/a/1.png and test/a/1.png, it is that of the data.

    Raises:
        ValueError: a training image has no row, or paths of several other folders fit.
    """
    # Odd characters in paths are escaped, as in the text file that `rootspace embed` writes.
    names = [one_line(name) for name in names]
    own = [one_line(str(images.name(row))) for row in range(len(images))]
    number = {name: row for row, name in enumerate(own)}
    times, missing, fitting = Counter(names), 0, dict[str, Tensor]()
    for prefix in dict.fromkeys(n.removesuffix(own[0]) for n in names if n.endswith(own[0])):
        if prefix and not prefix.endswith("/"):
            continue  # 10.png is not 0.png in a folder
        wrong = (
            row for row, name in enumerate(own) if times[prefix + name] != 1 or number[name] != row
        )
        # There may be as many folders as rows: each is given up at the first image that it lacks.
        first = next(wrong, None)
        if first is not None:
            missing = first
            continue
        below = {prefix + name: row for name, row in number.items()}
        fitting[prefix] = torch.tensor([below.get(name, -1) for name in names])
    if not fitting:
        raise ValueError(
            f"{SETTING}: {path} must hold one row for each of the {len(images)} training images; "
            f"{images.name(missing)!r} has another number of them."
        )
    root = _root(images)
    own = [prefix for prefix in fitting if root is not None and Path(prefix).resolve() == root]
    if not own and len(fitting) > 1:
        raise ValueError(
            f"{SETTING}: {path} must hold the training images once; paths below "
            f"{' and '.join(map(repr, fitting))} fit all of them."
        )
    return fitting[own[0] if own else next(iter(fitting))]


def _root(images: LabeledDataset) -> Path | None:
    """The folder that the names of images are relative to, where they are files."""
    while isinstance(images, View):
        images = images.data
    return images.root.resolve() if isinstance(images, FileImages) else None
