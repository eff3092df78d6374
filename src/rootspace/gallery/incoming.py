"""Inputs on their way into a gallery: digests, embeddings and thumbnails, a part at a time."""

from __future__ import annotations

import hashlib
import io
import os
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from rootspace.data import DataError
from rootspace.data.preprocessing import to_array
from rootspace.images import from_pixels
from rootspace.run import BATCH, Run

from .items import AddReport, Reason, Rejected, check_text
from .lance import unit
from .store import Store

THUMBNAIL = 96
"""Longest side in pixels of the pictures that a gallery keeps to show its items."""


@dataclass(frozen=True)
class Content:
    """What is kept of an input: no pixels, so that many inputs fit into memory.

    Attributes:
        digest: as of `Item`; empty for what cannot be read.
        vector: float32 `[dim]` unit vector; None where the gallery had the content when it was
            read, and where the embedding has no direction.
        thumbnail: as of `Rows`.
        error: what is wrong with it.
    """

    digest: str = ""
    vector: np.ndarray | None = None
    thumbnail: bytes | None = None
    error: str = ""


class Incoming:
    """Inputs of one call. `read` embeds those whose content is not in the gallery.

    Args:
        inputs: images or embeddings as `Gallery.add` takes them.
        paths: of each; those of image files are known.
        store: of the gallery.
        run: that embeds them.

    Attributes:
        paths: of each, as the gallery keeps them.
        contents: of each, once they are read.

    Raises:
        TypeError, ValueError: inputs or paths that cannot be.
    """

    def __init__(
        self,
        inputs: Any,
        paths: Sequence[str | os.PathLike[str] | None] | None,
        store: Store,
        run: Run,
    ) -> None:
        self._store, self._run = store, run
        self._embeddings = as_embeddings(inputs, store.pin.dim)
        self._images = _images(inputs, run) if self._embeddings is None else None
        self.paths = _paths(paths, self._images, len(self))
        self.contents = list[Content]()
        self._embedded = set[str]()

    def __len__(self) -> int:
        given = self._images if self._embeddings is None else self._embeddings
        assert given is not None
        return len(given)

    def read(self) -> None:
        """Read them all; pixels of `BATCH` inputs are in memory at once."""
        if self._embeddings is not None:
            # -0 and 0 are the same.
            rows = self._embeddings + np.float32(0)
            digests = [_hash(b"embedding", row.tobytes()) for row in rows]
            self.contents = _contents(digests, rows, [None] * len(rows))
            return
        self.contents = [Content()] * len(self)
        for start in range(0, len(self), BATCH):
            self._read(range(start, min(start + BATCH, len(self))), all_of_them=False)

    @contextmanager
    def settled(
        self, writing: Callable[[], AbstractContextManager[None]]
    ) -> Iterator[dict[str, int]]:
        """Nobody else changes the gallery inside, and each new content has an embedding.

        Args:
            writing: takes the writer's lock. The network runs outside of it.

        Yields:
            Digests of the contents that are there, and ids of their items.
        """
        while True:
            with writing():
                first = self.first
                known = self._store.known(list(first))
                # Contents that have been deleted since they were read.
                lacking = [
                    index
                    for digest, index in first.items()
                    if digest not in known
                    and self.contents[index].vector is None
                    and not self.contents[index].error
                ]
                if not lacking:
                    yield known
                    return
            for start in range(0, len(lacking), BATCH):
                self._read(lacking[start : start + BATCH], all_of_them=True)

    @property
    def first(self) -> dict[str, int]:
        """Digest -> the first input that has it."""
        found: dict[str, int] = {}
        for index, one in enumerate(self.contents):
            if one.digest:
                found.setdefault(one.digest, index)
        return found

    def new(self, known: Mapping[str, int]) -> list[int]:
        """Inputs that can be inserted, the first of each content.

        Args:
            known: contents that are there.
        """
        return [
            index
            for digest, index in self.first.items()
            if digest not in known and self.contents[index].vector is not None
        ]

    def vectors(self, indices: Sequence[int]) -> np.ndarray:
        """float32 `[N, dim]` unit vectors of inputs that have been embedded."""
        found = [v for i in indices if (v := self.contents[i].vector) is not None]
        return np.array(found, np.float32).reshape(-1, self._store.pin.dim)

    def report(self, known: Mapping[str, int], added: Mapping[str, int]) -> AddReport:
        """What became of them.

        Args:
            known: contents that were there, and the ids of their items.
            added: the same of those that were inserted.
        """
        first, ids, bad = self.first, {**known, **added}, list[Rejected]()

        def reject(index: int, reason: Reason, message: str, id: int | None = None) -> None:
            bad.append(Rejected(index, self.paths[index], reason, message, id))

        for index, one in enumerate(self.contents):
            holder = first.get(one.digest, index)
            if not one.digest:
                reject(index, "unreadable", one.error)
            elif holder != index:
                named = self.paths[holder] or f"input {holder}"
                reject(index, "duplicate", f"the same content as {named}", ids.get(one.digest))
            elif one.digest in known:
                id = known[one.digest]
                reject(index, "duplicate", f"the same content as item {id}", id)
            elif one.error:
                reject(index, "embedding", one.error)
        return AddReport(tuple(ids.get(one.digest) for one in self.contents), tuple(bad))

    def _read(self, indices: Sequence[int], *, all_of_them: bool) -> None:
        """Read some images, and embed them; those that the gallery has only where it is wanted."""
        pixels = dict[str, Tensor]()
        for index in indices:
            self.contents[index], image = self._prepared(index)
            if image is not None and (
                all_of_them or self.contents[index].digest not in self._embedded
            ):
                pixels.setdefault(self.contents[index].digest, image)
        if not all_of_them:
            for digest in self._store.known(list(pixels)):
                del pixels[digest]
        if not pixels:
            return
        z = self._run.embed_batch(torch.stack([*pixels.values()])).cpu().numpy()
        found = _contents([*pixels], z, [_thumbnail(image) for image in pixels.values()])
        embedded = {one.digest: one for one in found}
        self._embedded |= embedded.keys()
        for index in indices:
            self.contents[index] = embedded.get(self.contents[index].digest, self.contents[index])

    def _prepared(self, index: int) -> tuple[Content, Tensor | None]:
        """An image without its embedding, and its pixels as the network takes them."""
        assert self._images is not None
        image, shape = self._images[index], self._run.model.preprocessing
        assert shape is not None
        if isinstance(image, _Ready):
            pixels = image.pixels.cpu()
        else:
            try:
                pixels = shape(image)
            except (DataError, TypeError) as error:
                return Content(error=str(error)), None
        about = repr(tuple(pixels.shape)).encode()
        return Content(_hash(about, pixels.contiguous().numpy().tobytes())), pixels


def _contents(
    digests: Sequence[str], z: np.ndarray, thumbnails: Sequence[bytes | None]
) -> list[Content]:
    """Contents from their embeddings `[N, dim]`."""
    good = directed(z)
    vectors = unit(np.where(good[:, None], z, 0))
    return [
        Content(digest, vector, thumbnail)
        if fine
        else Content(digest, error="its embedding is zero, NaN or infinite")
        for digest, vector, thumbnail, fine in zip(digests, vectors, thumbnails, good, strict=True)
    ]


def as_embeddings(inputs: Any, dim: int) -> np.ndarray | None:
    """float32 `[N, dim]` where inputs are float embeddings, None where they are images."""
    if isinstance(inputs, Tensor) and inputs.is_floating_point():
        inputs = inputs.detach().float().cpu().numpy()
    if not isinstance(inputs, np.ndarray) or inputs.dtype.kind != "f":
        return None
    if inputs.ndim != 2 or inputs.shape[1] != dim:
        raise ValueError(
            f"Argument 'inputs' must be float embeddings [N, {dim}], or images of bytes, not "
            f"{inputs.dtype} {list(inputs.shape)}."
        )
    return np.ascontiguousarray(inputs, np.float32)


def directed(vectors: np.ndarray) -> np.ndarray:
    """bool `[N]`, which of some vectors have a direction."""
    return np.isfinite(vectors).all(axis=-1) & np.any(vectors != 0, axis=-1)


@dataclass(frozen=True)
class _Ready:
    """Pixels that need no preparation."""

    pixels: Tensor


def _images(inputs: Any, run: Run) -> Sequence[Any]:
    """Images one by one."""
    shape = run.model.preprocessing
    if shape is None:
        raise ValueError(
            f"Argument 'inputs' must be embeddings: {run.folder} is no run on images. Take those "
            "of `run.embed`."
        )
    if isinstance(inputs, Tensor) and inputs.ndim == 4:
        wanted = (shape.channels, shape.size, shape.size)
        if inputs.dtype != torch.uint8 or tuple(inputs.shape[1:]) != wanted:
            raise ValueError(
                f"Argument 'inputs' must be a uint8 batch [B, {', '.join(map(str, wanted))}], not "
                f"{inputs.dtype} {list(inputs.shape)}; give images of other sizes as a list."
            )
        return [_Ready(image) for image in inputs]
    if isinstance(inputs, Iterator):  # such as `Path.glob` gives
        return list(inputs)
    if isinstance(inputs, Sequence) and not isinstance(inputs, str | bytes):
        return inputs
    return [inputs]


def _thumbnail(pixels: Tensor) -> bytes:
    """A picture of uint8 `[C, H, W]` pixels to show, as WebP."""
    image, content = from_pixels(to_array(pixels)), io.BytesIO()
    image.thumbnail((THUMBNAIL, THUMBNAIL))
    image.save(content, "WEBP", quality=80)
    return content.getvalue()


def _hash(*parts: bytes) -> str:
    found = hashlib.blake2b(digest_size=16)
    for part in parts:
        found.update(part)
    return found.hexdigest()


def shown_path(path: str | os.PathLike[str]) -> str:
    r"""A path as text: bytes that are not UTF-8 become `\xe9`, what reads so already `\x5cxe9`."""
    escaped = re.sub(rb"\\(?=x[0-9a-f]{2})", rb"\\x5c", os.fsencode(path))
    return escaped.decode("utf-8", "backslashreplace")


def path_of(shown: str) -> str:
    """The path that `shown_path` has made a text of."""
    raw = re.sub(rb"\\x([0-9a-f]{2})", lambda m: bytes([int(m[1], 16)]), shown.encode())
    return os.fsdecode(raw)


def _paths(
    paths: Sequence[str | os.PathLike[str] | None] | None,
    images: Sequence[Any] | None,
    number: int,
) -> list[str | None]:
    if paths is None:
        given = [None] * number if images is None else list(images)
        known = [one if isinstance(one, str | os.PathLike) else None for one in given]
        return [None if one is None else shown_path(os.path.abspath(one)) for one in known]
    if len(paths) != number:
        raise ValueError(
            f"Argument 'paths' must hold {number} paths, one an input, not {len(paths)}."
        )
    return [None if one is None else check_text(shown_path(one), "paths") for one in paths]
