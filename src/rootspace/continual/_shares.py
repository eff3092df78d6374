"""How many images of each class a bounded memory holds."""

from __future__ import annotations

import numpy as np


def shares(counts: np.ndarray, size: int, priority: np.ndarray) -> np.ndarray:
    """Equally many of each class, as far as there are so many, `size` in all if there are.

    What classes with few images leave goes to the others. Where `size` does not divide evenly, one
    more goes to the classes of smallest priority; where it is below the number of classes, the
    others have none.

    Time O(C log C).

    Args:
        counts: `[C]` int64, images of each class.
        size: images in all.
        priority: `[C]` float64.

    Returns:
        `[C]` int64, at most `counts`.

    Example:
        >>> shares(np.array([5, 1, 5]), 8, np.array([0.2, 0.1, 0.3]))
        array([4, 1, 3])
    """
    ascending = np.sort(counts)
    remaining = len(counts) - np.arange(len(counts))
    # filled[i]: images in all if every class has as many as the class with the i-th fewest.
    filled = np.concatenate([[0], np.cumsum(np.diff(ascending, prepend=0) * remaining)])
    if size >= filled[-1]:
        return counts.astype(np.int64)
    place = int(np.searchsorted(filled, size, side="right")) - 1
    below = int(ascending[place - 1]) if place else 0
    level, rest = divmod(size - int(filled[place]), int(remaining[place]))
    level += below
    result = np.minimum(counts, level).astype(np.int64)
    more = np.flatnonzero(counts > level)
    result[more[np.argsort(priority[more], kind="stable")[:rest]]] += 1
    return result
