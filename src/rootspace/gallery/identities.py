"""Identities that grow: classes that are enrolled from a few images, and unknowns in groups.

The classes of the run are there from the start. An enrolled one gets a vector of its own, the free
prototype nearest to the mean of its images where prototypes were chosen from data, else that mean;
no class is moved for it, and it is recognized at once. Names, retired classes and what was merged
are the gallery's view: the run is not changed.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import compress
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from rootspace._checks import integer
from rootspace.classes import Prediction
from rootspace.continual import group_by_cosine, propose
from rootspace.continual.discovery import MOST
from rootspace.runs.folder import REGISTRY, REJECTOR

from ._known import CHUNK, Known, read_known
from .gallery import Gallery
from .identity import Enrolled, Explanation, Group, Identity, Match, Nearest
from .incoming import Incoming
from .items import (
    ConflictError,
    Labels,
    Reason,
    Rejected,
    ReviewError,
    Rows,
    check_text,
    checked_ids,
)
from .journal import Change, Entry, Journal, Relabeled, Step
from .lance import unit

NARROW = 0.05
"""A margin below is ambiguous: two classes are nearly equally near."""

SLACK = 1e-4
"""Far more than cosines are wrong by that are added up in another order."""

PAIR = 0.5
"""Least cosine of two images of one class where nothing says what is usual."""


@dataclass(frozen=True)
class _Assigned:
    """By what the items that no user has decided on were assigned last.

    Attributes:
        state: of the classes.
        least: cosine to an enrolled class.
    """

    state: tuple[object, ...]
    least: float


class Identities:
    """The classes of a gallery: those of its run, and those that are enrolled.

    Every change is written when its call returns, is seen by searches at once, and can be undone
    after a restart. Any number of threads may use one object. A change reads the labels of all
    items once, about 2 us an item, and an enrollment once more to tell of the class.

    Args:
        gallery: opened with its run.
        path: of the journal; by default in the gallery's folder, or in that of the run where the
            gallery is on a server.

    Raises:
        ValueError: the gallery has no run, or the journal is damaged.
    """

    def __init__(self, gallery: Gallery, path: Path | None = None) -> None:
        if gallery.run is None:
            raise ValueError("Argument 'gallery' must be opened with its run.")
        if path is None:
            path = gallery.store.journal_in(gallery.run.folder)
        self.gallery, self.run = gallery, gallery.run
        self._journal = Journal(path, gallery.store.pin.dim, len(self.run.names))
        self._cache: tuple[tuple[object, ...], Known] | None = None
        self._measured: tuple[object, float] | None = None
        self._assigned: _Assigned | None = None
        self._last = -1  # id of the last item that was assigned then
        with self._changing():
            pass

    # ---------------------------------------------------------------- asking

    def all(self) -> list[Identity]:
        """All classes but those that are gone, by label."""
        known, labels = self._known(), self._labels()
        images, given = Counter[int | None](), Counter[int | None]()
        for name, number in Counter(labels.names).items():
            images[known.find(name)] += number
        for name, number in Counter(compress(labels.names, labels.decided.tolist())).items():
            given[known.find(name)] += number
        return [
            Identity(
                label,
                name,
                label >= known.trained,
                label in known.retired,
                images[label],
                images[label] - given[label],
            )
            for label, name in enumerate(known.names)
            if label not in known.gone
        ]

    def predict(self, inputs: Any, k: int = 1) -> list[list[Match]]:
        """The nearest classes of each input, best first; fewer than k where there are fewer.

        Args:
            inputs: images or embeddings, as `Gallery.search` takes them.
            k: how many.
        """
        k = integer("k", k)
        known = self._known()
        found = known.predict(unit(self.gallery.embed(inputs)), k)
        return [known.matches(*row) for row in zip(*found, strict=True)]

    def is_known(self, inputs: Any) -> np.ndarray:
        """bool `[N]`, which inputs are near enough to a class to be one of it."""
        return self._known().decide(unit(self.gallery.embed(inputs)))[1]

    def unknowns(self, *, min_size: int = 2, min_cosine: float | None = None) -> list[Group]:
        """Items without a label that no class explains, in groups that may be classes.

        Args:
            min_size: smaller groups are left out; 1 shows those that are alone too.
            min_cosine: groups merge from this mean cosine on; by default what two images of a class
                usually have.

        Raises:
            ValueError: a number out of range, or more than 10,000 unknown items.
        """
        known = self._known()
        labels = self._labels()
        ids = labels.ids[[name is None for name in labels.names]]
        z = self.gallery.store.vectors(ids.tolist())
        unknown = ~known.decide(z)[1]
        ids, z = ids[unknown], torch.from_numpy(z[unknown])
        if len(ids) > MOST:
            raise ValueError(
                f"{self.gallery.store.name} has {len(ids):,} unknown items: more than {MOST:,} "
                "cannot be grouped together. Label some, or delete them."
            )
        groups = group_by_cosine(z, known.least if min_cosine is None else min_cosine)

        def nearest(z: Tensor, k: int) -> Prediction:
            label, cosine = known.predict(unit(z.cpu().numpy()), k)
            return Prediction(torch.from_numpy(label), torch.from_numpy(cosine))

        return [
            Group(
                tuple(ids[list(one.members)].tolist()),
                one.cohesion,
                Match(one.nearest_label, known.names[one.nearest_label], one.nearest_cosine),
            )
            for one in propose(z, groups, nearest, None, min_size)
        ]

    def why(self, inputs: Any, k: int = 5) -> list[Explanation]:
        """Why each input is taken for its class: nearest classes, margin, nearest items.

        Args:
            inputs: as of `predict`.
            k: how many classes and items.
        """
        known = self._known()
        z = unit(self.gallery.embed(inputs))
        label, cosine = known.predict(z, max(k, 2))
        decided = known.decide(z)[1]
        found = []
        for row, hits in enumerate(self.gallery.search(z, k)):
            matches = known.matches(label[row], cosine[row])
            margin = matches[0].cosine - matches[1].cosine if len(matches) > 1 else None
            named = next((hit.label for hit in hits if hit.label is not None), None)
            ambiguous = (margin is not None and margin < NARROW) or (
                named is not None and bool(matches) and known.find(named) != matches[0].label
            )
            explained = (tuple(matches[:k]), bool(decided[row]), margin, tuple(hits), ambiguous)
            found.append(Explanation(*explained))
        return found

    def find(self, names: Sequence[str | None]) -> np.ndarray:
        """int64 `[N]` labels of the classes of these names, -1 where there is none.

        A class of the run is found by its aliases too, and by the name that it was trained with
        where no other class has that now.
        """
        found = map(self._known().find, names)
        return np.array([-1 if label is None else label for label in found], np.int64)

    def names(self, labels: Iterable[int] | None = None) -> list[str]:
        """The names of these labels; by default of all, label -> name."""
        names = self._known().names
        return list(names) if labels is None else [names[label] for label in labels]

    def answer(self, z: np.ndarray, k: int) -> Nearest:
        """The nearest classes of unit vectors `[N, dim]`, all at one moment, in one search."""
        known = self._known()
        label, cosine, decided = known.answer(z, k)
        names = [[known.names[one] if one >= 0 else "" for one in row] for row in label.tolist()]
        return Nearest(label, cosine, names, decided)

    def nearest(self, z: np.ndarray, k: int = 2) -> tuple[np.ndarray, np.ndarray]:
        """Labels and cosines `[N, k]` of the nearest classes of unit vectors `[N, dim]`.

        Both are -1 where there are fewer classes.
        """
        return self._known().predict(z, k)

    def vectors(self, labels: np.ndarray) -> np.ndarray:
        """float32 `[N, dim]` prototypes of classes."""
        return self._known().vectors_of(labels)

    def cosines(self, z: np.ndarray, labels: np.ndarray) -> np.ndarray:
        """float32 `[N]` cosine of each unit vector to a class.

        That to the nearest of the prototypes that speak for it: merged classes have several.
        """
        known = self._known()
        found = (z * self.vectors(labels)).sum(axis=-1)
        for other in np.flatnonzero(known.owner != np.arange(len(known.owner))):
            rows = np.flatnonzero(labels == known.owner[other])
            found[rows] = np.maximum(found[rows], z[rows] @ self.vectors(np.array([other]))[0])
        return found

    def history(self, limit: int | None = None) -> Sequence[Change]:
        """What was changed, the last first."""
        return self._journal.history(limit)

    # ---------------------------------------------------------------- changing

    def enroll(
        self,
        name: str,
        images: Any,
        *,
        review: bool = True,
        paths: Sequence[str | None] | None = None,
    ) -> Enrolled:
        """A new class from a few images, or more images of a class.

        Args:
            name: of the class.
            images: of it, as `Gallery.add` takes them; those that are in the gallery already are
                taken for the class where they have no label, or one that the gallery gave itself.
            review: refuse images that are too far from the others, or nearer to another class.
            paths: of the images.

        Returns:
            What became of each. Refused images are not in the gallery.

        Raises:
            ReviewError: no image was taken, and the review refused some, for the reasons in the
                message.
            ConflictError: none could be taken at all. Or the class is retired.
        """
        name = check_text(name, "name")
        store = self.gallery.store
        incoming = Incoming(images, paths, store, self.run)
        self._known().taught(name)
        incoming.read()
        # Reviewed under the lock, with the classes as they are then: it takes no network.
        with incoming.settled(self._changing) as there:
            known, labels = self._now()
            known.taught(name)
            old = {i: there[digest] for digest, i in incoming.first.items() if digest in there}
            free = [
                index
                for index, row in zip(old, labels.rows([*old.values()]), strict=True)
                if labels.names[row] is None or not labels.decided[row]
            ]
            new = incoming.new(there)
            order = np.argsort([*free, *new], kind="stable")
            rows = [[*free, *new][place] for place in order]
            z = np.concatenate([store.vectors([old[i] for i in free]), incoming.vectors(new)])
            z = z[order]
            refused = self._review(name, z, known) if review else {}
            taken = [place for place in range(len(rows)) if place not in refused]
            coming = [rows[place] for place in taken if rows[place] not in old]
            digests = [incoming.contents[index].digest for index in coming]
            ids = old | dict(zip(coming, store.reserve(len(coming)), strict=True))
            added = {digest: ids[i] for digest, i in zip(digests, coming, strict=True)}
            bad = {one.index: one for one in incoming.report(there, added).rejected}
            for place, index in enumerate(rows):
                bad.pop(index, None)
                if place in refused:
                    reason, message = refused[place]
                    path = incoming.paths[index]
                    bad[index] = Rejected(index, path, reason, message, old.get(index))
            rejected = tuple(bad[index] for index in sorted(bad))
            if not taken:
                shown = "; ".join(f"{one.index}: {one.message}" for one in rejected[:5])
                kind = ReviewError if refused else ConflictError
                raise kind(
                    f"Argument 'images' must hold an image that can be taken for {name!r}: {shown}."
                )
            brought = Rows(
                incoming.vectors(coming),
                digests,
                [incoming.paths[i] for i in coming],
                [None] * len(coming),
                [name] * len(coming),
                [{}] * len(coming),
                [incoming.contents[i].thumbnail for i in coming],
            )
            own = [ids[rows[place]] for place in taken]
            number, step = self._label(known, labels, own, z[taken], name, "enroll", brought)
            others = tuple(one.item for one in step.items if one.item not in {*own})
            return Enrolled(self._identity(name), tuple(own), rejected, others, number)

    def label(self, ids: Iterable[int], name: str | None) -> Change:
        """Say which class items are of; a class of a new name is enrolled from them.

        The other items that no user has decided on are assigned again at once.

        Args:
            ids: of items.
            name: of the class; None where they are of none, which holds until another call says
                otherwise.

        Raises:
            ValueError: there is no such item, or the class is retired.
        """
        if name is not None:
            name = check_text(name, "name")
        wanted = list(dict.fromkeys(checked_ids(ids)))
        if not wanted:
            raise ValueError("Argument 'ids' must hold an id.")
        with self._changing():
            self.gallery.get(wanted)
            known, labels = self._now()
            self._label(known, labels, wanted, self.gallery.store.vectors(wanted), name, "label")
            return self.history(1)[0]

    def split(self, name: str, ids: Iterable[int], new: str) -> Change:
        """Some items of a class become a class of their own.

        Args:
            name: of the class.
            ids: of its items, not all of them.
            new: name of the other class, which must be free.

        Raises:
            ValueError: an item of another class, all items, or the new name is taken.
        """
        new = check_text(new, "new")
        wanted = list(dict.fromkeys(checked_ids(ids)))
        with self._changing():
            known, labels = self._now()
            label = known.label(name)
            known.check_free(new)
            items = self.gallery.get(wanted)
            wrong = next((item.id for item in items if known.find(item.label) != label), None)
            if wrong is not None:
                raise ValueError(f"Argument 'ids' must hold items of {name!r}, not {wrong}.")
            own = {*labels.ids[[known.find(one) == label for one in labels.names]].tolist()}
            if not wanted or own <= {*wanted}:
                raise ValueError(
                    f"Argument 'ids' must hold some of the {len(own)} items of {name!r}, not "
                    f"{'all' if wanted else 'none'}."
                )
            z = self.gallery.store.vectors(wanted)
            self._label(known, labels, wanted, z, new, "split")
            return self.history(1)[0]

    def merge(self, names: Sequence[str], into: str) -> Change:
        """Classes become one. Their vectors all speak for it from then on.

        Args:
            names: of the classes that go.
            into: name of the one that stays.

        Raises:
            ConflictError: no such class, or one into itself.
        """
        with self._changing():
            known, labels = self._now()
            target = known.label(into)
            gone = [known.label(name) for name in dict.fromkeys(names)]
            if not gone or target in gone:
                raise ConflictError(f"Argument 'names' must name classes other than {into!r}.")
            if {target, *gone} & known.retired:
                raise ConflictError(
                    "Argument 'names': a retired class cannot be merged: restore it."
                )
            entries = []
            for label, owner in enumerate(known.owner.tolist()):
                if label in gone or (owner in gone and label != owner):
                    entry = known.entry(label)
                    entries.append((entry, replace(entry, state="gone", owner=target)))
            items = _renamed(known, labels, {*gone}, known.names[target])
            detail = f"{', '.join(map(repr, names))} into {into!r}"
            self._make("merge", detail, Step(tuple(entries), items), known, labels)
            return self.history(1)[0]

    def rename(self, name: str, new: str) -> Change:
        """Give a class another name, and its items.

        Raises:
            ConflictError: no such class, or the new name is taken.
        """
        new = check_text(new, "new")
        with self._changing():
            known, labels = self._now()
            label = known.label(name)
            if new == known.names[label] or known.find(new) != label:  # it may be its old name
                known.check_free(new)
            entry = known.entry(label)
            items = _renamed(known, labels, {label}, new)
            step = Step(((entry, replace(entry, name=new)),), items)
            self._make("rename", f"{name!r} to {new!r}", step, known, labels)
            return self.history(1)[0]

    def retire(self, name: str) -> Change:
        """A class is not recognized any more; its items keep their labels.

        Those that the gallery has labeled itself are assigned again.
        """
        return self._set_retired(name, True)

    def restore(self, name: str) -> Change:
        """A retired class is recognized again."""
        return self._set_retired(name, False)

    def undo(self, number: int | None = None) -> Change:
        """Take the last change back that was not taken back yet; again, the one before.

        Images that an enrollment brought leave the gallery, but those that have got another label
        or a payload since.

        Args:
            number: of the change that is meant: another one is not taken back. None for any.

        Returns:
            The change that was taken back.

        Raises:
            ConflictError: there is none, or the last one is not the one that is meant.
        """
        with self._changing():
            found = self._journal.last()
            if found is None:
                raise ConflictError("There is no change to undo.")
            change, step = found
            if number not in (None, change.number):
                raise ConflictError(
                    f"Change {number} is not the last one any more: {change.number} is, "
                    f"{change.action} {change.detail}."
                )
            self._take_back(change, step)
        return change

    # ---------------------------------------------------------------- inside

    def _set_retired(self, name: str, retired: bool) -> Change:
        with self._changing():
            known, labels = self._now()
            label = known.label(name)
            if (label in known.retired) == retired:
                raise ConflictError(
                    f"Class {name!r} is {'retired already' if retired else 'not retired'}."
                )
            if label in known.retired_by_run:
                raise ConflictError(
                    f"Class {name!r} is retired in the run: `rootspace classes {self.run.folder} "
                    "restore CLASS`."
                )
            entry = known.entry(label)
            step = Step(((entry, replace(entry, state="retired" if retired else "active")),))
            action = "retire" if retired else "restore"
            self._make(action, repr(name), step, known, labels)
            return self.history(1)[0]

    def _label(
        self,
        known: Known,
        labels: Labels,
        ids: list[int],
        z: np.ndarray,
        name: str | None,
        action: str,
        brought: Rows | None = None,
    ) -> tuple[int, Step]:
        """Label items, and enroll a class where the name is new.

        Args:
            known: the classes now.
            labels: of the items that are there.
            ids: of the items.
            z: float32 `[N, dim]`, their unit vectors.
            name: of the class, or None.
            action: what it is.
            brought: those of the items that come with the change.
        """
        vectors: dict[int, np.ndarray] = {}
        entries: tuple[tuple[Entry | None, Entry], ...] = ()
        if name is not None:
            label = known.taught(name)
            if label is None:
                label = len(known.names)
                vectors[label] = known.free_vector(z.astype(np.float64).mean(axis=0))
                entries = ((None, Entry(label, name, "active", label)),)
            else:
                name = known.names[label]  # not by an alias
        given = np.array(ids, np.int64)
        here = np.isin(given, labels.ids)
        old, new = given[here].tolist(), given[~here].tolist()
        changed = [
            Relabeled(id, labels.names[row], name, bool(labels.decided[row]), True)
            for id, row in zip(old, labels.rows(old), strict=True)
            if labels.names[row] != name or not labels.decided[row]
        ]
        changed += [Relabeled(id, None, name, False, True) for id in new]
        detail = (
            f"{len(ids)} items as {name!r}" if name is not None else f"{len(ids)} items of none"
        )
        step = Step(entries, tuple(changed), tuple(new))
        if brought is not None:
            brought = replace(brought, labels=[name] * len(brought))
        return self._make(action, detail, step, known, labels, vectors, brought)

    def _make(
        self,
        action: str,
        detail: str,
        step: Step,
        known: Known,
        labels: Labels,
        vectors: dict[int, np.ndarray] | None = None,
        brought: Rows | None = None,
    ) -> tuple[int, Step]:
        """Make a change, with what becomes of the items that no user has decided on.

        These F items are compared with all C classes, O(F * C * dim), by the first change of this
        object, and after one that was made elsewhere or taken back. Later ones compare new items
        so, and of the others only those that are near to one of the M vectors that change, which
        takes O(F * M * dim) to find.

        Args:
            action: what it is.
            detail: names, to read.
            step: what the user changes.
            known: the classes before.
            labels: before.
            vectors: label -> float32 `[dim]`, of classes that it brings.
            brought: items that it brings.
        """
        after = known.after(step, vectors or {})
        more = {item.item: item for item in step.items}
        decided = [id for id, item in more.items() if item.decided]
        free = labels.ids[~labels.decided & ~np.isin(labels.ids, decided)]
        least = after.least
        if self._assigned == _Assigned(self._state(), least):
            free = self._near(free, known.changed(after), after, least - SLACK)
        for start in range(0, len(free), CHUNK):
            ids = free[start : start + CHUNK].tolist()
            nearest, good = after.decide(self.gallery.store.vectors(ids))
            # Classes of the run explain an item too, but label none.
            good &= nearest >= after.trained
            before = [labels.names[row] for row in labels.rows(ids)]
            columns = (ids, before, nearest.tolist(), good.tolist())
            for id, name, number, fine in zip(*columns, strict=True):
                now = after.names[number] if fine else None
                if now != name:
                    more[id] = Relabeled(id, name, now, False, False)
                else:
                    more.pop(id, None)
        whole = replace(step, items=tuple(more.values()))
        number = self._write(action, detail, whole, vectors, brought=brought)
        self._assigned = _Assigned(self._state(), least)
        self._last = int(labels.ids[-1]) if len(labels.ids) else -1
        return number, whole

    def _near(self, ids: np.ndarray, classes: np.ndarray, known: Known, least: float) -> np.ndarray:
        """Those items that are new, or not farther from one of some classes' vectors.

        What is farther neither was of such a class nor will be: that needs the cosine `least`.
        """
        vectors, keep = known.vectors_of(classes), ids > self._last
        old = np.flatnonzero(~keep) if len(classes) else np.empty(0, np.int64)
        for start in range(0, len(old), CHUNK):
            rows = old[start : start + CHUNK]
            z = self.gallery.store.vectors(ids[rows].tolist())
            keep[rows] = (z @ vectors.T).max(axis=1) >= least
        return ids[keep]

    def _write(
        self,
        action: str,
        detail: str,
        step: Step,
        vectors: dict[int, np.ndarray] | None = None,
        *,
        undoes: int | None = None,
        brought: Rows | None = None,
    ) -> int:
        number = self._journal.begin(action, detail, step, vectors, undoes)
        if brought is not None:
            self.gallery.store.insert(brought, step.brought)
        self._relabel(step)
        self._journal.finish(number)
        return number

    def _take_back(self, change: Change, step: Step) -> None:
        detail = f"{change.number}: {change.action} {change.detail}"
        self._write("undo", detail, step.reverse(), undoes=change.number)

    def _relabel(self, step: Step) -> None:
        """Give items their labels, or remove them, but those that were changed meanwhile."""
        there = self.gallery.store.items([item.item for item in step.items])
        items = {
            one.item: one
            for one in step.items
            if one.item in there
            and (there[one.item].label, there[one.item].decided) == (one.before, one.was_decided)
        }
        # A payload is what somebody else has put there.
        gone = [id for id in step.removed if id in items and not there[id].payload]
        left = [item for id, item in items.items() if id not in {*gone}]
        self.gallery.store.update(
            [item.item for item in left],
            labels=[item.after for item in left],
            decided=[item.decided for item in left],
        )
        self.gallery.store.delete(gone)

    @contextmanager
    def _changing(self) -> Iterator[None]:
        """Nobody else changes anything inside; what a killed process has begun is finished.

        Or taken back, where the images that it was to bring are gone with the process.
        """
        with self.gallery.store.writing():
            for change, step in self._journal.unfinished():
                if step.brought and not self.gallery.store.items(step.brought):
                    self._take_back(change, step)
                else:
                    self._relabel(step)
                    self._journal.finish(change.number)
            yield

    def _labels(self) -> Labels:
        return self.gallery.store.labels()

    def _identity(self, name: str) -> Identity:
        label = self._known().label(name)
        return next(one for one in self.all() if one.label == label)

    def _state(self) -> tuple[object, ...]:
        """Another one after each change of the classes, whoever made it."""
        files = (self.run.folder / name for name in (REGISTRY, REJECTOR))
        return (self._journal.generation(), *(_changed(file) for file in files))

    def _known(self) -> Known:
        key = self._state()
        cached = self._cache
        if cached is None or cached[0] != key:
            entries, vectors = self._journal.entries()
            cached = self._cache = key, read_known(self.run, entries, vectors, self._usual)
        return cached[1]

    def _usual(self) -> float:
        """Median cosine of the run's classes in the gallery to their vectors."""
        version, measured = self.gallery.store.version, self._measured
        if measured is None or measured[0] != version:
            measured = self._measured = version, self._measure(self._labels())
        return measured[1]

    def _now(self) -> tuple[Known, Labels]:
        """The classes and all labels, read once for a change, inside `_changing`."""
        known, labels = self._known(), self._labels()
        if known.rejector is None:
            self._measured = self.gallery.store.version, self._measure(labels)
        return known, labels

    def _measure(self, labels: Labels) -> float:
        ids, own = list[int](), list[int]()
        known = self._known()
        for id, name in zip(labels.ids.tolist(), labels.names, strict=True):
            label = known.find(name)
            if label is not None and label < known.trained:
                ids.append(id)
                own.append(label)
            if len(ids) == CHUNK:
                break
        if not ids:
            return PAIR**0.5
        z = self.gallery.store.vectors(ids)
        vectors = self.run.model.head.vectors(torch.tensor(own)).detach().float().cpu().numpy()
        return float(np.median((z * vectors).sum(axis=-1)))

    def _review(self, name: str, z: np.ndarray, known: Known) -> dict[int, tuple[Reason, str]]:
        """Which images, by their unit vectors `[N, dim]`, are refused, and why."""
        if not len(z):
            return {}
        z = z.astype(np.float64)
        own = known.find(name)
        found: dict[int, tuple[Reason, str]] = {}
        left = list(range(len(z)))
        # The one that is farthest from the others goes first: it may be why others seem far.
        while len(left) > 2:
            rest = z[left].sum(axis=0) - z[left]
            cosine = (z[left] * rest).sum(axis=-1) / np.linalg.norm(rest, axis=-1).clip(1e-12)
            worst = int(cosine.argmin())
            if cosine[worst] >= known.least:
                break
            message = f"too far from the other images: cosine {cosine[worst]:.3f} to their mean"
            found[left.pop(worst)] = ("outlier", message)
        label, nearest = known.predict(unit(z), 2)
        mean = z[left].sum(axis=0)
        for row in left:
            others = mean - z[row] if len(left) > 1 else np.zeros_like(mean)
            norm = float(np.linalg.norm(others))
            here = float(z[row] @ others) / norm if norm > 0 else -1.0
            for number, cosine in zip(label[row].tolist(), nearest[row].tolist(), strict=True):
                if number == own:
                    here = max(here, cosine)
                elif cosine > here and cosine >= known.least and number >= 0:
                    message = f"nearer to another class: cosine {cosine:.3f} to "
                    found[row] = ("other class", message + repr(known.names[number]))
        return found


def _renamed(known: Known, labels: Labels, classes: set[int], new: str) -> tuple[Relabeled, ...]:
    """The items of some classes, under another name."""
    columns = (labels.ids.tolist(), labels.names, labels.decided.tolist())
    return tuple(
        Relabeled(id, label, new, decided, decided)
        for id, label, decided in zip(*columns, strict=True)
        if known.find(label) in classes and label != new
    )


def _changed(file: Path) -> int | None:
    """When a file was changed last, None where there is none."""
    try:
        return file.stat().st_mtime_ns
    except FileNotFoundError:
        return None
