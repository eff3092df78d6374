"""From class means to class vectors, before or between the epochs of a run."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn.functional import normalize

from rootspace.classes import Assignment, ClassMeans, RefinedMeans, assign
from rootspace.data import EpochLoader, ImageData
from rootspace.systems import VectorSystem

from .class_vectors import read_vectors
from .config import ClassesConfig
from .embedder import Embedder
from .run_folder import TrainedRun, read_run

Assigner = Callable[[Embedder, ImageData, torch.optim.Optimizer], Assignment]
"""From the network in training, its data and its optimiser to class vectors."""


def make_assigner(
    config: ClassesConfig, system: VectorSystem, embedder: Embedder, data: ImageData
) -> Assigner:
    """What `classes.assignment` names, checked as far as it can be before training.

    Args:
        config: with another assignment than `random`.
        system: whose vectors to use.
        embedder: to be trained.
        data: set up.

    Raises:
        ValueError: naming the setting that cannot work.
    """
    seed = config.seed if config.rotate else None
    if config.assignment == "file":
        assert config.vectors is not None
        read_vectors(config.vectors, system.dim, data.class_names)
        return partial(assign_from_file, path=config.vectors, system=system)
    if config.assignment == "teacher":
        assert config.teacher is not None
        read_teacher(config.teacher, data, torch.device("cpu"))
        return partial(assign_from_teacher, folder=config.teacher, system=system, seed=seed)
    if getattr(embedder.network, "head", None) is None:
        raise ValueError(
            "Argument 'classes.assignment' = 'warmup' needs a network that ends in a linear layer; "
            "set 'model.dim' to another dimension than the backbone's, which adds one."
        )
    if data.augment == "none" and int(torch.bincount(data.train_dataset.labels).max()) == 1:
        raise ValueError(
            "Argument 'classes.assignment' = 'warmup' needs two images of a class, and these data "
            "have one of each: set 'data.augment', which draws it anew each time, or another "
            "assignment."
        )
    return partial(assign_from_warmup, system=system, seed=seed)


def assign_from_warmup(
    embedder: Embedder,
    data: ImageData,
    optimizer: torch.optim.Optimizer,
    *,
    system: VectorSystem,
    seed: int | None,
) -> Assignment:
    """Give each class the vector nearest to the mean of its embeddings.

    The embeddings are centred and rotated at random first, so that their coordinates are alike, as
    a permutation code expects; both are folded into the network's last linear layer, so the
    network knows what it knew.

    Args:
        embedder: its last linear layer is changed.
        data: whose training images to embed.
        optimizer: whose running moments of that layer no longer fit and are dropped.
        system: whose vectors to use.
        seed: of the rotation, None for none.
    """
    head: nn.Linear = embedder.network.head  # pyright: ignore[reportAssignmentType]
    means = embed_means(embedder, data)
    center, rotation = means.center(), random_rotation(system.dim, seed)
    fold(head, center.to(head.weight.device), rotation.to(head.weight.device))
    for parameter in head.parameters():
        optimizer.state.pop(parameter, None)
    return assign(system, means.means(center, rotation), data.class_names)


def assign_again(
    embedder: Embedder, data: ImageData, system: VectorSystem, rounds: int
) -> Assignment:
    """Give each class the vector nearest to the refined mean of its embeddings, as they are.

    Args:
        embedder: whose embeddings have been centred and rotated before.
        data: whose training images to embed.
        system: whose vectors to use.
        rounds: of `RefinedMeans.refined`, 0 for the means themselves.
    """
    if not rounds:
        return assign(system, embed_means(embedder, data).means(), data.class_names)
    loader = data.means_dataloader()
    means = RefinedMeans(data.num_classes, system.dim, loader.epoch_sampler.num_own)
    _embed(embedder, loader, means)
    directions = means.refined(rounds, device=embedder.mean.device)
    return assign(system, directions, data.class_names)


def assign_from_teacher(
    embedder: Embedder,
    data: ImageData,
    optimizer: torch.optim.Optimizer,
    *,
    folder: str,
    system: VectorSystem,
    seed: int | None,
) -> Assignment:
    """Give each class the vector nearest to the mean of another run's embeddings.

    They are centred and rotated at random, as `random_isometry` does where the dimensions differ.
    The teacher is in memory during this one pass only.

    Args:
        embedder: to be trained; it is not changed.
        data: whose training images the teacher embeds.
        optimizer: not used.
        folder: of the teacher's run.
        system: whose vectors to use.
        seed: of the rotation, None for none.

    Raises:
        ValueError: the folder does not hold a finished run on such images.
    """
    teacher = read_teacher(folder, data, embedder.mean.device)
    means = embed_means(teacher.embedder, data)
    del teacher
    center = means.center()
    rotation = random_isometry(system.dim, len(center), seed)
    return assign(system, means.means(center, rotation), data.class_names)


def assign_from_file(
    embedder: Embedder,
    data: ImageData,
    optimizer: torch.optim.Optimizer,
    *,
    path: str,
    system: VectorSystem,
) -> Assignment:
    """Give each class the vector nearest to its row of a file, as it is.

    Args:
        embedder: to be trained; it is not changed.
        data: whose classes the rows belong to.
        optimizer: not used.
        path: of the .npy file.
        system: whose vectors to use.

    Raises:
        ValueError: the file does not fit the system or the data.
    """
    return assign(system, read_vectors(path, system.dim, data.class_names), data.class_names)


def read_teacher(
    folder: str, data: ImageData, device: torch.device, setting: str = "classes.teacher"
) -> TrainedRun:
    """A finished run on images of the same shape as the data's.

    Args:
        folder: of the run.
        data: set up.
        device: for the network.
        setting: that named the folder, for the message.

    Raises:
        ValueError: naming the setting.
    """
    try:
        teacher = read_run(folder, device)
    except (OSError, ValueError) as error:
        raise ValueError(f"Argument '{setting}': {error}") from error
    wanted = (teacher.in_channels, teacher.image_size)
    if wanted != (data.in_channels, data.image_size):
        raise ValueError(
            f"Argument '{setting}': {folder} was trained on images of {wanted[0]} channels "
            f"and {wanted[1]} pixels, the data have {data.in_channels} and {data.image_size}."
        )
    return teacher


def embed_means(embedder: Embedder, data: ImageData, unit: bool = False) -> ClassMeans:
    """Mean embedding of the training images of each class, over all processes; one pass.

    Args:
        embedder: in evaluation mode during the pass.
        data: set up.
        unit: of the embeddings scaled to unit length.
    """
    means = ClassMeans(data.num_classes, embedder.network.dim)  # pyright: ignore[reportArgumentType]
    _embed(embedder, data.means_dataloader(), means, unit)
    return means


@torch.no_grad()
def _embed(embedder: Embedder, loader: EpochLoader, means: ClassMeans, unit: bool = False) -> None:
    """Add up the embeddings of the images of all processes."""
    device, training = embedder.mean.device, embedder.training
    embedder.eval()
    left = loader.epoch_sampler.num_own  # images that another process has as well come after them
    for images, labels in loader:
        if not left:
            break
        z = embedder(images[:left].to(device))
        means.add(normalize(z.float(), dim=-1) if unit else z, labels[:left])
        left -= len(z)
    embedder.train(training)
    means.reduce(device)


def random_rotation(dim: int, seed: int | None) -> Tensor:
    """`[dim, dim]` orthogonal, uniformly distributed; the identity without a seed."""
    if seed is None:
        return torch.eye(dim)
    generator = torch.Generator().manual_seed(seed)
    q, r = torch.linalg.qr(torch.randn(dim, dim, generator=generator, dtype=torch.float64))
    return (q * r.diagonal().sign()).float()


def random_isometry(dim: int, old_dim: int, seed: int | None) -> Tensor:
    """`[dim, old_dim]`: an isometry into the larger space, or a projection onto the smaller.

    Args:
        dim: of the new embeddings.
        old_dim: of those to be turned.
        seed: None for the first coordinates as they are.
    """
    return random_rotation(max(dim, old_dim), seed)[:dim, :old_dim]


@torch.no_grad()
def fold(layer: nn.Linear, center: Tensor, rotation: Tensor) -> None:
    """Make a linear layer return `(old - center) @ rotation.T` instead of `old`."""
    layer.weight.copy_(rotation @ layer.weight)
    layer.bias.copy_(rotation @ (layer.bias - center))
