"""An index of unit vectors whose answers are proven to be those of a look at all of them."""

from __future__ import annotations

import os
import zipfile
import zlib
from copy import copy
from dataclasses import dataclass, replace
from typing import Any, Literal, NamedTuple, TypeAlias

import numpy as np
import torch
from torch import Tensor

from rootspace._checks import integer
from rootspace._files import replacing
from rootspace.systems import check_range, directed_rows

from ._graph import Graph
from ._groups import Groups
from ._linking import Progress
from ._rows import Rows
from ._scan import parts_of, scan

WIDTH = 32
"""Nearest rows that are kept for each."""

LEAST = 2**15
"""Rows from which on a graph is faster than a scan."""

CHUNK = 2**14
"""Rows checked together."""

TOGETHER = 2**13
"""Queries that are searched together."""

FEW = 16
"""A filter that lets fewer than one of so many rows through leaves so few that they are scanned."""


Kind: TypeAlias = Literal["links", "groups"]

_DAMAGE = (
    *(ValueError, KeyError, EOFError, OSError),
    *(RuntimeError, NotImplementedError, zipfile.BadZipFile, zlib.error),
)
"""What reading a .npz file raises that is damaged."""


class Found(NamedTuple):
    """The rows nearest to each embedding, best first.

    Attributes:
        cosine: `[..., k]` of the dtype of the embeddings, at least float32; -inf where there are
            fewer than k rows.
        index: `[..., k]` int64 places of the rows, -1 where there are fewer.
        certified: `[...]` bool: the answer was proven without a look at all rows.
    """

    cosine: Tensor
    index: Tensor  # pyright: ignore[reportIncompatibleMethodOverride] - shadows tuple.index
    certified: Tensor


@dataclass(frozen=True)
class _State:
    """All of an index at one moment; a search sees one such, whatever is changed meanwhile."""

    rows: Rows
    alive: Tensor
    deleted: int
    built: Graph | Groups | None

    @property
    def reached(self) -> int:
        """Rows that `built` knows."""
        return 0 if self.built is None else len(self.built)


class CertifiedIndex:
    """Exact search among unit vectors, mostly by a look at a few of them.

    Answers are always those of brute force, with cosines in float64, equal ones by smaller place.
    What `build` makes proves most of them without a look at all rows; those are *certified*. The
    others are searched among all rows, by int8 products with an error bound.

    - *Links*, for prototypes, which lie far from each other: each row's nearest rows, and the
      *horizon* behind them: no other row is nearer to it. A search looks into the cells of some
      random rows for a row c near the embedding z. With a = angle(z, c), all rows outside the list
      of c are at an angle of horizon - a at least; if the k-th best of c and its list is nearer
      than that, these are the k best of all. Embeddings near a row and far from most others, as
      training makes them, are certified nearly always; random directions never are.
    - *Groups*, for galleries, where many rows lie together: with radius r around its center all
      rows of a group are at an angle of angle(z, center) - r at least, so groups that are too far
      for the k-th best so far are passed over. Where rows do not lie together none are made.

    Nothing is trained. Rows that were added since the last `build` are scanned. Searches may run
    in several threads while one other thread changes the index; each sees it as it was when it
    began.

    Costs, for N rows of dimension d: a scan takes `N * d` int8 multiplications for an embedding.
    Links: a certified answer about `(N / 128 + 200) * d`, at most `(2**14 + N / 2**14 + 50)` times
    d; `build` N * N * d / 2, M * N * d for M more rows: 100 minutes of one core with AVX2 for a
    million rows of dimension 256, a fraction of that with VNNI or AMX. Groups, C of them:
    `(C + R) * d` with R rows in those that are looked into; `build` about 5 * N * C * d. Memory: d
    bytes a row, 4 * d more for vectors that are not integers; links 4 * width + d / 128 + 12, and
    d / 32 more on a processor without int8 instructions; groups 16, and 5 * d for each of them.

    Args:
        dim: of the vectors.
        width: nearest rows that are linked to each. More of them certify more answers and larger k.
        least: rows below which `build` leaves the scan, which is faster for a few.

    Raises:
        ValueError: an argument is smaller than 1.

    Example:
        >>> index = CertifiedIndex(2)
        >>> places = index.add(torch.tensor([[1.0, 0.0], [0.0, 2.0], [-1.0, 0.0]]))
        >>> index.search(torch.tensor([0.1, 1.0]), k=2).index
        tensor([1, 0])
    """

    def __init__(self, dim: int, *, width: int = WIDTH, least: int = LEAST) -> None:
        dim = integer("dim", dim)
        self.width = integer("width", width)
        self.least = integer("least", least)
        self._state = _State(Rows.none(dim), torch.empty(0, dtype=torch.bool), 0, None)

    @classmethod
    @torch.inference_mode(False)
    def of_levels(
        cls, levels: Tensor, norm: float, *, width: int = WIDTH, least: int = LEAST
    ) -> CertifiedIndex:
        """An index of integer vectors of one length, which need a byte a coordinate only.

        Args:
            levels: `[N, dim]` int8; used as it is, not copied.
            norm: the length of all rows.
            width: as above.
            least: as above.
        """
        index = cls(levels.shape[-1], width=width, least=least)
        _check_levels(levels, norm, "levels")
        levels = _own_storage(levels)
        alive = torch.ones(len(levels), dtype=torch.bool)
        index._state = _State(Rows.of_levels(levels, norm), alive, 0, None)
        return index

    @classmethod
    @torch.inference_mode(False)
    def of_unit(cls, vectors: Tensor, *, width: int = WIDTH, least: int = LEAST) -> CertifiedIndex:
        """An index of vectors that are known to have length 1: nothing is checked.

        Args:
            vectors: `[N, dim]` float32 on the CPU; used as they are, not copied.
            width: as above.
            least: as above.
        """
        index = cls(vectors.shape[-1], width=width, least=least)
        vectors = _own_storage(vectors)
        alive = torch.ones(len(vectors), dtype=torch.bool)
        index._state = _State(Rows.of_vectors(vectors), alive, 0, None)
        return index

    # ---------------------------------------------------------------- what it holds

    @property
    def dim(self) -> int:
        """Dimension of the vectors."""
        return self._state.rows.dim

    @property
    def size(self) -> int:
        """Rows that it holds, deleted ones included."""
        return len(self._state.rows)

    @property
    def pending(self) -> int:
        """Rows that came since the last `build` and are scanned."""
        return self.size - self._state.reached

    @property
    def nbytes(self) -> int:
        """Memory of its arrays."""
        state = self._state
        built = 0 if state.built is None else state.built.nbytes
        return state.rows.nbytes + len(state.alive) + built

    def vectors(self, places: Tensor) -> Tensor:
        """`[N]` places -> `[N, dim]` float32 unit vectors, those of deleted rows too.

        Raises:
            TypeError: not integers.
            IndexError: a place is not in [0, size).
        """
        places = _places(places, self.size)
        return torch.from_numpy(self._state.rows.take(places.numpy()))

    def __len__(self) -> int:
        return self.size - self._state.deleted

    def __repr__(self) -> str:
        return f"<CertifiedIndex: {len(self)} vectors, dim {self.dim}, {self.pending} pending>"

    def snapshot(self) -> CertifiedIndex:
        """The index as it is now, to be read only: O(1), and no change of this one touches it."""
        return copy(self)

    @torch.inference_mode(False)
    def copy(self) -> CertifiedIndex:
        """An index of its own with the same rows: O(N)."""
        other, state = copy(self), self._state
        rows = state.rows.only(torch.arange(len(state.rows)))
        other._state = replace(state, rows=rows)
        return other

    # ---------------------------------------------------------------- change

    @torch.inference_mode(False)  # what is kept must do outside of it as well
    def add(self, vectors: Tensor) -> Tensor:
        """Take more vectors: O(M). They are scanned until the next `build`.

        Args:
            vectors: `[M, dim]` of any length but zero and any float dtype; int8 levels of the same
                length as the others for an index of levels.

        Returns:
            `[M]` int64 places, those after the last.

        Raises:
            ValueError: wrong shape, zero, NaN or infinite vectors.
            TypeError: not of a float dtype, or not int8 for an index of levels.
        """
        state = self._state
        rows = state.rows
        if vectors.ndim != 2 or vectors.shape[1] != rows.dim:
            raise ValueError(
                f"Argument 'vectors' must have shape [M, {rows.dim}], not {list(vectors.shape)}."
            )
        vectors = vectors.detach().cpu()
        vectors = vectors.clone() if vectors.is_inference() else vectors
        if rows.exact is None:
            if vectors.dtype != torch.int8:
                raise TypeError(f"Argument 'vectors' must be int8 levels, not {vectors.dtype}.")
            _check_levels(vectors, 1 / rows.step, "vectors")
            return self._grow(rows.with_levels(vectors))
        if not vectors.is_floating_point():
            raise TypeError(f"Argument 'vectors' must be floats, not {vectors.dtype}.")
        unit, norm = directed_rows(vectors, "vectors")
        return self.add_unit((unit / norm[:, None]).float())

    @torch.inference_mode(False)
    def add_unit(self, vectors: Tensor) -> Tensor:
        """`add` for `[M, dim]` float32 vectors of length 1 on the CPU: nothing is checked."""
        return self._grow(self._state.rows.with_vectors(vectors))

    def _grow(self, rows: Rows) -> Tensor:
        """Take these rows, which begin with those of now; the places of the others."""
        state = self._state
        new = torch.ones(len(rows) - len(state.rows), dtype=torch.bool)
        self._state = replace(state, rows=rows, alive=torch.cat([state.alive, new]))
        return torch.arange(len(state.rows), len(rows))

    @torch.inference_mode(False)
    def delete(self, places: Tensor) -> None:
        """Rows that are not found from now on; they keep their places until `compact`.

        Args:
            places: `[M]` integers; those deleted before may be among them.

        Raises:
            TypeError: not integers.
            IndexError: a place is not in [0, size).
        """
        state = self._state
        places = _places(places, len(state.rows))
        alive = state.alive.clone()
        alive[places] = False
        self._state = replace(state, alive=alive, deleted=len(alive) - int(alive.sum()))

    @torch.inference_mode(False)
    def build(self, kind: Kind = "links", *, progress: Progress = lambda share: None) -> None:
        """Link or group the rows that came since the last call; see the costs above.

        Args:
            kind: `links` or `groups`; all rows are taken anew where it was another before.
            progress: called now and then with the share that is done, in [0, 1]; of links alone,
                which take an hour for a million rows.

        Raises:
            ValueError: another kind.
        """
        made = _made_of(kind)
        state = self._state
        if len(state.rows) < self.least or state.deleted == len(state.rows):
            return
        built = state.built if isinstance(state.built, made) else None
        if built is not None and not self.pending:
            return
        if built is not None and 2 * len(built) < len(state.rows):
            built = None  # most rows are new
        if isinstance(built, Graph):
            built = built.grown(state.rows, state.alive, progress)
        elif isinstance(built, Groups):
            built = built.grown(state.rows, state.alive)
        elif kind == "links":
            built = Graph.of(state.rows, state.alive, self.width, progress)
        else:
            built = Groups.of(state.rows, state.alive)
        self._state = replace(state, built=built)

    def save(self, path: str | os.PathLike[str], keys: Tensor | None = None) -> None:
        """Write what `build` made, for `load` of an index of the same rows.

        Args:
            path: of a .npz file: 4 * width + dim / 128 + 9 bytes a row for links, 5 and
                4 * dim a group for groups, 8 more a row with `keys`.
            keys: `[size]` int64 ascending names of the rows, such as ids of a table, by which
                groups find their rows when some have gone.

        Raises:
            ValueError: nothing was built.
        """
        state = self._state
        if state.built is None:
            raise ValueError(f"{self!r} has nothing to be saved: call 'build' first.")
        size = len(state.built)
        content: dict[str, Any] = {
            **state.built.arrays(),
            "kind": np.array("links" if isinstance(state.built, Graph) else "groups"),
            "alive": state.alive[:size].numpy(),
        }
        if isinstance(state.built, Graph):
            content["rows"] = np.array(state.rows.digest(size))
        elif keys is not None:
            content["keys"] = keys[:size].numpy()
        # Whoever builds holds no lock: two processes may write at once.
        with replacing(path, shared=True) as temporary, temporary.open("wb") as file:
            np.savez(file, **content)

    @torch.inference_mode(False)
    def load(self, path: str | os.PathLike[str], keys: Tensor | None = None) -> None:
        """Take what was saved, in place of `build`; rows behind it are pending.

        Args:
            path: of the file.
            keys: `[size]` int64 ascending names of the rows, as of `save`.

        Raises:
            FileNotFoundError: it is missing.
            ValueError: not such a file; links of another width or other rows, or made when rows
                were deleted that are not now; groups without the keys that are given, or of other
                rows.
        """
        state = self._state
        with open(path, "rb") as file:
            try:
                with np.load(file, allow_pickle=False) as content:
                    arrays = {name: content[name] for name in content.files}
                kind, alive = str(arrays.pop("kind")), arrays.pop("alive")
                if kind == "links":
                    built, digest = Graph.from_arrays(arrays), str(arrays["rows"])
                else:
                    if keys is not None:
                        arrays["owner"] = _found_again(arrays["owner"], arrays["keys"], keys)
                    built, digest = Groups.from_arrays(arrays, state.rows), ""
            except _DAMAGE as error:
                raise ValueError(
                    f"{path} does not hold what an index has built: {error}"
                ) from error
        size = len(built)
        if not size:
            raise ValueError(f"{path} holds what was built of no row.")
        if size > len(state.rows) or (digest and state.rows.digest(size) != digest):
            raise ValueError(f"{path} holds the links of other rows than those of {self!r}.")
        if digest and bool((state.alive[:size].numpy() & ~alive).any()):
            raise ValueError(f"{path} holds links without rows that {self!r} has.")
        if isinstance(built, Graph) and built.lists.shape[1] != self.width:
            raise ValueError(f"{path} holds {built.lists.shape[1]} links a row, not {self.width}.")
        self._state = replace(state, built=built)

    @torch.inference_mode(False)
    def compact(self) -> Tensor:
        """Forget the deleted rows; the others move up. O(N), links are kept.

        Returns:
            `[len(self)]` the former places of the rows.
        """
        state = self._state
        kept = state.alive.nonzero()[:, 0]
        rows, built = state.rows.only(kept), state.built
        if built is not None:
            old = kept[kept < len(built)].numpy()
            built = built.only(old, rows) if len(old) else None
        alive = torch.ones(len(kept), dtype=torch.bool)
        self._state = _State(rows, alive, 0, built)
        return kept

    # ---------------------------------------------------------------- search

    def search(
        self, z: Tensor, k: int = 1, *, allowed: Tensor | None = None, exact: bool = True
    ) -> Found:
        """The k nearest rows of each embedding.

        Args:
            z: `[..., dim]` embeddings of any length but zero and any float dtype.
            k: how many rows.
            allowed: `[size]` bool, the rows that may be found; all by default.
            exact: whether what is not certified is searched among all rows. If not, the best rows
                that were come across are given instead: see `Found.certified`.

        Returns:
            `Found` of shape `[..., k]`, on the device of `z`.

        Raises:
            ValueError: wrong shapes, zero, NaN or infinite embeddings, k smaller than 1.
            TypeError: `z` is not of a float dtype or `allowed` not bool.
        """
        state = self._state
        k = integer("k", k)
        if not z.is_floating_point():
            raise TypeError(f"Argument 'z' must be of a float dtype, not {z.dtype}.")
        if z.ndim < 1 or z.shape[-1] != state.rows.dim:
            raise ValueError(
                f"Argument 'z' must have last dimension {state.rows.dim}, not {list(z.shape)}."
            )
        flat, norm = directed_rows(z.reshape(-1, state.rows.dim), "z")
        found = _found(state, flat / norm[:, None], k, _keep(state, allowed), exact)
        shape = z.shape[:-1]
        return Found(
            found.cosine.reshape(*shape, k),
            found.index.reshape(*shape, k),
            found.certified.reshape(shape),
        )

    def search_unit(self, z: Tensor, k: int = 1, *, allowed: Tensor | None = None) -> Found:
        """`search` for `[B, dim]` float32 or float64 embeddings of length 1: nothing is checked."""
        state = self._state
        return _found(state, z, k, _keep(state, allowed), True)


def _found(state: _State, z: Tensor, k: int, keep: Tensor | None, exact: bool) -> Found:
    # All products are numpy's: no setting of torch makes them less exact.
    parts = [_search(state, part, k, keep, exact) for part in z.detach().cpu().split(TOGETHER)]
    found = Found(*(torch.cat(column) for column in zip(*parts, strict=True)))
    return Found(
        found.cosine.to(z.device, z.dtype), found.index.to(z.device), found.certified.to(z.device)
    )


def _made_of(kind: str) -> type[Graph] | type[Groups]:
    if kind not in ("links", "groups"):
        raise ValueError(f"Argument 'kind' must be 'links' or 'groups', not {kind!r}.")
    return Graph if kind == "links" else Groups


def _found_again(owner: np.ndarray, saved: np.ndarray, keys: Tensor) -> np.ndarray:
    """The groups of the rows that were there before, those of today's first keys."""
    now = keys.numpy()
    now = now[: np.searchsorted(now, saved[-1], side="right")] if len(saved) else now[:0]
    place = np.searchsorted(saved, now)
    if len(saved) != len(owner) or not np.array_equal(saved[place], now):
        raise ValueError("its keys are not those of the rows")
    return owner[place]


def _keep(state: _State, allowed: Tensor | None) -> Tensor | None:
    """`[size]` the rows that may be found, or None for all."""
    if allowed is None:
        return state.alive if state.deleted else None
    if allowed.dtype != torch.bool:
        raise TypeError(f"Argument 'allowed' must be bool, not {allowed.dtype}.")
    if allowed.shape != state.alive.shape:
        raise ValueError(
            f"Argument 'allowed' must have shape [{len(state.alive)}], not {list(allowed.shape)}."
        )
    return state.alive & allowed.cpu()


def _places(places: Tensor, size: int) -> Tensor:
    """Places as int64; a mask would be taken for the places 0 and 1."""
    places = torch.as_tensor(places)
    if not places.numel():
        return places.long()
    if places.is_floating_point() or places.is_complex() or places.dtype == torch.bool:
        raise TypeError(f"Argument 'places' must be integers, not {places.dtype}.")
    check_range(places.long(), size, "'places' must lie in")
    return places.long()


def _own_storage(rows: Tensor) -> Tensor:
    """The rows; copied where they do not fill a storage in order, since others come behind them."""
    whole = rows.untyped_storage().nbytes() == rows.numel() * rows.element_size()
    if whole and rows.stride() == (rows.shape[1], 1):  # of one row others are contiguous too
        return rows
    return rows.clone(memory_format=torch.contiguous_format)


def _check_levels(levels: Tensor, norm: float, name: str) -> None:
    """Raise TypeError or ValueError unless all rows are int8 of this length."""
    if levels.dtype != torch.int8 or levels.ndim != 2:
        raise TypeError(
            f"Argument '{name}' must be int8 of shape [N, dim], not {levels.dtype} of shape "
            f"{list(levels.shape)}."
        )
    for start in range(0, len(levels), CHUNK):
        length = torch.linalg.vector_norm(levels[start : start + CHUNK].float(), dim=-1)
        wrong = (length - norm).abs() > 1e-5 * norm
        if bool(wrong.any()):
            row = int(wrong.nonzero()[0, 0])
            raise ValueError(
                f"Argument '{name}' must hold rows of length {norm:.6g}; that of row "
                f"{start + row} is {float(length[row]):.6g}."
            )


def _search(state: _State, z: Tensor, k: int, keep: Tensor | None, exact: bool) -> Found:
    number = len(state.rows) if keep is None else int(keep.sum())
    cosine = np.full((len(z), k), -np.inf)
    place = np.full((len(z), k), -1)
    certified = np.zeros(len(z), bool)
    several = min(k, number)
    if several and len(z):
        best = cosine[:, :several], place[:, :several]
        built = state.built
        scanned = np.arange(len(z))
        if (
            built is not None
            and (isinstance(built, Groups) or several <= built.lists.shape[1])
            and FEW * number >= len(state.rows)
        ):
            certified = built.search(state.rows, z.numpy(), several, keep, best, exact)
            _search_pending(state, z, several, keep, best)
            scanned = np.flatnonzero(~certified) if exact else scanned[:0]
        if len(scanned):
            parts = parts_of(0, len(state.rows), keep)
            found = scan(z[torch.from_numpy(scanned)], state.rows, parts, several)
            best[0][scanned], best[1][scanned] = found[0].numpy(), found[1].numpy()
    return Found(torch.from_numpy(cosine), torch.from_numpy(place), torch.from_numpy(certified))


def _search_pending(
    state: _State, z: Tensor, k: int, keep: Tensor | None, best: tuple[np.ndarray, np.ndarray]
) -> None:
    """Put what is not in the graph among what was found there."""
    parts = parts_of(state.reached, len(state.rows), keep)
    number = min(k, sum(map(len, parts)))
    if not number:
        return
    found = scan(z, state.rows, parts, number)
    cosine = np.concatenate([best[0], found[0].numpy()], axis=-1)
    place = np.concatenate([best[1], found[1].numpy()], axis=-1)
    # Equal ones stay in the order of their places.
    order = (-cosine).argsort(axis=-1, kind="stable")[:, :k]
    best[0][:] = np.take_along_axis(cosine, order, axis=-1)
    best[1][:] = np.take_along_axis(place, order, axis=-1)
