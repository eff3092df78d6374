"""Which system in which dimension for a number of classes; what a classifier layer costs."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

from rootspace._checks import integer
from rootspace._terminal import table
from rootspace.classes.codes import bits_for
from rootspace.systems import (
    MAX_DIM,
    Enumerated,
    Hypercube,
    Leech,
    Orbit,
    Orthoplex,
    PermutationCode,
    RootA,
    RootB,
    RootD,
    RootE8,
    SignedKHot,
    Simplex,
    VectorSystem,
)

FORMULAS: dict[str, Callable[[int], VectorSystem]] = {
    "A_n": RootA,
    "A_n isometric": lambda n: RootA(n, projection="isometric"),
    "A_np": lambda n: RootA(n, positive=True),
    "A_n, 1 interpolation": lambda n: RootA(n, interpolations=1),
    "D_n": RootD,
    "B_n": RootB,
    "V_n^21": lambda n: Orbit(n, {1: 2, -1: 1}),
    "signed 3-hot": lambda n: SignedKHot(n, 3),
    "V_n^22": lambda n: Orbit(n, {1: 2, -1: 2}),
    "signed 4-hot": lambda n: SignedKHot(n, 4),
    "orthoplex": Orthoplex,
    "simplex": Simplex,
    "hypercube": Hypercube,
}
"""Families whose nearest vector is found in closed form: name -> dimension -> system."""

CODES: dict[str, Callable[[int], VectorSystem]] = {
    "signed n/2-hot": lambda n: SignedKHot(n, n // 2),
    "3-level code": PermutationCode,
}
"""Dense families for assignment from data: a code is stored for each class, and searched."""

FAMILIES = FORMULAS | CODES
"""One-parameter families of systems: name -> dimension -> system."""

FIXED: dict[str, Callable[[], VectorSystem]] = {"E8": RootE8, "Leech": Leech}
"""Systems of one dimension."""

CODE_DIM = 256
"""Embedding dimension of a code where nothing else gives one (measured in docs/comparison.md)."""

SMALLEST_DIM = 4
"""Of a code of three levels."""

MOST_STATES_DIM = 40
"""Beyond it the partition function of a 3-level code, and so its scale, takes too long."""

MOST_CLASSES = 10**10
"""That a plan is made for: more than anything has."""

MOST_DIM = 2**16
"""Of an embedding in a plan."""

MOST_SCALED_DIM = 2048
"""Beyond it the partition functions of the other systems take too long."""

MIB = 2**20

BACKBONES = {"ViT-S/16": (21_665_664, 384), "ViT-B/16": (85_798_656, 768)}
"""Parameters without a head, and dimension of the embedding."""

CONTEXT_MIB = 616
"""What the 943 MB of Table 10 hold besides ViT-B's float32 weights: the CUDA context."""


@dataclass(frozen=True)
class PlanRow:
    """One system of a plan.

    Attributes:
        family: its name.
        n_min: smallest dimension that holds the classes (Sec. 5.4); None where none does, of those
            that a system may have.
        system: in the dimension asked for, n_min by default; None where that is too small.
        scale: at which an embedding on its vector gets probability 0.9; None where unknown.
        bytes_per_class: stored for each class; 0 for a formula.
        decode_operations: comparisons or products for the nearest class of an embedding, about.
    """

    family: str
    n_min: int | None
    system: VectorSystem | None
    scale: float | None
    bytes_per_class: float | None
    decode_operations: int | None


@dataclass(frozen=True)
class Plan:
    """The systems that can hold a number of classes; `str` gives a table.

    A learned classifier needs `classifier_bytes(dim)` on the device while it trains; these
    systems need none at all.
    """

    num_classes: int
    rows: tuple[PlanRow, ...]

    def row(self, family: str) -> PlanRow:
        """The row of this family."""
        for row in self.rows:
            if row.family == family:
                return row
        known = [row.family for row in self.rows]
        raise ValueError(f"Argument 'family' must be one of {known}, not {family!r}.")

    @property
    def from_data(self) -> PermutationCode:
        """The system of `code_for` in its own dimension."""
        return code_for(self.num_classes)

    def classifier_bytes(self, dim: int) -> int:
        """A float32 linear layer with its gradient and AdamW's two moments."""
        return 16 * dim * self.num_classes

    def cells(self) -> tuple[list[str], list[list[str]]]:
        """Header and rows of the table as text."""
        header = [
            "family",
            "n_min",
            "system",
            "vectors",
            "min angle",
            "scale",
            "bytes/class",
            "decode ops",
            "classifier layer",
        ]
        body = []
        for row in self.rows:
            start = [row.family, "none" if row.n_min is None else f"{row.n_min:,}"]
            if row.system is None:
                body.append([*start, "too small", *("",) * (len(header) - 3)])
                continue
            body.append(
                [
                    *start,
                    repr(row.system),
                    _count(row.system.size),
                    f"{row.system.min_angle:.1f} deg",
                    "" if row.scale is None else f"{row.scale:.1f}",
                    f"{row.bytes_per_class:g}",
                    _count(row.decode_operations or 0),
                    _megabytes(self.classifier_bytes(row.system.dim)),
                ]
            )
        return header, body

    def classifier_cells(self) -> tuple[list[str], list[list[str]]]:
        """What a classifier layer costs on the paper's backbones, against none (Tables 9, 10)."""
        header = [
            "backbone",
            "head",
            "parameters",
            "model size",
            "layer in training",
            "logits, batch 256",
        ]
        body = []
        for backbone in BACKBONES:
            for count in (0, self.num_classes):
                cost = classifier_cost(count, backbone)
                body.append(
                    [
                        backbone,
                        f"{count:,} classes" if count else "none (LSC)",
                        f"{cost.parameters / 1e6:,.1f} M",
                        f"{cost.model_mib:,.0f} MiB",
                        f"{cost.optimizer_mib:,.0f} MiB",
                        f"{cost.logits_mib(256):,.0f} MiB",
                    ]
                )
        return header, body

    def __str__(self) -> str:
        code = self.from_data
        stored = _row("3-level code", code.dim, code, self.num_classes).bytes_per_class
        return (
            f"{table(*self.cells())}\n\n"
            f"For vectors chosen from the data: {code!r}, {stored:g} bytes/class.\n\n"
            f"{table(*self.classifier_cells())}"
        )


def plan(num_classes: int, dim: int | None = None) -> Plan:
    """Compare the vector systems that can hold `num_classes` classes.

    Args:
        num_classes: how many classes are wanted; leave room for those to come.
        dim: of the embedding, if the network dictates it; n_min of each system by default.

    Returns:
        A `Plan`: for each family n_min, and size, angle, scale and cost in the dimension used.

    Raises:
        ValueError: num_classes or dim is not a positive integer, or larger than anybody's.
    """
    for name, value, most in (
        ("num_classes", num_classes, MOST_CLASSES),
        ("dim", 1 if dim is None else dim, MOST_DIM),
    ):
        if integer(name, value) > most:
            raise ValueError(f"Argument '{name}' must be at most {most:,}.")
    rows = []
    for family, make in FAMILIES.items():
        try:
            n_min = smallest_dim(make, num_classes)
        except ValueError:
            n_min = None
        fits = n_min is not None and (dim is None or dim >= n_min)
        system = make(dim or n_min or 1) if fits else None
        rows.append(_row(family, n_min, system, num_classes))
    for family, make_fixed in FIXED.items():
        system = make_fixed()
        if system.size >= num_classes and dim in (None, system.dim):
            rows.append(_row(family, system.dim, system, num_classes))
    return Plan(num_classes, tuple(rows))


def code_for(num_classes: int, dim: int | None = None) -> PermutationCode:
    """The system to choose class vectors of from the data.

    A 3-level code has a vector near any class mean, and in `CODE_DIM` dimensions room for any
    number of classes; 3 * dim / 8 bytes a class.

    Args:
        num_classes: that must fit.
        dim: of the embedding, if it is given.

    Raises:
        ValueError: the dimension is too small, or holds fewer vectors.
    """
    if dim is not None and integer("dim", dim) < SMALLEST_DIM:
        drawn = f"; for pictures of the space take system='Sphere({dim}, {num_classes})'"
        raise ValueError(
            f"Argument 'dim' must be at least {SMALLEST_DIM} where no 'system' is given, not "
            f"{dim}{drawn if dim > 1 else ''}."
        )
    code = PermutationCode(CODE_DIM if dim is None else dim)
    if code.size < num_classes:
        raise ValueError(
            f"Argument 'dim' must be larger than {dim}: {code!r} has {code.size:,} vectors, fewer "
            f"than the {num_classes:,} classes."
        )
    return code


def _row(family: str, n_min: int | None, system: VectorSystem | None, num_classes: int) -> PlanRow:
    if system is None:
        return PlanRow(family, n_min, None, None, None, None)
    many_states = isinstance(system, PermutationCode) and system.dim > MOST_STATES_DIM
    many_states |= system.dim > MOST_SCALED_DIM
    scale = None if many_states else system.scale_for(0.9) if system.size > 1 else 1.0
    if family in CODES:
        assert isinstance(system, Orbit)
        stored = bits_for(len(system.levels)) * -(-system.dim // 8)
        return PlanRow(family, n_min, system, scale, stored, num_classes * system.dim)
    looked_at = system.size if isinstance(system, Enumerated) else 2
    return PlanRow(family, n_min, system, scale, 0.0, looked_at * system.dim)


def smallest_dim(make: Callable[[int], VectorSystem], num_classes: int) -> int:
    """The smallest n for which `make(n)` exists and has at least `num_classes` vectors.

    Raises:
        ValueError: none up to `MAX_DIM` does.
    """

    def holds(n: int) -> bool:
        try:
            return make(n).size >= num_classes
        except ValueError:  # the family starts in a larger dimension
            return False

    high = 1
    while not holds(high):
        if high == MAX_DIM:
            raise ValueError(
                f"Argument 'num_classes' must be smaller: no dimension up to {MAX_DIM:,} has "
                f"{num_classes:,} vectors."
            )
        high = min(2 * high, MAX_DIM)
    low = high // 2
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if holds(middle) else (middle, high)
    return high


def _count(number: int) -> str:
    """Exact where it is short, else in powers of ten."""
    if number < 10**12:
        return f"{number:,}"
    exponent = math.floor(math.log10(number))
    return f"{number / 10**exponent:.1f}e{exponent}" if exponent < 300 else f"1e{exponent}"


def _megabytes(size: int) -> str:
    return f"{size / 1e6:,.1f} MB" if size < 1e9 else f"{size / 1e9:,.1f} GB"


# ------------------------------------- a classifier layer: Tables 9 and 10 of arXiv 2510.04090


@dataclass(frozen=True)
class ClassifierCost:
    """A backbone with a linear layer of `num_classes` outputs, in float32.

    LSC is the case of no classes: nothing but the backbone, however many classes there are.

    Attributes:
        num_classes: outputs of the layer, 0 for none.
        dim: inputs of the layer.
        backbone_parameters: of the network below it.
    """

    num_classes: int
    dim: int
    backbone_parameters: int

    @property
    def layer_parameters(self) -> int:
        """Weights and biases of the layer."""
        return (self.dim + 1) * self.num_classes

    @property
    def parameters(self) -> int:
        """Of the whole model (Table 9)."""
        return self.backbone_parameters + self.layer_parameters

    @property
    def model_mib(self) -> float:
        """MiB on the device before training begins: the model size of Table 10."""
        return CONTEXT_MIB + 4 * self.parameters / MIB

    @property
    def optimizer_mib(self) -> float:
        """MiB that the layer takes in addition while it trains: gradient, two moments of AdamW."""
        return 12 * self.layer_parameters / MIB

    def logits_mib(self, batch_size: int) -> float:
        """MiB of the layer's outputs for a batch, and as much again for their gradient."""
        return 8 * batch_size * self.num_classes / MIB


def classifier_cost(num_classes: int, backbone: str = "ViT-B/16") -> ClassifierCost:
    """The cost of a classifier layer on one of `BACKBONES`.

    Args:
        num_classes: outputs of the layer, 0 for none.
        backbone: its name.

    Raises:
        ValueError: unknown backbone, or a negative number of classes.

    Example:
        >>> round(classifier_cost(10_000_000).model_mib), round(classifier_cost(0).model_mib)
        (30278, 943)
    """
    if backbone not in BACKBONES:
        raise ValueError(f"Argument 'backbone' must be one of {list(BACKBONES)}, not {backbone!r}.")
    num_classes = integer("num_classes", num_classes, 0)
    parameters, dim = BACKBONES[backbone]
    return ClassifierCost(num_classes, dim, parameters)
