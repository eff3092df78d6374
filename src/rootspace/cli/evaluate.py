"""`rootspace evaluate`: accuracy of a trained run on its test sets, or on others.

Options such as `--data.test_fonts` replace those of the run.
"""

from __future__ import annotations

import json

from rootspace._terminal import visible
from rootspace.runs.record import as_json
from rootspace.train.run_folder import make_data, read_config, read_run
from rootspace.train.scoring import score

from ._arguments import Parser, add_run
from ._config import parse


def run(arguments: list[str]) -> int:
    parser = Parser(prog="rootspace evaluate", description=__doc__)
    add_run(parser)
    parser.add_argument("--json", action="store_true", help="print JSON")
    options, rest = parser.parse_known_args(arguments)
    settings = parse(rest, base=read_config(options.run), prog="rootspace evaluate RUN")
    trained = read_run(options.run, options.device)
    data = make_data(settings["data"])
    data.setup()
    results = score(trained, data)
    if options.json:
        print(json.dumps(as_json(results), ensure_ascii=False))
    else:
        width = max((len(visible(name)) for name in results), default=0)
        for name, result in results.items():
            print(f"{visible(name):<{width}}  {result.accuracy:.2%}  of {result.images:,} images")
    return 0
