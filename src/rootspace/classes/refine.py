"""Class means moved to where similar classes are told apart best."""

from __future__ import annotations

import os
from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import normalize

from .means import BLOCK, ClassMeans, add_up, blocks, zeros
from .neighborhoods import regions

ALL_PAIRS = 2**15
"""Classes up to which the nearest of each are looked for among all others."""

REGION = 2**13
"""Classes among which they are looked for where there are more; other ones in each round."""

ROWS = 2**12
"""Embeddings that are compared with classes together, at most."""


class RefinedMeans(ClassMeans):
    """Class means that keep the embeddings, to move a class's direction by what it is taken for.

    The mean of a class says nothing of its neighbors. `refined` takes the means for the weights of
    a softmax over similar classes and follows its gradient for some rounds: a direction moves
    towards images of its class that are mistaken, and away from those of others that are taken for
    it. The network stays as it is, and directions stay near the means, so that a vector system is
    as near to them.

    Keeps O(num_images * dim) numbers of 16 bits and four times O(num_classes * dim) of 32 on the
    CPU, in memory up to 256 MB each and in temporary files beyond that; nothing on the device.

    Args:
        num_classes: number of classes.
        dim: of the embeddings.
        num_images: how many embeddings will come, in this process.
        directory: as of `ClassMeans`.
    """

    def __init__(
        self,
        num_classes: int,
        dim: int,
        num_images: int,
        directory: str | os.PathLike[str] | None = None,
    ) -> None:
        super().__init__(num_classes, dim, directory)
        self._unit = zeros(num_images, dim, directory, np.float16)
        self._labels = torch.zeros(num_images, dtype=torch.int64)
        self._kept = 0

    def add(self, embeddings: Tensor, labels: Tensor) -> None:
        rows = slice(self._kept, self._kept + len(labels))
        if rows.stop > len(self._labels):
            raise ValueError(
                f"Argument 'embeddings' must bring at most num_images = {len(self._labels)} in "
                f"all, not {rows.stop}."
            )
        super().add(embeddings, labels)
        self._unit[rows] = normalize(embeddings.detach().float(), dim=-1).cpu().half()
        self._labels[rows] = labels.cpu()
        self._kept = rows.stop

    def refined(
        self,
        rounds: int,
        *,
        neighbors: int = 16,
        scale: float = 16.0,
        device: torch.device | str = "cpu",
    ) -> Tensor:
        """Directions of the classes after some rounds; those of the means after none.

        A round is a step of gradient descent over all images on the cross-entropy of scale * cosine
        among the class of an image and those nearest to it, with a class's gradient divided by
        scale and by its number of images. The directions of the round are returned with which most
        images are nearest to their own class: where the network tells little apart, as after a few
        steps, a round may do harm. O(num_images * neighbors * dim) time, and the nearest
        classes O(num_classes^2 * dim) once, or for more than 32,768 classes O(num_classes * 8192 *
        dim) in each round.

        Args:
            rounds: how many, at least 0.
            neighbors: similar classes that an image could be taken for.
            scale: inverse temperature.
            device: to add up over, in a distributed run.

        Returns:
            `[num_classes, dim]` float32 unit vectors, in memory or in a file as the sums are.

        Raises:
            ValueError: a class has had no embedding.
        """
        directions = self.directions()
        num_classes, neighbors = len(directions), min(neighbors, len(directions) - 1)
        if not rounds or not neighbors:
            return directions
        generator = torch.Generator().manual_seed(0)
        rivals, best, gradient, most = None, self._zeros(), self._zeros(), -1
        for done in range(rounds + 1):
            if rivals is None or num_classes > ALL_PAIRS:
                rivals = _rivals(directions, neighbors, generator)
            right = self._add_gradient(gradient.zero_(), directions, rivals, scale)
            add_up([*blocks(gradient), right], torch.device(device))
            if int(right) >= most:
                best.copy_(directions)
                most = int(right)
            if done == rounds:
                break
            start = 0
            for part, moves in zip(blocks(directions), blocks(gradient), strict=True):
                count = self._counts[start : start + len(part), None]
                part.copy_(normalize(part + moves / count, dim=-1))
                start += len(part)
        return best

    def _add_gradient(
        self, gradient: Tensor, directions: Tensor, rivals: Tensor, scale: float
    ) -> Tensor:
        """Add the sum of (1 - p) z over the images of a class, less p z over those of others.

        Returns:
            How many images are not nearer to another of the classes looked at, int64 `[1]`.
        """
        right = torch.zeros(1, dtype=torch.int64)
        for images in self._parts(rivals.shape[1]):
            z, labels = self._unit[images].float(), self._labels[images]
            candidates = torch.cat([labels[:, None], rivals[labels]], dim=1)
            vectors = directions[candidates]
            cosine = torch.einsum("nd,nkd->nk", z, vectors)
            right += (cosine.argmax(dim=-1) == 0).sum()
            residual = -cosine.mul_(scale).softmax(dim=-1)
            residual[:, 0] += 1
            moves = residual[:, :, None] * z[:, None, :]
            gradient.index_add_(0, candidates.flatten(), moves.flatten(0, 1))
        return right

    def _zeros(self) -> Tensor:
        num_classes, dim = self._sums.shape
        return zeros(num_classes, dim, self._directory)

    def _parts(self, neighbors: int) -> Iterator[slice]:
        """Of the embeddings, so that what is computed for them together stays small."""
        step = max(1, min(ROWS, BLOCK // (self._unit.shape[1] * (neighbors + 1))))
        for start in range(0, self._kept, step):
            yield slice(start, min(start + step, self._kept))


def _rivals(directions: Tensor, neighbors: int, generator: torch.Generator) -> Tensor:
    """`[C, neighbors]`: classes that each is most similar to, in its region."""
    found = torch.empty(len(directions), neighbors, dtype=torch.int64)
    size = ALL_PAIRS if len(directions) <= ALL_PAIRS else REGION
    for region in regions(directions, size, generator):
        own = directions[region]
        for rows in torch.arange(len(region)).split(max(1, 4 * BLOCK // len(region))):
            cosine = own[rows] @ own.T
            cosine[torch.arange(len(rows)), rows] = -torch.inf
            found[region[rows]] = region[cosine.topk(neighbors, dim=-1).indices]
    return found
