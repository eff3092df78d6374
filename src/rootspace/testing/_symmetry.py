"""Symmetries of a system are symmetries of all that is computed from it."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from ._probe import Probe, ensure


def permutations(probe: Probe) -> None:
    """Permuting the coordinates of the embeddings permutes those of the result."""
    order = torch.randperm(probe.system.dim, generator=probe.generator())
    _ensure_invariant(probe, lambda z: z[:, order])


def sign_flips(probe: Probe) -> None:
    """Changing signs of coordinates of the embeddings changes those of the result."""
    signs = 1 - 2 * torch.randint(2, (probe.system.dim,), generator=probe.generator())
    _ensure_invariant(probe, lambda z: z * signs)


def _ensure_invariant(probe: Probe, moved: Callable[[Tensor], Tensor]) -> None:
    system, z = probe.system, probe.random(probe.case.samples)
    if probe.indexed:
        system.index(moved(probe.table))  # raises for a non-member
        before, after = (system.nearest(x).cosine for x in (z, moved(z)))
        ensure(torch.allclose(before, after, rtol=0, atol=1e-14), "cosines of nearest change")
    before, after = moved(system.quantize(z)), system.quantize(moved(z))
    ensure(torch.allclose(before, after, rtol=0, atol=1e-14), "quantize does not follow")
    for scale in (1.0, 30.0):
        before, after = (system.log_partition(x, scale) for x in (z, moved(z)))
        ensure(torch.allclose(before, after, rtol=1e-12, atol=1e-12), "log_partition changes")
