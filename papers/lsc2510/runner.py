"""Planning and running parts: what is finished is kept, what was interrupted is continued."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import rootspace
from rootspace._files import write_json
from rootspace._terminal import bar, say, table

from .experiment import Experiment, Job, NotRun, Outcome, Part, Scale, Settings, reference
from .results import HEADER, Result, judge, write_results

QUICK_MINUTES = 0.8
"""Of a part that the short form runs, at most."""

PARTS, RUNS = "parts", "runs"
SHOWN = [name for name in HEADER if name != "from the data"]
"""Columns of the results in the terminal."""


@dataclass(frozen=True, eq=False)
class Task:
    """A part with one seed, and those whose files it uses."""

    experiment: str
    part: Part
    seed: int
    needs: tuple[Task, ...] = ()

    @property
    def label(self) -> str:
        return f"{self.experiment}/{self.part.name}, seed {self.seed}"


def task_of(experiments: Mapping[str, Experiment], name: str, part: Part, seed: int) -> Task:
    """A part of the experiment `name` as a task."""
    needs = []
    for need in part.needs:
        other, other_part = reference(name, need)
        needs.append(task_of(experiments, other, experiments[other].part(other_part), seed))
    return Task(name, part, seed, tuple(needs))


def plan(
    experiments: Mapping[str, Experiment],
    only: Sequence[str] | None,
    seeds: int | None,
    *,
    quick: bool = False,
) -> list[Task]:
    """The parts of some experiments, after those of other experiments that they need.

    Args:
        experiments: all, by name.
        only: names of those wanted, None for all.
        seeds: how many, None for each experiment's own number.
        quick: leave out parts that take longer than `QUICK_MINUTES`, and those that need them; the
            others with one seed.

    Raises:
        ValueError: an unknown name, or no seed.
    """
    if seeds is not None and seeds < 1:
        raise ValueError(f"Argument '--seeds' must be at least 1, not {seeds}.")
    for name in only or ():
        if name not in experiments:
            raise ValueError(
                f"Argument '--only' must name some of {', '.join(experiments)}, not {name!r}."
            )
    tasks: dict[tuple[str, str, int], Task] = {}

    def add(task: Task) -> None:
        for need in task.needs:
            add(need)
        tasks.setdefault((task.experiment, task.part.name, task.seed), task)

    for name, experiment in experiments.items():
        if not only or name in only:
            for seed in range(1 if quick else experiment.seeds if seeds is None else seeds):
                for part in experiment.parts:
                    task = task_of(experiments, name, part, seed)
                    if not quick or _longest(task) <= QUICK_MINUTES:
                        add(task)
    return list(tasks.values())


def _longest(task: Task) -> float:
    """Minutes of the longest part among a task and those that it needs."""
    return max([task.part.minutes, *(_longest(need) for need in task.needs)])


class Store:
    """The folder of a reproduction: one JSON file a finished part, and the files of the parts.

    Args:
        out: the folder.
        scale: of all that is in it.
        data: folder of the paper's data sets.
    """

    def __init__(self, out: Path, scale: Scale, data: Path) -> None:
        self.out = out
        self.scale: Scale = scale
        self.data = data

    def record_path(self, task: Task) -> Path:
        return self.out / PARTS / task.experiment / f"{task.part.name}-seed{task.seed}.json"

    def folder(self, experiment: str, part: str, seed: int) -> Path:
        return self.out / RUNS / experiment / part / f"seed{seed}"

    def check(self, tasks: Sequence[Task]) -> None:
        """Finished parts must have been run with the settings of today.

        Raises:
            ValueError: naming the first that has not.
        """
        for task in tasks:
            record = self._record(task)
            if record is not None and record["settings"] != self._identity(task):
                raise ValueError(
                    f"{self.record_path(task)} holds figures of other settings. Name another "
                    "folder with --out, or remove that file and the part's folder under "
                    f"{self.out / RUNS}."
                )

    def read(self, task: Task) -> Outcome | None:
        """What a finished part found out; None if it is not finished."""
        record = self._record(task)
        return None if record is None else Outcome(**record["outcome"])

    def finished(
        self, experiments: Mapping[str, Experiment]
    ) -> dict[tuple[str, str], dict[int, Outcome]]:
        """Everything that is finished with the settings of today: (experiment, part) -> seed -> it.

        Args:
            experiments: all, by name.
        """
        found: dict[tuple[str, str], dict[int, Outcome]] = {}
        for task, record in self._finished(experiments):
            by_seed = found.setdefault((task.experiment, task.part.name), {})
            by_seed[task.seed] = Outcome(**record["outcome"])
        return found

    def seconds(self, experiments: Mapping[str, Experiment]) -> dict[str, float]:
        """What the finished parts of each experiment took, training included.

        A part whose run was finished before, and is only measured again, takes no time itself.
        """
        found: dict[str, float] = {}
        for task, record in self._finished(experiments):
            trained = record["outcome"]["values"].get("seconds", 0.0)
            seconds = max(record["seconds"], trained)
            found[task.experiment] = found.get(task.experiment, 0.0) + seconds
        return found

    def _finished(
        self, experiments: Mapping[str, Experiment]
    ) -> Iterator[tuple[Task, dict[str, Any]]]:
        for name, experiment in experiments.items():
            for part in experiment.parts:
                for seed in self._seeds(name, part.name):
                    task = task_of(experiments, name, part, seed)
                    record = self._record(task)
                    if record is not None and record["settings"] == self._identity(task):
                        yield task, record

    def _seeds(self, experiment: str, part: str) -> list[int]:
        paths = (self.out / PARTS / experiment).glob(f"{part}-seed*.json")
        return sorted(int(path.stem.rpartition("seed")[2]) for path in paths)

    def write(self, task: Task, outcome: Outcome, seconds: float) -> None:
        """Keep what a part found out; all or nothing."""
        path = self.record_path(task)
        path.parent.mkdir(parents=True, exist_ok=True)
        content = {
            "version": rootspace.__version__,
            "finished": time.strftime("%Y-%m-%d %H:%M:%S"),
            "seconds": round(seconds, 1),
            "settings": self._identity(task),
            "outcome": asdict(outcome),
        }
        write_json(path, content)

    def job(self, task: Task, settings: Settings, progress: Any) -> Job:
        return Job(
            task.experiment,
            task.part.name,
            self.scale,
            task.seed,
            self._filled(settings, task),
            self.folder(task.experiment, task.part.name, task.seed),
            self.out,
            progress,
        )

    def _record(self, task: Task) -> dict[str, Any] | None:
        path = self.record_path(task)
        return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else None

    def _identity(self, task: Task) -> Any:
        """Scale and settings as JSON gives them back, also those of the parts that it needs."""
        settings = task.part.settings[self.scale]
        own = None if isinstance(settings, NotRun) else settings
        needs = {f"{need.experiment}/{need.part.name}": self._identity(need) for need in task.needs}
        whole = {"scale": self.scale, **(own or {}), **({"needs": needs} if needs else {})}
        return json.loads(json.dumps(whole))

    def _filled(self, value: Any, task: Task) -> Any:
        """Settings with paths in the place of `{data}` and `{part}`."""
        if isinstance(value, Mapping):
            return {key: self._filled(content, task) for key, content in value.items()}
        if isinstance(value, list):
            return [self._filled(content, task) for content in value]
        if not isinstance(value, str):
            return value

        def path(match: re.Match[str]) -> str:
            if match[1] == "data":
                return str(self.data)
            return str(self.folder(*reference(task.experiment, match[1]), task.seed))

        return re.sub(r"\{([\w/]+)\}", path, value)


def run_tasks(tasks: Sequence[Task], store: Store, reasons: dict[Task, str]) -> None:
    """Run what is not finished.

    A part that fails does not stop the others; parts that need it are left out.

    Args:
        tasks: those that others need come first.
        store: for the results.
        reasons: is given, for each task without a result, why.

    Raises:
        ValueError: the folder holds figures of other settings; nothing has been run then.
        KeyboardInterrupt: on Ctrl-C; what is finished is kept.
    """
    store.check(tasks)
    waiting = [
        task
        for task in tasks
        if store.read(task) is None and not isinstance(task.part.settings[store.scale], NotRun)
    ]
    left = sum(task.part.minutes for task in waiting)
    for task in tasks:
        settings = task.part.settings[store.scale]
        if isinstance(settings, NotRun):
            reasons[task] = settings.why
            continue
        if task not in waiting:
            continue
        failed = [
            need
            for need in task.part.needs
            for other in tasks
            if (other.experiment, other.part.name) == reference(task.experiment, need)
            and other.seed == task.seed
            and other in reasons
        ]
        number = waiting.index(task) + 1
        about = f"; about {left:.0f} min left" if store.scale == "desk" else ""
        left -= task.part.minutes
        if failed:
            reasons[task] = f"needs {failed[0]}, which has no result"
            say(f"[{number}/{len(waiting)}] {task.label}: {reasons[task]}")
            continue
        say(f"[{number}/{len(waiting)}] {task.label}{about}")
        started = time.monotonic()
        with bar(task.label, 1.0) as shown:
            job = store.job(task, settings, shown.show)
            try:
                outcome = task.part.run(job)
            except (ValueError, OSError, ImportError, RuntimeError) as error:
                reasons[task] = " ".join(str(error).split())
                say(f"  failed: {reasons[task]}")
                continue
        store.write(task, outcome, time.monotonic() - started)


def reproduce(
    experiments: Mapping[str, Experiment],
    out: Path,
    *,
    scale: Scale = "desk",
    only: Sequence[str] | None = None,
    seeds: int | None = None,
    quick: bool = False,
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
        quick: only short parts, as for `plan`; the others keep what former calls found.
        data: folder of the paper's data sets.

    Returns:
        The rows of all experiments with their verdicts.

    Raises:
        ValueError: unknown names, or figures of other settings in `out`; nothing has been run then.
        KeyboardInterrupt: the user stopped it; what is finished is kept and written.
    """
    tasks = plan(experiments, only, seeds, quick=quick)
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
    seconds = store.seconds(experiments)
    write_results(store.out, store.scale, experiments, results, outcomes, seconds)
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


def describe_results(results: Sequence[Result]) -> str:
    """A table of the rows with their verdicts."""
    return table(
        SHOWN,
        [
            [cell for name, cell in zip(HEADER, result.cells(), strict=True) if name in SHOWN]
            for result in results
        ],
    )
