"""Files and data sets into a gallery, a part at a time: what is there already is passed over."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from .gallery import Gallery
from .incoming import path_of, shown_path
from .items import AddReport, Item, Payload, Rejected, Value

PART = 1024
"""Files that are written together: what a call that is stopped loses at most."""


@dataclass(frozen=True)
class Indexed:
    """What became of some files or inputs.

    Attributes:
        seen: how many there were.
        added: new items.
        known: those whose file has not changed since it was added, or has only moved.
        changed: files whose content has changed. Their old items are deleted, unless another file
            has that content now.
        rejected: the others.
    """

    seen: int = 0
    added: int = 0
    known: int = 0
    changed: int = 0
    rejected: tuple[Rejected, ...] = ()

    def __add__(self, other: Indexed) -> Indexed:
        return Indexed(
            self.seen + other.seen,
            self.added + other.added,
            self.known + other.known,
            self.changed + other.changed,
            self.rejected + other.rejected,
        )


@dataclass(frozen=True)
class ImageFile:
    """An image file to be indexed.

    Attributes:
        path: of it.
        label: name of its class, if it is known.
        payload: what to keep beside it.
    """

    path: Path
    label: str | None = None
    payload: Payload = field(default_factory=dict[str, Value])


def index_files(gallery: Gallery, files: Sequence[ImageFile]) -> Iterator[Indexed]:
    """Bring image files into a gallery, a part after another; each is on the disk when it is told.

    A file whose size and time are those of its item is not read again. One that has changed
    becomes a new item, and its old one is deleted after the last part. An item whose own file is
    gone or has changed belongs to the file that has its content now, and gets the label of that
    file's folder where it is not the folder that it was in. Other labels of items that are there
    stay; a payload that is given takes the place of theirs.

    Args:
        gallery: it.
        files: of the images.

    Yields:
        What became of each part.
    """
    old = _Old()
    for start in range(0, len(files), PART):
        part = _index_part(gallery, files[start : start + PART], old)
        if start + PART >= len(files):
            _settle(gallery, old)
        yield part


@dataclass(frozen=True)
class _Read:
    """A file that was read.

    Attributes:
        path: of it, as the gallery keeps it.
        stamp: size and time.
        file: it.
    """

    path: str
    stamp: str | None
    file: ImageFile


@dataclass(frozen=True)
class _Old:
    """Items that are not what lies at their paths now: a later file may have their content.

    Attributes:
        ids: of them.
        found: id -> a file elsewhere that has the content of an item.
    """

    ids: set[int] = field(default_factory=set[int])
    found: dict[int, _Read] = field(default_factory=dict[int, _Read])


def _index_part(gallery: Gallery, files: Sequence[ImageFile], old: _Old) -> Indexed:
    places = [os.path.abspath(file.path) for file in files]
    paths = [shown_path(place) for place in places]
    stamps = [_stamp(file.path) for file in files]
    there = gallery.store.at_paths(paths)
    same = [
        next((id for id, stamp in there.get(path, ()) if stamp == now), None)
        for path, now in zip(paths, stamps, strict=True)
    ]
    for path, id, now in zip(paths, same, stamps, strict=True):
        if id is not None:
            # Left by a call that was stopped; what came without a stamp was not indexed.
            old.ids.update(o for o, then in there[path] if then not in (None, now))
    _update_payloads(
        gallery, {id: f.payload for id, f in zip(same, files, strict=True) if id is not None}
    )
    new = [i for i, id in enumerate(same) if id is None]
    report = gallery.add(
        [files[i].path for i in new],
        labels=[files[i].label for i in new],
        paths=[places[i] for i in new],
        payloads=[files[i].payload for i in new],
        stamps=[stamps[i] for i in new],
    )
    read = [_Read(paths[i], stamps[i], files[i]) for i in new]
    own = {(path, id) for path, items in there.items() for id, _ in items}
    own |= _move(gallery, _lost(gallery, read, report))
    changed = _find_old(gallery, read, report, old)
    rejected = _strangers(report, own)
    known = len(files) - len(new) + len(report.rejected) - len(rejected)
    return Indexed(len(files), len(report.added), known, changed, rejected)


def _strangers(report: AddReport, own: Set[tuple[str | None, int | None]]) -> tuple[Rejected, ...]:
    """Rejected inputs, but those whose item is that of the same path: they are only known.

    Args:
        report: of the inputs.
        own: paths and ids of items.
    """
    return tuple(
        one for one in report.rejected if one.reason != "duplicate" or (one.path, one.id) not in own
    )


def _lost(gallery: Gallery, read: Sequence[_Read], report: AddReport) -> dict[int, _Read]:
    """Items whose own file is gone, and a file that has their content."""
    holder = {one.index: one.id for one in report.rejected if one.id is not None}
    items = gallery.store.items([*{*holder.values()}])
    found: dict[int, _Read] = {}
    for index, id in holder.items():
        if id in items and _is_gone(items[id].path):
            found.setdefault(id, read[index])
    return found


def _move(gallery: Gallery, files: Mapping[int, _Read]) -> set[tuple[str | None, int | None]]:
    """Give items to other files: path, stamp, payload, and the label of another class folder.

    Args:
        gallery: it.
        files: id -> the file.

    Returns:
        Paths and ids of those that are there still.
    """
    with gallery.store.writing():
        items = gallery.store.items([*files])
        wanted = [files[id] for id in items]
        other = [_has_other_class(item, files[id]) for id, item in items.items()]
        gallery.store.update(
            [*items],
            paths=[one.path for one in wanted],
            stamps=[one.stamp for one in wanted],
            labels=[
                one.file.label if new else item.label
                for item, one, new in zip(items.values(), wanted, other, strict=True)
            ],
            decided=[new or item.decided for item, new in zip(items.values(), other, strict=True)],
            payloads=[
                one.file.payload or item.payload
                for item, one in zip(items.values(), wanted, strict=True)
            ],
        )
    return {(files[id].path, id) for id in items}


def _has_other_class(item: Item, read: _Read) -> bool:
    """Whether a file lies in another class folder than that of an item did.

    A user may have given the item another label since: that stays within one class folder.
    """
    label, parts = read.file.label, Path(path_of(read.path)).parent.parts
    if label is None or label not in parts:
        return label is not None
    folder = len(parts) - parts[::-1].index(label)
    return Path(path_of(item.path or "")).parent.parts[:folder] != parts[:folder]


def _find_old(gallery: Gallery, read: Sequence[_Read], report: AddReport, old: _Old) -> int:
    """Note the old items of files that have changed; how many files that are."""
    there = gallery.store.at_paths([one.path for one in read])
    touched: dict[int, str | None] = {}
    changed = 0
    for one, id in zip(read, report.ids, strict=True):
        if id is None:
            continue  # what cannot be read now may be half written
        here = dict(there.get(one.path, ()))
        if id not in here:
            old.found.setdefault(id, one)
        elif here.pop(id) != one.stamp:
            touched[id] = one.stamp
        old.ids.update(here)
        changed += bool(here)
    if touched:
        gallery.store.update(list(touched), stamps=list(touched.values()))
    return changed


def _settle(gallery: Gallery, old: _Old) -> None:
    """Give old items to the files that have their content now, and delete the others."""
    with gallery.store.writing():
        _move(gallery, {id: old.found[id] for id in sorted(old.ids & old.found.keys())})
        gallery.store.delete(sorted(old.ids - old.found.keys()))


def _update_payloads(gallery: Gallery, payloads: dict[int, Payload]) -> None:
    given = {id: payload for id, payload in payloads.items() if payload}
    items = gallery.store.items(list(given))
    other = [id for id, item in items.items() if dict(item.payload) != dict(given[id])]
    if other:
        gallery.update(other, payload=[given[id] for id in other])


def _stamp(path: Path) -> str | None:
    try:
        about = path.stat()
    except OSError:
        return None
    return f"{about.st_size} {about.st_mtime_ns}"


def missing_files(gallery: Gallery) -> list[int]:
    """Ids of the items whose path is that of a file which is not there any more."""
    return [item.id for items, _ in gallery.scan() for item in items if _is_gone(item.path)]


def _is_gone(path: str | None) -> bool:
    """Whether this is the path of a file, and there is none any more."""
    return path is not None and os.path.isabs(path) and not os.path.exists(path_of(path))


def index_inputs(
    gallery: Gallery,
    inputs: Any,
    labels: Sequence[str | None],
    paths: Sequence[str | None],
    embed: Callable[[Any], Any] | None = None,
) -> Indexed:
    """Bring a batch of a data set into a gallery.

    Args:
        gallery: it.
        inputs: uint8 pixels `[B, C, H, W]` as the network gets them, or what `embed` takes.
        labels: of each.
        paths: of each; None where it has no name.
        embed: from inputs to embeddings, for data that are no images.
    """
    report = gallery.add(inputs if embed is None else embed(inputs), labels=labels, paths=paths)
    names = [one.path for one in report.rejected if one.path is not None]
    there = gallery.store.at_paths(names)
    rejected = _strangers(report, {(path, id) for path in there for id, _ in there[path]})
    known = len(report.rejected) - len(rejected)
    return Indexed(len(report.ids), len(report.added), known, 0, rejected)
