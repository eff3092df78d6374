"""Final figures of a run and what its report shows."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from rootspace.data import ImageData
from rootspace.runs import Evaluation, TestResult

from .assignment import embed_means
from .module import LSCModule

SHOWN_CLASSES, SHOWN_VECTORS, SHOWN_EMBEDDINGS, SHOWN_CONFUSIONS, SAMPLES = 24, 2000, 2000, 24, 12


def class_means(module: LSCModule, data: ImageData) -> Tensor:
    """`[num_classes, dim]` directions of the mean unit embeddings of the training images.

    Args:
        module: trained.
        data: set up.
    """
    means = embed_means(module.embedder, data, unit=True)
    return torch.nn.functional.normalize(means.means(), dim=-1)


@torch.no_grad()
def evaluate(
    module: LSCModule, data: ImageData, means: Tensor | None = None
) -> tuple[dict[str, TestResult], Evaluation]:
    """Accuracy on every test set, and the pictures of a report.

    Args:
        module: trained; put into evaluation mode here.
        data: set up.
        means: `[num_classes, dim]` of `class_means`, to predict by them as well.

    Returns:
        The result of each test set, with `mean_accuracy` where means are given, and what the
        report shows.
    """
    module.eval()
    tests: dict[str, TestResult] = {}
    # Nearest confusions: the wrong answers that came closest to the vector of another class.
    wrong: list[tuple[float, str, int, int, int]] = []
    embeddings: list[Tensor] = []
    embedding_labels: list[Tensor] = []
    shown = torch.linspace(0, data.num_classes - 1, min(SHOWN_CLASSES, data.num_classes)).long()
    for (name, dataset), loader in zip(
        data.test_datasets.items(), data.whole_test_dataloader(), strict=True
    ):
        right = seen = right_by_mean = 0
        for batch_images, batch_labels in loader:
            labels = batch_labels.to(module.device)
            z = module.embedder(batch_images.to(module.device))
            prediction = module.objective.predict(z)
            label, cosine = prediction.label[:, 0], prediction.cosine[:, 0]
            hit = label == labels
            right += int(hit.sum())
            if means is not None:
                nearest = (z.float() @ means.to(z.device).T).argmax(dim=-1)
                right_by_mean += int((nearest == labels).sum())
            rows = (~hit).nonzero()[:, 0]
            near = cosine[rows].topk(min(SHOWN_CONFUSIONS, len(rows))).indices
            for row in rows[near].tolist():
                wrong.append(
                    (float(cosine[row]), name, seen + row, int(labels[row]), int(label[row]))
                )
            wrong = sorted(wrong, reverse=True)[:SHOWN_CONFUSIONS]
            of_shown = torch.isin(labels, shown.to(module.device))
            embeddings.append(z[of_shown].float().cpu())
            embedding_labels.append(labels[of_shown].cpu())
            seen += len(labels)
        number = max(len(dataset), 1)
        by_mean = None if means is None else right_by_mean / number
        tests[name] = TestResult(right / number, len(dataset), by_mean)
    spread = torch.linspace(0, data.num_classes - 1, min(SHOWN_VECTORS, data.num_classes)).long()
    vector_labels = torch.cat([shown, spread]).unique()
    vectors = module.objective.class_vectors(vector_labels.to(module.device))
    pictures = _first_images(data, {c for *_, true, answer in wrong for c in (true, answer)})
    evaluation = Evaluation(
        embeddings=torch.cat([vectors[:0].float().cpu(), *embeddings])[:SHOWN_EMBEDDINGS].numpy(),
        embedding_labels=torch.cat([shown[:0], *embedding_labels])[:SHOWN_EMBEDDINGS].numpy(),
        class_vectors=vectors.float().cpu().numpy(),
        class_vector_labels=vector_labels.numpy(),
        confusion_set=np.array([name for _, name, *_ in wrong], dtype=np.str_),
        confusion_true=np.array([w[3] for w in wrong], dtype=np.int64),
        confusion_predicted=np.array([w[4] for w in wrong], dtype=np.int64),
        confusion_cosine=np.array([w[0] for w in wrong], dtype=np.float32),
        confusion_images=_stack([data.test_datasets[w[1]][w[2]][0] for w in wrong], data),
        confusion_true_images=_stack([pictures[w[3]] for w in wrong], data),
        confusion_predicted_images=_stack([pictures[w[4]] for w in wrong], data),
        class_names=np.array(data.class_names, dtype=np.str_),
    )
    return tests, evaluation


def save_samples(data: ImageData, folder: Path) -> None:
    """A few test images as PNG files, to try `rootspace predict` with."""
    folder.mkdir(exist_ok=True)
    for name, dataset in list(data.test_datasets.items())[:1]:
        for index in (
            torch.linspace(0, len(dataset) - 1, min(SAMPLES, len(dataset))).long().tolist()
        ):
            image, label = dataset[index]
            pixels = image.permute(1, 2, 0).squeeze(-1).numpy()
            Image.fromarray(pixels).save(folder / f"{name}-class{int(label)}.png")


def _first_images(data: ImageData, wanted: set[int]) -> dict[int, Tensor]:
    """One image of each wanted class: from training, or a test set where it has none there."""
    sets = [data.train_dataset, *data.test_datasets.values()]
    found = {}
    for label in wanted:
        # An old class of an extended run may have no image at all any more: a blank one.
        found[label] = torch.zeros(data.content.image_shape, dtype=torch.uint8)
        for images in sets:
            rows = (images.labels == label).nonzero()[:, 0]
            if len(rows):
                found[label] = images[int(rows[0])][0]
                break
    return found


def _stack(images: list[Tensor], data: ImageData) -> np.ndarray:
    if images:
        return torch.stack(images).numpy()
    return np.empty((0, data.in_channels, data.image_size, data.image_size), dtype=np.uint8)
