"""The smallest angle and the scale rule."""

from __future__ import annotations

import math

import torch

from ._probe import Probe, ensure, raises

PROBABILITIES = (0.5, 0.9)


def min_angle_dense(probe: Probe) -> None:
    """`min_angle` is the smallest angle between two vectors."""
    table, smallest = probe.table, 180.0
    for start in range(0, len(table), 512):
        # Half the distance is the sine of half the angle, precise for small angles too.
        distance = torch.cdist(
            table[start : start + 512], table, compute_mode="donot_use_mm_for_euclid_dist"
        )
        own = torch.arange(len(distance))
        distance[own, own + start] = 2.0
        half = (distance.min() / 2).clamp(max=1)
        smallest = min(smallest, math.degrees(2 * math.asin(float(half))))
    found = probe.system.min_angle
    ensure(
        math.isclose(found, smallest, rel_tol=1e-6),
        f"min_angle is {found:.9g} degrees, the smallest angle is {smallest:.9g}",
    )


def min_angle_sampled(probe: Probe) -> None:
    """No vector of a sample has another one nearer than `min_angle`."""
    second = probe.system.vectors(probe.system.nearest(probe.table, 2).index, dtype=torch.float64)
    half = (second[:, 0] - second[:, 1]).norm(dim=-1).min() / 2
    smallest = math.degrees(2 * math.asin(float(half)))
    found = probe.system.min_angle
    ensure(found <= smallest * (1 + 1e-6), f"min_angle is {found:.9g}, but {smallest:.9g} occurs")


def scale_rule(probe: Probe) -> None:
    """At `scale_for(p)` an embedding on its vector has probability p, on average."""
    system, vectors = probe.system, probe.table
    for p in PROBABILITIES:
        if p > 1 / system.size:
            scale = system.scale_for(p)
            target = torch.exp(scale - torch.logsumexp(scale * vectors @ vectors.T, dim=-1))
            off = abs(float(target.mean()) - p)
            ensure(
                off <= probe.case.scale_error,
                f"scale_for({p}) gives probability {float(target.mean()):.6f}",
            )
    for p in (1 / system.size, 0.0, 1.0):
        raises(ValueError, lambda p=p: system.scale_for(p), f"scale_for({p})")


def scale_rule_sampled(probe: Probe) -> None:
    """As `scale_rule` for p = 0.9, over a sample and with the system's own partition function."""
    system, vectors = probe.system, probe.members(200)
    scale = system.scale_for(0.9)
    found = torch.exp(scale - system.log_partition(vectors, scale))
    chance = 4 * float(found.std()) / len(vectors) ** 0.5
    ensure(
        abs(float(found.mean()) - 0.9) <= probe.case.scale_error + chance,
        f"scale_for(0.9) gives probability {float(found.mean()):.6f}",
    )
