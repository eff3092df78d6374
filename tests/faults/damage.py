"""Files of run folders damaged in every way, and what each command makes of it."""

from __future__ import annotations

import random
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from faults import BATCHES, NETWORK, SECONDS, STOPPED, Command, Outcome, data, learned, resumption

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


def command(root: Path, work: Path, name: str, run: str) -> tuple[list[str], Answer]:
    """The arguments of a command on `work/run`, and what its answer is."""
    folder, pictures = str(work / "run"), str(root / "strange/val")
    if name == "predict":
        return [name, folder, pictures, "--top=3", "--format=csv"], _printed
    if name == "unknown":
        return ["predict", folder, pictures, "--unknown", "--format=csv"], _printed
    if name == "embed":
        return [name, folder, pictures, f"--out={work / 'z.npy'}"], _written("z.npy")
    if name == "evaluate":
        return [name, folder, "--json"], _printed
    if name == "report":
        return [name, folder, f"--out={work / 'report.html'}"], _written("report.html")
    if name == "classes":
        return [name, folder, "export", "--format=csv"], lambda _, o: _without_times(o.out)
    if name == "resume":
        return resumption(work / "run", run, root), _learned("run")
    if name == "init":
        more = [*data(root / "old"), *NETWORK, *BATCHES, "--head.dim=24", "--head=LinearHead"]
        return ["train", *more, f"--run.init={folder}", f"--run.dir={work / 'other'}"], _learned(
            "other"
        )
    if name == "extend":
        more = [*data(root / "strange"), *BATCHES, f"--run.dir={work / 'other'}"]
        return [name, folder, *more], _learned("other")
    if name == "distill":
        more = [*NETWORK, *BATCHES, f"--teacher.run={folder}", "--teacher.targets=means"]
        return [name, *more, f"--run.dir={work / 'other'}"], _learned("other")
    assert name == "export"
    return [name, folder, f"--out={work / 'model.onnx'}"], _written("model.onnx")


def _without_times(table: str) -> str:
    """What `classes export` says of classes, without when it was."""
    return "\n".join(",".join(line.split(",")[:6]) for line in table.splitlines())


def commands_of(run: str) -> list[str]:
    """The commands to try on a run."""
    if run in STOPPED:
        return ["resume"]
    found = ["predict", "embed", "evaluate", "report", "classes", "resume", "distill"]
    found += ["unknown"] if run in ("codes", "extended") else []
    found += ["extend"] if run not in ("learned", "distilled") else []
    found += ["init"] if run == "codes" else []
    return found


def answer(root: Path, work: Path, case: Case, *, damaged: bool = True) -> object:
    """What a command answers on the damaged run; None where the damage changes nothing.

    An `Outcome` if it fails, else an answer that can be compared.
    """
    shutil.rmtree(work, ignore_errors=True)
    shutil.copytree(root / f"{case.run}0", work / "run")
    twin = root / f"{case.run}1"
    if damaged and not damage(work / "run" / case.file, case.kind, twin / case.file):
        return None
    arguments, taken = command(root, work, case.command, case.run)
    process = Command(arguments, work)
    outcome = process.wait(SECONDS) or process.kill()
    if outcome.code != 0:
        return outcome
    return taken(work, outcome), outcome.err


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
    got, err = found  # pyright: ignore[reportGeneralTypeIssues]
    if got == expected[0]:  # pyright: ignore[reportIndexIssue]
        return "same"
    return "told" if Path(case.file).name in err else "other"
