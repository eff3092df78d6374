"""Which dimension and which vector system for a number of classes?"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from rootspace.systems import Orbit, RootA, VectorSystem

FAMILIES: dict[str, Callable[[int], VectorSystem]] = {
    "A_n": RootA,
    "A_n isometric": lambda n: RootA(n, projection="isometric"),
    "A_np": lambda n: RootA(n, positive=True),
    "A_n, 1 interpolation": lambda n: RootA(n, interpolations=1),
    "D_n": lambda n: Orbit(n, {1: 2}, signed=True),
    "V_n^21": lambda n: Orbit(n, {1: 2, -1: 1}),
    "signed 3-hot": lambda n: Orbit(n, {1: 3}, signed=True),
    "V_n^22": lambda n: Orbit(n, {1: 2, -1: 2}),
    "signed 4-hot": lambda n: Orbit(n, {1: 4}, signed=True),
}
"""One-parameter families of systems: name -> dimension -> system."""


@dataclass(frozen=True)
class PlanRow:
    """One system of a plan.

    Attributes:
        family: its name.
        n_min: smallest dimension that holds the classes (Sec. 5.4).
        system: in the dimension asked for, n_min by default; None where that is too small.
        scale: at which an embedding on its vector gets probability 0.9.
    """

    family: str
    n_min: int
    system: VectorSystem | None
    scale: float | None


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
        raise ValueError(f"Argument 'family' must be one of {sorted(FAMILIES)}, not {family!r}.")

    def classifier_bytes(self, dim: int) -> int:
        """A float32 linear layer with its gradient and AdamW's two moments."""
        return 16 * dim * self.num_classes

    def cells(self) -> tuple[list[str], list[list[str]]]:
        """Header and rows of the table as text."""
        header = ["family", "n_min", "dim", "vectors", "min angle", "scale", "classifier layer"]
        body = []
        for row in self.rows:
            if row.system is None or row.scale is None:
                body.append([row.family, f"{row.n_min:,}", "too small", "", "", "", ""])
                continue
            body.append(
                [
                    row.family,
                    f"{row.n_min:,}",
                    f"{row.system.dim:,}",
                    f"{row.system.size:,}",
                    f"{row.system.min_angle:.1f} deg",
                    f"{row.scale:.1f}",
                    _megabytes(self.classifier_bytes(row.system.dim)),
                ]
            )
        return header, body

    def __str__(self) -> str:
        header, body = self.cells()
        widths = [max(len(line[i]) for line in [header, *body]) for i in range(len(header))]
        lines = [
            "  ".join(
                cell.ljust(width) if i == 0 else cell.rjust(width)
                for i, (cell, width) in enumerate(zip(line, widths, strict=True))
            ).rstrip()
            for line in [header, *body]
        ]
        return "\n".join([lines[0], "-" * len(lines[0]), *lines[1:]])


def plan(num_classes: int, dim: int | None = None) -> Plan:
    """Compare the vector systems that can hold `num_classes` classes.

    Args:
        num_classes: how many classes are wanted; leave room for those to come.
        dim: of the embedding, if the network dictates it; n_min of each system by default.

    Returns:
        A `Plan`: for each family n_min, and size, angle and scale in the dimension used.

    Raises:
        ValueError: num_classes or dim is not a positive integer.
    """
    for name, value in (("num_classes", num_classes), ("dim", 1 if dim is None else dim)):
        if isinstance(value, bool) or not isinstance(value, int) or value < 1:
            raise ValueError(f"Argument '{name}' must be a positive integer, not {value!r}.")
    rows = []
    for family, make in FAMILIES.items():
        n_min = smallest_dim(make, num_classes)
        system = None if dim is not None and dim < n_min else make(n_min if dim is None else dim)
        scale = None if system is None else system.scale_for(0.9) if system.size > 1 else 1.0
        rows.append(PlanRow(family, n_min, system, scale))
    return Plan(num_classes, tuple(rows))


def smallest_dim(make: Callable[[int], VectorSystem], num_classes: int) -> int:
    """The smallest n for which `make(n)` exists and has at least `num_classes` vectors."""

    def holds(n: int) -> bool:
        try:
            return make(n).size >= num_classes
        except ValueError:  # the family starts in a larger dimension
            return False

    high = 1
    while not holds(high):
        high *= 2
    low = high // 2
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if holds(middle) else (middle, high)
    return high


def _megabytes(size: int) -> str:
    return f"{size / 1e6:,.1f} MB" if size < 1e9 else f"{size / 1e9:,.1f} GB"
