"""What a page shows of a run folder."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from rootspace.runs import EpochRow, Evaluation, RunRecord
from rootspace.runs.folder import CONFIG, EVALUATION, HISTORY, check_finished, check_whole

_HINT = "train one with `rootspace train`"


@dataclass(frozen=True)
class ShownRun:
    """A run folder as it was read for a page.

    Attributes:
        path: of the folder.
        name: by which the page calls it.
        record: its final figures.
        config: text of its config file, None where it has none.
        epochs: its curves, empty where it has none.
        evaluation: None where it has none.
    """

    path: Path
    name: str
    record: RunRecord
    config: str | None
    epochs: Sequence[EpochRow]
    evaluation: Evaluation | None

    @classmethod
    def read(cls, path: Path) -> ShownRun:
        """Read a run folder.

        Raises:
            FileNotFoundError: there is no such folder.
            ValueError: it holds no finished run, or a file in it not what it should.
        """
        if not path.is_dir():
            raise FileNotFoundError(f"{path} is not a run folder: no such folder; {_HINT}")
        check_finished(path)
        check_whole(path)
        record, config = RunRecord.read(path), path / CONFIG
        return cls(
            path=path,
            name=path.resolve().name,
            record=record,
            config=config.read_text("utf-8", errors="replace") if config.is_file() else None,
            epochs=EpochRow.read(path) if (path / HISTORY).is_file() else (),
            evaluation=Evaluation.read(path, record.dim) if (path / EVALUATION).is_file() else None,
        )


def distinct(runs: Sequence[ShownRun]) -> list[ShownRun]:
    """Every folder once; runs of the same name are told apart by their parent folder."""
    unique = list({run.path.resolve(): run for run in runs}.values())
    names = [run.name for run in unique]
    return [
        replace(run, name=f"{run.path.resolve().parent.name}/{run.name}")
        if names.count(run.name) > 1
        else run
        for run in unique
    ]


def test_sets(runs: Sequence[ShownRun]) -> list[str]:
    """The test sets of all runs, each once, in order of appearance."""
    scored = [name for run in runs for name in run.record.test]
    drawn = [name for run in runs if run.epochs for name in run.epochs[0].tests]
    return list(dict.fromkeys(scored + drawn))
