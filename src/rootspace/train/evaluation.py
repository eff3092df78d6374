"""Accuracy on test sets, and what a report shows of a run."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn.functional import normalize

from rootspace._host_array import HostArray
from rootspace.choosing import class_means, device_of, to_device
from rootspace.classes import Prediction
from rootspace.classes.search import search_vectors
from rootspace.data import DataModule
from rootspace.model_file import Model, class_names
from rootspace.runs import Evaluation, TestResult

SHOWN_CLASSES, SHOWN_VECTORS, SHOWN_EMBEDDINGS, SHOWN_CONFUSIONS, SAMPLES = 24, 2000, 2000, 24, 12

_MOST_SHOWN = 40
"""Characters of a class name in that of a file."""


class Seen(NamedTuple):
    """A batch of a test set and what the model makes of it.

    Attributes:
        start: number of its first input in the test set.
        labels: `[B]`, of the model's classes.
        z: `[B, dim]` embeddings in the frame of the prototypes, float32.
        prediction: the nearest class of each.
    """

    start: int
    labels: Tensor
    z: Tensor
    prediction: Prediction


@torch.no_grad()
def look_at(model: Model, loader: Iterable[Any], own: Tensor | None = None) -> Iterator[Seen]:
    """What a model makes of a test set, whose inputs can all be read.

    Args:
        model: trained; in evaluation mode from here on.
        loader: of the test set, in order.
        own: `[classes of the data]` the model's labels of the data's classes; the same if None.
    """
    model.embedder.eval()
    device, start = device_of(model.embedder), 0
    for x, y, *_ in loader:
        z = model.head.transform(model.embedder(to_device(x, device))).float()
        labels = y if own is None else own[y]
        yield Seen(start, labels.to(device), z, model.head.search(z))
        start += len(labels)


def accuracies(model: Model, data: DataModule) -> dict[str, TestResult]:
    """Accuracy on every test set of some data, classes matched by name.

    Args:
        model: trained.
        data: set up; its classes must be among those of the model.

    Raises:
        ValueError: the data have other classes or inputs of another shape, or no test set.
    """
    check_tests(data)
    own = own_labels(model, data)
    results = {}
    for (name, images), loader in zip(
        data.test_datasets.items(), data.test_loaders(sharded=False), strict=True
    ):
        right = sum(
            int((seen.prediction.label[:, 0] == seen.labels).sum())
            for seen in look_at(model, loader, own)
        )
        results[name] = TestResult(right / len(images), len(images))
    return results


def own_labels(model: Model, data: DataModule) -> Tensor:
    """`[data.num_classes]` the model's labels of the data's classes, matched by name.

    Raises:
        ValueError: the data have other classes or inputs of another shape.
    """
    check_shape(model, data, "The run")
    number = {name: label for label, name in enumerate(class_names(model))}
    unknown = [name for name in data.class_names if name not in number]
    if unknown:
        shown = ", ".join(repr(name) for name in unknown[:5])
        raise ValueError(
            f"{len(unknown)} of the data's classes are unknown to the run: {shown}"
            f"{', ...' if len(unknown) > 5 else ''}. Use the settings it was trained with."
        )
    return torch.tensor([number[name] for name in data.class_names])


def check_tests(data: DataModule) -> None:
    """Raise a ValueError unless the data have a test set."""
    if not data.test_datasets:
        raise ValueError(f"The data have no test set: {data.describe()}.")


def check_shape(model: Model, data: DataModule, source: str) -> None:
    """Raise a ValueError unless the data bring what a model takes."""
    mine, its = model.preprocessing, data.preprocessing
    shapes = [None if p is None else (p.channels, p.size) for p in (mine, its)]
    if shapes[0] != shapes[1]:
        taken, brought = (
            "no images" if s is None else f"images of {s[0]} x {s[1]} x {s[1]}" for s in shapes
        )
        raise ValueError(f"{source} takes {taken}, the data have {brought}.")


def mean_directions(model: Model, data: DataModule) -> Tensor:
    """`[num_classes, dim]` directions of the mean unit embeddings of the training data."""

    def embed(x: Any) -> Tensor:
        return model.head.transform(model.embedder(x))

    model.embedder.eval()
    device = device_of(model.embedder)
    means = class_means(embed, data.in_order(), data.num_classes, unit=True, device=device)
    return means.directions()


def evaluate(
    model: Model, data: DataModule, means: Tensor | None = None
) -> tuple[dict[str, TestResult], Evaluation]:
    """Accuracy on every test set, and what a report shows.

    Args:
        model: trained.
        data: set up.
        means: `[num_classes, dim]` of `mean_directions`, to predict by them as well.

    Returns:
        Test set -> result, with `mean_accuracy` where means are given; and the arrays.
    """
    tests: dict[str, TestResult] = {}
    table = None if means is None else HostArray(means)
    # Nearest confusions: the wrong answers that came closest to the vector of another class.
    wrong: list[tuple[float, str, int, int, int]] = []
    embeddings: list[Tensor] = []
    embedding_labels: list[Tensor] = []
    shown = _spread(data.num_classes, SHOWN_CLASSES)
    # Of each class and test set alike, which may be sorted by class.
    share = max(1, SHOWN_EMBEDDINGS // max(1, len(shown) * len(data.test_datasets)))
    for (name, images), loader in zip(
        data.test_datasets.items(), data.test_loaders(sharded=False), strict=True
    ):
        right = right_by_mean = 0
        wanted = torch.zeros(data.num_classes, dtype=torch.int64)
        wanted[shown] = share
        for start, labels, z, prediction in look_at(model, loader):
            label, cosine = prediction.label[:, 0], prediction.cosine[:, 0]
            hit = label == labels
            right += int(hit.sum())
            if table is not None:
                right_by_mean += int((_nearest(z, table) == labels).sum())
            rows = (~hit).nonzero()[:, 0]
            near = cosine[rows].topk(min(SHOWN_CONFUSIONS, len(rows))).indices
            for row in rows[near].tolist():
                wrong.append(
                    (float(cosine[row]), name, start + row, int(labels[row]), int(label[row]))
                )
            wrong = sorted(wrong, reverse=True)[:SHOWN_CONFUSIONS]
            on_host = labels.cpu()
            rows = _take_wanted(on_host, wanted)
            embeddings.append(z[rows.to(z.device)].cpu())
            embedding_labels.append(on_host[rows])
        count = max(len(images), 1)
        by_means = None if means is None else right_by_mean / count
        tests[name] = TestResult(right / count, len(images), by_means)
    if data.preprocessing is None:  # there is nothing to show of them
        wrong = []
    vector_labels = torch.cat([shown, _spread(data.num_classes, SHOWN_VECTORS)]).unique()
    vectors = model.head.vectors(vector_labels.to(device_of(model.embedder))).cpu()
    pictures = _first_images(data, {c for *_, true, answer in wrong for c in (true, answer)})
    seen = torch.cat([shown[:0], *embedding_labels]).numpy()
    answers = [label for *_, true, answer in wrong for label in (true, answer)]
    named = np.unique(np.concatenate([vector_labels.numpy(), seen, np.array(answers, np.int64)]))
    return tests, Evaluation(
        embeddings=torch.cat([vectors[:0], *embeddings]).numpy(),
        embedding_labels=seen,
        class_vectors=vectors.numpy(),
        class_vector_labels=vector_labels.numpy(),
        class_labels=named,
        class_names=np.array([data.class_names[c] for c in named.tolist()], dtype=np.str_),
        confusion_set=np.array([name for _, name, *_ in wrong], dtype=np.str_),
        confusion_true=np.array([w[3] for w in wrong], dtype=np.int64),
        confusion_predicted=np.array([w[4] for w in wrong], dtype=np.int64),
        confusion_cosine=np.array([w[0] for w in wrong], dtype=np.float32),
        confusion_images=_stack([data.test_datasets[w[1]][w[2]][0] for w in wrong], data),
        confusion_true_images=_stack([pictures[w[3]] for w in wrong], data),
        confusion_predicted_images=_stack([pictures[w[4]] for w in wrong], data),
    )


def _spread(number: int, most: int) -> Tensor:
    """At most so many of [0, number), evenly; in whole numbers, which float32 would round."""
    count = min(most, number)
    return torch.arange(count) * (number - 1) // max(count - 1, 1)


def _nearest(z: Tensor, means: HostArray) -> Tensor:
    """`[B, dim]` embeddings -> the numbers of the means nearest to them, a part at a time."""

    def part(start: int, stop: int) -> Tensor:
        return means.part(start, stop, z.device)

    return search_vectors(normalize(z, dim=-1), part, len(means.rows), 1)[1][:, 0]


def _take_wanted(labels: Tensor, wanted: Tensor) -> Tensor:
    """Rows of the inputs of a batch that are wanted, ascending.

    Args:
        labels: `[B]`, on the CPU.
        wanted: `[num_classes]` how many inputs of each class; as many less afterwards.
    """
    order = labels.argsort(stable=True)
    own = labels[order]
    place = torch.arange(len(own)) - torch.searchsorted(own, own)
    rows = order[place < wanted[own]].sort().values
    wanted.index_add_(0, labels[rows], -torch.ones_like(rows))
    return rows


def save_samples(data: DataModule, folder: Path) -> None:
    """A few test images as PNG files, to try `rootspace predict` with; none of other data.

    They are named by test set, number in it and class, as far as files may be called so.
    """
    if data.preprocessing is None:
        return
    folder.mkdir(exist_ok=True)
    for name, images in list(data.test_datasets.items())[:1]:
        digits = len(str(len(images)))
        for index in _spread(len(images), SAMPLES).tolist():
            image, label = images[index]
            pixels = image.permute(1, 2, 0).squeeze(-1).numpy()
            shown = re.sub(r"[^\w.-]+", "_", str(data.class_names[int(label)]))[:_MOST_SHOWN]
            Image.fromarray(pixels).save(folder / f"{name}-{index:0{digits}}-{shown}.png")


def _first_images(data: DataModule, wanted: set[int]) -> dict[int, Tensor]:
    """One image of each wanted class: from training, or a test set where it has none there."""
    sets = [data.train_dataset, *data.test_datasets.values()]
    found = {}
    for label in wanted:
        # An old class of an extended run may have no image at all any more: a blank one.
        found[label] = torch.zeros(_shape(data), dtype=torch.uint8)
        for images in sets:
            rows = (images.labels == label).nonzero()[:, 0]
            if len(rows):
                found[label] = images[int(rows[0])][0]
                break
    return found


def _stack(images: list[Tensor], data: DataModule) -> np.ndarray:
    if images:
        return torch.stack(images).numpy()
    return np.empty((0, *_shape(data)), dtype=np.uint8)


def _shape(data: DataModule) -> tuple[int, int, int]:
    shape = data.preprocessing
    return (1, 1, 1) if shape is None else (shape.channels, shape.size, shape.size)
