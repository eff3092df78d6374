"""Prototypes from the data: from the class means of a network's embeddings (Sec. 6.6).

Works with any network and any loader of `(x, y)`, in one process and under DistributedDataParallel.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from typing import Any

import torch
import torch.distributed
from torch import Tensor, nn
from torch.utils.data import DataLoader

from ._checks import check_kind, integer, wrong_kind
from ._distributed import is_distributed
from ._precision import full_precision
from .classes import Assignment, ClassMap, ClassMeans, RefinedMeans
from .heads import PrototypeHead
from .sampling import BatchSampler

Network = nn.Module | Callable[[Any], Tensor]
"""From the `x` of a batch to embeddings `[B, dim]`."""


def choose_prototypes(
    head: PrototypeHead,
    network: Network,
    loader: Iterable[Any],
    *,
    refine: int = 0,
    follow: bool = True,
    teacher: bool = False,
    device: torch.device | str | None = None,
) -> Assignment:
    """Give each class the vector of the system that is nearest to the mean of its embeddings.

    The first time the frame is found as well: the mean of all embeddings as its center, and a
    random rotation. Later calls keep the frame, and move prototypes to what the means have become.
    Prototypes by a formula (`PrototypeHead.from_map`) are given up: the head then holds a table of
    chosen ones.

    The network is in evaluation mode during the pass, without gradients, and as before afterwards.
    Sums and embeddings are kept on the host, in memory up to 256 MB each and in temporary files
    beyond that: O(num_classes * dim) numbers of 32 bits and, with `refine`, four times that and
    O(inputs * dim) numbers of 16 bits. One pass, or two where `refine` meets a head without a
    frame. In a distributed run each process passes its part of the data, and all must call.

    Args:
        head: that gets the prototypes.
        network: from the `x` of a batch to embeddings `[B, dim]`: a module or a method of one. A
            function that calls modules is called as it is, in the modes they are in.
        loader: of `(x, y)`, or longer tuples; x is a tensor, or a dict, tuple or list of tensors, y
            `[B]` labels. Every class needs an input. Inputs without augmentation are best. With
            `refine` a `DataLoader` of a data set of known length, or a list of batches.
        refine: rounds in which the means are moved to where similar classes are told apart best
            (`RefinedMeans.refined`); 8 at the end of training, 0 while it goes on.
        follow: from now on prototypes follow the network while it trains (`PrototypeHead.follow`);
            never those of a teacher.
        teacher: `network` is another one than the head's, whose embeddings may have any dimension:
            they are turned into that of the head, and the frame of the head is left alone.
        device: for the inputs; by default that of the network's parameters.

    Returns:
        The class map and how well it fits.

    Raises:
        TypeError: a head, network or loader that is none.
        ValueError: a class has no input; labels or embeddings that do not fit the head, or
            embeddings that are not finite; a loader whose inputs cannot be counted, with `refine`.
        IndexError: a label is out of range.

    Example:
        >>> x, y = torch.randn(64, 8), torch.arange(64) % 4
        >>> head = PrototypeHead(num_classes=4, dim=8)
        >>> found = choose_prototypes(head, torch.nn.Identity(), [(x, y)])
        >>> head.ready, found.classes.num_classes
        (True, 4)
    """
    # Not by its class: a compiled head is a module of another, with all that the head has.
    if not isinstance(head, nn.Module) or not hasattr(head, "choose"):
        raise wrong_kind("head", head, "a PrototypeHead")
    if not callable(network):
        raise wrong_kind("network", network, "a module or a function that returns embeddings")
    check_kind("loader", loader, Iterable, "an iterable of batches (x, y)")
    refine = integer("refine", refine, 0)
    if teacher and refine:
        raise ValueError(
            f"Argument 'refine' must be 0 with a teacher, not {refine}: refined means belong to "
            "the network of the head."
        )
    place = device_of(network, head.center.device) if device is None else torch.device(device)
    seed = head.seed if head.rotate else None
    if teacher:
        means = class_means(network, loader, head.num_classes, device=place)
        _check_every_class(means, head)
        center = _center(means, head)
        turned = means.means(center, random_isometry(head.dim, len(center), seed))
        return _choose(head, turned, None, None, place)
    most = _most_inputs(loader) if refine else 0
    center = rotation = None
    transform: Callable[[Tensor], Tensor] = head.transform
    if not head.framed:
        means = class_means(network, loader, head.num_classes, dim=head.dim, device=place)
        _check_every_class(means, head)
        center, rotation = _center(means, head), random_isometry(head.dim, head.dim, seed)
        if not refine:
            turned = means.means(center, rotation)
            return _choose(head, turned, center, rotation, place, follow)
        transform = _Frame(center.to(place), rotation.to(place))
    refined = RefinedMeans(head.num_classes, head.dim, most) if refine else None
    means = refined or ClassMeans(head.num_classes, head.dim)
    _add_up(means, network, loader, transform, place)
    _check_every_class(means, head)
    # Half precision is for the network: rounded cosines would not tell look-alikes apart.
    with full_precision(torch.device("cpu")):
        vectors = means.means() if refined is None else refined.refined(refine, device=place)
    return _choose(head, vectors, center, rotation, place, follow)


def _check_every_class(means: ClassMeans, head: PrototypeHead) -> None:
    missing = means.missing.tolist()
    if missing:
        names = [repr(head.names[label]) if head.names else str(label) for label in missing[:5]]
        more = ", ..." if len(missing) > len(names) else ""
        raise ValueError(
            f"Argument 'loader' must give an input of every class; {len(missing):,} of the "
            f"{head.num_classes:,} classes have none: {', '.join(names)}{more}."
        )


def _center(means: ClassMeans, head: PrototypeHead) -> Tensor:
    """The mean of all embeddings; the origin for a single class, which would lie on its mean."""
    center = means.center()
    return center if head.num_classes > 1 else torch.zeros_like(center)


def _choose(
    head: PrototypeHead,
    means: Tensor,
    center: Tensor | None,
    rotation: Tensor | None,
    device: torch.device,
    follow: bool = False,
) -> Assignment:
    """`head.choose`, the same in all processes of a distributed run."""
    if not bool(means.any(dim=1).all()):
        raise ValueError(
            "Argument 'network' must tell inputs apart: the mean embedding of a class is that of "
            "all inputs, as where the network gives all of them one embedding. Train it for "
            "longer, or at a smaller rate, before prototypes are chosen."
        )
    with full_precision(torch.device("cpu")):
        found = head.choose(means, center, rotation)
    if is_distributed():
        share_prototypes(head, device)
        classes = head.class_map
        assert classes is not None
        found = replace(found, classes=classes)
    if follow:
        head.follow()
    return found


def share_prototypes(head: PrototypeHead, device: torch.device) -> None:
    """All processes of a distributed run take the prototypes and the frame of the first.

    What they choose themselves from the same data may differ: processors of two kinds round class
    means to other vectors, and a GPU need not add up in the same order twice. They are held
    afterwards. Nothing happens in a single process, or before there are prototypes.

    Args:
        head: whose prototypes are chosen, in each process.
        device: for the messages.
    """
    if not is_distributed() or head.class_map is None:
        return
    state = head.class_map.state()
    for tensor in (state["codes"], head.center, head.rotation):
        if isinstance(tensor, Tensor):
            _take_from_first(tensor, device)
    head.set_prototypes(ClassMap.from_state(state))


def _take_from_first(tensor: Tensor, device: torch.device) -> None:
    """Give a tensor the values that it has in the first process; `device` is for the message."""
    sent = tensor.to(device, copy=True)
    torch.distributed.broadcast(sent, 0)
    tensor.copy_(sent)


def class_means(
    network: Network,
    loader: Iterable[Any],
    num_classes: int,
    *,
    dim: int | None = None,
    unit: bool = False,
    device: torch.device | str | None = None,
) -> ClassMeans:
    """Mean embedding of each class, over all processes; one pass.

    Args:
        network: as of `choose_prototypes`.
        loader: likewise.
        num_classes: of the labels.
        dim: that the embeddings must have, where it is known.
        unit: of the embeddings scaled to unit length.
        device: for the inputs; by default that of the network's parameters.

    Raises:
        ValueError: the loader is empty, or labels or embeddings do not fit or are not finite.
        IndexError: a label is out of range.
    """
    place = device_of(network) if device is None else torch.device(device)
    means: ClassMeans | None = None
    for z, labels in _embeddings(network, loader, place):
        if dim is not None and z.shape[-1] != dim:
            raise ValueError(
                f"Argument 'network' must return embeddings of {dim} dimensions, as the head has, "
                f"not {z.shape[-1]}."
            )
        if means is None:
            means = ClassMeans(num_classes, z.shape[-1])
        means.add(nn.functional.normalize(z.float(), dim=-1) if unit else z, labels)
    if means is None:
        raise ValueError("Argument 'loader' must give batches of inputs and labels, not none.")
    means.reduce(place)
    return means


def _add_up(
    means: ClassMeans,
    network: Network,
    loader: Iterable[Any],
    transform: Callable[[Tensor], Tensor],
    device: torch.device,
) -> None:
    for z, labels in _embeddings(network, loader, device):
        means.add(transform(z), labels)
    means.reduce(device)


@torch.no_grad()
def _embeddings(
    network: Network, loader: Iterable[Any], device: torch.device
) -> Iterator[tuple[Tensor, Tensor]]:
    """Embeddings `[B, dim]` and labels `[B]` of the inputs of this process, each once."""
    # Processes of a distributed run repeat some inputs to have equally many; those come last.
    batches = loader.batch_sampler if isinstance(loader, DataLoader) else None
    ours = batches if isinstance(batches, BatchSampler) else None
    left = None if ours is None else ours.num_own
    _share_buffers(network, device)
    with evaluation_mode(network), nullcontext() if ours is None else ours.whole_pass():
        for batch in loader:
            if left == 0:
                break
            x, labels = _inputs_and_labels(batch)
            z = network(to_device(x, device))
            if not isinstance(z, Tensor) or z.ndim != 2:
                found = list(z.shape) if isinstance(z, Tensor) else type(z).__name__
                raise ValueError(
                    f"Argument 'network' must return embeddings of shape [{len(labels)}, dim], not "
                    f"{found}."
                )
            if len(z) != len(labels):
                raise ValueError(
                    "Arguments 'network' and 'loader' must give as many embeddings as labels, not "
                    f"{len(z)} and {len(labels)}."
                )
            yield z[:left], labels[:left]
            left = None if left is None else max(0, left - len(labels))


def _share_buffers(network: Network, device: torch.device) -> None:
    """All processes of a distributed run embed with the statistics of the first, which are saved.

    Batch normalization counts those of its own inputs in each.
    """
    module = module_of(network)
    if not is_distributed() or module is None:
        return
    for part in module.modules():
        if isinstance(part, nn.modules.batchnorm._BatchNorm):
            for buffer in part.buffers():
                _take_from_first(buffer, device)


def _inputs_and_labels(batch: Any) -> tuple[Any, Tensor]:
    """What the network takes, and `[B]` labels."""
    if not isinstance(batch, Sequence) or len(batch) < 2:
        raise ValueError(f"Argument 'loader' must give batches (x, y), not {type(batch).__name__}.")
    labels = torch.as_tensor(batch[1])
    if labels.ndim != 1 or labels.is_floating_point() or labels.dtype == torch.bool:
        raise ValueError(
            "Argument 'loader' must give integer labels of shape [B], not "
            f"{list(labels.shape)} of {labels.dtype}."
        )
    return batch[0], labels


@contextmanager
def evaluation_mode(network: Network) -> Iterator[None]:
    """A network in evaluation mode; each of its parts is in its own mode again afterwards."""
    module = module_of(network)
    parts = [] if module is None else list(module.modules())
    modes = [part.training for part in parts]
    try:
        for part in parts:
            part.training = False
        yield
    finally:
        for part, mode in zip(parts, modes, strict=True):
            part.training = mode


def to_device(x: Any, device: torch.device) -> Any:
    """Tensors, and those in dicts, lists and tuples, on a device; anything else as it is."""
    if isinstance(x, Tensor):
        return x.to(device, non_blocking=True)
    if isinstance(x, Mapping):
        return type(x)({key: to_device(value, device) for key, value in x.items()})  # pyright: ignore[reportCallIssue]
    if isinstance(x, tuple) and hasattr(x, "_fields"):  # a named tuple
        return type(x)(*(to_device(value, device) for value in x))
    if isinstance(x, list | tuple):
        return type(x)(to_device(value, device) for value in x)
    return x


def device_of(network: Network, otherwise: torch.device | str = "cpu") -> torch.device:
    """The device of a network's first parameter."""
    module = module_of(network)
    parameter = None if module is None else next(module.parameters(), None)
    return torch.device(otherwise) if parameter is None else parameter.device


def module_of(network: Network) -> nn.Module | None:
    """The network as a module, or that whose method it is."""
    owner = network if isinstance(network, nn.Module) else getattr(network, "__self__", None)
    return owner if isinstance(owner, nn.Module) else None


def random_isometry(dim: int, old_dim: int, seed: int | None) -> Tensor:
    """`[dim, old_dim]`: a rotation, an isometry into more dimensions or a projection onto fewer.

    Args:
        dim: of the new embeddings.
        old_dim: of those to be turned.
        seed: None for the first coordinates as they are.
    """
    size = max(dim, old_dim)
    if seed is None:
        return torch.eye(size, dtype=torch.float32)[:dim, :old_dim]
    generator = torch.Generator().manual_seed(seed)
    q, r = torch.linalg.qr(torch.randn(size, size, generator=generator, dtype=torch.float64))
    return (q * r.diagonal().sign()).float()[:dim, :old_dim]


class _Frame:
    """Centers and rotates embeddings."""

    def __init__(self, center: Tensor, rotation: Tensor) -> None:
        self.center, self.rotation = center, rotation

    def __call__(self, z: Tensor) -> Tensor:
        with full_precision(z.device):
            return (z.float() - self.center) @ self.rotation.T


def _most_inputs(loader: Iterable[Any]) -> int:
    """How many inputs a pass gives in this process, at most."""
    if isinstance(loader, DataLoader):
        batches = loader.batch_sampler
        if isinstance(batches, BatchSampler):
            return batches.num_own
        try:
            size = getattr(batches, "batch_size", 0)
            return max(len(loader.sampler), len(loader.dataset), len(loader) * size)  # pyright: ignore[reportArgumentType]
        except TypeError:
            pass
    elif isinstance(loader, Sequence):
        return sum(len(batch[1]) for batch in loader)
    raise ValueError(
        "Argument 'loader' must be a DataLoader over a data set of known length, or a list of "
        f"batches, where prototypes are refined, not {type(loader).__name__}."
    )
