"""A gallery: images of a run that can be searched, with what an application keeps beside them."""

from __future__ import annotations

import hashlib
import io
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import EllipsisType
from typing import Any, Literal, Self

import numpy as np
import torch
from torch import Tensor

from rootspace._extras import require
from rootspace._files import replacing
from rootspace.data import DataError, ImagePreprocessing
from rootspace.data.preprocessing import to_array
from rootspace.images import from_pixels
from rootspace.run import BATCH, Run

from .filters import Where, conditions
from .items import (
    AddReport,
    Hit,
    Item,
    Payload,
    Reason,
    Rejected,
    Rows,
    UnknownItemError,
    check_payload,
    check_text,
)
from .lance import unit
from .locations import Location, create_store, open_store
from .pin import Pin
from .store import Store

NAME = "gallery"
"""Of a run's own gallery, in the run's folder."""

THUMBNAIL = 96
"""Longest side in pixels of the pictures that a gallery keeps to show its items."""


class Gallery:
    """Images of a run that can be searched: embeddings, paths, labels, payloads.

    What a call has changed is on the disk when it returns, and is found from then on, by other
    processes too. Any number of threads may use one gallery.

    Searches are exact. In a folder the table is LanceDB's, and the search an index of our own in
    memory, which is read anew at the start: it takes 5 bytes a coordinate. On PostgreSQL the server
    searches, with pgvector.

    Args:
        store: where items are.
        run: that embeds images; None to search by embeddings alone.

    Raises:
        ValueError: the embeddings are of another model.

    Attributes:
        store: where items are.
        run: that embeds images, or None.

    Example:
        >>> gallery = Gallery.create("runs/demo/gallery", rs.load("runs/demo"))  # doctest: +SKIP
        >>> gallery.add(["a.png", "b.png"], labels="a").ids                      # doctest: +SKIP
        (0, 1)
        >>> gallery.search(["c.png"], k=1, where="label = 'a'")[0][0].path       # doctest: +SKIP
        'b.png'
    """

    def __init__(self, store: Store, run: Run | None = None) -> None:
        if run is not None:
            store.pin.check(run, store.name)
        self.store = store
        self.run = run

    @classmethod
    def create(
        cls,
        location: Location,
        run: Run,
        *,
        float16: bool = False,
    ) -> Self:
        """Make an empty gallery.

        Args:
            location: a folder, which must not be there or be empty; or
                `postgresql://user@host/database#table`.
            run: whose embeddings it will hold.
            float16: keep embeddings in half precision, on the disk.

        Raises:
            FileExistsError: something is there.
        """
        create_store(location, Pin.of(run), run.folder, float16=float16)
        return cls.open(location, run)

    @classmethod
    def open(
        cls,
        location: Location,
        run: Run | None = None,
    ) -> Self:
        """Open a gallery.

        Args:
            location: where `create` made it.
            run: that embeds images; None to search by embeddings alone, or to change labels.

        Raises:
            ValueError: there is no gallery, it is damaged, or of another model.
        """
        return cls(open_store(location), run)

    def __len__(self) -> int:
        return len(self.store)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Let go of files and connections."""
        self.store.close()

    # ---------------------------------------------------------------- changing

    def add(
        self,
        inputs: Any,
        *,
        labels: str | Sequence[str | None] | None = None,
        paths: Sequence[str | os.PathLike[str] | None] | None = None,
        payloads: Payload | Sequence[Payload] | None = None,
        stamps: Sequence[str | None] | None = None,
    ) -> AddReport:
        """Add images, those whose content is there already excepted; all or none.

        Args:
            inputs: images as `Run.embed` takes them, or float embeddings `[N, dim]` in the frame of
                the prototypes, as `Run.embed` gives them.
            labels: name of the class of all, or of each.
            paths: of each; those of image files are known.
            payloads: of all, or of each.
            stamps: size and time of each file, for callers that look for changed ones.

        Returns:
            What became of each. A bad image harms no other.

        Raises:
            TypeError, ValueError: arguments that cannot be; nothing is added then.
        """
        run = self._needed_run("Adding")
        embeddings = _embeddings(inputs, self.store.pin.dim)
        images = None if embeddings is not None else _images(inputs, run)
        if embeddings is not None:
            number = len(embeddings)
        else:
            assert images is not None
            number = len(images)
        names = _each(labels, number, "labels")
        columns = _Columns(
            [None if n is None else check_text(n, "labels") for n in names],
            _paths(paths, images, number),
            [check_payload(p, "payloads") for p in _each_payload(payloads, number)],
            _each(stamps, number, "stamps"),
        )
        prepared = _from_embeddings(embeddings) if embeddings is not None else None
        if prepared is None:
            assert images is not None
            prepared = _prepared(images, run)
        return self._add(prepared, columns)

    def update(
        self,
        ids: Sequence[int],
        *,
        label: str | Sequence[str | None] | EllipsisType | None = ...,
        payload: Payload | Sequence[Payload] | EllipsisType = ...,
    ) -> None:
        """Change labels or payloads, all in one step.

        Args:
            ids: of items.
            label: of all, or of each; None takes it away.
            payload: of all, or of each, in the place of the one before.

        Raises:
            UnknownItemError: there is no such item; nothing is changed then.
        """
        wanted = _checked_ids(ids)
        labels = payloads = None
        if not isinstance(label, EllipsisType):
            names = _each(label, len(wanted), "label")
            labels = [None if n is None else check_text(n, "label") for n in names]
        if not isinstance(payload, EllipsisType):
            each = _each_payload(payload, len(wanted), "payload")
            payloads = [check_payload(p, "payload") for p in each]
        if labels is None and payloads is None:
            raise ValueError("Argument 'label' or 'payload' must be given.")
        with self.store.writing():
            self.get(wanted)
            self.store.update(wanted, labels=labels, payloads=payloads)

    def delete(self, ids: Sequence[int]) -> None:
        """Delete items.

        Raises:
            UnknownItemError: there is no such item; nothing is deleted then.
        """
        wanted = sorted({*_checked_ids(ids)})
        with self.store.writing():
            self.get(wanted)
            if wanted:
                self.store.delete(wanted)

    def compact(self) -> None:
        """Write the table anew where it lies in many pieces. It is done by itself now and then."""
        self.store.compact()

    def build_index(self) -> None:
        """Make searches faster from 32,768 items on; no answer changes.

        Items that lie together are put into groups, which is kept beside the table. What comes
        later is searched one by one until the next call, which takes the new items alone. For N
        items in C groups a first call takes about 5 * N * C * dim int8 products. A gallery on
        PostgreSQL searches on the server, where it does nothing. `rootspace index` ends with it.
        """
        self.store.build_index()

    # ---------------------------------------------------------------- asking

    def search(
        self,
        inputs: Any,
        k: int = 10,
        *,
        where: Where = None,
        min_cosine: float | None = None,
    ) -> list[list[Hit]]:
        """The items with the largest cosines to each input: exact, equal ones by smaller id.

        Args:
            inputs: images or embeddings as of `add`.
            k: how many; there are fewer where there are fewer items.
            where: filter, such as `"label = 'cat' and year >= 2020"`.
            min_cosine: leave out hits below.

        Returns:
            A list for each input, best first.

        Raises:
            TypeError, ValueError: a bad image or embedding, filter or number.
        """
        if isinstance(k, bool) or not isinstance(k, int) or k < 1:
            raise ValueError(f"Argument 'k' must be a whole number of at least 1, not {k!r}.")
        least = -1.0 if min_cosine is None else min_cosine
        if not -1 <= least <= 1:
            raise ValueError(f"Argument 'min_cosine' must lie in [-1, 1], not {min_cosine}.")
        wanted = conditions(where)
        queries = self.embed(inputs)
        good = _directed(queries)
        if not good.all():
            raise ValueError(
                "Argument 'inputs' must have embeddings that are finite and not zero; that of "
                f"input {int(np.argmin(good))} is not."
            )
        while True:
            found = self.store.search(unit(queries), k, wanted)
            ids = sorted({int(id) for part in found.ids for id in part})
            items = self.store.items(ids)
            if len(items) == len(ids):  # else one was deleted meanwhile
                break
        hits: list[list[Hit]] = []
        for some, cosines in zip(found.ids, found.cosines, strict=True):
            hits.append([])
            for id, cosine in zip(some.tolist(), cosines.tolist(), strict=True):
                if cosine < least:
                    break
                item = items[id]
                hits[-1].append(Hit(id, cosine, item.path, item.label, item.payload))
        return hits

    def get(self, ids: Sequence[int]) -> list[Item]:
        """Items by their ids.

        Raises:
            UnknownItemError: there is no such item.
        """
        wanted = _checked_ids(ids)
        found = self.store.items(wanted)
        missing = next((id for id in wanted if id not in found), None)
        if missing is not None:
            raise UnknownItemError(f"The gallery has no item {missing}.")
        return [found[id] for id in wanted]

    def thumbnails(self, ids: Sequence[int]) -> dict[int, bytes]:
        """Small pictures of items as the network gets them: the content of WebP files, by id.

        Items that were added as embeddings have none.
        """
        return self.store.thumbnails(_checked_ids(ids))

    def ids(self, where: Where = None) -> np.ndarray:
        """int64 ids of the items for which a filter holds, ascending."""
        return self.store.select(conditions(where))

    def embeddings(self, ids: Sequence[int]) -> np.ndarray:
        """float32 `[N, dim]` unit vectors of items.

        Raises:
            UnknownItemError: there is no such item.
        """
        wanted = _checked_ids(ids)
        self.get(wanted)
        return self.store.vectors(wanted)

    def scan(self) -> Iterator[tuple[list[Item], np.ndarray]]:
        """All items by id, in batches, with their float32 `[B, dim]` unit vectors."""
        return self.store.scan()

    def embed(self, inputs: Any) -> np.ndarray:
        """float32 `[N, dim]` embeddings of images, or those that are given.

        Raises:
            ValueError: images, and no run that embeds them.
        """
        embeddings = _embeddings(inputs, self.store.pin.dim)
        if embeddings is not None:
            return embeddings
        return self._needed_run("Embedding images").embed(inputs).cpu().numpy()

    def export_faiss(self, path: str | os.PathLike[str]) -> Path:
        """Write an `IndexFlatIP` of all unit vectors, and their ids as int64 beside it.

        Args:
            path: of the index.

        Returns:
            Path of the ids, which has `.ids.npy` behind.
        """
        faiss = require("faiss", extra="faiss", purpose="Writing a FAISS index")
        path = Path(path)
        index, numbers = faiss.IndexFlatIP(self.store.pin.dim), [np.empty(0, np.int64)]
        for items, vectors in self.scan():
            index.add(np.ascontiguousarray(vectors))
            numbers.append(np.array([item.id for item in items], np.int64))
        ids = path.with_name(f"{path.name}.ids.npy")
        with replacing(ids) as rows, replacing(path) as content:
            with rows.open("wb") as file:
                np.save(file, np.concatenate(numbers))
            faiss.write_index(index, str(content))
        return ids

    # ---------------------------------------------------------------- inside

    def _add(self, inputs: list[_Prepared], columns: _Columns) -> AddReport:
        bad: dict[int, Rejected] = {}
        holder: dict[str, int] = {}  # digest -> first input that has it

        def reject(index: int, reason: Reason, message: str, id: int | None = None) -> None:
            bad[index] = Rejected(index, columns.paths[index], reason, message, id)

        for index, one in enumerate(inputs):
            if one.error:
                reject(index, "unreadable", one.error)
            elif one.digest in holder:
                first = holder[one.digest]
                named = columns.paths[first] or f"input {first}"
                reject(index, "duplicate", f"the same content as {named}")
            else:
                holder[one.digest] = index
        known = self.store.known(list(holder))
        new = [index for digest, index in holder.items() if digest not in known]
        vectors = self._vectors([inputs[index] for index in new])
        good = _directed(vectors)
        for index in np.flatnonzero(~good).tolist():
            reject(new[index], "embedding", "its embedding is zero, NaN or infinite")
        vectors = unit(vectors[good])
        new = [index for index, fine in zip(new, good.tolist(), strict=True) if fine]
        with self.store.writing():
            # Again: another process may have added some meanwhile.
            known |= self.store.known([inputs[index].digest for index in new])
            left = [i for i, index in enumerate(new) if inputs[index].digest not in known]
            rows = [new[i] for i in left]
            added = self.store.insert(
                Rows(
                    vectors[left],
                    [inputs[i].digest for i in rows],
                    [columns.paths[i] for i in rows],
                    [columns.stamps[i] for i in rows],
                    [columns.labels[i] for i in rows],
                    [columns.payloads[i] for i in rows],
                    [None if (p := inputs[i].pixels) is None else _thumbnail(p) for i in rows],
                )
            )
        ids = known | {inputs[i].digest: id for i, id in zip(rows, added, strict=True)}
        for digest, index in holder.items():
            if digest in known:
                id = known[digest]
                reject(index, "duplicate", f"the same content as item {id}", id)
        for index, one in enumerate(inputs):
            if index in bad and bad[index].reason == "duplicate" and bad[index].id is None:
                reject(index, "duplicate", bad[index].message, ids.get(one.digest))
        return AddReport(
            tuple(None if one.error else ids.get(one.digest) for one in inputs),
            tuple(bad[index] for index in sorted(bad)),
        )

    def _vectors(self, inputs: list[_Prepared]) -> np.ndarray:
        """float32 `[N, dim]` embeddings."""
        if not inputs:
            return np.empty((0, self.store.pin.dim), np.float32)
        if inputs[0].embedding is not None:
            return np.stack([one.embedding for one in inputs if one.embedding is not None])
        run = self._needed_run("Embedding images")
        parts = []
        for start in range(0, len(inputs), BATCH):
            some = [one.pixels for one in inputs[start : start + BATCH] if one.pixels is not None]
            parts.append(run.embed_batch(torch.stack(some)).cpu().numpy())
        return np.concatenate(parts)

    def _needed_run(self, what: str) -> Run:
        if self.run is None:
            raise ValueError(
                f"{what} needs the run whose embeddings {self.store.name} holds: open the gallery "
                "with it."
            )
        return self.run


@dataclass(frozen=True)
class _Prepared:
    """An input: pixels as the network takes them, an embedding, or what is wrong with it."""

    digest: str = ""
    pixels: Tensor | None = None
    embedding: np.ndarray | None = None
    error: str = ""


@dataclass(frozen=True)
class _Columns:
    labels: list[str | None]
    paths: list[str | None]
    payloads: list[dict[str, Any]]
    stamps: list[str | None]


def _embeddings(inputs: Any, dim: int) -> np.ndarray | None:
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
    if isinstance(inputs, Sequence) and not isinstance(inputs, str | bytes):
        return inputs
    return [inputs]


@dataclass(frozen=True)
class _Ready:
    """Pixels that need no preparation."""

    pixels: Tensor


def _thumbnail(pixels: Tensor) -> bytes:
    """A picture of uint8 `[C, H, W]` pixels to show, as WebP."""
    image, content = from_pixels(to_array(pixels)), io.BytesIO()
    image.thumbnail((THUMBNAIL, THUMBNAIL))
    image.save(content, "WEBP", quality=80)
    return content.getvalue()


def _from_embeddings(embeddings: np.ndarray) -> list[_Prepared]:
    # -0 and 0 are the same.
    rows = embeddings + np.float32(0)
    return [_Prepared(_hash(b"embedding", row.tobytes()), embedding=row) for row in rows]


def _prepared(images: Sequence[Any], run: Run) -> list[_Prepared]:
    shape = run.model.preprocessing
    assert shape is not None
    return [_prepare(image, shape) for image in images]


def _prepare(image: Any, shape: ImagePreprocessing) -> _Prepared:
    if isinstance(image, _Ready):
        pixels = image.pixels.cpu()
    else:
        try:
            pixels = shape(image)
        except (DataError, TypeError) as error:
            return _Prepared(error=str(error))
    about = repr(tuple(pixels.shape)).encode()
    return _Prepared(_hash(about, pixels.contiguous().numpy().tobytes()), pixels=pixels)


def _directed(vectors: np.ndarray) -> np.ndarray:
    """bool `[N]`, which of some vectors have a direction."""
    return np.isfinite(vectors).all(axis=-1) & np.any(vectors != 0, axis=-1)


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


def _each(value: Any, number: int, argument: str) -> list[Any]:
    """A value for each input."""
    if value is None or isinstance(value, str):
        return [value] * number
    if not isinstance(value, Sequence):
        raise TypeError(
            f"Argument '{argument}' must be a text, or one for each input, not "
            f"{type(value).__name__}."
        )
    if len(value) != number:
        raise ValueError(
            f"Argument '{argument}' must hold {number} values, one an input, not {len(value)}."
        )
    return list(value)


def _each_payload(
    value: Payload | Sequence[Payload] | None,
    number: int,
    argument: Literal["payload", "payloads"] = "payloads",
) -> list[Payload]:
    if value is None or isinstance(value, Mapping):
        return [{} if value is None else value] * number
    return _each(value, number, argument)


def _checked_ids(ids: Sequence[int]) -> list[int]:
    found = []
    for id in ids:
        if isinstance(id, bool) or not isinstance(id, int | np.integer):
            raise TypeError(f"Argument 'ids' must hold whole numbers, not {id!r:.80}.")
        found.append(int(id))
    return found
