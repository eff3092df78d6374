"""Which class owns which vector (f_choice, eq. (2)), which class an embedding is (f_label, (4))."""

from __future__ import annotations

import contextlib
import copy
import math
import os
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Literal, NamedTuple, cast

import torch
from torch import Tensor

from rootspace._checks import check_kind, integer, wrong_kind
from rootspace._precision import full_precision
from rootspace.search import CertifiedIndex
from rootspace.systems import (
    MAX_INDEX,
    Enumerated,
    Table,
    VectorSystem,
    check_range,
    directed_rows,
    system_from,
)

from ._map_file import State, entry, entry_or_none, read_state, write_state
from ._matching import choose
from .codes import CHUNK, Codes, LevelCodes, NumberCodes, check_codes, make_codes, read_codes
from .coordinate_lists import CoordinateLists
from .search import search_placements, search_vectors
from .shuffle import KeyedPermutation

Formula = Literal["shuffled", "natural"]

FORMAT = 1
"""Version of what `ClassMap.state` gives and `ClassMap.save` writes."""

LONGEST_WALK = 256
"""How many neighbors a search for an assigned vector looks at, at most."""

SPARSEST = 16
"""Vectors of a system for each class, at most, where walks all but never fail: one in e^16 does."""

FEW_COORDINATES = 32
"""Vectors with fewer than dim / 32 non-zero coordinates are scored through these."""

FEW_CLASSES, MANY_CLASSES = 2**14, 2**24
"""How many classes with such vectors are searched through `CoordinateLists`: of fewer a scan is as
fast, of more these are no longer made without being asked for."""

MOST_LISTED = 64
"""Classes that are found together so, at most."""


class Prediction(NamedTuple):
    """The classes nearest to each embedding, best first.

    Attributes:
        label: `[..., k]` int64, -1 for "unknown" (only where the caller asks for it).
        cosine: `[..., k]` cosine to the class vector.
    """

    label: Tensor
    cosine: Tensor


def checked_names(
    names: Sequence[str], num_classes: int | None = None, argument: str = "names"
) -> list[str]:
    """Names of classes, as a list.

    Args:
        names: in the order of the classes, which a set or the keys of a dict have not.
        num_classes: how many there must be, where it is known.
        argument: that holds them, for messages.

    Raises:
        TypeError: no list of texts.
        ValueError: not one for each class, or two are the same.
    """
    if isinstance(names, str) or not isinstance(names, Sequence):
        raise wrong_kind(argument, names, "a list of texts")
    names = list(names)  # those of a data set may be made as they are asked for
    for name in names:
        if not isinstance(name, str):
            raise TypeError(f"Argument '{argument}' must hold texts only, not {name!r}.")
    if num_classes is not None and len(names) != num_classes:
        raise ValueError(
            f"Argument '{argument}' must hold {num_classes} names, one a class, not {len(names)}."
        )
    if len(set(names)) < len(names):
        twice = Counter(names).most_common(1)[0][0]
        raise ValueError(f"Argument '{argument}' must be different; {twice!r} is there twice.")
    return names


def count_new(new: int | Sequence[str]) -> int:
    """How many classes are to be added, by the argument `new` of an `extend`.

    Raises:
        TypeError: names that are no texts.
        ValueError: neither a number from 0 on nor a list of different names.
    """
    if isinstance(new, int) and not isinstance(new, bool) and new >= 0:
        return new
    if isinstance(new, str) or not isinstance(new, Sequence):
        raise ValueError(f"Argument 'new' must be a number of classes or names, not {new!r}.")
    return len(checked_names(new, argument="new"))


def _integers(numbers: Tensor, argument: str) -> Tensor:
    """`[...]` integers as int64."""
    numbers = torch.as_tensor(numbers)
    if numbers.is_floating_point() or numbers.dtype == torch.bool:
        raise TypeError(f"Argument '{argument}' must be an integer tensor, not {numbers.dtype}.")
    return numbers.to(torch.int64)


class ClassMap:
    """A class number for some of the vectors of a system: a formula, not a table.

    O(1) memory at any number of classes. Old classes keep their vectors when classes are added.

    Args:
        system: the vectors.
        num_classes: how many of them belong to a class.
        order: `"shuffled"` gives class c the vector at a keyed pseudo-random place (A_nr of the
            paper), `"natural"` vector number c (A_n).
        seed: of the shuffle.
        names: one name for each class, or None.

    Raises:
        TypeError: something else than a system, or names that are no texts.
        ValueError: more classes than vectors, an unknown order, no integer where one is wanted,
            names that do not fit.

    Example:
        >>> classes = ClassMap(RootA(384, interpolations=1), 50_000_000)
        >>> v = classes.vectors(torch.tensor([7, 49_999_999]))
        >>> v.shape, classes.predict(v).label.flatten()
        (torch.Size([2, 384]), tensor([       7, 49999999]))
    """

    def __init__(
        self,
        system: VectorSystem,
        num_classes: int,
        order: Formula = "shuffled",
        seed: int = 0,
        names: Sequence[str] | None = None,
    ) -> None:
        check_kind("system", system, VectorSystem, "a vector system such as RootA(384)")
        num_classes, seed = integer("num_classes", num_classes), integer("seed", seed, None)
        if system.size > MAX_INDEX:
            raise ValueError(
                f"Argument 'system' must have at most 2**63 - 1 vectors, so that they can be "
                f"numbered; {system!r} has more."
            )
        if num_classes > system.size:
            raise ValueError(
                f"Argument 'num_classes' must be at most {system.size}, the number "
                f"of vectors of {system!r}, not {num_classes}. Take a larger system: see "
                f"rootspace.plan({num_classes})."
            )
        if order not in ("shuffled", "natural"):
            raise ValueError(f"Argument 'order' must be 'shuffled' or 'natural', not {order!r}.")
        self._set(system, num_classes, order, seed, names)
        self._permutation = KeyedPermutation(system.size, seed) if order == "shuffled" else None

    def _set(
        self,
        system: VectorSystem,
        num_classes: int,
        order: Literal["shuffled", "natural", "assigned"],
        seed: int,
        names: Sequence[str] | None,
    ) -> None:
        self.system = system
        self.num_classes = num_classes
        self.order: Literal["shuffled", "natural", "assigned"] = order
        self.seed = seed
        self.names = None if names is None else checked_names(names, num_classes)
        self._permutation: KeyedPermutation | None = None
        self._codes: Codes | None = None
        self._index: CertifiedIndex | None = None
        self._lists: CoordinateLists | None = None

    @classmethod
    def assigned(
        cls, system: VectorSystem, vectors: Tensor, names: Sequence[str] | None = None
    ) -> ClassMap:
        """A map in which each class owns a given vector, chosen from data: see `classes.assign`.

        Args:
            system: the vectors belong to, of any size.
            vectors: `[C, dim]` members of it, or their `[C]` int64 numbers; all different.
            names: one for each class, or None.

        Returns:
            A map that stores one compact code a class: 2 bits a coordinate for k-hot vectors, 3
            for codes of three levels, at most 8 bytes for systems that can be numbered.

        Raises:
            ValueError: a vector is not a member, or two are equal.
        """
        return cls._with_codes(system, make_codes(system, vectors), names)

    @classmethod
    def _with_codes(
        cls, system: VectorSystem, codes: Codes, names: Sequence[str] | None
    ) -> ClassMap:
        classes = cls.__new__(cls)
        classes._set(system, len(codes), "assigned", 0, names)
        classes._codes = codes
        return classes

    @property
    def dim(self) -> int:
        """Dimension of the vectors."""
        return self.system.dim

    @property
    def capacity(self) -> int:
        """How many classes the system can hold."""
        return self.system.size

    @property
    def closed_form(self) -> bool:
        """Whether `predict` needs no search over the class vectors, for any embedding.

        Where few of a system's vectors have a class, only embeddings near a class vector need none.
        """
        if isinstance(self._codes, LevelCodes) or isinstance(self.system, Enumerated):
            return False
        return self.capacity <= SPARSEST * self.num_classes

    @property
    def bytes_per_class(self) -> float:
        """Memory for one class vector: 0 for a formula, else that of its code or table row."""
        if self._codes is not None:
            return self._codes.bytes_per_class
        if isinstance(self.system, Table):
            return float(self.dim * self.system.table.element_size())
        return 0.0

    def __repr__(self) -> str:
        if self._codes is not None:
            return f"ClassMap.assigned({self.system!r}, <{self.num_classes} vectors>)"
        return f"ClassMap({self.system!r}, {self.num_classes}, {self.order!r}, seed={self.seed})"

    # ---------------------------------------------------------------- class <-> vector

    def indices(self, labels: Tensor) -> Tensor:
        """`[...]` class numbers -> `[...]` numbers of their vectors in the system.

        Raises:
            IndexError: a label is not in [0, num_classes).
        """
        labels = self.check_labels(labels)
        if self._codes is not None:
            return self._codes.indices(labels.reshape(-1)).reshape(labels.shape)
        return labels if self._permutation is None else self._permutation(labels)

    def check_labels(self, labels: Tensor) -> Tensor:
        """`[...]` integers in [0, num_classes) as int64.

        Raises:
            TypeError: not integers.
            IndexError: out of range.
        """
        labels = _integers(labels, "labels")
        check_range(labels, self.num_classes, "'labels' must lie in")
        return labels

    def vectors(self, labels: Tensor, *, dtype: torch.dtype | None = None) -> Tensor:
        """The vectors of these classes: Algorithm 1's `gather(C, labels)`, without C.

        Args:
            labels: `[...]` class numbers in [0, num_classes).
            dtype: of the result; torch's default dtype if None.

        Returns:
            `[..., dim]` unit vectors on the device of `labels`.
        """
        if self._codes is not None:
            flat = self.check_labels(labels).reshape(-1)
            dtype = torch.get_default_dtype() if dtype is None else dtype
            return self._codes.vectors(flat, dtype).reshape(*labels.shape, self.dim)
        return self.system.vectors(self.indices(labels), dtype=dtype)

    def vector_ids(self, labels: Tensor) -> list[int] | list[bytes]:
        """What tells the vectors of these classes apart, to be stored elsewhere.

        Args:
            labels: `[N]` class numbers.

        Returns:
            The numbers of their vectors in the system; where it is too large to be numbered, their
            packed levels.

        Raises:
            IndexError: a label is not in [0, num_classes).
        """
        if isinstance(self._codes, LevelCodes):
            codes = self._codes.of(self.check_labels(labels).reshape(-1))
            return [code.tobytes() for code in codes.cpu().numpy()]
        return self.indices(labels).reshape(-1).tolist()

    def labels(self, index: Tensor) -> Tensor:
        """`[...]` numbers of vectors -> `[...]` their classes, -1 where a vector has none.

        Raises:
            TypeError: not integers.
            IndexError: a number is not in [0, capacity).
            ValueError: the vectors are stored by their levels and have no numbers.
        """
        index = _integers(index, "index")
        check_range(index, self.capacity, "'index' must lie in")
        if isinstance(self._codes, NumberCodes):
            return self._codes.labels(index)
        if self._codes is not None:
            raise ValueError(f"Vectors of {self!r} are stored by their levels and have no numbers.")
        label = index if self._permutation is None else self._permutation.inverse(index)
        return torch.where(label < self.num_classes, label, -1)

    # ---------------------------------------------------------------- prediction

    def predict(
        self,
        embeddings: Tensor,
        k: int = 1,
        *,
        min_cosine: float | None = None,
        reject_unassigned: bool = False,
    ) -> Prediction:
        """The k nearest class vectors, exact: eq. (12).

        Where every vector of the system has a class this is its closed-form `nearest`. Else the
        neighbors are walked from the best until k of them have a class, or, where too few have
        one for that to pay, all class vectors are scored in chunks; the result is the same. An
        embedding near its class vector, as training makes them, needs no walk. Vectors stored by
        their levels are searched in int8, with one byte a coordinate, made at the first call; so
        are `CoordinateLists` for sparse ones on the CPU, 27 bytes a class with one interpolation.

        Args:
            embeddings: `[..., dim]` of any length but zero.
            k: number of classes, at most num_classes.
            min_cosine: label -1 where the cosine is smaller, in [-1, 1].
            reject_unassigned: label -1 in the first place where the nearest vector of the system
                belongs to no class.

        Returns:
            `Prediction` of shape `[..., k]`, best first.

        Raises:
            TypeError: no float tensor.
            ValueError: wrong shape, zero, NaN or infinite embeddings, k or min_cosine out of range.
        """
        k = integer("k", k, 1, self.num_classes)
        if min_cosine is not None and not -1 <= min_cosine <= 1:
            raise ValueError(f"Argument 'min_cosine' must lie in [-1, 1], not {min_cosine}.")
        z = embeddings
        self.system.check_shape(z, "embeddings")
        flat, norm = directed_rows(z.reshape(-1, self.dim), "embeddings")
        with full_precision(z.device):
            cosine, label = self._predict(flat, norm, k)
            if reject_unassigned and self.num_classes < self.capacity:
                first = torch.arange(k, device=z.device) == 0
                unassigned = self._is_unassigned(flat, label[:, 0])
                label = torch.where(unassigned[:, None] & first, -1, label)
        if min_cosine is not None:
            label = torch.where(cosine < min_cosine, -1, label)
        shape = (*z.shape[:-1], k)
        return Prediction(label.reshape(shape), cosine.to(z.dtype).reshape(shape))

    def _is_unassigned(self, z: Tensor, label: Tensor) -> Tensor:
        """`[N]` bool: the nearest vector of the system belongs to no class, not to `label`."""
        if not isinstance(self._codes, LevelCodes):
            return self.labels(self.system.nearest(z).index[:, 0]) < 0
        return (self.system.quantize(z) - self.vectors(label, dtype=z.dtype)).abs().amax(-1) > 1e-5

    def _predict(self, z: Tensor, norm: Tensor, k: int) -> tuple[Tensor, Tensor]:
        """`[N, dim]` -> cosines and labels `[N, k]`."""
        whole = self._codes is None and self.num_classes == self.capacity
        # A system that looks at all its vectors has no cheap neighbors, a compiled graph no walk.
        no_walk = isinstance(self.system, Enumerated) or torch.compiler.is_compiling()
        if isinstance(self._codes, LevelCodes) or (no_walk and not whole):
            return self._search(z / norm[:, None], k)
        if whole:
            return self._neighbors(z, k)
        width = k
        cosine, label = self._neighbors(z, k)
        open_rows = (label < 0).any(dim=-1).nonzero()[:, 0]
        while len(open_rows):
            width = self._next_width(width, k)
            if not width:
                unit = z[open_rows] / norm[open_rows, None]
                cosine[open_rows], label[open_rows] = self._search(unit, k)
                break
            scores, classes = self._neighbors(z[open_rows], width)
            # Assigned neighbors first, in their order.
            found = classes >= 0
            first = (~found).to(torch.uint8).sort(dim=-1, stable=True).indices[:, :k]
            cosine[open_rows], label[open_rows] = (
                scores.gather(-1, first),
                classes.gather(-1, first),
            )
            open_rows = open_rows[found.sum(-1) < k]
        return cosine, label

    def _neighbors(self, z: Tensor, k: int) -> tuple[Tensor, Tensor]:
        """Cosines of the k nearest vectors of the system, and their classes, -1 for none."""
        nearest = self.system.nearest(z, k)
        return nearest.cosine, self.labels(nearest.index)

    def _next_width(self, width: int, k: int) -> int:
        """How many neighbors to look at for k assigned ones after `width` did not do; 0: none.

        An embedding's search among all class vectors costs as much as some thousand neighbors, so
        the walk goes on while it is likely to end.
        """
        likely = math.ceil(2 * k * self.capacity / self.num_classes)
        if width >= self.capacity or width >= LONGEST_WALK or likely > 4 * LONGEST_WALK:
            return 0
        return min(max(likely, 4 * width), LONGEST_WALK, self.capacity)

    def _search(self, z: Tensor, k: int) -> tuple[Tensor, Tensor]:
        """The k best of all class vectors for unit embeddings."""
        cosine, label = self._find(z, k)
        if z.requires_grad and torch.is_grad_enabled() and not cosine.requires_grad:
            vectors = self.vectors(label, dtype=z.dtype)
            cosine = (vectors @ z[:, :, None])[:, :, 0]
        return cosine, label

    def _find(self, z: Tensor, k: int) -> tuple[Tensor, Tensor]:
        """`_search`, with or without a gradient."""
        if self._index is not None and z.device.type == "cpu":
            found = self._index.search_unit(z, k)
            return found.cosine, found.index
        if isinstance(self._codes, LevelCodes):
            return self._codes.search(z, k)

        def vectors(start: int, stop: int) -> Tensor:
            return self.vectors(torch.arange(start, stop, device=z.device), dtype=z.dtype)

        def placements(start: int, stop: int) -> tuple[Tensor, Tensor]:
            return self._placements(torch.arange(start, stop, device=z.device), z.dtype)

        if not self._is_sparse():
            return search_vectors(z, vectors, self.num_classes, k)
        if (
            z.device.type == "cpu"
            and FEW_CLASSES <= self.num_classes <= MANY_CLASSES
            and k <= MOST_LISTED
            and not torch.compiler.is_compiling()
        ):
            if self._lists is None:
                exact = partial(self._placements, dtype=torch.float64)
                self._lists = CoordinateLists(exact, self.num_classes)
            return self._lists.search(z, k)
        return search_placements(z, placements, self.num_classes, k)

    def _is_sparse(self) -> bool:
        """Whether the vectors have so few coordinates that scores are summed up from these."""
        first = self.indices(torch.zeros(1, dtype=torch.int64))
        placed = self.system.placements(first, torch.float64)
        return placed is not None and FEW_COORDINATES * placed[0].shape[1] <= self.dim

    def _placements(self, labels: Tensor, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
        placed = self.system.placements(self.indices(labels), dtype)
        assert placed is not None
        return placed

    @property
    def index(self) -> CertifiedIndex | None:
        """Of the class vectors, by class number; None before `build_index`."""
        return self._index

    def build_index(
        self,
        *,
        width: int = 32,
        links: str | os.PathLike[str] | None = None,
        progress: Callable[[float], None] = lambda share: None,
    ) -> None:
        """Make `predict` on the CPU faster where there are very many classes chosen from data.

        What it finds stays the same, exact; see `rootspace.search.CertifiedIndex`, with what
        building costs: 100 minutes of one core with AVX2 for a million classes of dimension 256, a
        fraction of that with VNNI or AMX, a hundredth for 100,000 classes. It keeps 4 * width + 12
        + dim / 128 bytes a class beside the bytes that a scan keeps as well, one a coordinate; 5 a
        coordinate for vectors that are not integers. Below 32,768 classes a scan is as fast, and
        stays. Classes of `extend_assigned` are scanned until the next call.

        The index is no part of the map's state: neither saved nor pickled.

        Args:
            width: nearest classes that are kept for each; more of them serve a larger k.
            links: a .npz file for what is built. If it is there and of these classes, it is read
                instead; else it is written.
            progress: called now and then with the share that is done, in [0, 1].

        Raises:
            ValueError: the classes are found by a formula and need no index, or width is not
                positive.
        """
        if self.closed_form:
            raise ValueError(f"{self!r} finds classes in closed form and needs no index.")
        if self._index is None or self._index.width != width:
            self._index = self._make_index(width)
        unlinked = self._index.pending == self._index.size
        if links is not None and unlinked and Path(links).exists():
            with contextlib.suppress(ValueError):  # of other classes, or damaged
                self._index.load(links)
        built = self._index.pending
        self._index.build(progress=progress)
        if links is not None and built > self._index.pending:
            self._index.save(links)

    def _make_index(self, width: int) -> CertifiedIndex:
        if isinstance(self._codes, LevelCodes) and self._codes.system.fits_int8:
            system = self._codes.system
            return CertifiedIndex.of_levels(self._codes.int8(), system.norm, width=width)
        index = CertifiedIndex(self.dim, width=width)
        self._add_to(index, 0)
        return index

    def _add_to(self, index: CertifiedIndex, start: int) -> None:
        """Put the vectors of the classes from `start` on into an index of those before."""
        for labels in torch.arange(start, self.num_classes).split(CHUNK):
            vectors = self.vectors(labels, dtype=torch.float32)
            if isinstance(self._codes, LevelCodes) and self._codes.system.fits_int8:
                vectors = (vectors * self._codes.system.norm).round().to(torch.int8)
            index.add(vectors)

    def __getstate__(self) -> dict[str, object]:
        return {**self.__dict__, "_index": None, "_lists": None}

    def probability(self, z: Tensor, labels: Tensor, scale: float | None = None) -> Tensor:
        """How likely each of these classes is, in a softmax over ALL vectors of the system.

        exp(scale * cos(z, v) - log_partition(z, scale)): what `SystemSoftmaxLoss` trains, in
        closed form. What is missing to 1 belongs to other classes and to vectors without a class.

        Args:
            z: `[..., dim]` embeddings.
            labels: `[..., k]` classes, for example those of `predict`; -1 has probability 0.
            scale: inverse temperature; None for `system.scale_for(0.9)`.

        Returns:
            `[..., k]`.
        """
        self.system.check_shape(z, "z")
        scale = self.system.scale_for(0.9) if scale is None else scale
        vectors = self.vectors(labels.clamp(min=0), dtype=z.dtype)
        cosine = torch.nn.functional.cosine_similarity(z.unsqueeze(-2), vectors, dim=-1)
        log_total = self.system.log_partition(z, scale).unsqueeze(-1)
        return torch.where(labels < 0, 0.0, torch.exp(scale * cosine - log_total))

    # ---------------------------------------------------------------- growth and files

    def extend(self, new: int | Sequence[str]) -> ClassMap:
        """A map with more classes; the old ones keep their vectors and numbers.

        An assigned map grows by vectors near the data instead: see `extend_assigned`.

        Args:
            new: how many, or their names if the present classes have names.

        Raises:
            TypeError: names that are no texts.
            ValueError: the system has too few vectors left, or names are missing.
        """
        if self.order == "assigned":
            raise ValueError(
                "An assigned class map grows by vectors: use 'extend_assigned' with the means of "
                "the new classes."
            )
        count = count_new(new)
        names = self._names_with(None if isinstance(new, int) else new, "new")
        return ClassMap(self.system, self.num_classes + count, self.order, self.seed, names)

    def extend_assigned(self, means: Tensor, names: Sequence[str] | None = None) -> ClassMap:
        """An assigned map with more classes, each at the free vector nearest to its mean.

        The old classes keep their vectors and numbers; nothing is trained or moved. The vectors
        are chosen as `classes.assign` chooses them, among those that have no class.

        Args:
            means: `[C, dim]` means of the new classes' embeddings, of any length, in the space of
                the class vectors. Different free vectors of the system are kept where all are such;
                beside other means they may be moved.
            names: of the new classes, if the present ones have names.

        Raises:
            TypeError: names that are no list of texts.
            ValueError: not an assigned map, too few vectors left, or names are missing.
        """
        if self._codes is None:
            raise ValueError(
                f"Only an assigned class map grows by means; {self!r} grows by 'extend'."
            )
        names = None if names is None else checked_names(names, len(means))
        together = self._names_with(names, "names")
        old = self._codes.array
        codes = torch.cat([old, choose(self.system, means, old).codes]) if len(means) else old
        extended = self._with_codes(self.system, read_codes(self.system, codes), together)
        if self._index is not None:
            extended._index = self._index.copy()
            extended._add_to(extended._index, self.num_classes)
        return extended

    def first(self, count: int) -> ClassMap:
        """The first classes alone, of an assigned map.

        Args:
            count: how many, from 1 on.

        Raises:
            ValueError: not an assigned map, or it has fewer classes.
        """
        if self._codes is None or not 1 <= count <= self.num_classes:
            raise ValueError(
                f"Argument 'count' must lie in [1, {self.num_classes}], of an assigned map, not "
                f"{count} of {self!r}."
            )
        names = None if self.names is None else self.names[:count]
        return self._with_codes(
            self.system, read_codes(self.system, self._codes.array[:count]), names
        )

    def with_names(self, names: Sequence[str] | None) -> ClassMap:
        """The same classes under these names, or without names.

        Raises:
            TypeError: no list of texts.
            ValueError: not one name for each class, or two are the same.
        """
        named = copy.copy(self)
        named.names = None if names is None else checked_names(names, self.num_classes)
        return named

    def _names_with(self, new: Sequence[str] | None, argument: str) -> list[str] | None:
        """The present names and the new ones, if there are any."""
        if (self.names is None) != (new is None):
            have = "have names" if self.names is not None else "have no names"
            raise ValueError(
                f"Argument '{argument}' must fit the classes so far, which {have}: {new!r}."
            )
        return None if new is None else [*(self.names or []), *new]

    def state(self) -> State:
        """What the map is made of, for a checkpoint that `weights_only=True` reads.

        Returns:
            `format`, `system` (its `repr`), `num_classes`, `order`, `seed`, `names`, and what a
            formula cannot give: `codes` of an assigned map, `table` of a `Table`, else None.

        Raises:
            ValueError: the system's `repr` does not describe it: a `Union` with a `Table`.
        """
        table = self.system.table if isinstance(self.system, Table) else None
        if table is None:
            try:
                system_from(repr(self.system))
            except ValueError as error:
                raise ValueError(f"{self.system!r} cannot be saved: {error}") from error
        return {
            "format": FORMAT,
            # A table goes by its vectors: those of a `Sphere` may differ where it is made again.
            "system": repr(self.system if table is None else Table(table)),
            "num_classes": self.num_classes,
            "order": self.order,
            "seed": self.seed,
            "names": self.names,
            "codes": None if self._codes is None else self._codes.array,
            "table": table,
        }

    @classmethod
    def from_state(cls, state: Mapping[str, Tensor | str | int | list[str] | None]) -> ClassMap:
        """The map that `state` described.

        Raises:
            ValueError: an entry is missing, of another type, or does not fit the others; codes that
                are no vectors of the system or not all different; a table that is not finite.
        """
        found = entry(state, "format", int)
        if found != FORMAT:
            raise ValueError(
                f"A class map's 'format' must be {FORMAT}, which this version of rootspace reads, "
                f"not {found}: upgrade rootspace."
            )
        text, table = entry(state, "system", str), entry_or_none(state, "table", Tensor)
        system: VectorSystem = system_from(text) if table is None else Table(table)
        if table is not None and repr(system) != text:
            raise ValueError(
                f"A class map's 'table' must be the {text} that it names, not {system!r}."
            )
        num_classes, seed = entry(state, "num_classes", int), entry(state, "seed", int)
        order, names = entry(state, "order", str), entry_or_none(state, "names", list)
        if names is not None and not all(isinstance(name, str) for name in names):
            raise ValueError(f"A class map's 'names' must be strings, not {names!r}.")
        codes = entry_or_none(state, "codes", Tensor)
        if (order == "assigned") != (codes is not None):
            raise ValueError(
                f"A class map has 'codes' if its 'order' is 'assigned', and only then: {order!r}."
            )
        if codes is None:
            # Another order than these is refused there.
            return cls(system, num_classes, cast(Formula, order), seed, names)
        if codes.ndim == 0 or len(codes) != num_classes or not num_classes:
            raise ValueError(
                f"A class map's 'codes' must hold one for each of the {num_classes} "
                f"classes, not be of shape {tuple(codes.shape)}."
            )
        check_codes(system, codes)
        return cls._with_codes(system, read_codes(system, codes), names)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the map as JSON, under 1 kB without names; arrays go beside it as .npy.

        The file of that name is replaced at once and last, and names the arrays by their SHA-256:
        an interrupted `save` leaves an older map as it was.
        """
        write_state(Path(path), self.state())

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> ClassMap:
        """Read a map that `save` wrote.

        Raises:
            ValueError: not such a file, of a newer format, or with arrays of another map.
            FileNotFoundError: it, or an array beside it, is missing.
        """
        try:
            return cls.from_state(read_state(Path(path)))
        except ValueError as error:  # also of JSON and of UTF-8
            raise ValueError(f"{path} is not a class map of rootspace: {error}") from error
