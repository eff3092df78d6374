"""The properties of a vector system, by name."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from rootspace.systems import VectorSystem

from . import _bijection, _geometry, _laziness, _nearest, _objects, _partition, _symmetry
from ._case import SystemCase
from ._probe import Probe


class Property(NamedTuple):
    """A property that a system should have.

    Attributes:
        check: raises an error where it does not hold.
        applies: whether it can be asked of a system.
    """

    check: Callable[[Probe], None]
    applies: Callable[[Probe], bool]


def _always(_: Probe) -> bool:
    return True


def _indexed(probe: Probe) -> bool:
    return probe.indexed


def _dense(probe: Probe) -> bool:
    return probe.dense


def _sampled(probe: Probe) -> bool:
    return probe.indexed and not probe.dense


def _narrow(probe: Probe) -> bool:
    return probe.system.dim <= 32


PROPERTIES: dict[str, Property] = {
    "unit_length": Property(_bijection.unit_length, _indexed),
    "distinct": Property(_bijection.distinct, _indexed),
    "rank": Property(_bijection.rank, _indexed),
    "non_members": Property(_bijection.non_members, _indexed),
    "index_range": Property(_bijection.index_range, _indexed),
    "too_large": Property(_bijection.too_large, lambda probe: not probe.indexed),
    "nearest": Property(_nearest.nearest_dense, _dense),
    "nearest_sampled": Property(_nearest.nearest_sampled, _sampled),
    "nearest_itself": Property(_nearest.nearest_itself, _indexed),
    "nearest_lengths": Property(_nearest.lengths, _dense),
    "ties": Property(_nearest.ties, _dense),
    "quantize": Property(_nearest.quantize, _always),
    "partition_float64": Property(_partition.float64, _dense),
    "partition_float32": Property(_partition.float32, _dense),
    "partition_halves": Property(_partition.halves, _always),
    "partition_lengths": Property(_partition.lengths, _always),
    "partition_bounds": Property(_partition.bounds, _always),
    "partition_no_scale": Property(_partition.no_scale, _always),
    "partition_of_zero": Property(_partition.zero_embeddings, _always),
    "partition_scale_tensor": Property(_partition.scale_tensor, _always),
    "gradient": Property(_partition.gradient, _dense),
    "gradient_in_numbers": Property(_partition.gradient_in_numbers, _narrow),
    "min_angle": Property(_geometry.min_angle_dense, _dense),
    "min_angle_sampled": Property(_geometry.min_angle_sampled, _sampled),
    "scale_rule": Property(_geometry.scale_rule, _dense),
    "scale_rule_sampled": Property(_geometry.scale_rule_sampled, lambda probe: not probe.dense),
    "permutations": Property(_symmetry.permutations, lambda probe: probe.case.permutations),
    "sign_flips": Property(_symmetry.sign_flips, lambda probe: probe.case.sign_flips),
    "lazy": Property(
        _laziness.lazy,
        lambda probe: not probe.case.stored and probe.system.size >= _laziness.LAZY_FROM,
    ),
    "repr": Property(_objects.representation, lambda probe: probe.case.repr_round_trip),
    "copies": Property(_objects.copies, _always),
    "identity": Property(_objects.identity, _always),
    "shapes": Property(_objects.shapes, _always),
    "arguments": Property(_objects.arguments, _always),
    "autocast": Property(_objects.autocast, _always),
    "devices": Property(_objects.devices, _always),
}
"""What `check_system` checks, in this order."""


def properties_of(system: VectorSystem | SystemCase) -> list[str]:
    """The names of the properties that can be asked of a system of this size and kind."""
    probe = Probe(_case(system), 0)
    return [name for name, entry in PROPERTIES.items() if entry.applies(probe)]


def check_property(name: str, system: VectorSystem | SystemCase, *, seed: int = 0) -> None:
    """Check one property of `PROPERTIES`.

    Raises:
        AssertionError: it does not hold; the message starts with its name.
    """
    probe = Probe(_case(system), seed)
    try:
        PROPERTIES[name].check(probe)
    except Exception as error:
        kind = "" if isinstance(error, AssertionError) else f"{type(error).__name__}: "
        raise AssertionError(f"{name}: {kind}{error} ({probe.system!r})") from error


def check_system(system: VectorSystem | SystemCase, *, seed: int = 0) -> None:
    """Check all that `VectorSystem` promises, against brute force where the size allows it.

    Small systems are compared with all their vectors. Laziness shows only in large ones, from
    250,000 vectors on: check a small and a large instance of your class.

    Args:
        system: to check, or a `SystemCase` that says what to expect of it.
        seed: of the embeddings and indices tried.

    Raises:
        AssertionError: a property does not hold; the message starts with its name.

    Example:
        >>> check_system(SystemCase(Orbit(5, {1: 1, -1: 1}), permutations=True))
    """
    for name in properties_of(system):
        check_property(name, system, seed=seed)


def _case(system: VectorSystem | SystemCase) -> SystemCase:
    return system if isinstance(system, SystemCase) else SystemCase(system)
