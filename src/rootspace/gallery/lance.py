"""A gallery in a folder: a LanceDB table that counts, and an exact index of it in memory.

The table is written first, and what is in memory follows; it is read anew at the start, and from
other processes' changes what they changed. LanceDB keeps every version and never tidies up by
itself: `_tidy` does, after so many changes.
"""

from __future__ import annotations

import json
import os
import threading
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from rootspace._extras import require
from rootspace._files import appearing, lock, read_json, to_disk, write_json

from .exact import ExactIndex, Snapshot
from .facets import Facets
from .filters import Condition
from .items import Found, Item, Labels, Payload, Rows, UnknownItemError
from .pin import Pin

FORMAT = 2
"""Version of the folder."""

ABOUT, COUNTERS, TABLE = "gallery.json", "counters.json", "items"
GROUPS = "groups.npz"
JOURNAL = "identities.sqlite"

CHANGES = 128
"""Changes after which the table is tidied up; one more for every `ROWS_A_CHANGE` items."""

ROWS_A_CHANGE = 4096
"""A tidied table is written anew, so that larger ones wait longer for it."""

BATCH = 8192
"""Rows read together."""

LISTED = 10_000
"""Values in one condition of the table's SQL."""

WAIT = 60
"""Seconds to wait for another process that writes."""

ATTEMPTS = 5
"""Reads that are tried again where another process has tidied up meanwhile."""

_PURPOSE = "A gallery in a folder"
_TEXTS = ("id", "digest", "path", "label", "payload", "decided")

T = TypeVar("T")


@dataclass(frozen=True)
class _State:
    """What is in memory of one version of the table.

    Attributes:
        version: of the table.
        revision: largest one of its rows.
        row_ids: uint64 `[size]`, of the index's rows: where the table has them.
    """

    version: int
    revision: int
    row_ids: np.ndarray


class LanceStore:
    """See `Store`; of one folder.

    Args:
        folder: that `create` made.

    Raises:
        ValueError: the folder holds no gallery, or it is damaged.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        about = _read_about(folder)
        self._pin, self._float16 = about.pin, about.float16
        self._index = ExactIndex(self._pin.dim)
        self._facets = Facets()
        # One thread writes; another lock guards what is in memory, for moments only.
        self._writing, self._memory = threading.RLock(), threading.RLock()
        self._depth = 0
        self._seen: list[str] | None = None
        arrow = require("pyarrow", extra="gallery", purpose=_PURPOSE)
        self._arrow: Any = arrow
        self._schema = _schema(arrow, self._pin.dim, about.float16)
        database = require("lancedb", extra="gallery", purpose=_PURPOSE).connect(folder)
        try:
            self._table: Any = database.open_table(TABLE)
        except Exception as error:  # LanceDB has no errors of its own
            raise ValueError(f"{folder} is damaged: {_first_line(error)}") from error
        self._state = self._read(self._load)
        self._changes = len(self._table.list_versions())
        self._on_disk = self._files()

    @staticmethod
    def create(folder: Path, pin: Pin, run: Path, *, float16: bool = False) -> None:
        """Make an empty one, all or nothing.

        Args:
            folder: which must not be there, or be empty; its parent must be there.
            pin: whose embeddings it will hold.
            run: folder of that run.
            float16: keep embeddings in half precision.

        Raises:
            FileExistsError: something is there.
        """
        if not folder.parent.is_dir():
            raise ValueError(
                f"Argument 'location': the folder {folder.parent} of {folder} does not exist."
            )
        if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
            raise FileExistsError(f"{folder} exists already and is not empty.")
        arrow = require("pyarrow", extra="gallery", purpose=_PURPOSE)
        lancedb = require("lancedb", extra="gallery", purpose=_PURPOSE)
        with appearing(folder, shared=True, durable=True) as new:
            # Row ids stay, so that the index in memory finds its rows after the table was tidied.
            options = {"new_table_enable_stable_row_ids": "true"}
            database = lancedb.connect(new, storage_options=options)
            database.create_table(TABLE, schema=_schema(arrow, pin.dim, float16))
            about = {
                "format": FORMAT,
                # Relative, so that both can be moved together.
                "run": os.path.relpath(run.absolute(), folder.absolute()),
                "float16": float16,
                "pin": pin.as_dict(),
            }
            write_json(new / ABOUT, about)

    # ---------------------------------------------------------------- what it knows

    @property
    def name(self) -> str:
        return str(self.folder)

    def journal_in(self, run: Path) -> Path:
        return self.folder / JOURNAL

    @property
    def pin(self) -> Pin:
        return self._pin

    @property
    def float16(self) -> bool:
        return self._float16

    @property
    def version(self) -> object:
        with self._memory:
            self._refresh()
            return self._state.version

    def __len__(self) -> int:
        return len(self._snapshot())

    @property
    def pieces(self) -> tuple[int, int]:
        """How many fragments and how many versions the table lies in."""
        stats = self._table.stats()
        return stats["fragment_stats"]["num_fragments"], len(self._table.list_versions())

    @property
    def nbytes(self) -> int:
        """Memory of the index."""
        return self._index.nbytes

    # ---------------------------------------------------------------- reading

    def known(self, digests: Sequence[str]) -> dict[str, int]:
        found: dict[str, int] = {}
        for part in _parts(digests):
            rows = self._where(f"digest IN ({_texts(part)})", ["id", "digest"])
            found |= dict(zip(rows["digest"].to_pylist(), rows["id"].to_pylist(), strict=True))
        return found

    def at_paths(self, paths: Sequence[str]) -> dict[str, list[tuple[int, str | None]]]:
        found: dict[str, list[tuple[int, str | None]]] = {}
        for part in _parts(paths):
            rows = self._where(f"path IN ({_texts(part)})", ["id", "path", "stamp"]).to_pylist()
            for row in rows:
                found.setdefault(row["path"], []).append((row["id"], row["stamp"]))
        return found

    def items(self, ids: Sequence[int]) -> dict[int, Item]:
        found = {row["id"]: _item(row) for row in self._take(ids, list(_TEXTS)).to_pylist()}
        return {id: found[id] for id in ids if id in found}

    def vectors(self, ids: Sequence[int]) -> np.ndarray:
        snapshot = self._snapshot()
        rows = snapshot.rows(np.asarray(ids, np.int64))
        if (rows < 0).any():
            raise UnknownItemError("The gallery lacks some of the items: they were deleted.")
        return snapshot.vectors(rows)

    def labels(self) -> Labels:
        names = ["id", "label", "decided"]
        rows = self._read(lambda: self._newest().select(names).to_arrow())
        rows = rows.take(np.argsort(rows["id"].to_numpy()))
        decided = rows["decided"].to_numpy()
        return Labels(rows["id"].to_numpy(), rows["label"].to_pylist(), decided)

    def thumbnails(self, ids: Sequence[int]) -> dict[int, bytes]:
        rows = self._take(ids, ["id", "thumbnail"]).to_pylist()
        return {row["id"]: row["thumbnail"] for row in rows if row["thumbnail"] is not None}

    def select(self, where: Sequence[Condition]) -> np.ndarray:
        snapshot, keep = self._kept(where)
        return snapshot.ids[~snapshot.dead if keep is None else keep & ~snapshot.dead]

    def search(self, queries: np.ndarray, k: int, where: Sequence[Condition]) -> Found:
        snapshot, keep = self._kept(where)
        return snapshot.search(queries, k, keep)

    def scan(self) -> Iterator[tuple[list[Item], np.ndarray]]:
        ids = self.select(())
        for start in range(0, len(ids), BATCH):
            part = ids[start : start + BATCH].tolist()
            rows = self._take(part, [*_TEXTS, "embedding"])
            rows = rows.take(np.argsort(rows["id"].to_numpy()))
            yield [_item(row) for row in rows.select(_TEXTS).to_pylist()], self._matrix(rows)

    # ---------------------------------------------------------------- writing

    @contextmanager
    def writing(self) -> Iterator[None]:
        with self._writing:
            if self._depth:
                yield
                return
            busy = "{folder} is being written by another process. Try again."
            with lock(self.folder, busy=busy, seconds=WAIT, helpers=True):
                self._depth += 1
                try:
                    self._refresh()
                    yield
                finally:
                    self._depth -= 1

    def reserve(self, number: int) -> list[int]:
        if not number:
            return []
        with self.writing():
            first, _ = self._reserve(number)
            return [*range(first, first + number)]

    def insert(self, rows: Rows, ids: Sequence[int] | None = None) -> list[int]:
        if not len(rows):
            return []
        with self.writing():
            first, revision = self._reserve(len(rows) if ids is None else 0)
            ids = [*range(first, first + len(rows))] if ids is None else list(ids)
            embeddings = rows.embeddings.astype(np.float32)
            content = {
                "id": ids,
                "revision": np.full(len(rows), revision),
                "digest": list(rows.digests),
                "path": list(rows.paths),
                "stamp": list(rows.stamps),
                "label": list(rows.labels),
                "decided": [label is not None for label in rows.labels],
                "payload": [_dumped(payload) for payload in rows.payloads],
                "thumbnail": list(rows.thumbnails),
                "embedding": self._lists(embeddings),
            }
            self._table.add(self._arrow.table(content, schema=self._schema))
            self._to_disk()
            self._follow(revision)
            return ids

    def update(
        self,
        ids: Sequence[int],
        *,
        paths: Sequence[str | None] | None = None,
        labels: Sequence[str | None] | None = None,
        decided: Sequence[bool] | None = None,
        payloads: Sequence[Payload] | None = None,
        stamps: Sequence[str | None] | None = None,
    ) -> None:
        if not len(ids):
            return
        texts = None if payloads is None else [_dumped(payload) for payload in payloads]
        columns = {"path": paths, "label": labels, "payload": texts, "stamp": stamps}
        columns |= {"decided": decided}
        given = {name: list(values) for name, values in columns.items() if values is not None}
        with self.writing():
            _, revision = self._reserve(0)
            if len(ids) <= LISTED and all(len(set(values)) == 1 for values in given.values()):
                values = {name: _literal(column[0]) for name, column in given.items()}
                self._table.update(
                    where=f"id IN ({', '.join(map(str, ids))})",
                    values_sql={**values, "revision": str(revision)},
                )
            else:
                names = ["id", "revision", *given]
                schema = self._arrow.schema([self._schema.field(name) for name in names])
                content = {"id": list(ids), "revision": [revision] * len(ids), **given}
                changed = self._arrow.table(content, schema=schema)
                self._table.merge_insert("id").when_matched_update_all().execute(changed)
            self._to_disk()
            self._follow(revision)

    def delete(self, ids: Sequence[int]) -> None:
        if not len(ids):
            return
        with self.writing():
            _, revision = self._reserve(0)
            gone = f"id IN ({', '.join(map(str, ids))})"
            if len(ids) > LISTED:
                # A longer list takes very long, and several would be several changes. A revision of
                # their own changes nothing that is seen, and is a condition for all of them.
                names = ["id", "revision"]
                schema = self._arrow.schema([self._schema.field(name) for name in names])
                content = {"id": list(ids), "revision": [revision] * len(ids)}
                marked = self._arrow.table(content, schema=schema)
                self._table.merge_insert("id").when_matched_update_all().execute(marked)
                gone = f"revision = {revision}"
            self._table.delete(gone)
            self._to_disk()
            with self._memory:
                self._forget(np.asarray(ids, np.int64))
                row_ids = self._state.row_ids
                self._state = _State(self._table.version, self._state.revision, row_ids)
            self._changed()

    def compact(self) -> None:
        with self.writing():
            with warnings.catch_warnings():
                # That others may read an older version: they try again, see `_read`.
                warnings.filterwarnings("ignore", message="optimize")
                # The old files go when the disk holds the new ones.
                self._table.optimize(cleanup_older_than=timedelta(days=36_500))
                self._to_disk()
                self._table.optimize(cleanup_older_than=timedelta(0), delete_unverified=True)
                self._to_disk()
            with self._memory:
                state = self._state
                self._state = _State(self._table.version, state.revision, state.row_ids)
            self._changes = len(self._table.list_versions())

    def build_index(self) -> None:
        # Others go on searching and writing meanwhile.
        if self._snapshot().save_groups(self.folder / GROUPS):
            with self._memory:
                self._load_groups(self._index)

    def _load_groups(self, index: ExactIndex) -> None:
        self._groups = self._groups_file()
        # They can always be made again: without them searches look at all items.
        with suppress(FileNotFoundError, ValueError):
            index.load(self.folder / GROUPS)

    def close(self) -> None:
        """Nothing is held open."""

    # ---------------------------------------------------------------- in memory

    def _snapshot(self) -> Snapshot:
        with self._memory:
            self._refresh()
            return self._index.snapshot()

    def _kept(self, where: Sequence[Condition]) -> tuple[Snapshot, np.ndarray | None]:
        """The index, and which of its rows a filter leaves."""
        with self._memory:
            self._refresh()
            snapshot = self._index.snapshot()
            if not where:
                return snapshot, None
            self._facets.prepare(where, snapshot.size, self._columns)
            return snapshot, self._facets.mask(where, snapshot.ids)

    def _columns(self, names: Sequence[str]) -> dict[str, list[Any]]:
        """Columns of the table in the order of the index, None for deleted rows."""
        rows = self._read(lambda: self._table.search().select(["id", *names]).to_arrow())
        snapshot = self._index.snapshot()
        place = snapshot.rows(rows["id"].to_numpy())
        found: dict[str, list[Any]] = {}
        for name in names:
            column: list[Any] = [None] * snapshot.size
            for row, value in zip(place.tolist(), rows[name].to_pylist(), strict=True):
                if row >= 0:
                    column[row] = value
            found[name] = column
        return found

    def _load(self) -> _State:
        """Read the whole table into the index, a batch at a time."""
        self._table.checkout_latest()
        version = self._table.version
        rows = self._table.search().select(["id", "revision"]).with_row_id(True).to_arrow()
        ids = rows["id"].to_numpy()
        order = np.argsort(ids)
        ids, vectors = ids[order], np.zeros((len(ids), self._pin.dim), np.float32)
        for batch in self._table.search().select(["id", "embedding"]).to_batches(BATCH):
            part = self._arrow.Table.from_batches([batch])
            vectors[np.searchsorted(ids, part["id"].to_numpy())] = self._matrix(part)
        index = ExactIndex.of(ids, vectors)
        self._load_groups(index)
        self._index = index
        revision = int(rows["revision"].to_numpy().max(initial=0))
        return _State(version, revision, rows["_rowid"].to_numpy().astype(np.uint64)[order])

    def _refresh(self) -> None:
        """Follow what other processes have changed."""
        with self._memory:
            self._refresh_items()
            if self._groups_file() != self._groups:  # that another process has made meanwhile
                self._load_groups(self._index)

    def _refresh_items(self) -> None:
        """Follow the table; under the lock of `_memory`."""
        # Asking the table goes through LanceDB's threads; a folder tells as well whether there
        # is a version that was not there. Listed first: what comes then is seen the next time.
        listed = self._listed()
        if listed is not None and listed == self._seen:
            return
        self._table.checkout_latest()
        if self._table.version == self._state.version:
            self._seen = listed
            return

        def read() -> tuple[int, Any, Any]:
            self._table.checkout_latest()
            version = self._table.version
            names = ["id", "revision"]
            ids = self._table.search().select(names).with_row_id(True).to_arrow()
            new = self._rows_since(self._state.revision)
            return version, ids, new

        version, ids, new = self._read(read)
        here = ids["id"].to_numpy()
        snapshot = self._index.snapshot()
        gone = snapshot.ids[~snapshot.dead & ~np.isin(snapshot.ids, here)]
        if len(gone):
            self._forget(gone)
        self._take_in(new)
        last = int(ids["revision"].to_numpy().max(initial=0))
        revision = max(self._state.revision, last)
        self._state = _State(version, revision, self._state.row_ids)
        self._seen = listed

    def _groups_file(self) -> tuple[int, int] | None:
        """What tells a file of groups from the one before it, None where there is none."""
        try:
            status = os.stat(self.folder / GROUPS)
        except OSError:
            return None
        return status.st_ino, status.st_mtime_ns

    def _listed(self) -> list[str] | None:
        """Files of the table's versions, None where they cannot be listed."""
        try:
            return sorted(os.listdir(self.folder / f"{TABLE}.lance" / "_versions"))
        except OSError:
            return None

    def _follow(self, revision: int) -> None:
        """Take in what this process has just written."""
        with self._memory:
            self._take_in(self._rows_since(revision - 1))
            self._state = _State(self._table.version, revision, self._state.row_ids)
        self._changed()

    def _rows_since(self, revision: int) -> Any:
        """Rows that were added or changed after a revision."""
        names = ["id", "label", "path", "payload", "embedding"]
        query = self._table.search().where(f"revision > {revision}").select(names)
        return query.with_row_id(True).to_arrow()

    def _take_in(self, rows: Any) -> None:
        """Rows of `_rows_since` into the index and the facets."""
        ids = rows["id"].to_numpy()
        order = np.argsort(ids)
        rows, ids = rows.take(order), ids[order]
        snapshot = self._index.snapshot()
        last = int(snapshot.ids[-1]) if snapshot.size else -1
        old = int(np.searchsorted(ids, last, side="right"))
        if old:
            place = snapshot.rows(ids[:old])
            known = np.flatnonzero(place >= 0)
            self._facets.update(place[known], rows.slice(0, old).take(known))
        new = rows.slice(old)
        if new.num_rows:
            self._index.append(ids[old:], self._matrix(new))
            added = new["_rowid"].to_numpy().astype(np.uint64)
            state = self._state
            row_ids = np.concatenate([state.row_ids, added])
            self._state = _State(state.version, state.revision, row_ids)
            self._facets.append(new)

    def _forget(self, ids: np.ndarray) -> None:
        before = self._index.snapshot()
        if not self._index.remove(ids):
            return
        left = np.flatnonzero(np.isin(before.ids, self._index.snapshot().ids))
        self._facets.keep(left)
        state = self._state
        self._state = _State(state.version, state.revision, state.row_ids[left])

    # ---------------------------------------------------------------- the table

    def _reserve(self, number: int) -> tuple[int, int]:
        """The first of so many ids that nobody has had, and the number of a change.

        Written before the table: after a crash numbers are missing, never given twice.
        """
        path = self.folder / COUNTERS
        ids = self._index.snapshot().ids
        first, revision = (int(ids[-1]) + 1 if len(ids) else 0), self._state.revision
        if path.exists():
            content = read_json(path)
            first, revision = max(first, content["next_id"]), max(revision, content["revision"])
        revision += 1
        write_json(path, {"next_id": first + number, "revision": revision}, durable=True)
        return first, revision

    def _files(self) -> set[Path]:
        """Of the table. None is ever changed, but one with a hint that nothing depends on."""
        root = self.folder / f"{TABLE}.lance"
        return {Path(folder, name) for folder, _, names in os.walk(root) for name in names}

    def _to_disk(self) -> None:
        """What was written survives a power cut, too."""
        files = self._files()
        new = files - self._on_disk
        to_disk([*new, *{file.parent for file in new}])
        self._on_disk = files

    def _changed(self) -> None:
        """Count a change of the table, and tidy up when there were enough."""
        self._changes += 1
        if self._changes >= CHANGES + len(self._index.snapshot()) // ROWS_A_CHANGE:
            self.compact()

    def _take(self, ids: Sequence[int], names: list[str]) -> Any:
        """Columns of those of some items that are there, in any order."""
        with self._memory:
            snapshot, row_ids = self._snapshot(), self._state.row_ids
        place = snapshot.rows(np.asarray(ids, np.int64))
        wanted = row_ids[place[place >= 0]].tolist()
        if not wanted:
            return self._schema.empty_table().select(names)
        return self._read(lambda: self._table.take_row_ids(wanted).select(names).to_arrow())

    def _where(self, condition: str, names: list[str]) -> Any:
        return self._read(lambda: self._newest().where(condition).select(names).to_arrow())

    def _newest(self) -> Any:
        """A query of the table as it is now, with what other processes have written."""
        self._table.checkout_latest()
        return self._table.search()

    def _read(self, read: Callable[[], T]) -> T:
        """What a reading of the table gives, tried again where its files are gone."""
        for attempt in range(ATTEMPTS):
            try:
                return read()
            except Exception as error:  # LanceDB has no errors of its own
                if attempt == ATTEMPTS - 1:
                    message = f"{self.folder} is damaged: {_first_line(error)}"
                    raise ValueError(message) from error
                self._table.checkout_latest()
        raise AssertionError

    def _lists(self, embeddings: np.ndarray) -> Any:
        kind = self._schema.field("embedding").type
        values = embeddings.astype(kind.value_type.to_pandas_dtype()).reshape(-1)
        return self._arrow.FixedSizeListArray.from_arrays(self._arrow.array(values), kind.list_size)

    def _matrix(self, rows: Any) -> np.ndarray:
        """float32 `[N, dim]` unit vectors."""
        if not rows.num_rows:
            return np.empty((0, self._pin.dim), np.float32)
        column = rows["embedding"].combine_chunks()
        if isinstance(column, self._arrow.ChunkedArray):
            column = self._arrow.concat_arrays(column.chunks)
        flat = column.flatten().to_numpy(zero_copy_only=False)
        return unit(flat.astype(np.float32).reshape(-1, self._pin.dim))


@dataclass(frozen=True)
class _About:
    run: Path
    pin: Pin
    float16: bool


def _read_about(folder: Path) -> _About:
    path = folder / ABOUT
    if not path.is_file():
        raise ValueError(
            f"{folder} is not a gallery: {ABOUT} is missing. Make one with `rootspace index`."
        )
    content = read_json(path)
    try:
        if content["format"] != FORMAT:
            raise ValueError(
                f"it has format {content['format']}, this version of rootspace reads {FORMAT}"
            )
        pin = Pin.from_dict(content["pin"])
        return _About(folder / content["run"], pin, bool(content["float16"]))
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{path} is damaged: {error}.") from error


def run_of(folder: Path) -> Path:
    """The run that a gallery was made with, as it lay then.

    Raises:
        ValueError: the folder holds no gallery.
    """
    return Path(os.path.normpath(_read_about(folder).run))


def is_gallery(folder: Path) -> bool:
    """Whether a folder holds a gallery."""
    return (folder / ABOUT).is_file()


def unit(vectors: np.ndarray) -> np.ndarray:
    """float32 `[N, dim]` vectors of length one, in float64 to the last step; zeros stay zeros."""
    wide = vectors.astype(np.float64)
    norm = np.linalg.norm(wide, axis=-1, keepdims=True)
    return (wide / np.where(norm > 0, norm, 1)).astype(np.float32)


def _schema(arrow: Any, dim: int, float16: bool) -> Any:
    kind = arrow.float16() if float16 else arrow.float32()
    return arrow.schema(
        [
            arrow.field("id", arrow.int64(), nullable=False),
            arrow.field("revision", arrow.int64(), nullable=False),
            arrow.field("digest", arrow.string(), nullable=False),
            arrow.field("path", arrow.string()),
            arrow.field("stamp", arrow.string()),
            arrow.field("label", arrow.string()),
            arrow.field("decided", arrow.bool_(), nullable=False),
            arrow.field("payload", arrow.string()),
            arrow.field("thumbnail", arrow.binary()),
            arrow.field("embedding", arrow.list_(kind, dim)),
        ]
    )


def _item(row: dict[str, Any]) -> Item:
    payload = _loaded(row["payload"])
    return Item(row["id"], row["path"], row["label"], payload, row["digest"], row["decided"])


def _dumped(payload: Payload) -> str | None:
    return json.dumps(dict(payload), ensure_ascii=False) if payload else None


def _loaded(text: str | None) -> dict[str, Any]:
    return json.loads(text) if text else {}


def _literal(value: str | bool | None) -> str:
    if isinstance(value, bool):
        return str(value)
    return "NULL" if value is None else f"'{value.replace(chr(39), chr(39) * 2)}'"


def _texts(values: Iterable[str]) -> str:
    return ", ".join(map(_literal, values))


def _parts(values: Sequence[T]) -> Iterator[Sequence[T]]:
    for start in range(0, len(values), LISTED):
        yield values[start : start + LISTED]


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
