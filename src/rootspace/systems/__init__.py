"""Vector systems: which vectors exist (f_gen, eq. (1) of arXiv 2510.04090).

Most are one of three building blocks or a union of them: `Orbit` (all permutations of a vector),
`Ordered` (all placements of values in one order), `Table` (explicit vectors). Named systems compose
these; `Enumerated` is the base of those whose vectors are computed and all looked at. Needs torch
only.
"""

from typing import TypeVar

from ._parse import parse_expression
from .base import MAX_DIM as MAX_DIM
from .base import MAX_INDEX as MAX_INDEX
from .base import Neighbors as Neighbors
from .base import VectorSystem as VectorSystem
from .base import check_floating as check_floating
from .base import check_range as check_range
from .base import directed_rows as directed_rows
from .base import rows_of_length as rows_of_length
from .binary_codes import BCH as BCH
from .binary_codes import LinearCode as LinearCode
from .binary_codes import ReedMuller as ReedMuller
from .circle import Circle as Circle
from .codes import PermutationCode as PermutationCode
from .codes import PermutationSystem as PermutationSystem
from .codes import SignedKHot as SignedKHot
from .enumerated import Enumerated as Enumerated
from .hyperplane import Hyperplane as Hyperplane
from .leech import Leech as Leech
from .orbit import Orbit as Orbit
from .ordered import Ordered as Ordered
from .roots import Hypercube as Hypercube
from .roots import Orthoplex as Orthoplex
from .roots import RootA as RootA
from .roots import RootB as RootB
from .roots import RootD as RootD
from .roots import RootE8 as RootE8
from .simplex import Simplex as Simplex
from .sphere import Sphere as Sphere
from .table import Table as Table
from .union import Union as Union

IMPLICIT_SYSTEMS: dict[str, type[VectorSystem]] = {
    system.__name__: system
    for system in (
        BCH,
        Circle,
        Hypercube,
        Hyperplane,
        Leech,
        LinearCode,
        Orbit,
        Ordered,
        Orthoplex,
        PermutationCode,
        PermutationSystem,
        ReedMuller,
        RootA,
        RootB,
        RootD,
        RootE8,
        SignedKHot,
        Simplex,
        Sphere,
        Union,
    )
}
"""The systems that their `repr` describes completely."""


S = TypeVar("S", bound=type[VectorSystem])


def register_system(cls: S) -> S:
    """Let `system_from` know a class of your own by its name: a class decorator.

    Heads and class maps are saved with the `repr` of their system, and read by it. A program that
    reads them must have registered the class as well.

    Raises:
        ValueError: the name is taken by another class.
    """
    known = IMPLICIT_SYSTEMS.get(cls.__name__)
    if known is not None and known.__module__ != cls.__module__:
        raise ValueError(f"There is a vector system {cls.__name__} already: {known.__module__}.")
    IMPLICIT_SYSTEMS[cls.__name__] = cls
    return cls


def system_from(text: str) -> VectorSystem:
    """The vector system that a text such as `"RootA(384, interpolations=1)"` describes.

    The inverse of `repr` for every system but `Table`, and those that nobody registered.

    Raises:
        ValueError: unknown system or wrong arguments.
    """
    return parse_expression(text, IMPLICIT_SYSTEMS)
