"""`rootspace report`: write the report of a run again, beside other runs."""

from __future__ import annotations

from pathlib import Path

from rootspace.report import write_report

from ._arguments import Parser


def run(arguments: list[str]) -> int:
    parser = Parser(prog="rootspace report", description=__doc__)
    parser.add_argument("run", type=Path, help="run folder")
    parser.add_argument("others", nargs="*", type=Path, help="runs to compare it with")
    parser.add_argument("--out", type=Path, help="report.html of the run by default")
    options = parser.parse_args(arguments)
    print(write_report(options.run, options.out, options.others))
    return 0
