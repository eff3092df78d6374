"""A gallery: images of a run that can be searched, with what an application keeps beside them."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from types import EllipsisType
from typing import Any, Literal, Self

import numpy as np

from rootspace._checks import integer
from rootspace._extras import require
from rootspace._files import replacing
from rootspace.run import Run

from .filters import Where, conditions
from .incoming import Incoming, as_embeddings, directed
from .items import (
    AddReport,
    Hit,
    Item,
    Payload,
    Rows,
    UnknownItemError,
    check_payload,
    check_text,
    checked_ids,
)
from .lance import unit
from .locations import Location, create_store, open_store
from .pin import Pin
from .store import Store

NAME = "gallery"
"""Of a run's own gallery, in the run's folder."""


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

        They are read and embedded a part at a time, before others have to wait: memory grows by the
        embeddings and thumbnails of new images.

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
        incoming = Incoming(inputs, paths, self.store, self._needed_run("Adding"))
        names = [
            None if name is None else check_text(name, "labels")
            for name in _each(labels, len(incoming), "labels")
        ]
        kept = [
            check_payload(payload, "payloads") for payload in _each_payload(payloads, len(incoming))
        ]
        marks = _each(stamps, len(incoming), "stamps")
        incoming.read()
        with incoming.settled(self.store.writing) as known:
            new = incoming.new(known)
            digests = [incoming.contents[i].digest for i in new]
            ids = self.store.insert(
                Rows(
                    incoming.vectors(new),
                    digests,
                    [incoming.paths[i] for i in new],
                    [marks[i] for i in new],
                    [names[i] for i in new],
                    [kept[i] for i in new],
                    [incoming.contents[i].thumbnail for i in new],
                )
            )
        return incoming.report(known, dict(zip(digests, ids, strict=True)))

    def update(
        self,
        ids: Iterable[int],
        *,
        label: str | Sequence[str | None] | EllipsisType | None = ...,
        payload: Payload | Sequence[Payload] | EllipsisType = ...,
    ) -> None:
        """Change labels or payloads, all in one step.

        A label that is given is the user's from then on, the one that the item has already too, and
        so is None: identities assign no other one.

        Args:
            ids: of items, all different.
            label: of all, or of each; None takes it away.
            payload: of all, or of each, in the place of the one before.

        Raises:
            UnknownItemError: there is no such item; nothing is changed then.
            ValueError: an id that comes twice.
        """
        wanted = checked_ids(ids)
        twice = [id for id, number in Counter(wanted).items() if number > 1]
        if twice:
            raise ValueError(f"Argument 'ids' must hold different ids, not {twice[0]} twice.")
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
            decided = None if labels is None else [True] * len(wanted)
            self.store.update(wanted, labels=labels, decided=decided, payloads=payloads)

    def delete(self, ids: Iterable[int]) -> None:
        """Delete items.

        Raises:
            UnknownItemError: there is no such item; nothing is deleted then.
        """
        wanted = sorted({*checked_ids(ids)})
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
        k = integer("k", k)
        least = -1.0 if min_cosine is None else min_cosine
        if not -1 <= least <= 1:
            raise ValueError(f"Argument 'min_cosine' must lie in [-1, 1], not {min_cosine}.")
        wanted = conditions(where)
        queries = self.embed(inputs)
        good = directed(queries)
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

    def get(self, ids: Iterable[int]) -> list[Item]:
        """Items by their ids.

        Raises:
            UnknownItemError: there is no such item.
        """
        wanted = checked_ids(ids)
        found = self.store.items(wanted)
        missing = next((id for id in wanted if id not in found), None)
        if missing is not None:
            raise UnknownItemError(f"The gallery has no item {missing}.")
        return [found[id] for id in wanted]

    def thumbnails(self, ids: Iterable[int]) -> dict[int, bytes]:
        """Small pictures of items as the network gets them: the content of WebP files, by id.

        Items that were added as embeddings have none.
        """
        return self.store.thumbnails(checked_ids(ids))

    def ids(self, where: Where = None) -> np.ndarray:
        """int64 ids of the items for which a filter holds, ascending."""
        return self.store.select(conditions(where))

    def embeddings(self, ids: Iterable[int]) -> np.ndarray:
        """float32 `[N, dim]` unit vectors of items.

        Raises:
            UnknownItemError: there is no such item.
        """
        wanted = checked_ids(ids)
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
        embeddings = as_embeddings(inputs, self.store.pin.dim)
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

    def _needed_run(self, what: str) -> Run:
        if self.run is None:
            raise ValueError(
                f"{what} needs the run whose embeddings {self.store.name} holds: open the gallery "
                "with it."
            )
        return self.run


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
