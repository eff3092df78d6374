"""The replay memory of a run: a bounded choice of its images, on disk.

A memory is a folder of `rootspace.data.StoredImages`. Its images are sorted by label and within a
class by preference, the best first, so that a share of a class is a beginning of it. Each image
has a key, a number drawn uniformly from [0, 1) when it first came; the `size` images of smallest
key are a uniform sample of all that ever came (bottom-k sampling, the same in distribution as
Vitter's reservoir), whatever was dropped in between.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import normalize

from rootspace._files import appearing
from rootspace.config import MemoryConfig
from rootspace.data import Joined, LabeledDataset, StoredImages, store_images

TOGETHER = 256
"""Images that are embedded or written together."""

Embed = Callable[[Tensor], Tensor]
"""From uint8 images `[B, C, H, W]` to embeddings `[B, dim]`."""


def remember(
    folder: Path,
    old: StoredImages | None,
    new: LabeledDataset | None,
    class_names: Sequence[str],
    image_shape: tuple[int, int, int],
    config: MemoryConfig,
    seed: tuple[int, int],
    embed: Embed,
) -> None:
    """Choose among the images of a memory and new ones, and write the new memory.

    Reads the chosen images once, and for `herding` all images of the classes that `new` brings
    images of; of these classes the old images are chosen anew too. In memory are the labels and
    keys, a batch of images, and for `herding` the embeddings of the largest class.

    Args:
        folder: of the new memory, which must not exist; appears when it is complete.
        old: the memory so far, or None.
        new: images to choose from as well, or None.
        class_names: label -> name.
        image_shape: (C, H, W).
        config: how many and which.
        seed: of the new images' keys: the run's, and a number of this step.
        embed: for `herding`; not used otherwise.
    """
    if not config.size or (old is None and new is None):
        store_images(folder, (), np.empty(0, dtype=np.int64), np.empty(0), class_names, image_shape)
        return
    candidates = Joined([part for part in (old, new) if part is not None])
    labels = candidates.labels.numpy()
    old_keys = np.empty(0) if old is None else old.keys
    new_keys = np.random.default_rng(seed).random(len(labels) - len(old_keys))
    keys = np.concatenate([old_keys, new_keys])
    if config.policy == "reservoir":
        rank = ranks(labels, keys)
        kept = np.argsort(keys, kind="stable")[: config.size]
    else:
        counts = np.bincount(labels, minlength=len(class_names))
        priority = np.ones(len(counts))
        np.minimum.at(priority, labels, keys)
        share = shares(counts, config.size, priority)
        rank = ranks(labels, keys)
        if config.policy == "herding":
            rank = herding_ranks(candidates, len(old_keys), share, embed)
        kept = np.flatnonzero(rank < share[labels])
    kept = kept[np.lexsort((rank[kept], labels[kept]))]
    batches = np.split(kept, range(TOGETHER, len(kept), TOGETHER)) if len(kept) else []
    images = (candidates.batch(batch.tolist())[0] for batch in batches)
    store_images(folder, images, labels[kept], keys[kept], class_names, image_shape)


def carry(folder: Path, memory: StoredImages) -> None:
    """The same memory in another folder: hard links, or copies where the file system has none."""
    with appearing(folder) as temporary:
        for path in memory.folder.iterdir():
            link_or_copy(path, temporary / path.name)


def link_or_copy(source: Path, target: Path) -> None:
    """The same file under another name; files of runs are replaced, never written into."""
    try:
        os.link(source, target)
    except OSError:
        shutil.copyfile(source, target)


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


def herding(embeddings: Tensor, number: int) -> Tensor:
    """A greedy choice whose every beginning is as good a choice (iCaRL, arXiv 1611.07725, Alg. 4).

    The k-th image is the one that brings the mean of the first k unit embeddings nearest to the
    mean mu of all: the smallest |k mu - (sum of those before) - phi(x)|. None is taken twice, and
    of equally good ones the first is. So a memory that must shrink drops the last ones.

    Time O(number * N * dim), in float64; memory O(N * dim).

    Args:
        embeddings: `[N, dim]` of the images of one class, of any length.
        number: how many to choose, at most N.

    Returns:
        `[number]` int64 rows, the best first.

    Raises:
        ValueError: fewer embeddings than `number`.

    Example:
        >>> z = torch.tensor([[1.0, 0.0], [0.0, 1.0], [0.8, 0.6], [0.6, 0.8]])
        >>> herding(z, 3)
        tensor([2, 3, 0])
    """
    if not 0 <= number <= len(embeddings):
        raise ValueError(
            f"Argument 'number' must lie in [0, {len(embeddings)}], the number of embeddings, not "
            f"{number}."
        )
    unit = normalize(embeddings.detach().cpu().double(), dim=-1)  # some GPUs have no float64
    mean, half_squares = unit.mean(dim=0), unit.square().sum(dim=-1) / 2
    rest = torch.zeros_like(mean)
    free = torch.zeros(len(unit), dtype=torch.float64, device=unit.device)
    chosen = []
    for _ in range(number):
        rest = rest + mean
        # |rest - phi|^2 is smallest where this is largest; -inf where an image is taken.
        best = int((unit @ rest - half_squares + free).argmax())
        chosen.append(best)
        free[best] = -torch.inf
        rest = rest - unit[best]
    return torch.tensor(chosen, dtype=torch.int64)


def ranks(labels: np.ndarray, values: np.ndarray) -> np.ndarray:
    """`[N]` place of each image among those of its label, by ascending value."""
    order = np.lexsort((values, labels))
    sorted_labels = labels[order]
    rank = np.empty(len(labels), dtype=np.int64)
    rank[order] = np.arange(len(labels)) - np.searchsorted(sorted_labels, sorted_labels)
    return rank


@torch.no_grad()
def herding_ranks(
    images: LabeledDataset, num_old: int, share: np.ndarray, embed: Embed
) -> np.ndarray:
    """`[N]` place of each image among those of its label, by herding.

    Args:
        images: of which the first `num_old` are a memory, whose classes have their order already.
        num_old: of these.
        share: `[C]` how many of each class are wanted; the places beyond are all the same.
        embed: images to embeddings.
    """
    labels = images.labels.numpy()
    rank = ranks(labels, np.arange(len(labels)))
    coming = np.zeros(len(share), dtype=bool)
    coming[labels[num_old:]] = True
    rows = np.flatnonzero((coming & (share > 0))[labels])
    rows = rows[np.argsort(labels[rows], kind="stable")]
    for of_some in _whole_classes(rows, labels):
        parts = np.split(of_some, range(TOGETHER, len(of_some), TOGETHER))
        z = torch.cat([embed(images.batch(part.tolist())[0]).float() for part in parts])
        for label in np.unique(labels[of_some]).tolist():
            mine = np.flatnonzero(labels[of_some] == label)
            chosen = herding(z[torch.from_numpy(mine)], int(share[label])).numpy()
            rank[of_some[mine]] = len(labels)
            rank[of_some[mine[chosen]]] = np.arange(len(chosen))
    return rank


def _whole_classes(rows: np.ndarray, labels: np.ndarray) -> list[np.ndarray]:
    """Rows, sorted by label, in pieces of whole classes that fill a batch where classes are small.

    A piece of many small classes costs one pass of the network instead of one a class.
    """
    pieces, start = [], 0
    ends = np.flatnonzero(np.diff(labels[rows], append=-1)) + 1
    for end in ends.tolist():
        if end - start >= TOGETHER or end == len(rows):
            pieces.append(rows[start:end])
            start = end
    return pieces
