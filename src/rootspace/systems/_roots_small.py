"""The classical root systems and polytopes that are signed k-hot vectors."""

from __future__ import annotations

from .codes import SignedKHot
from .orbit import Orbit
from .union import Union


class RootD(SignedKHot):
    """The 2n(n - 1) roots +-e_i +-e_j of D_n, at 60 degrees.

    Args:
        dim: n.
    """

    def __init__(self, dim: int) -> None:
        super().__init__(dim, 2)

    def __repr__(self) -> str:
        return f"RootD({self.dim})"


class RootB(Union):
    """The 2n^2 roots of B_n: those of D_n, then +-e_i; at 45 degrees.

    Args:
        dim: n.
    """

    def __init__(self, dim: int) -> None:
        super().__init__([Orbit(dim, {1: 2}, signed=True), Orbit(dim, {1: 1}, signed=True)])

    def __repr__(self) -> str:
        return f"RootB({self.dim})"


class Orthoplex(SignedKHot):
    """The 2n vectors +-e_i, at 90 degrees: vertices of the cross-polytope.

    Args:
        dim: n.
    """

    def __init__(self, dim: int) -> None:
        super().__init__(dim, 1)

    def __repr__(self) -> str:
        return f"Orthoplex({self.dim})"


class Hypercube(SignedKHot):
    """The 2^n vectors (+-1, ..., +-1): vertices of the hypercube.

    Args:
        dim: n.
    """

    def __init__(self, dim: int) -> None:
        super().__init__(dim, dim)

    def __repr__(self) -> str:
        return f"Hypercube({self.dim})"
