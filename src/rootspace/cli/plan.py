"""`rootspace plan`: which vector system and dimension a number of classes needs."""

from __future__ import annotations

from rootspace.planning import plan

from ._arguments import Parser

NOTES = """
scale: at which an embedding on its vector gets probability 0.9. bytes/class: stored for a class
vector, 0 for a formula. decode ops: comparisons or products for the nearest class of an embedding.
classifier layer: memory of a learned float32 layer of this dimension while it trains with AdamW;
the systems take none. model size: of Table 10, with the CUDA context."""


def run(arguments: list[str]) -> int:
    parser = Parser(prog="rootspace plan", description=__doc__)
    parser.add_argument("num_classes", type=int, help="how many classes, those to come included")
    parser.add_argument("--dim", type=int, help="dimension of the embedding, if it is given")
    options = parser.parse_args(arguments)
    print(plan(options.num_classes, options.dim))
    print(NOTES)
    return 0
