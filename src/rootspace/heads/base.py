"""What every head has: a loss on embeddings, and the prediction that belongs to it."""

from __future__ import annotations

import abc
from collections.abc import Mapping, Sequence
from typing import Any, Self

import torch
from torch import Tensor, nn

from rootspace._checks import integer
from rootspace.classes import ClassMap, Prediction
from rootspace.classes.class_map import checked_names

EXTRA = "_extra_state"
"""Key under which a `state_dict` holds what is no tensor."""


class Head(nn.Module, abc.ABC):
    """A loss on embeddings together with the prediction that belongs to it.

    Attributes:
        num_classes: how many classes there are; `extend` adds some.
        dim: of the embeddings.
        names: of the classes, or None.
        lr_factor: learning rate of the head's own parameters, relative to the network's.
    """

    num_classes: int
    dim: int
    lr_factor: float = 1.0

    @property
    @abc.abstractmethod
    def names(self) -> list[str] | None:
        """Label -> name, where classes have names."""

    @abc.abstractmethod
    def forward(
        self, embeddings: Tensor, labels: Tensor, *, targets: Tensor | None = None
    ) -> Tensor:
        """The loss of a batch, a scalar in at least float32.

        Args:
            embeddings: `[B, dim]` of any float dtype.
            labels: `[B]` integers in [0, num_classes).
            targets: `[B, dim]` in the frame, what a teacher made of each input, to take the place
                of the vectors of their classes; for heads that have prototypes.

        Raises:
            ValueError: wrong shapes, or targets for a head without prototypes.
        """

    @abc.abstractmethod
    def search(self, embeddings: Tensor, k: int = 1) -> Prediction:
        """`[..., dim]` embeddings in the frame -> labels and cosines `[..., k]`, best first, exact.

        Args:
            embeddings: what `transform` gives.
            k: number of classes.

        Raises:
            TypeError: no float tensor.
            ValueError: wrong shape, or k is not in [1, num_classes].
        """

    def predict(self, embeddings: Tensor, k: int = 1) -> Prediction:
        """`[..., dim]` embeddings as the network gives them -> the k best classes, exact.

        Returns:
            Labels and cosines to their vectors, `[..., k]`, best first.

        Raises:
            RuntimeError: prototypes are not chosen yet.
            TypeError: no float tensor.
            ValueError: wrong shape, zero, NaN or infinite embeddings, or k is not in
                [1, num_classes].
        """
        return self.search(self.transform(embeddings), k)

    @abc.abstractmethod
    def probability(self, embeddings: Tensor, labels: Tensor) -> Tensor:
        """How likely `[..., k]` classes are for `[..., dim]` embeddings: `[..., k]` in [0, 1].

        Raises:
            ValueError: wrong shapes.
        """

    @abc.abstractmethod
    def vectors(self, labels: Tensor) -> Tensor:
        """`[...]` labels -> `[..., dim]` unit vectors of these classes, in float32.

        Raises:
            IndexError: a label is out of range.
        """

    @abc.abstractmethod
    def extend(self, new: int | Sequence[str], means: Tensor | None = None) -> None:
        """Add classes; the present ones keep their vectors and numbers.

        Args:
            new: how many, or their names if the present classes have names.
            means: `[new, dim]` means of the new classes' embeddings, as the network gives them.
        """

    @classmethod
    @abc.abstractmethod
    def from_state_dict(cls, state: Mapping[str, Any], **arguments: Any) -> Self:
        """A head of the classes that a `state_dict` holds, with its state.

        Args:
            state: what `state_dict` gave.
            **arguments: of the constructor, but those that the state knows.

        Raises:
            ValueError: it is no state of such a head.
        """

    def transform(self, embeddings: Tensor) -> Tensor:
        """Embeddings in the frame of the class vectors, to be compared with them."""
        return embeddings

    @property
    def follows(self) -> bool:
        """Whether prototypes follow the network."""
        return False

    def follow(self, since: int = 0) -> None:
        """Let prototypes of the classes from `since` on follow the network; nothing elsewhere."""

    def settle(self) -> None:
        """Hold prototypes that follow the network where they are; nothing elsewhere."""

    @property
    def needs_pairs(self) -> bool:
        """Whether the loss needs several inputs of a class in a batch."""
        return False

    @property
    def class_map(self) -> ClassMap | None:
        """Which class owns which prototype; None for learned heads and before the choice."""
        return None

    @property
    def ready(self) -> bool:
        """Whether classes have vectors, so that `predict` works."""
        return True

    @property
    def scale(self) -> float | None:
        """Inverse temperature of the cosines in the loss, where there is one."""
        return None

    @property
    def search_cost(self) -> int:
        """Cosines that a prediction computes where a training step does not; 0 for none."""
        return 0


def extra_of(state: Mapping[str, Any], of: type[Head], key: str) -> dict[str, Any]:
    """What the `state_dict` of a head holds that is no tensor.

    Args:
        state: the `state_dict`.
        of: the head's class.
        key: an entry that tells states of such heads from others.

    Raises:
        ValueError: it is none of such a head.
    """
    if EXTRA not in state:
        raise ValueError(
            f"Argument 'state' must be what head.state_dict() gave, and has no '{EXTRA}'; of a "
            "Lightning checkpoint's 'state_dict' take the entries that begin with 'head.', without "
            "that beginning."
        )
    if key not in state and key not in state[EXTRA]:
        raise ValueError(
            f"Argument 'state' must be of a {of.__name__}, and has no '{key}': it is of another "
            "head."
        )
    return state[EXTRA]


def check_pairs(embeddings: Tensor, labels: Tensor) -> None:
    """Raise a ValueError unless these are `[..., dim]` and `[..., k]`."""
    if not labels.ndim or labels.shape[:-1] != embeddings.shape[:-1]:
        raise ValueError(
            "Arguments 'embeddings' and 'labels' must have shapes [..., dim] and [..., k], not "
            f"{tuple(embeddings.shape)} and {tuple(labels.shape)}."
        )


def count_classes(num_classes: int | None, names: Sequence[str] | None) -> int:
    """The number of classes from the two arguments of a head.

    Raises:
        TypeError: names are no list of texts.
        ValueError: none is given, they disagree, it is no positive number, or two names are the
            same.
    """
    if num_classes is None and names is None:
        raise ValueError("Argument 'num_classes' or 'names' must be given.")
    listed = None if names is None else checked_names(names)
    if listed == []:
        raise ValueError("Argument 'names' must hold at least one name, not none.")
    count = len(listed or ()) if num_classes is None else integer("num_classes", num_classes)
    if listed is not None and len(listed) != count:
        raise ValueError(
            f"Arguments 'num_classes' and 'names' must agree, not {count} and {len(listed)} names."
        )
    return count


def wide(z: Tensor) -> Tensor:
    """In float32 at least."""
    return z.to(torch.promote_types(z.dtype, torch.float32))


def joined_names(names: list[str] | None, new: int | Sequence[str]) -> list[str] | None:
    """The names of the present and the new classes; None where they have none.

    Raises:
        ValueError: one of them have names and the others have not, or two are the same.
    """
    if (names is None) != isinstance(new, int):
        have = "have no names: give a number" if names is None else "have names: give names"
        raise ValueError(f"Argument 'new' must fit the present classes, which {have}, not {new!r}.")
    if names is None or isinstance(new, int):
        return None
    return checked_names([*names, *new], len(names) + len(new))
