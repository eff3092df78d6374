"""Vector systems: which vectors exist (f_gen, eq. (1) of arXiv 2510.04090).

Most are one of three building blocks or a union of them: `Orbit` (all permutations of a vector),
`Ordered` (all placements of values in one order), `Table` (explicit vectors). Named systems compose
these; `Enumerated` is the base of those whose vectors are computed and all looked at. Needs torch
only.
"""

from ._base import MAX_INDEX as MAX_INDEX
from ._base import Neighbours as Neighbours
from ._base import VectorSystem as VectorSystem
from ._base import check_range as check_range
from ._base import directed_rows as directed_rows
from ._base import rows_of_length as rows_of_length
from ._circle import Circle as Circle
from ._codes import PermutationCode as PermutationCode
from ._codes import PermutationSystem as PermutationSystem
from ._codes import SignedKHot as SignedKHot
from ._hyperplane import Hyperplane as Hyperplane
from ._leech import Leech as Leech
from ._linear_code import BCH as BCH
from ._linear_code import LinearCode as LinearCode
from ._linear_code import ReedMuller as ReedMuller
from ._orbit import Orbit as Orbit
from ._ordered import Ordered as Ordered
from ._parse import parse_expression
from ._root_a import RootA as RootA
from ._root_e8 import RootE8 as RootE8
from ._roots import Hypercube as Hypercube
from ._roots import Orthoplex as Orthoplex
from ._roots import RootB as RootB
from ._roots import RootD as RootD
from ._scan import Enumerated as Enumerated
from ._simplex import Simplex as Simplex
from ._sphere import Sphere as Sphere
from ._table import Table as Table
from ._union import Union as Union

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


def system_from(text: str) -> VectorSystem:
    """The vector system that a text such as `"RootA(384, interpolations=1)"` describes.

    The inverse of `repr` for every system but `Table`.

    Raises:
        ValueError: unknown system or wrong arguments.
    """
    return parse_expression(text, IMPLICIT_SYSTEMS)
