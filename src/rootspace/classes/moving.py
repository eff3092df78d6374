"""Prototypes that follow the network while it trains, between two choices."""

from __future__ import annotations

from typing import Any

import torch
import torch.distributed
from torch import Tensor
from torch.nn.functional import cross_entropy, normalize

from rootspace._distributed import is_distributed

from .class_map import ClassMap
from .means import blocks, zeros

COMPETITORS = 4096
"""Classes at most that compete in a step; of a larger batch, all that are in it."""

RATE = 0.3
"""Of the gradient of the summed loss, divided by the scale, that a direction moves by in a step."""

MOST = 1.0
"""Inputs that are wholly mistaken, by as many of which a direction moves in a step at most.

Of few classes a batch has many inputs each, whose sum would turn directions around in every step.
"""

STRIDE = 1_000_003
"""Between the seeds of two runs; one step draws with the next number."""


class MovingPrototypes:
    """Directions of the classes, moved in each step down the gradient of a softmax over them.

    What a network has learned after a few epochs says little of where its classes would lie best.
    So a direction moves towards embeddings of its class that are mistaken, and away from those of
    others that are taken for it, while the network learns: `RefinedMeans` a step at a time, and by
    no more than one wholly mistaken input asks for. No
    optimizer knows of them: they are on the host, without gradients and moments, and the network's
    gradient is that towards directions which stand still.

    Up to 4,096 classes all compete in each step, as in a learned softmax. Of more, those of the
    batch and others drawn at random do, 4,096 in all. A step costs O(batch * 4096 * dim) time and
    O(4096 * dim) memory on the device of the embeddings, whatever the number of classes; the host
    keeps 4 * dim bytes for each class that moves, in memory up to 256 MB and in a temporary file
    beyond that.

    Where several processes train, each must call with a part of the batch: all move alike, by the
    sum over these.

    Args:
        directions: `[M, dim]` to begin with, of any length but zero; copied.
        held: classes before these, which compete but stay where they are; None for none.
        seed: of the classes drawn.
        steps: made before, by a run that goes on.
    """

    def __init__(
        self, directions: Tensor, held: ClassMap | None = None, *, seed: int = 0, steps: int = 0
    ) -> None:
        self.directions = zeros(len(directions), directions.shape[1])
        """`[M, dim]` float32 unit vectors of the classes that move, on the CPU."""
        for part, given in zip(blocks(self.directions), blocks(directions), strict=True):
            part.copy_(normalize(given.detach().float(), dim=-1))
        self.held = held
        self.seed = seed
        self.steps = steps

    @classmethod
    def of_classes(cls, classes: ClassMap, held: int = 0, *, seed: int = 0) -> MovingPrototypes:
        """Beginning at the vectors of a class map, which are never all there a second time.

        Args:
            classes: where they lie now.
            held: so many of them, the first ones, stay.
            seed: of the classes drawn.
        """
        none = torch.zeros(1, 1).expand(classes.num_classes - held, classes.dim)
        moving, start = cls(none, classes.first(held) if held else None, seed=seed), held
        for part in blocks(moving.directions):
            labels = torch.arange(start, start + len(part))
            part.copy_(normalize(classes.vectors(labels, dtype=torch.float32), dim=-1))
            start += len(part)
        return moving

    @property
    def num_held(self) -> int:
        """How many classes stay; those that move come after them."""
        return 0 if self.held is None else self.held.num_classes

    def loss(self, z: Tensor, labels: Tensor, scale: float, margin: float = 0.0) -> Tensor:
        """Cross-entropy of scale * cosine among the classes that compete; moves their directions.

        Args:
            z: `[B, dim]` embeddings in at least float32, finite and not zero.
            labels: `[B]` integers in [0, num_held + M).
            scale: inverse temperature.
            margin: subtracted from the cosine of the own class (CosFace), 0 for none.

        Returns:
            A scalar, with gradients for z alone.
        """
        numbers = self._competing(labels)
        vectors = self._vectors(numbers).to(z)
        own = torch.searchsorted(numbers.to(labels.device), labels)
        unit = normalize(z, dim=-1)
        logits = scale * unit @ vectors.T
        if margin:
            lowered = torch.full_like(logits[:, :1], -scale * margin)
            logits = logits.scatter_add(1, own[:, None], lowered)
        self._move(numbers, vectors, unit.detach(), logits.detach(), own)
        return cross_entropy(logits, own)

    def _vectors(self, numbers: Tensor) -> Tensor:
        """`[N, dim]` float32, of ascending numbers."""
        free = self._first_free(numbers)
        moving = self.directions[numbers[free:] - self.num_held]
        if self.held is None or not free:
            return moving
        return torch.cat([self.held.vectors(numbers[:free], dtype=torch.float32), moving])

    def _first_free(self, numbers: Tensor) -> int:
        """How many of ascending numbers are of classes that stay."""
        return int(torch.searchsorted(numbers, self.num_held))

    def _move(
        self, numbers: Tensor, vectors: Tensor, unit: Tensor, logits: Tensor, own: Tensor
    ) -> None:
        residual = -logits.softmax(dim=-1)
        residual[torch.arange(len(own), device=own.device), own] += 1
        moves, mistaken = residual.T @ unit, residual.abs().sum(dim=0)
        if is_distributed():
            torch.distributed.all_reduce(moves)
            torch.distributed.all_reduce(mistaken)
        moves *= RATE / (mistaken / MOST).clamp(min=1)[:, None]
        free = self._first_free(numbers)
        moved = normalize(vectors[free:] + moves[free:], dim=-1)
        self.directions[numbers[free:] - self.num_held] = moved.cpu().float()
        self.steps += 1

    def _competing(self, labels: Tensor) -> Tensor:
        """Numbers of different classes, ascending, on the CPU; the same in all processes."""
        count = self.num_held + len(self.directions)
        if count <= COMPETITORS:
            return torch.arange(count)
        generator = torch.Generator().manual_seed(self.seed * STRIDE + self.steps)
        present = _gathered(labels).cpu()
        drawn = torch.randint(count, (max(0, COMPETITORS - len(present)),), generator=generator)
        return torch.cat([present, drawn]).unique()

    def nearest(self, z: Tensor, k: int = 1) -> tuple[Tensor, Tensor]:
        """`[N, dim]` embeddings -> numbers and cosines of the k nearest classes, `[N, k]`."""
        unit = normalize(z.detach().float(), dim=-1).cpu()
        found = [
            (unit @ part.T).topk(min(k, len(part)), dim=-1) for part in blocks(self.directions)
        ]
        step = len(blocks(self.directions)[0])
        start = self.num_held
        cosine = [values for values, _ in found]
        number = [places + start + i * step for i, (_, places) in enumerate(found)]
        if self.held is not None:
            nearest = self.held.predict(unit, min(k, start))
            number, cosine = [nearest.label, *number], [nearest.cosine, *cosine]
        number, cosine = torch.cat(number, dim=-1), torch.cat(cosine, dim=-1)
        best = cosine.topk(k, dim=-1)
        return number.gather(-1, best.indices).to(z.device), best.values.to(z.device)

    def state(self) -> dict[str, Any]:
        """Everything but the class map of those that stay, as tensors and numbers."""
        return {
            "directions": self.directions,
            "held": self.num_held,
            "seed": self.seed,
            "steps": self.steps,
        }

    @classmethod
    def from_state(cls, state: dict[str, Any], classes: ClassMap | None = None) -> MovingPrototypes:
        """From what `state` gave, to the bit.

        Args:
            state: of it.
            classes: a class map in which those that stay come first; None where all move.
        """
        held = None if classes is None or not state["held"] else classes.first(state["held"])
        moving = cls(state["directions"], held, seed=state["seed"], steps=state["steps"])
        moving.directions.copy_(state["directions"])
        return moving


def _gathered(labels: Tensor) -> Tensor:
    """The labels of all processes, however many each has."""
    if not is_distributed():
        return labels
    count = torch.tensor([len(labels)], device=labels.device)
    counts = [torch.zeros_like(count) for _ in range(torch.distributed.get_world_size())]
    torch.distributed.all_gather(counts, count)
    most = max(int(c) for c in counts)
    padded = torch.nn.functional.pad(labels, (0, most - len(labels)))
    parts = [torch.empty_like(padded) for _ in counts]
    torch.distributed.all_gather(parts, padded)
    return torch.cat([part[: int(c)] for part, c in zip(parts, counts, strict=True)])
