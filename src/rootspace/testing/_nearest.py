"""The nearest vectors are those of a dense search, by score."""

from __future__ import annotations

import torch
from torch import Tensor

from ._probe import FLOATS, HALVES, Probe, ensure, unit

TIE = 1e-12
"""Scores in float64 that differ by less are those of an exact tie."""


def nearest_dense(probe: Probe) -> None:
    """The k nearest are as good as the k best of all vectors, for every k and dtype."""
    for dtype in (*FLOATS, *HALVES):
        z = probe.embeddings(dtype)
        cosines = probe.cosines(z)
        for k in probe.numbers_of_neighbors:
            _compare(probe, z, cosines, k, f"k={k}, {dtype}")


def _compare(probe: Probe, z: Tensor, cosines: Tensor, k: int, where: str) -> None:
    found = probe.system.nearest(z, k)
    ensure(found.index.dtype == torch.int64, f"indices are {found.index.dtype}, not int64")
    ensure(found.cosine.dtype == z.dtype, f"cosines are {found.cosine.dtype}, not {z.dtype}")
    shapes = {tuple(found.index.shape), tuple(found.cosine.shape)}
    ensure(shapes == {(len(z), k)}, f"shapes are {shapes}, not {(len(z), k)}")
    inside = (found.index >= 0) & (found.index < probe.system.size)
    ensure(inside.all(), f"an index is out of range ({where})")
    ordered = found.index.sort(dim=-1).values
    ensure((ordered[:, 1:] > ordered[:, :-1]).all(), f"an index is repeated ({where})")
    ensure((found.cosine[:, 1:] <= found.cosine[:, :-1]).all(), f"cosines do not descend ({where})")
    # Half precision is searched in float32 and rounded at the end.
    tolerance = probe.tolerance(torch.float32 if z.itemsize < 4 else z.dtype)
    score = cosines.gather(-1, found.index)
    worse = (cosines.topk(k, dim=-1).values - score).max()
    ensure(worse <= tolerance, f"a neighbor is {worse:.2g} worse than the best ({where})")
    off = (found.cosine.double() - score).abs().max()
    ensure(
        off <= max(tolerance, torch.finfo(z.dtype).eps),
        f"a cosine is off by {off:.2g} ({where})",
    )


def nearest_sampled(probe: Probe) -> None:
    """No vector of a sample is better than the nearest, whose cosine is the one returned."""
    for dtype in FLOATS:
        z, tolerance = probe.embeddings(dtype), probe.tolerance(dtype)
        sampled = probe.cosines(z).max(dim=-1).values
        for k in probe.numbers_of_neighbors:
            found = probe.system.nearest(z, k)
            vectors = probe.system.vectors(found.index, dtype=torch.float64)
            score = torch.einsum("nkd,nd->nk", vectors, unit(z.double()))
            where = f"k={k}, {dtype}"
            worse = (sampled - score[:, 0]).max()
            ensure(worse <= tolerance, f"a neighbor is {worse:.2g} worse than the best ({where})")
            off = (found.cosine.double() - score).abs().max()
            ensure(off <= tolerance, f"a cosine is off by {off:.2g} ({where})")
            ensure(
                (found.cosine[:, 1:] <= found.cosine[:, :-1]).all(),
                f"cosines do not descend ({where})",
            )
            ordered = found.index.sort(dim=-1).values
            ensure((ordered[:, 1:] > ordered[:, :-1]).all(), f"an index is repeated ({where})")


def nearest_itself(probe: Probe) -> None:
    """Each vector is nearest to itself."""
    for dtype in FLOATS:
        found = probe.system.nearest(probe.system.vectors(probe.indices, dtype=dtype))
        wrong = found.index[:, 0] != probe.indices
        ensure(
            ~wrong.any(),
            f"nearest(vectors(i)) == i fails for {int(wrong.sum())} of {len(wrong)} indices in "
            f"{dtype}, first {int(probe.indices[wrong][0]) if wrong.any() else 0}",
        )


def ties(probe: Probe) -> None:
    """Of vectors that tie exactly for the first place the one with the smallest index is found."""
    dim = probe.system.dim
    grid = torch.randint(
        -1, 3, (8 * probe.case.samples, dim), generator=probe.generator(), dtype=torch.int64
    )
    constant = torch.tensor([[0.0], [1.0], [-1.0], [2.0]], dtype=torch.float64).expand(-1, dim)
    z = torch.cat([constant, grid.double()]) if probe.case.exact_ties else constant[:1]
    cosines = probe.cosines(z)
    tied = cosines >= cosines.max(dim=-1, keepdim=True).values - TIE
    smallest = tied.to(torch.uint8).argmax(dim=-1)
    for dtype in FLOATS:
        found = probe.system.nearest(z.to(dtype)).index[:, 0]
        wrong = found != smallest
        row = int(wrong.to(torch.uint8).argmax())
        ensure(
            ~wrong.any(),
            f"of the tied vectors nearest to {z[row].tolist()} the smallest index is "
            f"{int(smallest[row])}, not {int(found[row])} ({dtype}, {int(wrong.sum())} of "
            f"{len(wrong)} embeddings)",
        )


def lengths(probe: Probe) -> None:
    """The length of an embedding does not matter, however large or small."""
    for dtype, exponent in ((torch.float32, 100), (torch.float64, 900)):
        z = probe.random(probe.case.samples).to(dtype)
        cosines = probe.cosines(z)
        for factor in (2.0**exponent, 2.0**-exponent):
            found = probe.system.nearest(z * factor).index
            worse = (cosines.max(dim=-1).values - cosines.gather(-1, found)[:, 0]).max()
            ensure(
                worse <= probe.tolerance(dtype),
                f"at {factor:.2g} times the length a neighbor is {worse:.2g} worse ({dtype})",
            )


def quantize(probe: Probe) -> None:
    """`quantize` gives a vector of the system that is as good as the nearest."""
    for dtype in (*FLOATS, *HALVES):
        z = probe.embeddings(dtype)
        vectors = probe.system.quantize(z)
        ensure(vectors.dtype == dtype, f"quantize returns {vectors.dtype}, not {dtype}")
        ensure(vectors.shape == z.shape, f"quantize returns {tuple(vectors.shape)}")
        wide = torch.float32 if z.itemsize < 4 else dtype
        tolerance = probe.tolerance(wide)
        precise = probe.system.quantize(z.to(wide)).double()
        off = (torch.linalg.vector_norm(precise, dim=-1) - 1).abs().max()
        ensure(off <= 4 * probe.eps(wide), f"a vector has length 1 {off:+.2g} ({dtype})")
        rounded = (vectors.double() - precise).abs().max()
        ensure(rounded <= torch.finfo(dtype).eps, f"vectors depend on the dtype ({dtype})")
        score = (precise * unit(z.double())).sum(-1)
        if probe.indexed:
            probe.system.index(precise.to(wide))  # raises for a non-member
            best = probe.system.nearest(z.double()).cosine[:, 0]
            worse = (best - score).max()
            ensure(worse <= tolerance, f"a vector is {worse:.2g} worse than the nearest ({dtype})")
        if probe.case.permutations:
            _ensure_sorted(precise, z.double(), tolerance)
        if probe.case.sign_flips:
            gain = -(precise * unit(z.double())).min()
            ensure(gain <= tolerance, f"changing a sign is {gain:.2g} better ({dtype})")


def _ensure_sorted(vectors: Tensor, z: Tensor, tolerance: float) -> None:
    """No exchange of two coordinates brings a vector nearer to its embedding."""
    gain = -(vectors[:, :, None] - vectors[:, None]) * (z[:, :, None] - z[:, None])
    gain = gain.amax(dim=(1, 2)) / torch.linalg.vector_norm(z, dim=-1).clamp_min(1e-300)
    ensure(gain.max() <= tolerance, f"exchanging two coordinates is {gain.max():.2g} better")
