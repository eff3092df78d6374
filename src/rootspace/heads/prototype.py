"""`PrototypeHead`: each class has a unit vector, which is no parameter."""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, Self

import torch
from torch import Tensor, nn

from rootspace import losses
from rootspace._checks import check_kind, integer, wrong_kind
from rootspace._precision import full_precision
from rootspace.classes import Assignment, ClassMap, MovingPrototypes, Prediction, assign
from rootspace.classes.class_map import count_new
from rootspace.losses import ClassLoss, InBatchSoftmaxLoss, SystemSoftmaxLoss, functional
from rootspace.losses.base import check_batch, not_negative, positive
from rootspace.planning import code_for
from rootspace.systems import Table, VectorSystem, check_range, directed_rows, system_from

from .base import Head, check_pairs, count_classes, extra_of, joined_names

FORMAT = 3
"""Version of what `PrototypeHead.state_dict` holds."""

CONTRASTIVE_WEIGHT = 0.5
"""Of the contrastive loss beside the one against prototypes that were chosen."""

IN_VAIN = 3
"""Batches without two inputs of a class after which this is told: the last of an epoch is small."""

SCORES = 2**22
"""Cosines computed together where a probability is taken over all classes."""


class PrototypeHead(Head):
    """A head without parameters: each class has a unit vector, its prototype.

    Prototypes are chosen from the data. Until then a supervised contrastive loss trains the network
    (batches need two inputs of a class: `ClassBatchSampler`). `choose_prototypes` gives each class
    the vector of the system nearest to the mean of its embeddings; from then on the loss is a
    softmax over prototypes and, beside it, the contrastive one. While training goes on, prototypes
    *follow* the network (`MovingPrototypes`): directions on the host move with each step, and the
    prototypes are the vectors of the system nearest to these, found again where the head is asked
    in evaluation mode. With prototypes by a formula (`from_map`) there is nothing to choose, and
    no table at any number of classes.

    The *frame*, a center that is subtracted from the embeddings and a rotation, is found with the
    prototypes and comes before them; it is a buffer, so the network may end in anything.

    Class vectors cost no device memory beyond a constant: codes larger than 4 MB stay on the host,
    and those of a batch are sent to the device. `state_dict` holds everything: codes, frame,
    system, names, stage and settings; `torch.load(path, weights_only=True)` reads it, and
    `load_state_dict` takes it whatever classes the head had before.

    Args:
        num_classes: how many; or give `names`.
        dim: of the embeddings and prototypes; that of `system` if that is given, else 256.
        names: one for each class.
        system: whose vectors to use, or its name such as `"PermutationCode(128)"`; by default the
            code that `rootspace.planning.code_for` names.
        loss: from the class map to the loss against its vectors: a class of `rootspace.losses`, or
            a `functools.partial` of one.
        temperature: of the supervised contrastive loss.
        contrastive_weight: of the contrastive loss beside the one against prototypes, 0 for none;
            0.5 by default.
        rotate: turn embeddings at random before classes get their prototypes, so that no coordinate
            is special.
        seed: of the rotation.

    Raises:
        TypeError: a system or a loss that is none.
        ValueError: arguments that contradict each other, or a system too small for the classes.

    Example:
        >>> head = PrototypeHead(num_classes=10, dim=16)
        >>> labels = torch.arange(10).repeat(2)
        >>> loss = head(torch.randn(20, 16), labels)  # contrastive: nothing is chosen yet
        >>> chosen = head.choose(torch.randn(10, 16))
        >>> head.predict(head.vectors(labels)).label[:, 0].equal(labels)
        True
    """

    center: Tensor
    rotation: Tensor

    def __init__(
        self,
        num_classes: int | None = None,
        dim: int | None = None,
        *,
        names: Sequence[str] | None = None,
        system: str | VectorSystem | None = None,  # str first: `Table` is a word of its own
        loss: Callable[[ClassMap], ClassLoss] = InBatchSoftmaxLoss,
        temperature: float = 0.15,
        contrastive_weight: float | None = None,
        rotate: bool = True,
        seed: int = 0,
    ) -> None:
        super().__init__()
        self.num_classes = count_classes(num_classes, names)
        self._names = None if names is None else list(names)
        if isinstance(system, str):
            try:
                system = system_from(system)
            except ValueError as error:
                raise ValueError(f"Argument 'system': {error}") from error
        if system is None:
            system = code_for(self.num_classes, dim)
        check_kind("system", system, VectorSystem, "a vector system such as RootA(384) or its name")
        _check_loss(loss)
        if dim is not None and dim != system.dim:
            raise ValueError(
                f"Arguments 'dim' and 'system' must agree: {system!r} has dimension {system.dim}, "
                f"not {dim}."
            )
        if system.size < self.num_classes:
            raise ValueError(
                f"Argument 'system' must have at least {self.num_classes:,} vectors, one a class; "
                f"{system!r} has {system.size:,}."
            )
        if contrastive_weight is None:
            contrastive_weight = CONTRASTIVE_WEIGHT
        self.dim = system.dim
        self.system = system
        self.make_loss = loss
        self.temperature = positive("temperature", temperature)
        self.contrastive_weight = not_negative("contrastive_weight", contrastive_weight)
        self.rotate = rotate
        self.seed = seed
        self.loss: ClassLoss | None = None
        self.register_buffer("center", torch.zeros(self.dim, dtype=torch.float32))
        self.register_buffer("rotation", torch.eye(self.dim, dtype=torch.float32))
        self._framed = False
        self._follows = False
        self._held = 0  # classes, the first ones, that follow not
        self._moving: MovingPrototypes | None = None  # from the first step that moves some
        self._behind = False  # the class map, since then
        self._in_vain: int | None = 0  # batches without pairs, None once that was told
        # A loss whose settings do not fit shows now, not after the first stage.
        with torch.device("cpu"):  # also where modules are made on "meta"
            loss(ClassMap.assigned(system, system.quantize(torch.ones(1, system.dim))))

    @classmethod
    def from_map(
        cls,
        class_map: ClassMap,
        loss: Callable[[ClassMap], ClassLoss] | None = None,
        *,
        temperature: float = 0.15,
        contrastive_weight: float = 0.0,
    ) -> PrototypeHead:
        """A head with the prototypes of a class map, and nothing left to choose.

        Args:
            class_map: by formula, as `ClassMap(RootA(384), 100_000)`, or assigned.
            loss: by default the softmax over all vectors of the system where it has a closed form,
                else that over the prototypes of the batch.
            temperature: of the contrastive loss.
            contrastive_weight: of the contrastive loss, which needs two inputs of a class in a
                batch.

        Raises:
            TypeError: no class map.
        """
        check_kind("class_map", class_map, ClassMap, "a ClassMap")
        if loss is None:
            loss = SystemSoftmaxLoss
            try:
                loss(class_map)
            except ValueError:  # its partition function has too many states
                loss = InBatchSoftmaxLoss
        head = cls(
            class_map.num_classes,
            names=class_map.names,
            system=class_map.system,
            loss=loss,
            temperature=temperature,
            contrastive_weight=contrastive_weight,
        )
        head.set_prototypes(class_map)
        return head

    @classmethod
    def from_state_dict(cls, state: Mapping[str, Any], **arguments: Any) -> Self:
        extra = extra_of(state, cls, "format")
        system, _ = _read_state(extra)
        known = {"num_classes": extra["num_classes"], "names": extra["names"], "system": system}
        settings = dict(extra["settings"])
        kind = settings.pop("loss")
        if kind is not None:
            settings["loss"] = partial(getattr(losses, kind["class"]), **kind["arguments"])
        elif "loss" not in arguments:
            raise ValueError(
                "Argument 'loss' must be given: that of this state is no loss of rootspace.losses "
                "with plain arguments, which a state could hold."
            )
        head = cls(**{**settings, **arguments, **known, "dim": None})
        head.load_state_dict(dict(state))
        return head

    # ---------------------------------------------------------------- what it knows

    @property
    def names(self) -> list[str] | None:
        return self._names

    @property
    def class_map(self) -> ClassMap | None:
        """Which class owns which prototype; None before the choice.

        In training mode, where prototypes follow the network, as it was when it was last asked for
        in evaluation mode, or chosen.
        """
        return None if self.loss is None else self._known()

    @property
    def ready(self) -> bool:
        return self.loss is not None

    @property
    def follows(self) -> bool:
        """Whether prototypes follow the network, from the next training step on."""
        return self._follows

    @property
    def scale(self) -> float | None:
        scale = getattr(self.loss, "scale", None)
        return float(scale) if isinstance(scale, int | float) else None

    @property
    def needs_pairs(self) -> bool:
        return self.loss is None or self.contrastive_weight > 0

    @property
    def search_cost(self) -> int:
        class_map = self._known()
        return 0 if class_map.closed_form else class_map.num_classes

    @property
    def framed(self) -> bool:
        """Whether embeddings are centered and rotated before they meet the prototypes."""
        return self._framed

    def extra_repr(self) -> str:
        stage = "prototypes" if self.ready else "contrastive"
        return f"{self.num_classes}, {self.dim}, system={self.system!r}, stage={stage!r}"

    def _known(self) -> ClassMap:
        if self.loss is None:
            raise RuntimeError(
                "Classes have no prototypes yet: call choose_prototypes(head, network, loader)."
            )
        if not self.training:
            self.catch_up()
        return self.loss.classes

    # ---------------------------------------------------------------- loss and prediction

    def forward(
        self, embeddings: Tensor, labels: Tensor, *, targets: Tensor | None = None
    ) -> Tensor:
        check_batch(embeddings, labels)
        check_range(labels, self.num_classes, "'labels' must lie in")
        z = self.transform(embeddings)
        if self.loss is None:
            if targets is not None:
                raise ValueError(
                    "Argument 'targets' must be left out until the classes have prototypes."
                )
            self._warn_without_pairs(labels)
            return self._contrastive(z, labels)
        if self._follows and self.training and targets is None and torch.is_grad_enabled():
            loss = self._following_loss(z, labels)
        else:
            self._known()
            loss = self.loss(z, labels, targets=targets)
        if self.contrastive_weight:
            loss = loss + self.contrastive_weight * self._contrastive(z, labels)
        return loss

    def _warn_without_pairs(self, labels: Tensor) -> None:
        if self._in_vain is None or torch.compiler.is_compiling():
            return
        self._in_vain = self._in_vain + 1 if len(labels.unique()) == len(labels) else 0
        if self._in_vain == IN_VAIN:
            self._in_vain = None
            warnings.warn(
                f"In {IN_VAIN} batches in a row no two inputs had the same label: the contrastive "
                "loss is 0 then and teaches nothing. Batches of ClassBatchSampler have several "
                "inputs of a class.",
                stacklevel=3,
            )

    def _following_loss(self, z: Tensor, labels: Tensor) -> Tensor:
        """The softmax over prototypes that move by it."""
        assert isinstance(self.loss, InBatchSoftmaxLoss)
        if self._moving is None:
            self._moving = MovingPrototypes.of_classes(self._known(), self._held, seed=self.seed)
        wide, _ = directed_rows(z, "embeddings")
        with torch.autocast(z.device.type, enabled=False):
            loss = self._moving.loss(wide, labels, self.loss.scale, self.loss.margin)
        self._behind = True
        return loss

    def _contrastive(self, z: Tensor, labels: Tensor) -> Tensor:
        # A half precision network must not round the loss: leave autocast for it.
        with torch.autocast(z.device.type, enabled=False):
            wide = z if z.dtype == torch.float64 else z.float()
            return functional.supervised_contrastive_loss(wide, labels, self.temperature)

    def transform(self, embeddings: Tensor) -> Tensor:
        """`[..., dim]` embeddings as the network gives them -> centered and rotated.

        In float32 at least once there is a frame; as they are before.

        Raises:
            TypeError: no float tensor.
            ValueError: another dimension than the head's.
        """
        self.system.check_shape(embeddings, "embeddings")
        if not self._framed:
            return embeddings
        with full_precision(embeddings.device):
            wide = embeddings.to(torch.promote_types(embeddings.dtype, torch.float32))
            return (wide - self.center.to(wide)) @ self.rotation.to(wide).T

    def search(self, embeddings: Tensor, k: int = 1) -> Prediction:
        """`[..., dim]` embeddings in the frame -> labels and cosines `[..., k]`, best first, exact.

        In training mode, where prototypes follow the network, among the directions that they have.
        """
        class_map = self._known()
        if self._moving is None or not self.training:
            return class_map.predict(embeddings, k)
        k = integer("k", k, 1, self.num_classes)
        self.system.check_shape(embeddings, "embeddings")
        flat, _ = directed_rows(embeddings.reshape(-1, self.dim), "embeddings")
        label, cosine = self._moving.nearest(flat, k)
        shape = (*embeddings.shape[:-1], k)
        return Prediction(label.reshape(shape), cosine.reshape(shape))

    def build_index(
        self,
        *,
        width: int = 32,
        links: str | os.PathLike[str] | None = None,
        progress: Callable[[float], None] = lambda share: None,
    ) -> None:
        """Make `predict` on the CPU faster for very many classes: see `ClassMap.build_index`.

        The index belongs to the present prototypes. It is no part of the state dict.

        Args:
            width: nearest classes that are kept for each.
            links: a file that is read instead if it fits, else written.
            progress: called now and then with the share that is done, in [0, 1].

        Raises:
            RuntimeError: classes have no prototypes yet.
            ValueError: the classes are found by a formula and need no index.
        """
        self._known().build_index(width=width, links=links, progress=progress)

    def probability(self, embeddings: Tensor, labels: Tensor) -> Tensor:
        """How likely `[..., k]` classes are for `[..., dim]` embeddings, `[..., k]` in [0, 1].

        With the scale of the loss. For prototypes by formula in a softmax over all vectors of the
        system, in closed form, and where the loss has no scale with that at which an embedding on
        its vector has 0.9. For chosen ones over the prototypes of all classes, O(num_classes * dim)
        time, and without a scale with 16. A label of -1 has probability 0.

        Raises:
            RuntimeError: nothing is chosen yet.
            ValueError: wrong shape, or zero, NaN or infinite embeddings.
            IndexError: a label is out of range.
        """
        class_map, z = self._known(), self.transform(embeddings)
        check_pairs(embeddings, labels)
        if class_map.order != "assigned":
            flat, _ = directed_rows(z.reshape(-1, self.dim), "embeddings")
            return class_map.probability(flat.reshape(z.shape), labels, self.scale)
        scale = 16.0 if self.scale is None else self.scale
        flat, norm = directed_rows(z.reshape(-1, self.dim), "embeddings")
        with full_precision(z.device):
            unit = flat / norm[:, None]
            total = _log_partition(unit, class_map, scale).reshape(*z.shape[:-1], 1)
            known = torch.where(labels == -1, 0, labels)
            vectors = class_map.vectors(known, dtype=unit.dtype)
            cosine = (unit.reshape(*z.shape[:-1], 1, self.dim) * vectors).sum(-1)
        return torch.where(labels < 0, 0.0, torch.exp(scale * cosine - total))

    def vectors(self, labels: Tensor) -> Tensor:
        """`[...]` labels -> `[..., dim]` prototypes: unit vectors, in the frame.

        Those of `class_map`.

        Raises:
            RuntimeError: nothing is chosen yet.
            IndexError: a label is out of range.
        """
        return self._known().vectors(labels, dtype=torch.float32)

    # ---------------------------------------------------------------- prototypes

    def choose(
        self, means: Tensor, center: Tensor | None = None, rotation: Tensor | None = None
    ) -> Assignment:
        """Give each class the vector of the system that is nearest to its row.

        What `choose_prototypes` does with the class means of a network's embeddings, for vectors
        from anywhere: a teacher, a file, a text encoder.

        Args:
            means: `[num_classes, dim]` of any length but zero, in the frame.
            center: `[dim]` of the frame from now on; the present one stays if None.
            rotation: `[dim, dim]` orthogonal, likewise.

        Returns:
            The class map and how well it fits.

        Raises:
            ValueError: wrong shapes, or rows that are zero or not finite.
        """
        if means.shape != (self.num_classes, self.dim):
            raise ValueError(
                f"Argument 'means' must have shape [{self.num_classes}, {self.dim}], not "
                f"{list(means.shape)}."
            )
        found = assign(self.system, means, self._names)
        self.set_prototypes(found.classes, center, rotation)
        return found

    def follow(self, since: int = 0) -> None:
        """Let prototypes follow the network while it trains, until they are chosen again.

        `choose_prototypes` does this for all classes. Under a loss that has no gradient for
        prototypes, which is any but `InBatchSoftmaxLoss` itself, they stay. Each step of training
        then moves directions of the classes, which the head keeps on the host and in its state
        (`MovingPrototypes`).

        Args:
            since: number of the first class that follows; those before it keep their prototypes to
                the bit, as where classes were added.

        Raises:
            RuntimeError: nothing is chosen yet.
            ValueError: prototypes by a formula, or no such class.
        """
        if self._known().order != "assigned":
            raise ValueError("Prototypes by a formula cannot follow a network.")
        if not 0 <= since < self.num_classes:
            raise ValueError(f"Argument 'since' must lie in [0, {self.num_classes}), not {since}.")
        self.settle()
        self._held = since
        self._follows = self._can_follow()

    def settle(self) -> None:
        """Hold prototypes that follow the network: each class takes the vector that it is nearest.

        They stay there in further training. Does nothing where they stay already.
        """
        self.catch_up()
        self._stay()

    @torch.no_grad()
    def catch_up(self) -> None:
        """Give each class the vector nearest to where its prototype has moved.

        In evaluation mode the head does this by itself.
        """
        if not self._behind:
            return
        assert self._moving is not None
        with full_precision(torch.device("cpu")):
            if self._held:
                assert self.loss is not None
                names = None if self._names is None else self._names[self._held :]
                old = self.loss.classes.first(self._held)
                found = old.extend_assigned(self._moving.directions, names)
            else:
                found = assign(self.system, self._moving.directions, self._names).classes
        self._take(found)
        self._behind = False

    def _can_follow(self) -> bool:
        # A subclass may compute anything.
        return type(self.loss) is InBatchSoftmaxLoss

    def _stay(self) -> None:
        self._follows, self._held, self._moving, self._behind = False, 0, None, False

    def set_prototypes(
        self, class_map: ClassMap, center: Tensor | None = None, rotation: Tensor | None = None
    ) -> None:
        """Take the prototypes of a class map, and hold them.

        Args:
            class_map: of as many classes as the head has, which keep their names if it has none.
            center: `[dim]` of the frame from now on; the present one stays if None.
            rotation: `[dim, dim]` orthogonal, likewise.

        Raises:
            ValueError: the dimension of the class map or the frame, or the number of classes, is
                another.
        """
        if class_map.dim != self.dim:
            raise ValueError(
                f"Argument 'class_map' must have dimension {self.dim}, not {class_map.dim}."
            )
        if class_map.num_classes != self.num_classes:
            raise ValueError(
                f"Argument 'class_map' must have the {self.num_classes:,} classes of the head, not "
                f"{class_map.num_classes:,}; `extend` adds some."
            )
        for name, value, shape in (
            ("center", center, (self.dim,)),
            ("rotation", rotation, (self.dim, self.dim)),
        ):
            if value is not None and value.shape != shape:
                raise ValueError(
                    f"Argument '{name}' must have shape {list(shape)}, not {list(value.shape)}."
                )
        if class_map.names is None and self._names is not None:
            class_map = class_map.with_names(self._names)
        self._take(class_map)
        self._stay()
        with torch.no_grad():
            if center is not None:
                self.center.copy_(center)
            if rotation is not None:
                self.rotation.copy_(rotation)
        self._framed = self._framed or center is not None or rotation is not None

    def _take(self, class_map: ClassMap) -> None:
        # What the loss refuses leaves the head as it was.
        loss = self.make_loss(class_map).to(self.center.device).train(self.training)
        self.loss = loss
        self.system, self.num_classes = class_map.system, class_map.num_classes
        self._names = class_map.names

    def extend(self, new: int | Sequence[str], means: Tensor | None = None) -> None:
        """Add classes; the present ones keep their prototypes to the bit, and follow no longer.

        Args:
            new: how many, or their names if the present classes have names.
            means: `[new, dim]` means of their embeddings, as the network gives them, where
                prototypes were chosen from the data: each class takes the free vector nearest to
                its mean. Not for prototypes by formula, or before the choice.

        Raises:
            ValueError: means are missing or not wanted, or too few vectors are left.
        """
        count, names = count_new(new), joined_names(self._names, new)
        chosen = self.loss is not None and self.loss.classes.order == "assigned"
        if chosen and means is None:
            raise ValueError(
                "Argument 'means' must hold a mean embedding for each new class: the prototypes "
                "of this head are chosen from the data."
            )
        if means is not None and not chosen:
            raise ValueError(
                "Argument 'means' must be left out: prototypes of this head "
                + ("go by a formula." if self.ready else "are not chosen yet.")
            )
        if means is not None and means.shape != (count, self.dim):
            raise ValueError(
                f"Argument 'means' must have shape [{count}, {self.dim}], not {list(means.shape)}."
            )
        if self.loss is None and self.num_classes + count > self.system.size:
            raise ValueError(
                f"Argument 'new' must be at most {self.system.size - self.num_classes:,}, the "
                f"vectors of {self.system!r} that are left, not {count:,}."
            )
        self.catch_up()
        if self.loss is None:
            self._names = names
            self.num_classes += count
        elif means is None:
            self._take(self.loss.classes.extend(new))
        else:
            near = self.transform(means.detach()).cpu()
            own = None if isinstance(new, int) else new
            self._take(self.loss.classes.extend_assigned(near, own))
        self._stay()

    @torch.no_grad()
    def fold_into(self, linear: nn.Linear) -> None:
        """Move the frame into the network's last linear layer; the head's becomes the identity.

        The layer then returns `(old - center) @ rotation.T`, and embeddings of the network can be
        compared with the prototypes as they are: for export, or a search index. An optimizer's
        running moments of the layer no longer fit afterwards.

        Args:
            linear: of the dimension of the head, with a bias.

        Raises:
            ValueError: it has another dimension, or no bias.
        """
        if linear.out_features != self.dim or linear.bias is None:
            raise ValueError(
                f"Argument 'linear' must be a linear layer of {self.dim} outputs with a bias, not "
                f"{linear}."
            )
        # Rounded once, where the layer is of half precision.
        wide = torch.promote_types(linear.weight.dtype, torch.float32)
        weight, bias = linear.weight.to(wide), linear.bias.to(wide)
        center, rotation = self.center.to(weight), self.rotation.to(weight)
        linear.weight.copy_(rotation @ weight)
        linear.bias.copy_(rotation @ (bias - center))
        self.center.zero_()
        self.rotation.copy_(torch.eye(self.dim))
        self._framed = False

    # ---------------------------------------------------------------- state

    def get_extra_state(self) -> dict[str, object]:
        """What `state_dict` holds beside the frame; tensors, numbers and strings only."""
        class_map = None if self.loss is None else self._known()
        return {
            "format": FORMAT,
            "num_classes": self.num_classes,
            "names": self._names,
            "system": repr(self.system),
            # Of a class map it holds the vectors itself.
            "table": _table_of(self.system) if class_map is None else None,
            "framed": self._framed,
            "classes": None if class_map is None else class_map.state(),
            "follows": self._follows,
            "held": self._held,
            "moving": None if self._moving is None else self._moving.state(),
            "behind": self._behind,
            "settings": {
                "loss": _loss_settings(self.make_loss),
                "temperature": self.temperature,
                "contrastive_weight": self.contrastive_weight,
                "rotate": self.rotate,
                "seed": self.seed,
            },
        }

    def set_extra_state(self, state: dict[str, Any]) -> None:
        """Take classes, system and stage from a `state_dict`; the head keeps its own settings.

        Prototypes that followed the network are held under a loss by which they cannot.

        Raises:
            ValueError: it is of another format, or of another dimension.
        """
        system, class_map = _read_state(state)
        if system.dim != self.dim:
            raise ValueError(
                f"Argument 'state_dict' must hold prototypes of dimension {self.dim}, not "
                f"{system.dim}."
            )
        if class_map is not None:
            self._take(class_map)
        else:
            self.system, self.loss = system, None
            self.num_classes, self._names = state["num_classes"], state["names"]
        self._framed = state["framed"]
        moving = state["moving"]
        self._moving = None if moving is None else MovingPrototypes.from_state(moving, class_map)
        self._follows, self._held = state["follows"], state["held"]
        self._behind = state["behind"]
        if self._follows and not self._can_follow():
            self.settle()

    def _apply(self, fn: Callable[..., Any], recurse: bool = True) -> PrototypeHead:
        center, rotation = self.center, self.rotation
        super()._apply(fn, recurse)
        # `.half()` and the like are for the network: the frame follows to the device only.
        if self.center.dtype != torch.float32:
            self.center = center.to(self.center.device)
            self.rotation = rotation.to(self.rotation.device)
        return self


def _read_state(extra: Any) -> tuple[VectorSystem, ClassMap | None]:
    """The system, and the classes if they have prototypes, from what `get_extra_state` gave."""
    found = extra.get("format") if isinstance(extra, dict) else type(extra).__name__
    if found != FORMAT:
        raise ValueError(
            f"Argument 'state_dict' must hold a PrototypeHead of format {FORMAT}, not {found}."
        )
    if extra["classes"] is not None:
        class_map = ClassMap.from_state(extra["classes"])
        return class_map.system, class_map
    table = extra["table"]
    return system_from(extra["system"]) if table is None else Table(table), None


def _check_loss(make_loss: object) -> None:
    """Raise a TypeError for what is no function from the class map to a loss."""
    kind = make_loss.func if isinstance(make_loss, partial) else make_loss
    made = isinstance(kind, nn.Module)  # can be called, but with a batch
    other = isinstance(kind, type) and not issubclass(kind, ClassLoss)
    if made or other or not callable(kind):
        expected = "a class of rootspace.losses such as CosineLoss, or a functools.partial of one"
        raise wrong_kind("loss", kind, expected)


def _loss_settings(make_loss: Callable[[ClassMap], ClassLoss]) -> dict[str, Any] | None:
    """A loss of `rootspace.losses` with its arguments, None for what is not plain data."""
    arguments = dict[str, Any]()
    if isinstance(make_loss, partial) and not make_loss.args:
        make_loss, arguments = make_loss.func, make_loss.keywords
    name = getattr(make_loss, "__name__", "")
    plain = all(isinstance(value, int | float | str | None) for value in arguments.values())
    if getattr(losses, name, None) is not make_loss or not plain:
        return None
    return {"class": name, "arguments": dict(arguments)}


def _table_of(system: VectorSystem) -> Tensor | None:
    """The vectors of a table, which its `repr` does not hold."""
    return system.table if isinstance(system, Table) else None


def _log_partition(unit: Tensor, class_map: ClassMap, scale: float) -> Tensor:
    """`[N]` log of the sum over all classes of exp(scale * cosine), in bounded memory."""
    total = unit.new_full((len(unit),), -torch.inf)
    step = max(1, SCORES // max(len(unit), unit.shape[1]))
    for start in range(0, class_map.num_classes, step):
        labels = torch.arange(start, min(start + step, class_map.num_classes), device=unit.device)
        logits = scale * unit @ class_map.vectors(labels, dtype=unit.dtype).T
        total = torch.logaddexp(total, logits.logsumexp(-1))
    return total
