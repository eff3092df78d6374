"""The partition function is that of a dense softmax over all vectors, and so is its gradient."""

from __future__ import annotations

import itertools
import math

import torch
from torch import Tensor

from ._probe import FLOATS, HALVES, Probe, ensure, unit

SCALES = (1.0, 10.0, 100.0, 1000.0)


def _dense(z: Tensor, table: Tensor, scale: float) -> Tensor:
    """The ordinary computation, all in the dtype of z."""
    return torch.logsumexp(scale * unit(z) @ table.to(z.dtype).T, dim=-1)


def float64(probe: Probe) -> None:
    """float64 agrees with the dense computation to `partition_error`."""
    z = probe.embeddings(torch.float64)
    for scale in SCALES:
        expected = _dense(z, probe.table, scale)
        error = (probe.system.log_partition(z, scale) - expected).abs() / expected.abs().clamp_min(
            1
        )
        ensure(
            error.max() <= probe.case.partition_error,
            f"log_partition at scale {scale:g} is off by {error.max():.2g} in float64",
        )


def float32(probe: Probe) -> None:
    """float32 is no further from the truth than the dense computation in float32."""
    z = probe.embeddings(torch.float32)
    for scale in SCALES:
        expected = _dense(z.double(), probe.table, scale)
        ordinary = (_dense(z, probe.table, scale) - expected).abs().max()
        ours = (probe.system.log_partition(z, scale) - expected).abs().max()
        allowed = ordinary + 4 * torch.finfo(torch.float32).eps * max(scale, expected.abs().max())
        ensure(
            ours <= allowed,
            f"log_partition at scale {scale:g} is off by {ours:.2g} in float32, the dense "
            f"computation by {ordinary:.2g}",
        )


def halves(probe: Probe) -> None:
    """Half precision is computed in float32 and rounded at the end."""
    for dtype in HALVES:
        z = probe.embeddings(dtype)
        found = probe.system.log_partition(z, 10.0)
        ensure(found.dtype == dtype, f"log_partition returns {found.dtype}, not {dtype}")
        expected = probe.system.log_partition(z.float(), 10.0)
        error = ((found.float() - expected).abs() / expected.abs().clamp_min(1)).max()
        ensure(error <= torch.finfo(dtype).eps, f"off by {error:.2g} in {dtype}")


def gradient(probe: Probe) -> None:
    """The gradient is the softmax mean of the vectors, seen along the sphere."""
    for dtype in FLOATS:
        z = probe.embeddings(dtype).requires_grad_()
        for scale in SCALES:
            log_partition = probe.system.log_partition(z, scale)
            ensure(log_partition.requires_grad, "log_partition has no gradient")
            (found,) = torch.autograd.grad(log_partition.sum(), z)
            expected = _softmax_gradient(z.detach().double(), probe.table, scale)
            (ordinary,) = torch.autograd.grad(_dense(z, probe.table, scale).sum(), z)
            error = _relative_error(found, expected, scale, z)
            allowed = _relative_error(ordinary, expected, scale, z) + probe.tolerance(dtype) * scale
            ensure(
                error <= allowed,
                f"off by {error:.2g} at scale {scale:g} in {dtype}, allowed {allowed:.2g}",
            )


def _softmax_gradient(z: Tensor, table: Tensor, scale: float) -> Tensor:
    direction = unit(z)
    mean = torch.softmax(scale * direction @ table.T, dim=-1) @ table
    along = (mean * direction).sum(-1, keepdim=True) * direction
    return scale * (mean - along) / torch.linalg.vector_norm(z, dim=-1, keepdim=True)


def _relative_error(found: Tensor, expected: Tensor, scale: float, z: Tensor) -> float:
    norm = torch.linalg.vector_norm(z.detach().double(), dim=-1, keepdim=True)
    return float(((found - expected) * norm / scale).abs().max())


def gradient_in_numbers(probe: Probe) -> None:
    """The gradients in embeddings and scale agree with finite differences."""
    z = unit(probe.random(2)).requires_grad_()
    scale = torch.tensor(5.0, dtype=torch.float64, requires_grad=True)
    torch.autograd.gradcheck(probe.system.log_partition, (z, scale))


def no_scale(probe: Probe) -> None:
    """At scale 0 all vectors count alike: the logarithm of the size."""
    log_size = math.log(probe.system.size)
    for dtype in FLOATS:
        found = probe.system.log_partition(probe.embeddings(dtype), 0.0)
        off = (found - log_size).abs().max()
        ensure(
            off <= 64 * torch.finfo(dtype).eps * max(1.0, log_size),
            f"log_partition at scale 0 is {float(found[0]):.6g}, not log(size) = {log_size:.6g}",
        )


def zero_embeddings(probe: Probe) -> None:
    """A zero embedding has cosine 0 with every vector, at any scale."""
    log_size = math.log(probe.system.size)
    for dtype in FLOATS:
        for scale in SCALES:
            z = torch.zeros(2, probe.system.dim, dtype=dtype)
            z[1, 0] = 1
            found = float(probe.system.log_partition(z, scale)[0])
            ensure(
                abs(found - log_size) <= 64 * torch.finfo(dtype).eps * max(1.0, log_size),
                f"log_partition of a zero embedding at scale {scale:g} is {found:.6g} in {dtype}, "
                f"not log(size) = {log_size:.6g}",
            )


def lengths(probe: Probe) -> None:
    """The length of an embedding does not matter, however large or small."""
    for dtype, exponent in ((torch.float32, 100), (torch.float64, 900)):
        z = probe.random(probe.case.samples).to(dtype)
        expected = probe.system.log_partition(z, 10.0)
        for factor in (2.0**exponent, 2.0**-exponent):
            error = (probe.system.log_partition(z * factor, 10.0) - expected).abs().max()
            ensure(
                error <= 10 * probe.tolerance(dtype),
                f"log_partition changes by {error:.2g} at {factor:.2g} times the length ({dtype})",
            )


def scale_tensor(probe: Probe) -> None:
    """The scale may be a scalar tensor, which does not change the dtype."""
    z = probe.embeddings(torch.float32)
    expected = probe.system.log_partition(z, 10.0)
    for dtype in FLOATS:
        found = probe.system.log_partition(z, torch.tensor(10.0, dtype=dtype))
        ensure(found.dtype == z.dtype, f"log_partition returns {found.dtype}, not {z.dtype}")
        ensure(
            torch.allclose(found, expected, rtol=1e-6, atol=1e-5), "a tensor gives another value"
        )


def bounds(probe: Probe) -> None:
    """Between the best vector's share and that of all vectors being as good as the best.

    Also convex in the scale, with a slope that is a mean cosine. At a scale of 1e6 the bounds
    meet, so that the partition function tells how good the best vector is.
    """
    log_size = math.log(probe.system.size)
    scales = (0.0, *SCALES, 1e6)
    for dtype in FLOATS:
        z = probe.embeddings(dtype)
        best = (probe.system.quantize(z) * unit(z)).sum(-1)
        values = [probe.system.log_partition(z, scale) for scale in scales]
        for scale, value in zip(scales, values, strict=True):
            slack = 64 * torch.finfo(dtype).eps * max(1.0, scale, log_size)
            inside = (value >= scale * best - slack) & (value <= scale * best + log_size + slack)
            ensure(inside.all(), f"log_partition at scale {scale:g} is out of bounds ({dtype})")
        slopes = [
            (values[i + 1] - values[i]) / (scales[i + 1] - scales[i])
            for i in range(len(scales) - 1)
        ]
        slack = 256 * torch.finfo(dtype).eps * max(1.0, log_size)
        for lower, upper in itertools.pairwise([*slopes, best]):
            ensure((lower <= upper + slack).all(), f"not convex in the scale ({dtype})")
