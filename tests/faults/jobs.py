"""Commands that take a while, and how each goes on after it was broken off."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from small_runs import (
    FINISHED,
    STOPPED,
    Outcome,
    data,
    learned,
    resumption,
    run,
    settings,
)

from rootspace.continual import ClassRegistry

COMMANDS = ("train", "baselines", "extend", "distill", "compare", "calibrate", "embed", "export")
COMMANDS += ("import",)
RUNS = {"train": "codes", "baselines": "formula", "extend": "extended", "distill": "distilled"}


@dataclass(frozen=True)
class Job:
    """A command in a folder of its own.

    Attributes:
        first: its arguments.
        again: its arguments when it has begun.
        begun: whether it has.
        answer: what it has made in the end.
        folder: of the run that it makes or changes, None for a command without.
    """

    first: list[str]
    again: list[str]
    begun: Callable[[], bool]
    answer: Callable[[], object]
    folder: Path | None = None

    @property
    def arguments(self) -> list[str]:
        """Of the next step, as the documentation has it."""
        return self.again if self.begun() else self.first


def prepared(root: Path, work: Path, name: str) -> Job:
    """A command of `COMMANDS`, or a run of `STOPPED` that goes on, in a new folder `work`.

    Args:
        root: of `small_runs.make_all`.
        work: the folder.
        name: of the command.
    """
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir(parents=True)
    folder = work / "run"
    if name in STOPPED or name in RUNS:
        kind = RUNS.get(name, name)
        if kind in STOPPED:
            shutil.copytree(root / f"{kind}0", folder)
        first = [*settings(root, kind, 0), f"--run.dir={folder}"]
        again = resumption(folder, kind, root)
        return Job(first, again, (folder / "config.yaml").is_file, lambda: learned(folder), folder)
    if name == "compare":
        return _comparison(root, work)
    assert "codes" in FINISHED
    shutil.copytree(root / "codes0", folder)
    pictures = root / "strange/val"
    names = ["label,name", *(f"{label},name {label}" for label in range(4))]
    (work / "names.csv").write_text("\n".join(names) + "\n", encoding="utf-8")
    arguments: dict[str, tuple[list[object], Callable[[], object]]] = {
        "calibrate": (
            ["calibrate", folder, "--score=probability", "--top=2", "--false_reject=0.4"],
            (folder / "rejector.json").read_bytes,
        ),
        "embed": (
            ["embed", folder, pictures, f"--out={work / 'z.npy'}"],
            (work / "z.npy").read_bytes,
        ),
        "export": (["export", folder, f"--out={work / 'm.onnx'}"], (work / "m.onnx").read_bytes),
        "import": (["classes", folder, "import", work / "names.csv"], lambda: _names(folder)),
    }
    given, answer = arguments[name]
    texts = [str(argument) for argument in given]
    return Job(texts, texts, lambda: False, answer, folder)


def _names(folder: Path) -> list[str]:
    with ClassRegistry(folder / "registry.sqlite") as registry:
        return registry.names(range(4))


def _comparison(root: Path, work: Path) -> Job:
    sections = {
        "compare": {
            "methods": {
                "codes": {"head": {"class_path": "PrototypeHead", "init_args": {"dim": 8}}},
                "learned": {"head": {"class_path": "NormalizedHead", "init_args": {"dim": 8}}},
            }
        }
    }
    (work / "recipe.yaml").write_text(json.dumps(sections), encoding="utf-8")
    small = ["--model.width=4", "--loader.batch_size=8", "--train.epochs=2"]
    out = work / "out"
    arguments = ["compare", f"--config={work / 'recipe.yaml'}", f"--out={out}"]
    arguments += [*data(root / "old"), *small]

    def answer() -> object:
        found = json.loads((out / "comparison.json").read_text(encoding="utf-8"))
        return [row["method"] for row in found], learned(out)

    return Job(arguments, arguments, lambda: False, answer)


def going_on(job: Job, work: Path) -> Outcome:
    """The next step of a job that was broken off."""
    return run(job.arguments, work)
