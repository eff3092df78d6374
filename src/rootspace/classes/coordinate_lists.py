"""Exact search among vectors of few non-zero coordinates that looks at few of them."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import torch
from torch import Tensor

from .codes import CHUNK

FIRST, GROWTH = 4, 4
"""Lists that are looked through first, and how many times as many after that."""

SLACK = 1e-5
"""Above the rounding of a cosine in float32."""

Placements = Callable[[Tensor], tuple[Tensor, Tensor]]
"""Labels `[N]` -> positions and values `[N, m]` of their vectors, unused columns with value 0."""


class CoordinateLists:
    """For each coordinate and value, the classes whose vectors have it there.

    A vector of m non-zero coordinates whose cosine is s owes s / m at least to one of them. So the
    lists are looked through from the one that gives most on, until m times what the next one gives
    is less than the best cosine found: the threshold algorithm (Fagin et al., 2001). Among N random
    vectors of an A_n with one interpolation that is a hundredth of them.

    9 * m bytes a class, on the host. Building takes 2 s for a million classes.

    Args:
        placements: of the vectors.
        num_classes: how many there are.
    """

    def __init__(self, placements: Placements, num_classes: int) -> None:
        parts = [placements(part) for part in torch.arange(num_classes).split(CHUNK)]
        self.positions = np.concatenate([part.numpy().astype(np.int32) for part, _ in parts])
        values = np.concatenate([part.numpy() for _, part in parts])
        self.width = values.shape[1]
        self.values, kind = np.unique(values, return_inverse=True)
        self.kinds = kind.reshape(values.shape).astype(np.min_scalar_type(len(self.values)))
        key = self.positions.ravel().astype(np.int64) * len(self.values) + kind.ravel()
        entries = np.flatnonzero(values.ravel())
        entries = entries[key[entries].argsort(kind="stable")]
        self.classes = (entries // self.width).astype(np.int32)
        lists, starts = np.unique(key[entries], return_index=True)
        self.starts = np.append(starts, len(entries))
        self.position, self.kind = lists // len(self.values), lists % len(self.values)

    def __len__(self) -> int:
        return len(self.kinds)

    @property
    def nbytes(self) -> int:
        return self.positions.nbytes + self.kinds.nbytes + self.classes.nbytes

    def search(self, z: Tensor, k: int) -> tuple[Tensor, Tensor]:
        """The k best classes, equal ones by label.

        Args:
            z: `[N, dim]` unit embeddings on the CPU.
            k: how many are wanted, at most `len(self)`.

        Returns:
            Cosines and labels `[N, k]`, best first.
        """
        rows = z.detach().numpy()
        values = self.values.astype(rows.dtype)
        cosine = np.empty((len(rows), k), rows.dtype)
        label = np.empty((len(rows), k), np.int64)
        for i, row in enumerate(rows):
            cosine[i], label[i] = self._search(row, values, k)
        return torch.from_numpy(cosine), torch.from_numpy(label)

    def _search(self, z: np.ndarray, values: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
        gives = z[self.position] * values[self.kind]
        order = (-gives).argsort()
        best, found = np.empty(0, z.dtype), np.empty(0, np.int64)
        for start, stop in _steps(len(order)):
            seen = [self.classes[self.starts[i] : self.starts[i + 1]] for i in order[start:stop]]
            labels = np.concatenate(seen).astype(np.int64)
            best, found = _best(
                np.concatenate([best, self._cosines(z, values, labels)]),
                np.concatenate([found, labels]),
                k,
            )
            left = 0.0 if stop == len(order) else float(gives[order[stop]])
            # A class whose coordinates are all further back has at most `width` of them, and at
            # least one.
            most = self.width * left if left > 0 else left
            if len(best) == k and (stop == len(order) or best[-1] > most + SLACK):
                break
        return best, found

    def _cosines(self, z: np.ndarray, values: np.ndarray, labels: np.ndarray) -> np.ndarray:
        positions, kinds = self.positions[labels], self.kinds[labels]
        total = z[positions[:, 0]] * values[kinds[:, 0]]
        for j in range(1, self.width):
            total += z[positions[:, j]] * values[kinds[:, j]]
        return total


def _steps(count: int) -> Iterator[tuple[int, int]]:
    start, size = 0, FIRST
    while start < count:
        yield start, min(start + size, count)
        start, size = start + size, GROWTH * size


def _best(cosine: np.ndarray, label: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
    """The k best of pairs of which some may be there twice, equal cosines by label."""
    if len(cosine) > k:
        # A class is there once for each of its coordinates at most, all with one cosine.
        least = cosine.max() if k == 1 else _least(cosine, label, k)
        keep = cosine >= least
        cosine, label = cosine[keep], label[keep]
    order = np.lexsort((label, -cosine))
    cosine, label = cosine[order], label[order]
    new = np.append(True, label[1:] != label[:-1])[: len(label)]
    return cosine[new][:k], label[new][:k]


def _least(cosine: np.ndarray, label: np.ndarray, k: int) -> np.floating:
    """The k-th largest cosine of different classes."""
    _, once = np.unique(label, return_index=True)
    own = cosine[once]
    return own.min() if len(own) <= k else np.partition(own, len(own) - k)[len(own) - k]
