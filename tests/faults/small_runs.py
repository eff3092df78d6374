"""Small runs to damage, and commands in processes of their own that may be broken off."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import signal
import sys
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors.torch import load_file

from image_folders import write_images
from processes import PROCESSES
from rootspace.cli import main
from rootspace.train.callbacks import Checkpoints

AMOUNT = "ROOTSPACE_FAULTS"
"""Environment variable: how many cases each test of faults tries, docs/architecture.md."""

SIZE, NOISE, SECONDS = 16, 40.0, 120
BATCHES = ["--loader.batch_size=8", "--train.epochs=2", "--train.checkpoint_minutes=0.0002"]
NETWORK = ["--model.width=4"]


def amount(few: int) -> int:
    """How many cases to try."""
    return int(os.environ.get(AMOUNT, few))


def data(folder: Path) -> list[str]:
    """The settings that name images."""
    return ["--data=ImageFolder", f"--data.root={folder}", f"--data.image_size={SIZE}"]


# ---------------------------------------------------------------------------------- commands


@dataclass(frozen=True)
class Outcome:
    """What became of a command.

    Attributes:
        code: that it left with; negative: the signal that killed it.
        out: what it printed.
        err: the messages.
    """

    code: int
    out: str
    err: str

    @property
    def complaint(self) -> str:
        """The one line of a command that failed as users like it; empty for anything else."""
        lines = [line for line in self.err.splitlines() if ": error: " in line]
        right = self.code == 2 and len(lines) == 1 and "Traceback" not in self.err
        return lines[0] if right else ""


class Command:
    """A command of rootspace in a process of its own, from the moment on at which it begins.

    Args:
        arguments: of the command.
        log: folder for what it prints.
        before: called in the process before the command, to break something.
    """

    def __init__(
        self, arguments: Sequence[object], log: Path, before: Callable[[], None] | None = None
    ) -> None:
        self._out, self._err = log / "out.txt", log / "err.txt"
        texts = [str(argument) for argument in arguments]
        mine, theirs = PROCESSES.Pipe(duplex=False)
        self.process = PROCESSES.Process(
            target=_call, args=(texts, self._out, self._err, before, theirs)
        )
        self.process.start()
        theirs.close()
        mine.recv()
        mine.close()

    def wait(self, seconds: float = SECONDS) -> Outcome | None:
        """What became of it; None if it is running still."""
        self.process.join(seconds)
        if self.process.exitcode is None:
            return None
        texts = [p.read_text(encoding="utf-8", errors="replace") for p in (self._out, self._err)]
        return Outcome(self.process.exitcode, *texts)

    def kill(self) -> Outcome:
        """SIGKILL it, with the processes that it has begun."""
        with contextlib.suppress(ProcessLookupError):  # it has ended by itself
            os.killpg(self.process.pid or 0, signal.SIGKILL)
        outcome = self.wait()
        assert outcome is not None
        return outcome


def run(
    arguments: Sequence[object], log: Path, before: Callable[[], None] | None = None
) -> Outcome:
    """A command to its end, or to that of its time."""
    command = Command(arguments, log, before)
    return command.wait() or command.kill()


def succeed(arguments: Sequence[object], log: Path) -> str:
    """What a command prints that must succeed."""
    outcome = run(arguments, log)
    assert outcome.code == 0, (arguments, outcome.err[-2000:])
    return outcome.out


def _call(
    arguments: list[str],
    out: Path,
    err: Path,
    before: Callable[[], None] | None,
    begun: object,
) -> None:
    os.setpgid(0, 0)
    for path, number in ((out, 1), (err, 2)):
        opened = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(opened, number)
        os.close(opened)
    sys.stdout, sys.stderr = (open(n, "w", encoding="utf-8", closefd=False) for n in (1, 2))  # noqa: SIM115
    torch.set_num_threads(1)
    begun.send(True)  # pyright: ignore[reportAttributeAccessIssue]
    try:
        if before is not None:
            before()
        code = main(arguments)
    except BaseException:
        traceback.print_exc()
        code = 1
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


def die_after_an_epoch() -> None:
    """Make this process end like a killed one when the first epoch is saved."""
    saved = Checkpoints.on_train_epoch_end

    def last(self: Checkpoints, *arguments: object) -> None:
        saved(self, *arguments)  # pyright: ignore[reportArgumentType]
        os.kill(os.getpid(), signal.SIGKILL)

    Checkpoints.on_train_epoch_end = last  # pyright: ignore[reportAttributeAccessIssue]


# ------------------------------------------------------------------------------------- runs


FINISHED = ("codes", "formula", "learned", "extended", "distilled")
STOPPED = ("codes-stopped", "extended-stopped", "distilled-stopped")


def settings(root: Path, name: str, seed: int) -> list[str]:
    """The command that makes a run, but for its folder."""
    kind = name.removesuffix("-stopped")
    more = [*BATCHES, f"--train.seed={seed}"]
    if kind == "extended":
        memory = ["--memory.size=9", "--memory.policy=herding"]
        return ["extend", str(root / f"codes{seed}"), *data(root / "new"), *more, *memory]
    if kind == "distilled":
        teacher = [f"--teacher.run={root / f'learned{seed}'}", "--teacher.targets=images"]
        return ["distill", *teacher, *NETWORK, *more]
    head = {
        "codes": ["--head.dim=24", "--prototypes.after=0.5"],
        "formula": ["--prototypes.source=formula", "--head.dim=8"],
        "learned": ["--head=NormalizedHead", "--head.dim=8"],
    }[kind]
    baselines = ["--run.baselines=[LinearHead]"] if kind == "formula" else []
    return ["train", *data(root / "old"), *NETWORK, *head, *baselines, *more]


def make(root: Path, name: str, seed: int) -> Path:
    """Train a run, `root/NAME<seed>`, or have it killed after its first epoch."""
    folder = root / f"{name}{seed}"
    arguments = [*settings(root, name, seed), f"--run.dir={folder}"]
    if name in STOPPED:
        assert run(arguments, root, die_after_an_epoch).code == -signal.SIGKILL
        return folder
    succeed(arguments, root)
    if name in ("codes", "extended"):
        renamed = {"codes": "bee", "extended": "cow"}[name]
        succeed(["classes", folder, "rename", renamed, f"{renamed} {seed}"], root)
        succeed(["calibrate", folder, "--false_reject=0.3"], root)
    return folder


def make_all(root: Path, seeds: Sequence[int] = (0, 1)) -> None:
    """All runs, and twins of them: of the same images and classes, but another seed."""
    old, new = ["ant", "bee", "cat", "dog"], ["bee", "cow"]
    for folder, names, seed in (("old", old, 1), ("new", new, 2), ("strange", ["eel"], 3)):
        write_images(root / folder / "train", names, 8, seed, NOISE)
        write_images(root / folder / "val", names, 2, seed + 10, NOISE)
    for name in (*FINISHED, *STOPPED):
        for seed in seeds:
            make(root, name, seed)


def resumption(folder: Path, name: str, root: Path, seed: int = 0) -> list[str]:
    """The command that goes on with a run."""
    command = settings(root, name, seed)[0]
    parent = [str(root / f"codes{seed}")] if command == "extend" else []
    return [command, *parent, "--resume", f"--run.dir={folder}"]


def learned(folder: Path) -> str:
    """A digest of all that a run has learned, and of its figures without times."""
    digest = hashlib.sha256()
    for path in sorted(folder.rglob("model.safetensors")):
        for key, tensor in sorted(load_file(path).items()):
            digest.update(key.encode() + tensor.contiguous().numpy().tobytes())
    for path in sorted(folder.rglob("metrics.json")):
        content = json.loads(path.read_text(encoding="utf-8"))
        for key in ("finished", "seconds", "seconds_per_epoch", "peak_memory_mb"):
            content.pop(key, None)
        (content.get("choice") or {}).pop("seconds", None)
        digest.update(json.dumps(content).encode())
    for path in sorted(folder.rglob("replay/*")):
        digest.update(path.read_bytes())
    return digest.hexdigest()
