"""`rootspace plan`: choose a vector system and dimension for a number of classes."""

from __future__ import annotations

from rootspace.planning import Plan, plan

from ._output import add_format, answer
from ._parser import Parser

NOTES = """
n_min: smallest dimension that holds the classes. system: as --head.system takes it. scale: at
which an embedding on its vector gets probability 0.9, where it is known. bytes/class: stored for a
class vector, 0 for a formula. decode ops: comparisons or products for the nearest class of an
embedding. classifier layer: memory of a learned float32 layer of this dimension while it trains
with AdamW; the systems take none. model size: of Table 10, with the CUDA context."""


def run(arguments: list[str]) -> int:
    parser = Parser(prog="rootspace plan", description=__doc__)
    parser.add_argument("num_classes", type=int, help="how many classes, those to come included")
    parser.add_argument("--dim", type=int, help="dimension of the embedding, if it is given")
    add_format(parser)
    options = parser.parse_args(arguments)
    found = plan(options.num_classes, options.dim)
    answer(options, f"{found}\n{NOTES}", _content(found))
    return 0


def _content(found: Plan) -> dict[str, object]:
    rows = [
        {
            "family": row.family,
            "n_min": row.n_min,
            "system": None if row.system is None else repr(row.system),
            "min_angle": None if row.system is None else row.system.min_angle,
            "scale": row.scale,
            "bytes_per_class": row.bytes_per_class,
            "decode_operations": row.decode_operations,
        }
        for row in found.rows
    ]
    return {
        "num_classes": found.num_classes,
        "from_data": repr(found.from_data),
        "families": rows,
    }
