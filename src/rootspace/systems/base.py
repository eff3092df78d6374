"""The protocol of a vector system: f_gen, eq. (1) of arXiv 2510.04090.

A vector system is a finite set of unit vectors that is never stored: a vector is computed from
its index, and an index from its vector. What a leaf class writes is marked below; all checks and
all handling of shapes and dtypes happen once, here, so a leaf sees `[N, dim]` only.
"""

from __future__ import annotations

import abc
import math
from collections.abc import Callable, Sequence
from fractions import Fraction
from typing import NamedTuple, ParamSpec, TypeVar

import torch
from torch import Tensor

from rootspace._precision import full_precision

P = ParamSpec("P")
R = TypeVar("R")

MAX_DIM = 2**21
"""Dimensions of a system, at most: beyond, a single vector is larger than any embedding."""

MAX_INDEX = 2**63 - 1
"""Indices are int64; larger systems work in `quantize` and `log_partition` only."""


LONGEST = 1e15
"""Longer rows are rescaled, so that `NEVER` in `_partition` stays below every score."""


class Neighbors(NamedTuple):
    """The vectors nearest to each embedding, best first.

    Attributes:
        cosine: `[..., k]`, in the dtype of the embeddings.
        index: `[..., k]` int64.
    """

    cosine: Tensor
    index: Tensor  # pyright: ignore[reportIncompatibleMethodOverride] - shadows tuple.index


class VectorSystem(abc.ABC):
    """A finite set of unit vectors in `dim` dimensions, known in closed form.

    All vectors have length 1, so nearest by Euclidean distance and by cosine agree. Objects are
    immutable, hold integers rather than tensors (`Table` excepted), compare and hash by their
    `repr`, and follow the device and dtype of what they are given.

    A leaf class must write `dim`, `size`, `__repr__`, `_vectors`, `_index`, `_nearest`,
    `_log_partition`, `_largest_cosine` and `_representatives`; it may write `_quantize`,
    `_placements` and `_smallest_angle`.
    `rootspace.testing.check_system` checks all of them against brute force.
    """

    # ---------------------------------------------------------------- a leaf must write these

    @property
    @abc.abstractmethod
    def dim(self) -> int:
        """Number of coordinates."""

    @property
    @abc.abstractmethod
    def size(self) -> int:
        """Number of vectors, a Python int of any magnitude."""

    @abc.abstractmethod
    def __repr__(self) -> str:
        """The constructor call: `eval(repr(system)) == system` (`Table` excepted)."""

    @abc.abstractmethod
    def _vectors(self, index: Tensor, dtype: torch.dtype) -> Tensor:
        """`[N]` int64 in range -> `[N, dim]` unit vectors."""

    @abc.abstractmethod
    def _index(self, vectors: Tensor) -> Tensor:
        """`[N, dim]` -> `[N]` int64, -1 where the vector is not a member."""

    @abc.abstractmethod
    def _nearest(self, z: Tensor, k: int) -> tuple[Tensor, Tensor]:
        """`[N, dim]` -> the k largest inner products with unit vectors, and their indices."""

    @abc.abstractmethod
    def _log_partition(self, u: Tensor, length: float) -> Tensor:
        """`[N, dim]` no longer than `length` -> `[N]`: log of the sum over all v of exp(u . v)."""

    @abc.abstractmethod
    def _largest_cosine(self) -> float:
        """Largest cosine between two different vectors; -1 for a single vector."""

    @abc.abstractmethod
    def _representatives(self) -> tuple[Tensor, Sequence[Fraction | int]]:
        """`[R, dim]` float64 vectors that stand for all, and how many each of them stands for.

        One vector of each class of symmetric ones where there is a symmetry, else an even sample.
        """

    # ---------------------------------------------------------------- a leaf may write this

    def _quantize(self, z: Tensor) -> Tensor:
        """`[N, dim]` -> `[N, dim]`; systems larger than `MAX_INDEX` must write it."""
        return self._vectors(self._nearest(z, 1)[1][:, 0], z.dtype)

    def _placements(self, index: Tensor, dtype: torch.dtype) -> tuple[Tensor, Tensor] | None:
        """`[N]` int64 in range -> positions and values `[N, m]` of the non-zero coordinates.

        For a leaf whose vectors have few of them; unused columns hold value 0.
        """
        return None

    def _smallest_angle(self) -> float:
        """In degrees; for a leaf whose angles are too small for the arc cosine."""
        return math.degrees(math.acos(max(-1.0, min(1.0, self._largest_cosine()))))

    # ---------------------------------------------------------------- derived, never overridden

    @property
    def min_angle(self) -> float:
        """Smallest angle between two vectors in degrees, exact (180 for a single vector)."""
        return self._smallest_angle()

    def __len__(self) -> int:
        return self.size

    def __bool__(self) -> bool:
        return True  # not by `len`, which Python limits to 2**63 - 1

    def __eq__(self, other: object) -> bool:
        return isinstance(other, VectorSystem) and repr(self) == repr(other)

    def __hash__(self) -> int:
        return hash(repr(self))

    def __str__(self) -> str:
        size = f"{self.size:,}" if self.size <= MAX_INDEX else f"2**{math.log2(self.size):.1f}"
        return f"<{self!r}: {size} vectors, dim {self.dim}, {self.min_angle:.1f} deg>"

    def vectors(self, index: Tensor, *, dtype: torch.dtype | None = None) -> Tensor:
        """The vectors with these indices (unrank).

        Args:
            index: `[...]` int64, each in `[0, size)`.
            dtype: of the result; torch's default dtype if None.

        Returns:
            `[..., dim]` unit vectors on the device of `index`.

        Raises:
            IndexError: an index is out of range.
            OverflowError: the system is larger than 2**63 - 1.
        """
        self._require_indices("vectors")
        index = torch.as_tensor(index)
        if index.dtype not in (torch.int64, torch.int32, torch.int16, torch.int8, torch.uint8):
            raise TypeError(f"Argument 'index' must be an integer tensor, not {index.dtype}.")
        flat = index.reshape(-1).to(torch.int64)
        check_range(flat, self.size, "'index' must lie in", f" ({self!r})")
        vectors = self._vectors(flat, torch.get_default_dtype() if dtype is None else dtype)
        return vectors.reshape(*index.shape, self.dim)

    def index(self, vectors: Tensor) -> Tensor:
        """The indices of these vectors (rank), the inverse of `vectors`.

        Args:
            vectors: `[..., dim]` members of the system, within rounding of their dtype.

        Returns:
            `[...]` int64.

        Raises:
            ValueError: a vector is not a member.
        """
        self._require_indices("index")
        flat = self._rows(vectors, "vectors")
        with full_precision(vectors.device):
            index = self._index(flat)
        if not torch.compiler.is_compiling() and bool((index < 0).any()):
            row = int((index < 0).nonzero()[0, 0])
            raise ValueError(
                f"Argument 'vectors' must hold members of {self!r}; row {row} is not one of them."
            )
        return index.reshape(vectors.shape[:-1])

    def nearest(self, z: Tensor, k: int = 1) -> Neighbors:
        """The k vectors nearest to each embedding, by cosine; exact, without a table.

        Args:
            z: `[..., dim]` embeddings of any length; zero ones have cosine 0 with every vector.
            k: number of neighbors, at most `size`.

        Returns:
            `Neighbors` of shape `[..., k]`, best first, equal cosines by smaller index. Where
            more vectors tie than fit, k = 1 keeps the smallest index; for larger k the choice
            among those tied for the last places is deterministic but not specified.

        Raises:
            ValueError: wrong shape or dtype, NaN or infinite embeddings, k out of range.
        """
        self._require_indices("nearest")
        if not 1 <= k <= self.size:
            raise ValueError(f"Argument 'k' must lie in [1, {self.size}], not {k} ({self!r}).")
        flat, norm = finite_rows(self._rows(z, "z"))
        with full_precision(z.device):
            score, index = self._nearest(flat, k)
        cosine = (score / norm.clamp_min(torch.finfo(norm.dtype).tiny)[:, None]).to(z.dtype)
        shape = (*z.shape[:-1], k)
        return Neighbors(cosine.reshape(shape), index.reshape(shape))

    def quantize(self, z: Tensor) -> Tensor:
        """The nearest vector itself, for a system of any size.

        Args:
            z: `[..., dim]` embeddings of any length.

        Returns:
            `[..., dim]` unit vectors.
        """
        flat, _ = finite_rows(self._rows(z, "z"))
        with full_precision(z.device):
            return self._quantize(flat).to(z.dtype).reshape(z.shape)

    def log_partition(self, z: Tensor, scale: float | Tensor) -> Tensor:
        """log of the sum over ALL vectors v of exp(scale * cos(z, v)): exact, differentiable.

        Computes `torch.logsumexp(scale * normalize(z) @ V.T, -1)` without the table V.

        Args:
            z: `[..., dim]` embeddings of any length; zero ones give log(size).
            scale: inverse temperature, a number or a scalar tensor.

        Returns:
            `[...]`, computed in float32 for half precision.
        """
        flat, norm = finite_rows(self._rows(z, "z"))
        u = rows_of_length(flat, norm, scale)
        return self.log_partition_of(u, scale).to(z.dtype).reshape(z.shape[:-1])

    def log_partition_of(self, u: Tensor, scale: float | Tensor) -> Tensor:
        """`log_partition` of embeddings that have been brought to the length `scale`.

        Args:
            u: `[N, dim]` in at least float32, no longer than scale.
            scale: inverse temperature, a number or a scalar tensor.

        Returns:
            `[N]`.
        """
        length = abs(float(scale.detach() if isinstance(scale, Tensor) else scale))
        with torch.autocast(u.device.type, enabled=False):
            return self._log_partition(u, length)

    def scale_for(self, p: float = 0.9) -> float:
        """The scale at which an embedding exactly on its vector gets probability `p`.

        The probability is that of a softmax over the whole system, averaged over its vectors
        where they are not all alike. The closed form makes this a rule rather than a guess.

        Args:
            p: wanted probability, between 1/size and 1.
        """
        if not 1 / self.size < p < 1:
            raise ValueError(
                f"Argument 'p' must lie between 1/size = {1 / self.size:.3g} and 1, not {p}."
            )
        vectors, counts = self._representatives()
        total = sum(counts)
        weights = torch.tensor([float(count / total) for count in counts], dtype=torch.float64)

        def excess(scale: float) -> float:
            share = float(weights @ torch.exp(scale - self.log_partition(vectors, scale)))
            return math.log(max(share, 1e-300) / max(1 - share, 1e-16)) - wanted

        # False position on the log-odds, which are nearly linear in the scale (Illinois rule).
        wanted = math.log(p / (1 - p))
        low, high = 0.0, 1.0
        below, above = excess(low), excess(high)
        while above < 0:
            low, below = high, above
            high, above = 2 * high, excess(2 * high)
        while high - low > 1e-10 * high:
            middle = high - above * (high - low) / (above - below)
            if not low < middle < high:
                middle = (low + high) / 2
            found = excess(middle)
            if abs(found) < 1e-12:
                return middle
            if found < 0:
                low, below, above = middle, found, above / 2
            else:
                high, above, below = middle, found, below / 2
        return high

    # ---------------------------------------------------------------- sparse vectors

    def placements(self, index: Tensor, dtype: torch.dtype) -> tuple[Tensor, Tensor] | None:
        """The vectors with these indices by their non-zero coordinates.

        Args:
            index: `[N]` int64, each in `[0, size)`.
            dtype: of the values.

        Returns:
            Positions `[N, m]` int64 and values `[N, m]`, unused columns with value 0; None for a
            system whose vectors are not sparse.
        """
        self._require_indices("placements")
        check_range(index, self.size, "'index' must lie in", f" ({self!r})")
        return self._placements(index, dtype)

    # ---------------------------------------------------------------- checks

    def _require_indices(self, method: str) -> None:
        if self.size > MAX_INDEX:
            raise OverflowError(
                f"{self!r} has about 2**{self.size.bit_length() - 1} vectors, more than int64 can "
                f"number: '{method}' does not work, 'quantize' and 'log_partition' do."
            )

    def check_shape(self, z: Tensor, name: str) -> None:
        """Raise TypeError or ValueError, naming the argument, unless `z` is float `[..., dim]`."""
        check_floating(z, name)
        if z.ndim == 0 or z.shape[-1] != self.dim:
            shape = tuple(z.shape)
            raise ValueError(
                f"Argument '{name}' must have last dimension {self.dim}, not shape {shape} "
                f"({self!r})."
            )

    def _rows(self, z: Tensor, name: str) -> Tensor:
        self.check_shape(z, name)
        return z.reshape(-1, self.dim)


def constant_while_compiling(function: Callable[P, R]) -> Callable[P, R]:
    """Make a compiled graph hold the result of a function of constants, not its operations.

    `torch.compiler.assume_constant_result` does no more than this, but imports the compiler.
    """
    function._dynamo_marked_constant = True  # pyright: ignore[reportFunctionMemberAccess]
    return function


def check_dim(dim: object, name: str = "dim", least: int = 1) -> None:
    """Raise ValueError unless that is a dimension: an integer from `least` to `MAX_DIM`."""
    if isinstance(dim, bool) or not isinstance(dim, int) or dim < least:
        wanted = "a positive integer" if least == 1 else f"an integer of at least {least}"
        raise ValueError(f"Argument '{name}' must be {wanted}, not {dim!r}.")
    if dim > MAX_DIM:
        # A number of thousands of digits is not to be printed.
        shown = f"{dim:,}" if dim < 10**30 else "a number of more than 30 digits"
        raise ValueError(f"Argument '{name}' must be at most {MAX_DIM:,}, not {shown}.")


def check_floating(z: object, name: str) -> None:
    """Raise TypeError unless that is a tensor of floating-point numbers."""
    if not isinstance(z, Tensor) or not z.is_floating_point():
        found = z.dtype if isinstance(z, Tensor) else type(z).__name__
        raise TypeError(f"Argument '{name}' must be a floating-point tensor, not {found}.")


def check_range(numbers: Tensor, size: int, must: str, of: str = "") -> None:
    """Raise IndexError unless all numbers lie in [0, size); not checked while compiling.

    Args:
        numbers: `[...]` int64.
        size: one more than the largest allowed.
        must: the argument and what is wanted of it, for the message: `"'labels' must lie in"`.
        of: what the numbers belong to, for the message.
    """
    if torch.compiler.is_compiling() or not numbers.numel():
        return
    low, high = (int(x) for x in torch.aminmax(numbers))
    if low < 0 or high >= size:
        raise IndexError(f"Argument {must} [0, {size}), not {low if low < 0 else high}{of}.")


def directed_rows(z: Tensor, name: str) -> tuple[Tensor, Tensor]:
    """`finite_rows` of embeddings that must have a direction.

    Raises:
        ValueError: a row is zero, or holds NaN or infinity (not checked while compiling).
    """
    z, norm = finite_rows(z, name)
    if not torch.compiler.is_compiling() and bool((norm == 0).any()):
        row = int((norm == 0).nonzero()[0, 0])
        raise ValueError(
            f"Argument '{name}' must not hold zero embeddings, which have no direction; row {row} "
            "is zero."
        )
    return z, norm


def rows_of_length(rows: Tensor, norm: Tensor, length: float | Tensor) -> Tensor:
    """Rows `[N, dim]` of lengths `norm` `[N]`, brought to `length`; zero ones stay zero."""
    return rows * (length / torch.where(norm > 0, norm, 1))[:, None]


def finite_rows(z: Tensor, name: str = "z") -> tuple[Tensor, Tensor]:
    """Rows in at least float32 with their lengths, rescaled where a length over- or underflows.

    Directions are unchanged; only rows so long or short that their squares leave the range of
    the dtype are multiplied by a constant.

    Raises:
        ValueError: a row holds NaN or infinity (not checked while compiling).
    """
    if z.dtype in (torch.float16, torch.bfloat16):
        z = z.float()
    norm = torch.linalg.vector_norm(z, dim=-1)
    if torch.compiler.is_compiling() or not norm.numel():
        return z, norm
    info = torch.finfo(z.dtype)
    low, high = torch.aminmax(norm.detach())
    if math.sqrt(info.tiny) / info.eps < float(low) and float(high) < LONGEST:
        return z, norm
    largest = z.detach().abs().amax(dim=-1, keepdim=True)
    normal = (norm.detach() > math.sqrt(info.tiny) / info.eps) & (norm.detach() < LONGEST)
    if not bool(torch.isfinite(largest).all()):
        row = int((~torch.isfinite(largest)).nonzero()[0, 0])
        raise ValueError(f"Argument '{name}' must be finite; row {row} holds NaN or infinity.")
    z = z / torch.where(normal[:, None] | (largest == 0), 1, largest)
    return z, torch.linalg.vector_norm(z, dim=-1)
