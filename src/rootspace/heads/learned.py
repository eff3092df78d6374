"""Heads that learn a vector for each class: the conventional ones, to compare with."""

from __future__ import annotations

import abc
from collections.abc import Mapping, Sequence
from typing import Any, Self

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, normalize

from rootspace._checks import integer
from rootspace._precision import full_precision
from rootspace.classes import Prediction
from rootspace.classes.class_map import count_new
from rootspace.losses.base import check_batch, not_negative, positive
from rootspace.planning import CODE_DIM
from rootspace.systems import check_floating, check_range, directed_rows

from .base import Head, check_pairs, count_classes, extra_of, joined_names, wide


class LearnedHead(Head):
    """A learned vector for each class: the conventional heads. Subclasses write `logits`.

    Args:
        num_classes: how many; or give `names`.
        dim: of the embeddings.
        names: one for each class.
        lr_factor: learning rate of the class vectors relative to the network's; rows of a
            normalized head see few inputs each, and need a larger one.
    """

    weight: Tensor

    def __init__(
        self,
        num_classes: int | None = None,
        dim: int = CODE_DIM,
        *,
        names: Sequence[str] | None = None,
        lr_factor: float = 1.0,
    ) -> None:
        super().__init__()
        self.num_classes = count_classes(num_classes, names)
        self._names = None if names is None else list(names)
        self.dim = dim
        self.lr_factor = not_negative("lr_factor", lr_factor)
        self.weight = nn.Parameter(self.new_rows(self.num_classes))

    @classmethod
    def from_state_dict(cls, state: Mapping[str, Any], **arguments: Any) -> Self:
        names = extra_of(state, cls, "weight")["names"]
        num_classes, dim = state["weight"].shape
        known = {"num_classes": num_classes, "dim": dim, "names": names}
        head = cls(**{**arguments, **known})
        head.load_state_dict(dict(state))
        return head

    def new_rows(self, count: int) -> Tensor:
        """`[count, dim]` weights of classes that nothing is known of."""
        return torch.randn(count, self.dim)

    @abc.abstractmethod
    def logits(self, embeddings: Tensor, labels: Tensor | None = None) -> Tensor:
        """`[B, dim]`, wide -> `[B, num_classes]`; with the margin of the labels if given."""

    @property
    def names(self) -> list[str] | None:
        return self._names

    @property
    def search_cost(self) -> int:
        return self.num_classes

    def forward(
        self, embeddings: Tensor, labels: Tensor, *, targets: Tensor | None = None
    ) -> Tensor:
        if targets is not None:
            raise ValueError("Argument 'targets' must be left out: this head learns its vectors.")
        check_batch(embeddings, labels)
        check_range(labels, self.num_classes, "'labels' must lie in")
        # A half precision network must not round the logits: leave autocast for them.
        with torch.autocast(embeddings.device.type, enabled=False):
            labels = labels.long()
            return cross_entropy(self.logits(wide(embeddings), labels), labels)

    def cosines(self, embeddings: Tensor) -> Tensor:
        """`[..., dim]` -> `[..., num_classes]`."""
        with full_precision(embeddings.device):
            unit = normalize(wide(embeddings), dim=-1)
            return unit @ normalize(self.weight.to(unit.dtype), dim=-1).T

    def search(self, embeddings: Tensor, k: int = 1) -> Prediction:
        """`[..., dim]` -> the k classes with the largest logits, and their cosines, `[..., k]`."""
        k, z = integer("k", k, 1, self.num_classes), embeddings
        check_floating(z, "embeddings")
        if z.shape[-1:] != (self.dim,):
            raise ValueError(
                f"Argument 'embeddings' must have shape [..., {self.dim}], not {tuple(z.shape)}."
            )
        directed_rows(z.reshape(-1, self.dim), "embeddings")  # or they have no nearest class
        with full_precision(z.device):
            label = self.logits(wide(z)).topk(k, dim=-1).indices
            unit = normalize(wide(z), dim=-1)[..., None, :]
            found = normalize(self.weight[label].to(unit.dtype), dim=-1)
            return Prediction(label, (unit * found).sum(dim=-1))

    def probability(self, embeddings: Tensor, labels: Tensor) -> Tensor:
        check_pairs(embeddings, labels)
        with full_precision(embeddings.device):
            share = self.logits(wide(embeddings)).softmax(dim=-1)
        return torch.where(labels < 0, 0.0, share.gather(-1, labels.clamp(min=0)))

    def vectors(self, labels: Tensor) -> Tensor:
        check_range(labels, self.num_classes, "'labels' must lie in")
        return normalize(self.weight.detach()[labels].float(), dim=-1)

    def extend(self, new: int | Sequence[str], means: Tensor | None = None) -> None:
        """Add classes: rows in the direction of their means (imprinting), else at random.

        The weights become another parameter: give it to the optimizer again.
        """
        count = count_new(new)
        if means is not None and means.shape != (count, self.dim):
            raise ValueError(
                f"Argument 'means' must have shape [{count}, {self.dim}], not {list(means.shape)}."
            )
        names = joined_names(self._names, new)
        rows = self.new_rows(count).to(self.weight)
        if means is not None:
            given, norm = directed_rows(means.to(self.weight), "means")
            rows = self.weight.detach().norm(dim=-1).mean() * given / norm[:, None]
        self._names = names
        self.num_classes += count
        self.weight = nn.Parameter(torch.cat([self.weight.detach(), rows]))

    def get_extra_state(self) -> dict[str, object]:
        """The names of the classes."""
        return {"names": self._names}

    def set_extra_state(self, state: dict[str, Any]) -> None:
        """Take the names of the classes from a `state_dict`."""
        self._names = state["names"]

    def extra_repr(self) -> str:
        return f"{self.num_classes}, {self.dim}"


class LinearHead(LearnedHead):
    """A linear layer with cross-entropy: the conventional classifier. Arguments: `LearnedHead`."""

    def __init__(
        self,
        num_classes: int | None = None,
        dim: int = CODE_DIM,
        *,
        names: Sequence[str] | None = None,
        lr_factor: float = 1.0,
    ) -> None:
        super().__init__(num_classes, dim, names=names, lr_factor=lr_factor)
        self.bias = nn.Parameter(torch.empty(self.num_classes).uniform_(-1, 1) / dim**0.5)

    def new_rows(self, count: int) -> Tensor:
        """As those of `nn.Linear`."""
        return torch.empty(count, self.dim).uniform_(-1, 1) / self.dim**0.5

    def logits(self, embeddings: Tensor, labels: Tensor | None = None) -> Tensor:
        weight, bias = self.weight.to(embeddings.dtype), self.bias.to(embeddings.dtype)
        return nn.functional.linear(embeddings, weight, bias)

    def extend(self, new: int | Sequence[str], means: Tensor | None = None) -> None:
        super().extend(new, means)
        more = self.bias.new_zeros(self.num_classes - len(self.bias))
        self.bias = nn.Parameter(torch.cat([self.bias.detach(), more]))


class NormalizedHead(LearnedHead):
    """A softmax over the cosines to learned vectors (NormFace, arXiv 1704.06369).

    Args:
        num_classes: how many; or give `names`.
        dim: of the embeddings.
        names: one for each class.
        scale: inverse temperature.
        lr_factor: learning rate of the class vectors relative to the network's.
    """

    def __init__(
        self,
        num_classes: int | None = None,
        dim: int = CODE_DIM,
        *,
        names: Sequence[str] | None = None,
        scale: float = 10.0,
        lr_factor: float = 10.0,
    ) -> None:
        super().__init__(num_classes, dim, names=names, lr_factor=lr_factor)
        self._scale = positive("scale", scale)

    @property
    def scale(self) -> float:
        return self._scale

    def logits(self, embeddings: Tensor, labels: Tensor | None = None) -> Tensor:
        cosine = self.cosines(embeddings)
        if labels is not None:
            own = cosine.gather(-1, labels[:, None])
            cosine = cosine.scatter(-1, labels[:, None], self.with_margin(own))
        return self._scale * cosine

    def with_margin(self, cosine: Tensor) -> Tensor:
        """The cosine to the own class as the loss sees it."""
        return cosine


class CosFaceHead(NormalizedHead):
    """A normalized softmax with a margin in cosine (CosFace, arXiv 1801.09414).

    Args:
        num_classes: how many; or give `names`.
        dim: of the embeddings.
        names: one for each class.
        scale: inverse temperature.
        margin: taken from the cosine of the own class.
        lr_factor: learning rate of the class vectors relative to the network's.
    """

    def __init__(
        self,
        num_classes: int | None = None,
        dim: int = CODE_DIM,
        *,
        names: Sequence[str] | None = None,
        scale: float = 16.0,
        margin: float = 0.2,
        lr_factor: float = 10.0,
    ) -> None:
        super().__init__(num_classes, dim, names=names, scale=scale, lr_factor=lr_factor)
        self.margin = not_negative("margin", margin)

    def with_margin(self, cosine: Tensor) -> Tensor:
        return cosine - self.margin


class ArcFaceHead(NormalizedHead):
    """A normalized softmax with a margin in the angle (ArcFace, arXiv 1801.07698).

    Args:
        num_classes: how many; or give `names`.
        dim: of the embeddings.
        names: one for each class.
        scale: inverse temperature.
        margin: added to the angle to the own class, in degrees.
        lr_factor: learning rate of the class vectors relative to the network's.
    """

    def __init__(
        self,
        num_classes: int | None = None,
        dim: int = CODE_DIM,
        *,
        names: Sequence[str] | None = None,
        scale: float = 16.0,
        margin: float = 10.0,
        lr_factor: float = 10.0,
    ) -> None:
        super().__init__(num_classes, dim, names=names, scale=scale, lr_factor=lr_factor)
        self.margin = not_negative("margin", margin)

    def with_margin(self, cosine: Tensor) -> Tensor:
        margin = torch.deg2rad(cosine.new_tensor(self.margin))
        # Where the cosine is 1 or -1 the arc cosine has no gradient.
        near = 1 - torch.finfo(cosine.dtype).eps
        angle = cosine.clamp(-near, near).acos()
        # Beyond 180 degrees the cosine would rise again: go on falling.
        falling = cosine - margin * margin.sin()
        return torch.where(angle <= torch.pi - margin, (angle + margin).cos(), falling)
