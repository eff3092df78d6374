"""`rootspace report`: rewrite a run's report, next to other runs."""

from __future__ import annotations

from rootspace.report import write_report
from rootspace.runs.folder import check_finished

from ._arguments import add_run, check_out
from ._output import add_format, answer
from ._parser import Parser, path


def run(arguments: list[str]) -> int:
    parser = Parser(prog="rootspace report", description=__doc__)
    add_run(parser, network=False)
    parser.add_argument("others", nargs="*", type=path, help="runs to compare it with")
    parser.add_argument("--out", type=path, help="report.html of the run by default")
    add_format(parser)
    options = parser.parse_intermixed_args(arguments)
    for folder in (options.run, *options.others):
        check_finished(folder)
    out = options.run / "report.html" if options.out is None else options.out
    check_out(out, (".html",))
    written = write_report(options.run, out, options.others)
    answer(options, str(written), {"out": str(written)})
    return 0
