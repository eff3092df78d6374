"""From names of experiments to figures, verdicts and files."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from rootspace._terminal import table

from ._experiment import Experiment, NotRun, Scale
from ._results import Result, judge
from ._runner import Store, Task, plan, run_tasks
from ._writing import write_results


def reproduce(
    experiments: Mapping[str, Experiment],
    out: Path,
    *,
    scale: Scale = "desk",
    only: Sequence[str] | None = None,
    seeds: int | None = None,
    data: Path = Path("data"),
) -> list[Result]:
    """Run what is not finished yet, and write what all finished parts say.

    Each part that finishes is kept in a file of its own, and a training run that was interrupted is
    continued. The files of results hold all experiments, those of former calls too, and are written
    at the end, also when the user stops it.

    Args:
        experiments: all of them, by name.
        out: folder of the reproduction, of one scale.
        scale: `desk` or `paper`.
        only: names of the experiments to run, None for all.
        seeds: how many of each part, None for each experiment's own number.
        data: folder of the paper's data sets.

    Returns:
        The rows of all experiments with their verdicts.

    Raises:
        ValueError: unknown names, or figures of other settings in `out`; nothing has been run then.
        KeyboardInterrupt: the user stopped it; what is finished is kept and written.
    """
    tasks = plan(experiments, only, seeds)
    store = Store(out, scale, data)
    store.check(tasks)
    reasons: dict[Task, str] = {}
    try:
        run_tasks(tasks, store, reasons)
    finally:
        results = _write(experiments, store, reasons)
    return results


def _write(
    experiments: Mapping[str, Experiment], store: Store, reasons: Mapping[Task, str]
) -> list[Result]:
    known = {(task.experiment, task.part.name): why for task, why in reasons.items()}
    for name, experiment in experiments.items():
        for part in experiment.parts:
            settings = part.settings[store.scale]
            if isinstance(settings, NotRun):
                known[name, part.name] = settings.why
    outcomes = store.finished(experiments)
    results = judge(experiments, outcomes, known)
    store.out.mkdir(parents=True, exist_ok=True)
    write_results(store.out, store.scale, experiments, results, outcomes)
    return results


def describe_plan(
    experiments: Mapping[str, Experiment], tasks: Sequence[Task], store: Store
) -> str:
    """A table of the parts with their expected minutes at desk scale and what is finished."""
    rows = []
    for name in experiments:
        for part in dict.fromkeys(task.part.name for task in tasks if task.experiment == name):
            own = [task for task in tasks if (task.experiment, task.part.name) == (name, part)]
            settings = own[0].part.settings[store.scale]
            done = sum(store.read(task) is not None for task in own)
            state = f"{done} of {len(own)}"
            if isinstance(settings, NotRun):
                state = f"not run: {settings.why}"
            rows.append([f"{name}/{part}", str(len(own)), f"{_minutes(own, store):.1f}", state])
    total = f"{_minutes(tasks, store):.0f}"
    rows.append(["all", str(len(tasks)), total, ""])
    return table(["part", "seeds", "minutes at a desk", "finished"], rows)


def _minutes(tasks: Sequence[Task], store: Store) -> float:
    return sum(
        task.part.minutes
        for task in tasks
        if not isinstance(task.part.settings[store.scale], NotRun)
    )
