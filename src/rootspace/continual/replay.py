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

from rootspace._files import appearing
from rootspace.data import JoinedImages, LabelledImages, StoredImages, store_images

from ._herding import herding
from ._memory_config import MemoryConfig
from ._shares import shares

TOGETHER = 256
"""Images that are embedded or written together."""

Embed = Callable[[Tensor], Tensor]
"""From uint8 images `[B, C, H, W]` to embeddings `[B, dim]`."""


def remember(
    folder: Path,
    old: StoredImages | None,
    new: LabelledImages | None,
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
    candidates = JoinedImages([part for part in (old, new) if part is not None])
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
    images = (candidates.__getitems__(batch.tolist())[0] for batch in batches)
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


def ranks(labels: np.ndarray, values: np.ndarray) -> np.ndarray:
    """`[N]` place of each image among those of its label, by ascending value."""
    order = np.lexsort((values, labels))
    sorted_labels = labels[order]
    rank = np.empty(len(labels), dtype=np.int64)
    rank[order] = np.arange(len(labels)) - np.searchsorted(sorted_labels, sorted_labels)
    return rank


@torch.no_grad()
def herding_ranks(
    images: LabelledImages, num_old: int, share: np.ndarray, embed: Embed
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
        z = torch.cat([embed(images.__getitems__(part.tolist())[0]).float() for part in parts])
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
