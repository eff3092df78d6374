"""An index of unit vectors whose answers are proven to be those of a look at all of them."""

from __future__ import annotations

from copy import copy
from dataclasses import dataclass, replace
from typing import NamedTuple

import torch
from torch import Tensor

from rootspace.systems import directed_rows

from ._graph import Graph
from ._ranking import best_pairs
from ._rows import Rows, rounded_queries, rounding
from ._scan import parts_of, scan

WIDTH = 32
"""Nearest rows that are kept for each."""

LEAST = 2**15
"""Rows from which on a graph is faster than a scan."""

PROBES = (1, 8)
"""Cells that are looked into, at first and where that was not enough."""

HOPS = 4
"""Times that a search goes on from a better row in the list of the best so far."""

FEW = 16
"""A filter that lets fewer than one of so many rows through leaves so few that they are scanned."""


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
    graph: Graph | None

    @property
    def linked(self) -> int:
        return 0 if self.graph is None else len(self.graph)


class CertifiedIndex:
    """Exact search among unit vectors, mostly by a look at a few of them.

    `build` links each row to its nearest rows and notes the *horizon* behind them: no other row is
    nearer to it. A search looks into the cells of some random rows for a row c near the embedding
    z. With a = angle(z, c), all rows outside the list of c are at an angle of horizon - a at
    least; if the k-th best of c and its list is nearer than that, these are the k best of all:
    they are *certified*. What is not is searched among all rows, by int8 products with an error
    bound. The answers are always those of brute force, with cosines in float64, equal ones by
    smaller place. Embeddings near a row and far from most others, as training makes them, are
    certified nearly always; random directions never are.

    Nothing is trained. Rows that were added since the last `build` are scanned. Searches may run
    in several threads while one other thread changes the index; each sees it as it was when it
    began.

    Costs, for N rows of dimension d: a scan takes `N * d` int8 multiplications for an embedding,
    a certified answer about `(N / 64 + 250) * d`, at most `(2**14 + 2 * N / 2**14 + 50) * d`.
    `build` takes N * N * d for N new rows, M * N * d for M more of them: 1 minute of one core with
    AVX-512 VNNI for 300,000 rows of dimension 256, 10 minutes for a million. Memory: d bytes a
    row, 4 * d more for vectors that are not integers, and 4 * width + 28 for the graph.

    Args:
        dim: of the vectors.
        width: nearest rows that are kept for each. More of them certify more answers and larger k.
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
        for name, value in (("dim", dim), ("width", width), ("least", least)):
            if isinstance(value, bool) or not isinstance(value, int) or value < 1:
                raise ValueError(f"Argument '{name}' must be a positive integer, not {value!r}.")
        self.width = width
        self.least = least
        self._state = _State(Rows.none(dim), torch.empty(0, dtype=torch.bool), None)

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
        index = cls(levels.shape[1], width=width, least=least)
        if levels.untyped_storage().nbytes() != levels.numel():
            levels = levels.clone()  # what is added is written behind them
        alive = torch.ones(len(levels), dtype=torch.bool)
        index._state = _State(Rows.of_levels(levels, norm), alive, None)
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
        return self.size - self._state.linked

    @property
    def nbytes(self) -> int:
        """Memory of its arrays."""
        state = self._state
        graph = 0 if state.graph is None else state.graph.nbytes
        return state.rows.nbytes + len(state.alive) + graph

    def __len__(self) -> int:
        return int(self._state.alive.sum())

    def __repr__(self) -> str:
        return f"<CertifiedIndex: {len(self)} vectors, dim {self.dim}, {self.pending} pending>"

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
            rows = rows.with_levels(vectors)
        else:
            if not vectors.is_floating_point():
                raise TypeError(f"Argument 'vectors' must be floats, not {vectors.dtype}.")
            unit, norm = directed_rows(vectors, "vectors")
            rows = rows.with_vectors((unit / norm[:, None]).float())
        alive = torch.cat([state.alive, torch.ones(len(vectors), dtype=torch.bool)])
        self._state = replace(state, rows=rows, alive=alive)
        return torch.arange(len(state.rows), len(rows))

    @torch.inference_mode(False)
    def delete(self, places: Tensor) -> None:
        """Rows that are not found from now on; they keep their places until `compact`.

        Args:
            places: `[M]` integers; those deleted before may be among them.

        Raises:
            IndexError: a place is not in [0, size).
        """
        state = self._state
        places = torch.as_tensor(places).long()
        outside = (places < 0) | (places >= len(state.rows))
        if bool(outside.any()):
            raise IndexError(
                f"Argument 'places' must lie in [0, {len(state.rows)}), not "
                f"{int(places[outside][0])}."
            )
        alive = state.alive.clone()
        alive[places] = False
        self._state = replace(state, alive=alive)

    @torch.inference_mode(False)
    def build(self) -> None:
        """Link the rows that came since the last call; see the costs above."""
        state = self._state
        if len(state.rows) < self.least or not self.pending:
            return
        graph = state.graph
        if graph is None or 2 * len(graph) < len(state.rows):
            graph = Graph.of(state.rows, state.alive, self.width)
        else:
            graph = graph.grown(state.rows, state.alive)
        self._state = replace(state, graph=graph)

    @torch.inference_mode(False)
    def compact(self) -> Tensor:
        """Forget the deleted rows; the others move up. O(N), links are kept.

        Returns:
            `[len(self)]` the former places of the rows.
        """
        state = self._state
        kept = state.alive.nonzero()[:, 0]
        graph = state.graph
        if graph is not None:
            graph = graph.only(kept[kept < len(graph)])
        alive = torch.ones(len(kept), dtype=torch.bool)
        self._state = _State(state.rows.only(kept), alive, graph)
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
        if isinstance(k, bool) or not isinstance(k, int) or k < 1:
            raise ValueError(f"Argument 'k' must be a positive integer, not {k!r}.")
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

    def search_unit(self, z: Tensor, k: int = 1) -> Found:
        """`search` for `[B, dim]` float32 or float64 embeddings of length 1: nothing is checked."""
        state = self._state
        return _found(state, z, k, _keep(state, None), True)


def _found(state: _State, z: Tensor, k: int, keep: Tensor | None, exact: bool) -> Found:
    with torch.autocast("cpu", enabled=False), torch.no_grad():
        found = _search(state, z.detach().cpu(), k, keep, exact)
    return Found(
        found.cosine.to(z.device, z.dtype), found.index.to(z.device), found.certified.to(z.device)
    )


def _keep(state: _State, allowed: Tensor | None) -> Tensor | None:
    """`[size]` the rows that may be found, or None for all."""
    keep = state.alive
    if allowed is not None:
        if allowed.dtype != torch.bool:
            raise TypeError(f"Argument 'allowed' must be bool, not {allowed.dtype}.")
        if allowed.shape != keep.shape:
            raise ValueError(
                f"Argument 'allowed' must have shape [{len(keep)}], not {list(allowed.shape)}."
            )
        keep = keep & allowed.cpu()
    return None if bool(keep.all()) else keep


def _search(state: _State, z: Tensor, k: int, keep: Tensor | None, exact: bool) -> Found:
    number = len(state.rows) if keep is None else int(keep.sum())
    found = Found(
        torch.full((len(z), k), -torch.inf, dtype=torch.float64),
        torch.full((len(z), k), -1),
        torch.zeros(len(z), dtype=torch.bool),
    )
    several = min(k, number)
    if not several or not len(z):
        return found
    graph = state.graph
    if graph is not None and several <= graph.lists.shape[1] and FEW * number >= len(state.rows):
        _search_graph(state.rows, graph, z, several, keep, found, exact)
        _search_pending(state, z, several, keep, found)
        rest = (~found.certified).nonzero()[:, 0] if exact else torch.empty(0, dtype=torch.int64)
    else:
        rest = torch.arange(len(z))
    if len(rest):
        parts = parts_of(0, len(state.rows), keep)
        found.cosine[rest, :several], found.index[rest, :several] = scan(
            z[rest], state.rows, parts, several
        )
    return found


def _search_pending(state: _State, z: Tensor, k: int, keep: Tensor | None, found: Found) -> None:
    """Put what is not in the graph among what was found there."""
    parts = parts_of(state.linked, len(state.rows), keep)
    number = min(k, sum(map(len, parts)))
    if not number:
        return
    cosine, index = scan(z, state.rows, parts, number)
    cosine = torch.cat([found.cosine[:, :k], cosine], dim=-1)
    index = torch.cat([found.index[:, :k], index], dim=-1)
    # Equal ones stay in the order of their places.
    cosine, order = cosine.sort(dim=-1, descending=True, stable=True)
    found.cosine[:, :k], found.index[:, :k] = cosine[:, :k], index.gather(-1, order)[:, :k]


def _search_graph(
    rows: Rows,
    graph: Graph,
    z: Tensor,
    k: int,
    keep: Tensor | None,
    found: Found,
    exact: bool,
) -> None:
    """Fill in what is certified; what is not as well where that will do."""
    z32 = z.float()
    rounded = rounded_queries(z32)[0]
    failed = torch.full((len(z),), -1)  # the center that did not do
    left = torch.arange(len(z))
    pairs: list[tuple[Tensor, Tensor]] = []
    for probes in PROBES:
        if not len(left):
            break
        last = not exact and probes == PROBES[-1]
        cosine, center = graph.near(z32[left], rounded[left], rows, probes)
        for hop in range(HOPS):
            new = (cosine > -2) & (center != failed[left])
            if not last:
                left, center, cosine = left[new], center[new], cosine[new]
            if not len(left):
                break
            failed[left] = center
            ids, scores = graph.neighborhood(z32[left], rows, center, cosine)
            open_scores = scores if keep is None else _masked(scores, ids, keep)
            kth = open_scores.topk(k, dim=-1).values[:, -1]
            proven = graph.bound(center, cosine, rows.dim) < kth - rounding(rows.dim)
            found.certified[left[proven]] = True
            best, where = scores.max(dim=-1)
            done = proven | ((where == 0) | (hop == HOPS - 1) if last else False)
            pairs.append(_pairs_of(left[done], ids[done], open_scores[done], kth[done], rows.dim))
            go = ~done & (where > 0)
            next_one = ids.gather(-1, where[:, None])[:, 0]
            left, center, cosine = left[go], next_one[go], best[go]
        left = (~found.certified).nonzero()[:, 0]
    query, place = (torch.cat(column) for column in zip(*pairs, strict=True))
    whole = torch.bincount(query, minlength=len(z)) >= k
    mine = whole.nonzero()[:, 0]
    number = whole.cumsum(0) - 1
    some = whole[query]
    found.cosine[mine, :k], found.index[mine, :k] = best_pairs(
        z[mine], rows, number[query[some]], place[some], k
    )


def _masked(scores: Tensor, ids: Tensor, keep: Tensor) -> Tensor:
    return scores.masked_fill(~keep[ids.clamp(min=0)], -2)


def _pairs_of(
    query: Tensor, ids: Tensor, scores: Tensor, kth: Tensor, dim: int
) -> tuple[Tensor, Tensor]:
    """Numbers of queries, and the rows that may be among their k best."""
    near = scores >= (kth - 2 * rounding(dim)).clamp(min=-1.5)[:, None]
    row, column = near.nonzero(as_tuple=True)
    return query[row], ids[row, column]
