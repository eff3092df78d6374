"""`rootspace evaluate`: accuracy of a trained run on its test sets, or on those of other data.

`--data` names other data whole, for example `--data ImageFolder --data.root photos`.
"""

from __future__ import annotations

import json

from rootspace.data import make_data
from rootspace.run import load
from rootspace.runs.record import as_json
from rootspace.train.evaluation import accuracies

from ._arguments import Parser, add_run
from ._config import check_whole_data, config_parser, parse


def run(arguments: list[str]) -> int:
    parser = Parser(prog="rootspace evaluate", description=__doc__)
    add_run(parser)
    parser.add_argument("--json", action="store_true", help="print JSON")
    options, rest = parser.parse_known_args(arguments)
    trained = load(options.run, options.device)
    prog = "rootspace evaluate RUN"
    config = trained.config
    if rest:
        check_whole_data(rest)
        config = parse(rest, config_parser(prog, config, skip=("data",)), prog, config)
    data = make_data(config)
    data.setup()
    results = accuracies(trained.model, data)
    if options.json:
        print(json.dumps(as_json(results), ensure_ascii=False))
    else:
        width = max(map(len, results), default=0)
        for name, result in results.items():
            print(f"{name:<{width}}  {result.accuracy:.2%}  of {result.images:,} images")
    return 0
