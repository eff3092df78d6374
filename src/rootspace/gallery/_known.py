"""The classes of a gallery at one moment: those of the run, and those that were enrolled."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from rootspace.classes import Prediction
from rootspace.continual import Rejector, predict_without
from rootspace.continual.live import read_rejector
from rootspace.run import Run
from rootspace.runs.folder import REJECTOR

from .identity import Match
from .items import ConflictError
from .journal import Entry, Step
from .lance import unit

CHUNK = 4096
"""Embeddings compared together."""


@dataclass(frozen=True)
class Known:
    """The classes at one moment.

    Attributes:
        run: it.
        names: by label; those of classes that are gone too.
        labels: by name; of a class of the run also by its aliases and the name that it was trained
            with, where no other class has it.
        trained: how many are of the run.
        owner: int64 `[labels]`, of whom each vector speaks.
        mute: int64, labels whose vectors speak of nobody, ascending.
        merged: how many vectors speak of another class than their own.
        gone: labels of no class.
        retired: labels that are not recognized.
        retired_by_run: of these, those that the run's registry says.
        entries: what the journal says, by label.
        vectors: float32 `[M, dim]` of the enrolled classes.
        rejector: of the run, for its classes.
        usual: where there is none, tells the median cosine of the run's classes to their vectors.
    """

    run: Run
    names: list[str]
    labels: dict[str, int]
    trained: int
    owner: np.ndarray
    mute: np.ndarray
    merged: int
    gone: frozenset[int]
    retired: frozenset[int]
    retired_by_run: frozenset[int]
    entries: dict[int, Entry]
    vectors: np.ndarray
    rejector: Rejector | None
    usual: Callable[[], float]

    @property
    def least(self) -> float:
        """Least cosine to the vector of an enrolled class."""
        # Two members of a class deviate from its vector each in a way of its own, so the cosine
        # between them is about the product of their cosines to it.
        cosine = self.usual() if self.rejector is None else self.rejector.known_cosine
        return max(cosine, 0.0) ** 2

    def find(self, name: str | None) -> int | None:
        """The label of a name, as an item has it too; None where it is that of no class."""
        return None if name is None else self.labels.get(name)

    def taught(self, name: str) -> int | None:
        """The label of a name that items are to get; None for a new class."""
        label = self.find(name)
        if label in self.retired:
            raise ConflictError(f"Class {name!r} is retired: restore it first.")
        return label

    def label(self, name: str) -> int:
        """The label of a name; a ConflictError where there is none."""
        label = self.find(name)
        if label is None:
            raise ConflictError(f"There is no class {name!r:.80}.")
        return label

    def check_free(self, name: str) -> None:
        """That no class is found by a name; else a ConflictError."""
        label = self.find(name)
        if label is not None:
            raise ConflictError(
                f"Argument 'new' must be free; {name!r} is a name of class {self.names[label]!r}."
            )

    def entry(self, label: int) -> Entry:
        """What is said of a class."""
        return self.entries.get(label, Entry(label, None, "active", label))

    def after(self, step: Step, vectors: dict[int, np.ndarray]) -> Known:
        """The classes after a change."""
        entries = {**self.entries, **{entry.label: entry for _, entry in step.entries}}
        new = np.array([vectors[label] for label in sorted(vectors)], np.float32)
        together = np.concatenate([self.vectors, new.reshape(-1, self.vectors.shape[1])])
        ordered = [entries[label] for label in sorted(entries)]
        return read_known(self.run, ordered, together, self.usual)

    def vectors_of(self, labels: np.ndarray) -> np.ndarray:
        """float32 `[N, dim]` prototypes of classes."""
        own = labels < self.trained
        found = np.empty((len(labels), self.vectors.shape[1]), np.float32)
        trained = torch.from_numpy(labels[own])
        found[own] = self.run.model.head.vectors(trained).detach().float().cpu().numpy()
        found[~own] = self.vectors[labels[~own] - self.trained]
        return found

    def changed(self, after: Known) -> np.ndarray:
        """int64, labels whose vectors speak for another class, or for none, after a change."""
        before, now = (
            np.where(np.isin(np.arange(len(known.owner)), known.mute), -1, known.owner)
            for known in (self, after)
        )
        new = np.arange(len(before), len(now))
        return np.concatenate([np.flatnonzero(before != now[: len(before)]), new])

    @property
    def _excluded(self) -> Tensor:
        """Of the run's classes, those whose vectors speak of nobody."""
        return torch.from_numpy(self.mute[self.mute < self.trained])

    @torch.no_grad()
    def _of_run(self, z: Tensor, k: int) -> Prediction:
        """The k nearest of the run's classes that are not mute, or all where there are fewer."""
        excluded, search = self._excluded, self.run.model.head.search
        k = min(k, self.trained - len(excluded))
        if not k or not len(z):
            return Prediction(z.new_empty((len(z), k), dtype=torch.int64), z.new_empty((len(z), k)))
        parts = [predict_without(search, p, k, excluded, self.trained) for p in z.split(CHUNK)]
        return Prediction(torch.cat([p.label for p in parts]), torch.cat([p.cosine for p in parts]))

    def predict(self, z: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
        """Labels and cosines `[N, k]` of the nearest classes; -1 and -1 where there are fewer."""
        return self._joined(z, self._of_run(self._query(z), k + self.merged), k)

    def _query(self, z: np.ndarray) -> Tensor:
        return torch.from_numpy(z).to(self.run.device)

    def _joined(self, z: np.ndarray, found: Prediction, k: int) -> tuple[np.ndarray, np.ndarray]:
        """As `predict`, from at least `k + merged` nearest of the run's classes."""
        merged = self.merged
        label, cosine = found.label.cpu().numpy(), found.cosine.float().cpu().numpy()
        speaking = np.setdiff1d(np.arange(self.trained, len(self.names)), self.mute)
        own = z @ self.vectors[speaking - self.trained].T
        label = np.concatenate([label, np.broadcast_to(speaking, own.shape)], axis=1)
        cosine = np.concatenate([cosine, own], axis=1)
        order = np.lexsort((label, -cosine), axis=1)
        label = self.owner[np.take_along_axis(label, order, axis=1)]
        cosine = np.take_along_axis(cosine, order, axis=1)
        if merged:  # the best of several vectors that speak for one
            for row in range(len(z)):
                first = np.sort(np.unique(label[row], return_index=True)[1])
                rest = len(label[row]) - len(first)
                label[row] = np.append(label[row][first], np.full(rest, -1))
                cosine[row] = np.append(cosine[row][first], np.full(rest, -1.0))
        short = max(0, k - label.shape[1])
        label = np.pad(label, ((0, 0), (0, short)), constant_values=-1)[:, :k]
        return label, np.pad(cosine, ((0, 0), (0, short)), constant_values=-1)[:, :k]

    def matches(self, labels: np.ndarray, cosines: np.ndarray) -> list[Match]:
        """Labels and cosines of an input, without those that are -1."""
        pairs = zip(labels.tolist(), cosines.tolist(), strict=True)
        return [Match(label, self.names[label], cosine) for label, cosine in pairs if label >= 0]

    def decide(self, z: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """`[N]` the nearest class, and whether an input is near enough to it."""
        label, cosine, good = self.answer(z, 1)
        label, cosine = label[:, 0], cosine[:, 0]
        return label, (cosine >= self.least) & (label >= 0) if good is None else good

    def answer(self, z: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray, np.ndarray | None]:
        """Labels and cosines as of `predict`, and by the rejector whether each input is known."""
        if self.rejector is None:
            return *self.predict(z, k), None
        query, score = self._query(z), self.rejector.score
        nearest = self._of_run(query, max(k + self.merged, score.width))
        label, cosine = self._joined(z, nearest, k)
        good = (cosine[:, 0] >= self.least) & (label[:, 0] >= 0)
        own = np.flatnonzero((label[:, 0] >= 0) & (label[:, 0] < self.trained))
        if len(own):
            rows = torch.from_numpy(own).to(query.device)
            nearest = Prediction(*(part[rows, : score.width] for part in nearest))
            scores = score(nearest, query[rows], self.run.class_map, self._excluded)
            good[own] = ~self.rejector.is_unknown(scores).cpu().numpy()
        return label, cosine, good

    def free_vector(self, mean: np.ndarray) -> np.ndarray:
        """float32 `[dim]`, that a class with this mean gets."""
        class_map = self.run.class_map
        near = unit(mean[None])
        if class_map is None or class_map.order != "assigned":
            return near[0]
        if class_map.num_classes + len(self.vectors) >= class_map.capacity:
            return near[0]
        # Those that are enrolled first, by themselves: a mean beside them could move them.
        for means in (self.vectors, near):
            # Nobody sees the names of this map.
            class_map = class_map.with_names(None).extend_assigned(torch.from_numpy(means))
        return class_map.vectors(torch.tensor([class_map.num_classes - 1]))[0].float().cpu().numpy()


def read_known(
    run: Run,
    entries: Sequence[Entry],
    vectors: np.ndarray,
    usual: Callable[[], float],
) -> Known:
    """The classes, from the run and from what the journal says.

    Args:
        run: it, with its registry.
        entries: of classes that have been changed.
        vectors: float32 `[M, dim]` of the enrolled classes.
        usual: tells the median cosine of the run's classes to their vectors.
    """
    trained = len(run.names)
    by_label = {entry.label: entry for entry in entries}
    classes = run.classes()
    names, labels = classes.all_names()
    names += [""] * len(vectors)
    owner = np.arange(len(names))
    by_run = frozenset(classes.retired.tolist())
    gone, retired = set[int](), set(by_run)
    for label, entry in by_label.items():
        if entry.name is not None:
            names[label] = entry.name
        owner[label] = entry.owner
        if entry.state == "gone":
            gone.add(label)
        elif entry.state == "retired":
            retired.add(label)
    # The vector of an enrolled class that the run has been trained on since speaks for the run's.
    labels |= {name: label for label, name in enumerate(names[:trained]) if label not in gone}
    labels = {name: int(owner[label]) for name, label in labels.items()}
    for label, name in enumerate(names[trained:], trained):
        if label in gone:
            continue
        own = labels.setdefault(name, label)
        if own != label and label not in retired:
            owner[owner == label] = own
            gone.add(label)
    silent = np.isin(owner, [*retired])
    # Classes that are gone and merged speak for others, those that were taken back do not.
    silent[[label for label in gone if owner[label] == label]] = True
    rejector = read_rejector(run.folder) if (run.folder / REJECTOR).is_file() else None
    return Known(
        run,
        names,
        labels,
        trained,
        owner,
        np.flatnonzero(silent),
        int((owner != np.arange(len(owner))).sum()),
        frozenset(gone),
        frozenset(retired),
        by_run,
        by_label,
        vectors,
        rejector,
        usual,
    )
