"""What an experiment is: parts that give figures, rows of the paper, and criteria on figures."""

from __future__ import annotations

import inspect
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, TypeAlias

Scale = Literal["desk", "paper"]
"""`desk`: two cores and data that need no download. `paper`: the paper's data and a GPU."""

SCALES: tuple[Scale, ...] = ("desk", "paper")

Settings: TypeAlias = Mapping[str, Any]
"""Of a part. In its strings `{table7/ce}` stands for the run folder of that part with the same
seed, and `{data}` for the folder of the data sets."""


@dataclass(frozen=True)
class NotRun:
    """In the place of settings: why there is no figure at this scale."""

    why: str


@dataclass(frozen=True)
class Outcome:
    """What a part found out.

    Attributes:
        values: measure -> number; accuracies in percent.
        curves: name -> one number an epoch, None where it was not measured.
        pictures: PNG files, relative to the folder of the reproduction.
    """

    values: dict[str, float] = field(default_factory=dict)
    curves: dict[str, list[float | None]] = field(default_factory=dict)
    pictures: list[str] = field(default_factory=list)

    def joined(self, other: Outcome) -> Outcome:
        return Outcome(
            {**self.values, **other.values},
            {**self.curves, **other.curves},
            [*self.pictures, *other.pictures],
        )


@dataclass(frozen=True)
class Job:
    """A part that is to be run now.

    Attributes:
        experiment: its name.
        part: its name.
        scale: which.
        seed: of weights, order, shuffle and rotation.
        settings: of the part, without placeholders.
        folder: for the files of this part alone; a training run goes here.
        out: of the whole reproduction.
        progress: is told the share of the work that is done.
    """

    experiment: str
    part: str
    scale: Scale
    seed: int
    settings: Settings
    folder: Path
    out: Path
    progress: Callable[[float], None] = lambda share: None

    def picture(self, name: str) -> Path:
        """Where a picture of this part goes; its folder exists."""
        path = self.out / "pictures" / f"{self.experiment}-{self.part}-{name}-seed{self.seed}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        return path

    def relative(self, path: Path) -> str:
        """A path as an outcome keeps it."""
        return path.relative_to(self.out).as_posix()


@dataclass(frozen=True)
class Part:
    """One training run or one computation.

    Attributes:
        name: within its experiment.
        settings: for each scale, or why there are none.
        run: what it does, from a job to its figures.
        minutes: expected at desk scale on two cores, for one seed.
        needs: parts whose files it uses: `name`, or `experiment/name` of another experiment.
    """

    name: str
    settings: Mapping[Scale, Settings | NotRun]
    run: Callable[[Job], Outcome]
    minutes: float
    needs: tuple[str, ...] = ()


class MissingFigure(Exception):
    """A figure that a row or a criterion needs is not there; the message says which and why."""


class Figures:
    """The figures of the finished parts, by name.

    Args:
        experiment: whose parts need no prefix.
        outcomes: (experiment, part) -> seed -> outcome.
        reasons: (experiment, part) -> why there is none.
    """

    def __init__(
        self,
        experiment: str,
        outcomes: Mapping[tuple[str, str], Mapping[int, Outcome]],
        reasons: Mapping[tuple[str, str], str],
    ) -> None:
        self.experiment = experiment
        self.outcomes = outcomes
        self.reasons = reasons

    def by_seed(self, part: str, measure: str) -> dict[int, float]:
        """Seed -> value.

        Raises:
            MissingFigure: there is none.
        """
        found = {
            seed: outcome.values[measure]
            for seed, outcome in self._outcomes(part).items()
            if measure in outcome.values
        }
        if not found:
            raise MissingFigure(f"the part {part} does not give '{measure}'")
        return found

    def mean(self, part: str, measure: str = "train_accuracy") -> float:
        """Over the seeds.

        Raises:
            MissingFigure: there is none.
        """
        return statistics.mean(self.by_seed(part, measure).values())

    def curve(self, part: str, name: str) -> list[float]:
        """Over the epochs, the mean over the seeds; epochs without a measurement are left out.

        Raises:
            MissingFigure: there is none.
        """
        return list(self.points(part, name).values())

    def points(self, part: str, name: str) -> dict[int, float]:
        """The same as epoch, from 1 on, -> value.

        Raises:
            MissingFigure: there is none.
        """
        curves = [o.curves[name] for o in self._outcomes(part).values() if name in o.curves]
        points = {
            epoch: statistics.mean([value for value in column if value is not None])
            for epoch, column in enumerate(zip(*curves, strict=False), 1)
            if any(value is not None for value in column)
        }
        if not points:
            raise MissingFigure(f"the part {part} does not give the curve '{name}'")
        return points

    def _outcomes(self, part: str) -> Mapping[int, Outcome]:
        key = reference(self.experiment, part)
        if not self.outcomes.get(key):
            why = self.reasons.get(key, "not yet")
            raise MissingFigure(why if key[0] == self.experiment else f"{part}: {why}")
        return self.outcomes[key]


def reference(experiment: str, part: str) -> tuple[str, str]:
    """`part` or `experiment/part` -> (experiment, part)."""
    other, slash, name = part.partition("/")
    return (other, name) if slash else (experiment, part)


@dataclass(frozen=True)
class Criterion:
    """When a claim of the paper holds.

    Attributes:
        statement: one line that says exactly what `holds` computes.
        holds: from figures to the answer.
    """

    statement: str
    holds: Callable[[Figures], bool]


@dataclass(frozen=True)
class Row:
    """One figure of the paper beside ours.

    Attributes:
        setting: what was done.
        column: what is measured, with its unit.
        paper: the paper's value; "-" where it reports that training failed, "" where it gives a
            picture or words.
        where: of the paper.
        part: that gives ours.
        measure: of that part.
        criterion: for the verdict.
        digits: after the decimal point.
        chosen: part that did the same work with prototypes chosen from the data (Sec. 6.6, the
            library's own way); its measure stands beside ours and does not count for the verdict.
    """

    setting: str
    column: str
    paper: float | str
    where: str
    part: str
    measure: str
    criterion: Criterion
    digits: int = 1
    chosen: str = ""


def training_accuracy(
    where: str,
    setting: str,
    paper: float | str,
    part: str,
    criterion: Criterion,
    chosen: str = "",
    measure: str = "train_accuracy",
) -> Row:
    """The row of a table that gives the accuracy on the training images, in %."""
    column = "training accuracy, %"
    return Row(setting, column, paper, where, part, measure, criterion, chosen=chosen)


@dataclass(frozen=True)
class Picture:
    """The pictures that parts have left, of the first seed of each, side by side."""

    title: str
    parts: Sequence[str]


@dataclass(frozen=True)
class Chart:
    """Curves over epochs to draw: part -> its label."""

    title: str
    column: str
    parts: Mapping[str, str]


@dataclass(frozen=True)
class Bars:
    """Figures to draw as bars: label -> part and measure."""

    title: str
    column: str
    bars: Mapping[str, tuple[str, str]]


@dataclass(frozen=True)
class Experiment:
    """A table, figure or section of the paper.

    Attributes:
        name: for the command line.
        text: the docstring of its module: a title, then what the paper says, what stands for what
            at desk scale, the command, the hardware and what is to be expected.
        parts: in an order in which each comes after those it needs.
        rows: its figures.
        seeds: how many, unless the command line says otherwise.
        figures: of the paper, as pictures for the report.
    """

    name: str
    text: str
    parts: Sequence[Part]
    rows: Sequence[Row]
    seeds: int = 1
    figures: Sequence[Picture | Chart | Bars] = ()

    @property
    def title(self) -> str:
        return self.text.strip().partition("\n")[0].rstrip(".")

    @property
    def claim(self) -> str:
        """What the paper says: the first paragraph, as Markdown."""
        return self._body.partition("\n\n")[0]

    @property
    def notes(self) -> str:
        """The other paragraphs: what stands for what, and how to run it."""
        return self._body.partition("\n\n")[2].strip()

    @property
    def _body(self) -> str:
        return inspect.cleandoc(self.text).partition("\n")[2].strip()

    def part(self, name: str) -> Part:
        return next(part for part in self.parts if part.name == name)
