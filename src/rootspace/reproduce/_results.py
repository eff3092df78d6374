"""From figures to rows with verdicts."""

from __future__ import annotations

import statistics
from collections.abc import Mapping
from dataclasses import dataclass

from ._experiment import Experiment, Figures, MissingFigure, Outcome, Row

HOLDS, FAILS, NOT_RUN = "trend holds", "does not hold", "not run"


@dataclass(frozen=True)
class Result:
    """A row with our figures.

    Attributes:
        experiment: its name.
        row: what the paper says.
        by_seed: seed -> our value; empty where there is none.
        verdict: "trend holds", "does not hold", or "not run: " and why.
    """

    experiment: str
    row: Row
    by_seed: Mapping[int, float]
    verdict: str

    @property
    def mean(self) -> float | None:
        return statistics.mean(self.by_seed.values()) if self.by_seed else None

    @property
    def spread(self) -> float | None:
        """Standard deviation over the seeds, from two on."""
        return statistics.stdev(self.by_seed.values()) if len(self.by_seed) > 1 else None

    def cells(self) -> list[str]:
        """As text: setting, column, paper, where, mean, spread, number of seeds, verdict."""
        row = self.row

        def number(value: float | None) -> str:
            return "" if value is None else f"{value:,.{row.digits}f}"

        return [
            row.setting,
            row.column,
            row.paper if isinstance(row.paper, str) else f"{row.paper:,.10g}",
            row.where,
            number(self.mean),
            number(self.spread),
            str(len(self.by_seed) or ""),
            self.verdict,
        ]


def judge(
    experiments: Mapping[str, Experiment],
    outcomes: Mapping[tuple[str, str], Mapping[int, Outcome]],
    reasons: Mapping[tuple[str, str], str],
) -> list[Result]:
    """All rows of all experiments.

    Args:
        experiments: by name.
        outcomes: (experiment, part) -> seed -> what the part found out.
        reasons: (experiment, part) -> why there is none.
    """
    results = []
    for name, experiment in experiments.items():
        figures = Figures(name, outcomes, reasons)
        for row in experiment.rows:
            by_seed: Mapping[int, float] = {}
            try:
                by_seed = figures.by_seed(row.part, row.measure)
                verdict = HOLDS if row.criterion.holds(figures) else FAILS
            except MissingFigure as missing:
                verdict = f"{NOT_RUN}: {missing}"
            results.append(Result(name, row, by_seed, verdict))
    return results
