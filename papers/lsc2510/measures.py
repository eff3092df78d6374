"""What is measured on a finished run, beyond its own figures."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import normalize

from rootspace.classes import ClassMeans

from .experiment import Job, Outcome
from .pictures import draw_space
from .training import FinishedRun

MEANS, MIXED = "means.npy", "mixed.npy"
"""Files of mean embeddings that other parts take as targets."""

SHOWN = 3000
"""Embeddings in a picture, at most."""


def save_means(job: Job) -> Outcome:
    """CEembs: mean embeddings of the classes, as `means.npy` and, labels mixed, `mixed.npy`.

    Mixed, no class keeps its own mean.

    Values: `pair_distance`, the mean cosine distance between two classes' means, and
    `nearest_distance`, the mean one to the nearest other class's.
    """
    run = FinishedRun(job.folder)
    sums = ClassMeans(run.num_classes, run.dim)
    for images, labels in run.batches():
        sums.add(run.embed(images), labels)
    means = sums.means()
    order = torch.from_numpy(np.random.default_rng(job.seed).permutation(len(means)))
    mixed = torch.empty_like(means)
    mixed[order] = means[order.roll(1)]
    for name, vectors in ((MEANS, means), (MIXED, mixed)):
        np.save(job.folder / name, vectors.numpy())
    return Outcome(distances(means))


def distances(means: Tensor) -> dict[str, float]:
    """`[C, dim]` -> `pair_distance` and `nearest_distance` of their directions, as above."""
    unit = normalize(means.double(), dim=-1)
    cosine = unit @ unit.T
    count = len(unit)
    others = (cosine.sum() - cosine.diagonal().sum()) / (count * (count - 1))
    nearest = cosine.fill_diagonal_(-2).max(dim=-1).values.mean()
    return {"pair_distance": 1 - float(others), "nearest_distance": 1 - float(nearest)}


READ = "read_accuracy"
"""What `training_images` measures."""


def training_images(job: Job) -> Outcome:
    """`read_accuracy`: the share of the training images that the network reads, in percent.

    In evaluation mode, and of the images as they are: where they are augmented, `train_accuracy` is
    that of crops of them.
    """
    run = FinishedRun(job.folder)
    hits = [run.predict(images) == labels for images, labels in run.batches()]
    return Outcome({READ: 100 * float(torch.cat(hits).float().mean())})


def class_groups(old: int) -> Callable[[Job], Outcome]:
    """A measure: accuracy on training images of the first `old` classes and of the others.

    Values: `old_accuracy` and, where there are others, `new_accuracy`, in percent, of the network
    in evaluation mode. A prediction may be any of the run's classes.

    Args:
        old: number of old classes.
    """

    def measure(job: Job) -> Outcome:
        run = FinishedRun(job.folder)
        right, seen = torch.zeros(2), torch.zeros(2)
        for images, labels in run.batches():
            hit = run.predict(images) == labels
            group = (labels >= old).long()
            right.index_add_(0, group, hit.float())
            seen.index_add_(0, group, torch.ones(len(labels)))
        share = (100 * right / seen).tolist()
        values = {"old_accuracy": share[0]}
        if seen[1] > 0:
            values["new_accuracy"] = share[1]
        return Outcome(values)

    return measure


def within_classes(job: Job) -> Outcome:
    """How the unit embeddings of a class lie around its vector, over the training images.

    Values: `within_std`, the standard deviation of a coordinate (root of the mean variance over
    classes and coordinates), and `mean_offset`, the mean distance of a class's mean from its
    vector; of the network in evaluation mode.
    """
    run = FinishedRun(job.folder)
    first, second = (ClassMeans(run.num_classes, run.dim) for _ in range(2))
    for images, labels in run.batches():
        unit = normalize(run.embed(images), dim=-1)
        first.add(unit, labels)
        second.add(unit.square(), labels)
    mean = first.means()
    offset = mean - run.class_vectors()
    return Outcome(
        {
            "within_std": float((second.means() - mean.square()).mean().sqrt()),
            "mean_offset": float(offset.norm(dim=-1).mean()),
        }
    )


def space_picture(job: Job) -> Outcome:
    """A picture of training embeddings in 2 or 3 dimensions, with the class vectors."""
    run = FinishedRun(job.folder)
    embeddings, labels = [], []
    for images, some in run.batches():
        embeddings.append(run.embed(images))
        labels.append(some)
    z, y = torch.cat(embeddings), torch.cat(labels)
    rows = torch.linspace(0, len(z) - 1, min(SHOWN, len(z))).long()
    path = draw_space(job.picture("space"), z[rows].numpy(), y[rows].numpy(), run.num_classes)
    return Outcome(pictures=[job.relative(path)])


def means_picture(job: Job) -> Outcome:
    """A picture of the mean embeddings that `save_means` has saved, as directions."""
    means = torch.from_numpy(np.load(job.folder / MEANS))
    unit = normalize(means, dim=-1).numpy()
    path = draw_space(job.picture("means"), unit, np.arange(len(unit)), len(unit), large=True)
    return Outcome(pictures=[job.relative(path)])
