"""Every index has one unit vector, and every vector of the system its index."""

from __future__ import annotations

import torch

from ._probe import HALVES, Probe, ensure, raises, unit


def unit_length(probe: Probe) -> None:
    """All vectors have length 1."""
    for dtype in (torch.float64, torch.float32, *HALVES):
        vectors = probe.system.vectors(probe.indices, dtype=dtype)
        ensure(vectors.dtype == dtype, f"vectors(dtype={dtype}) are {vectors.dtype}")
        off = (torch.linalg.vector_norm(vectors.double(), dim=-1) - 1).abs()
        ensure(
            off.max() <= 4 * probe.eps(dtype),
            f"vector {int(probe.indices[off.argmax()])} has length 1 {off.max():+.2g} in {dtype}",
        )


def distinct(probe: Probe) -> None:
    """Different indices have different vectors, so `size` counts the vectors."""
    rows = (probe.table * 1e9).round().long()
    different = len(torch.unique(rows, dim=0))
    ensure(
        different == len(rows),
        f"{len(rows)} indices have {different} different vectors",
    )


def rank(probe: Probe) -> None:
    """`index` inverts `vectors`."""
    for dtype in probe.case.index_dtypes:
        found = probe.system.index(probe.system.vectors(probe.indices, dtype=dtype))
        ensure(found.dtype == torch.int64, f"index returns {found.dtype}, not int64")
        wrong = found != probe.indices
        ensure(
            ~wrong.any(),
            f"index(vectors(i)) == i fails for {int(wrong.sum())} of {len(wrong)} indices in "
            f"{dtype}, first {int(probe.indices[wrong][0]) if wrong.any() else 0}",
        )


def non_members(probe: Probe) -> None:
    """`index` raises ValueError for whatever is not a vector of the system."""
    members = probe.members(4)
    others = {
        "a zero vector": torch.zeros_like(members[0]),
        "NaN": torch.full_like(members[0], torch.nan),
        "infinity": torch.full_like(members[0], torch.inf),
        "a vector of length 2": 2 * members[0],
        "a vector of length 0.9": 0.9 * members[1],
    }
    if probe.dense:
        shaken = unit(members[2] + 0.02 * probe.random(1)[0])
        directions = {"a random vector": unit(probe.random(1)[0]), "a shaken vector": shaken}
        directions["the opposite of a vector"] = -members[3]
        for name, vector in directions.items():
            if (probe.table - vector).abs().amax(dim=-1).min() > 1e-3:
                others[name] = vector
    for name, vector in others.items():
        for dtype in (torch.float64, torch.float32):
            one, among = vector.to(dtype), torch.stack([members[0], vector]).to(dtype)
            raises(ValueError, lambda one=one: probe.system.index(one), f"index of {name}")
            raises(
                ValueError,
                lambda among=among: probe.system.index(among),
                f"index with {name} in it",
            )


def index_range(probe: Probe) -> None:
    """`vectors` raises IndexError out of range and TypeError for fractions."""
    vectors, size = probe.system.vectors, probe.system.size
    raises(IndexError, lambda: vectors(torch.tensor([0, -1])), "vectors(-1)")
    if size < 2**63 - 1:
        raises(IndexError, lambda: vectors(torch.tensor([0, size])), "vectors(size)")
    raises(TypeError, lambda: vectors(torch.tensor([0.0])), "vectors(0.0)")


def too_large(probe: Probe) -> None:
    """Where int64 cannot number the vectors, what needs a number raises OverflowError."""
    z = probe.random(2)
    raises(OverflowError, lambda: probe.system.vectors(torch.tensor([0])), "vectors")
    raises(OverflowError, lambda: probe.system.index(z), "index")
    raises(OverflowError, lambda: probe.system.nearest(z), "nearest")
