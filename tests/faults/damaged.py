"""Files of run folders damaged in every way, and what each command makes of it."""

from __future__ import annotations

import random
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from small_runs import BATCHES, NETWORK, STOPPED, Outcome, data, learned, resumption, run

KINDS = ("emptied", "halved", "cut", "flipped", "flipped again", "swapped")


@dataclass(frozen=True)
class Case:
    """A damaged file and a command.

    Attributes:
        run: name of the run.
        file: of it.
        kind: of `KINDS`.
        command: of `COMMANDS`.
    """

    run: str
    file: str
    kind: str
    command: str


def damage(path: Path, kind: str, twin: Path) -> bool:
    """Damage a file; False where that leaves it as it is."""
    before = path.read_bytes()
    after = bytearray(before)
    if kind == "emptied":
        after.clear()
    elif kind == "halved":
        del after[len(after) // 2 :]
    elif kind == "cut":
        del after[-1:]
    elif kind == "swapped":
        after = bytearray(twin.read_bytes()) if twin.is_file() else after
    elif before:
        chance = random.Random(f"{path.name} {kind}")
        after[chance.randrange(len(after))] ^= 1 << chance.randrange(8)
    if after == before:
        return False
    path.unlink()  # it may be a hard link
    path.write_bytes(after)
    return True


def files_of(folder: Path) -> list[str]:
    """All files of a run but those but those that no command reads."""
    found = (p.relative_to(folder) for p in folder.rglob("*") if p.is_file())
    unread = ("tensorboard", ".lock", "samples", "report.html")
    return sorted(str(path) for path in found if not {*path.parts} & {*unread})


Answer = Callable[[Path, Outcome], object]


def _printed(_: Path, outcome: Outcome) -> object:
    return outcome.out


def _written(name: str) -> Answer:
    return lambda work, _: (work / name).read_bytes()


def _learned(name: str) -> Answer:
    return lambda work, _: learned(work / name)


def command(root: Path, work: Path, name: str, of: str) -> tuple[list[str], Answer]:
    """The arguments of a command on `work/run`, a copy of the run `of`; what its answer is."""
    folder, pictures, other = work / "run", root / "strange/val", f"--run.dir={work / 'other'}"
    small = [*NETWORK, *BATCHES]
    table: dict[str, tuple[list[object], Answer]] = {
        "predict": (["predict", folder, pictures, "--top=3", "--format=csv"], _printed),
        "unknown": (["predict", folder, pictures, "--unknown", "--format=csv"], _printed),
        "embed": (["embed", folder, pictures, f"--out={work / 'z.npy'}"], _written("z.npy")),
        "evaluate": (["evaluate", folder, "--format", "json"], _printed),
        "report": (["report", folder, f"--out={work / 'r.html'}"], _written("r.html")),
        "classes": (["classes", folder, "export", "--format=csv"], _without_times),
        "resume": ([*resumption(folder, of, root)], _learned("run")),
        "extend": (["extend", folder, *data(root / "strange"), *BATCHES, other], _learned("other")),
        "distill": (
            ["distill", *small, f"--teacher.run={folder}", "--teacher.targets=means", other],
            _learned("other"),
        ),
        "init": (
            ["train", *data(root / "old"), *small, "--head.dim=24", f"--run.init={folder}", other],
            _learned("other"),
        ),
        "export": (["export", folder, f"--out={work / 'm.onnx'}"], _written("m.onnx")),
    }
    arguments, taken = table[name]
    return [str(argument) for argument in arguments], taken


def _without_times(_: Path, outcome: Outcome) -> object:
    """What `classes export` says of classes, without when it was."""
    return [line.split(",")[:6] for line in outcome.out.splitlines()]


def commands_of(run: str) -> list[str]:
    """The commands to try on a run."""
    if run in STOPPED:
        return ["resume"]
    found = ["predict", "embed", "evaluate", "report", "classes", "resume", "distill"]
    found += ["unknown"] if run in ("codes", "extended") else []
    found += ["extend"] if run not in ("learned", "distilled") else []
    found += ["init"] if run == "codes" else []
    return found


def answer(
    root: Path, work: Path, case: Case, *, damaged: bool = True
) -> Outcome | tuple[object, str] | None:
    """What a command answers on the damaged run; None where the damage changes nothing.

    An `Outcome` if it fails, else an answer that can be compared, and the messages.
    """
    shutil.rmtree(work, ignore_errors=True)
    shutil.copytree(root / f"{case.run}0", work / "run")
    twin = root / f"{case.run}1"
    if damaged and not damage(work / "run" / case.file, case.kind, twin / case.file):
        return None
    arguments, taken = command(root, work, case.command, case.run)
    outcome = run(arguments, work)
    if outcome.code != 0:
        return outcome
    try:
        return taken(work, outcome), outcome.err
    except Exception as error:  # what it wrote cannot be read
        return repr(error), outcome.err


def verdict(root: Path, work: Path, case: Case, expected: object) -> str:
    """What becomes of a case: right are `same`, `noticed` and `told`.

    `same`: the very answer of the run that is whole. `noticed`: one line names the file, exit code
    2. `told`: another answer, but a message names the file. Else `other`, `traceback`, `unnamed`,
    `hangs`, with what it said; empty where the damage changes nothing.
    """
    found = answer(root, work, case)
    if found is None:
        return ""
    if isinstance(found, Outcome):
        if found.code == -9:
            return "hangs"
        if not found.complaint:
            return f"traceback: {found.err.strip().splitlines()[-1] if found.err else found.code}"
        named = case.file in found.complaint or Path(case.file).name in found.complaint
        return "noticed" if named else f"unnamed: {found.complaint}"
    got, err = found
    if got == expected:
        return "same"
    return "told" if Path(case.file).name in err else "other"
