"""Files that appear whole or not at all, and folders that one process writes at a time.

The only atomic writes and locks of the library. A temporary name is that of the target with
`.tmp` behind it, so that what a killed process left there is replaced by the next attempt.
"""

from __future__ import annotations

import json
import os
import secrets
import shutil
import time
import warnings
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from rootspace._errors import BusyError
from rootspace._extras import require

LOCK = ".lock"
_RANKS = ("RANK", "SLURM_PROCID", "JSM_NAMESPACE_RANK", "LOCAL_RANK", "NODE_RANK")

LOCK_SECONDS = 10
"""How long to wait for a folder: a killed run's loader processes hold it some seconds longer."""

HELPER_SECONDS = 6 * 3600.0
"""How long processes of a distributed run wait for what the first prepares, such as embeddings."""


@contextmanager
def replacing(
    path: str | os.PathLike[str],
    *,
    shared: bool = False,
    existing: bool = True,
    durable: bool = False,
) -> Iterator[Path]:
    """A path to write to, which takes the name `path` when the block ends without an error.

    Args:
        path: of the file, which is replaced if it is there; its folder must be there.
        shared: several processes may write this file at once, as those of a cache: each then gets
            a temporary name of its own, which a killed one leaves behind.
        existing: False leaves a file that is there in the end as it is.
        durable: after a power cut too the file is there, whole; some 10 ms.

    Yields:
        A path in the same folder, of an empty file. After an error there is nothing under it, and
        `path` is as it was.

    Raises:
        FileExistsError: the file is there, and must not be replaced.
    """
    path = Path(path)
    temporary = _beside(path, shared)
    temporary.unlink(missing_ok=True)  # of a process that was killed here
    try:
        temporary.touch()
        mode = temporary.stat().st_mode
        yield temporary
        temporary.chmod(mode)  # that of the process: some libraries write for the owner alone
        if durable:
            to_disk([temporary])
        if existing:
            os.replace(temporary, path)
        else:
            _take_name(temporary, path)
        if durable:
            to_disk([path.parent])
    finally:
        temporary.unlink(missing_ok=True)


def _beside(path: Path, shared: bool) -> Path:
    """The temporary name, one of this process's own where others write the same."""
    own = f".{secrets.token_hex(4)}" if shared else ""
    return path.with_name(f"{path.name}{own}.tmp")


def to_disk(paths: Iterable[Path]) -> None:
    """Return when the disk holds these files, and the names in these folders.

    The system keeps what was written in memory for half a minute and more. A killed process loses
    none of it, a power cut does.
    """
    for path in paths:
        if path.is_dir() and os.name == "nt":
            continue  # its file system looks after names
        opened = os.open(path, os.O_RDONLY if path.is_dir() else os.O_RDWR)
        try:
            os.fsync(opened)
        finally:
            os.close(opened)


def _take_name(temporary: Path, path: Path) -> None:
    """Give a file a name that none has."""
    try:
        os.link(temporary, path)  # which fails where `os.replace` would replace
    except FileExistsError:
        raise FileExistsError(f"{path} exists already.") from None
    except OSError:  # a file system without links
        if path.exists():
            raise FileExistsError(f"{path} exists already.") from None
        os.replace(temporary, path)


@contextmanager
def appearing(folder: Path, *, shared: bool = False, durable: bool = False) -> Iterator[Path]:
    """A new folder to write into, which takes the name `folder` when the block ends without error.

    Args:
        folder: which must not be there, or be empty.
        shared: several processes may make it at once, of which one does; as of `replacing`.
        durable: as of `replacing`, with all that is in it.

    Yields:
        A folder beside it, empty. After an error it is removed.

    Raises:
        FileExistsError: the folder is there by now, and not empty.
    """
    temporary = _beside(folder, shared)
    shutil.rmtree(temporary, ignore_errors=True)  # of a process that was killed here
    temporary.mkdir(parents=True)
    try:
        yield temporary
        if durable:
            to_disk([*temporary.rglob("*"), temporary])
        try:
            os.replace(temporary, folder)
        except OSError as error:
            if not folder.exists():
                raise
            raise FileExistsError(f"{folder} exists already and is not empty.") from error
        if durable:
            to_disk([folder.parent])
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def write_text(path: Path, text: str, *, durable: bool = False) -> None:
    """Write UTF-8, all or nothing; `durable` as of `replacing`."""
    with replacing(path, durable=durable) as temporary:
        temporary.write_text(text, encoding="utf-8", newline="\n")


def write_json(path: Path, content: Any, *, durable: bool = False) -> None:
    """Write JSON for readers, all or nothing; `durable` as of `replacing`.

    File names that are not UTF-8 become escapes of JSON, which read as the same names.
    """
    text = json.dumps(content, indent=2, ensure_ascii=False) + "\n"
    text = text.encode("utf-8", "backslashreplace").decode("utf-8")
    write_text(path, text, durable=durable)


def read_json(path: Path) -> Any:
    """The content of a JSON file.

    Raises:
        ValueError: it is something else, or nested deeper than any file of ours; the file is named.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        reason = "nested too deep" if isinstance(error, RecursionError) else error
        raise ValueError(f"{path} is not JSON: {reason}") from error


def is_helper() -> bool:
    """Whether this is a process of a distributed run, and not the first.

    As the environment says that torchrun, Slurm's `srun`, LSF's `jsrun` or Lightning's own launcher
    gives to each process, in the order in which Lightning looks.
    """
    given = {name: int(os.environ.get(name) or 0) for name in _RANKS if name in os.environ}
    # A shell that Slurm has opened is one process, whatever it could start.
    if os.environ.get("SLURM_JOB_NAME") in ("bash", "interactive"):
        given.pop("SLURM_PROCID", None)
    for name in ("RANK", "SLURM_PROCID", "JSM_NAMESPACE_RANK"):
        if name in given:
            return given[name] > 0
    return any(given.values())


def wait_for_first(path: Path, seconds: float = HELPER_SECONDS) -> None:
    """In a helper process of a distributed run, wait until the first has made a file or folder.

    Launchers such as torchrun start all processes at once.

    Raises:
        TimeoutError: it has not come.
    """
    until = time.monotonic() + seconds
    while is_helper() and not path.exists():
        if time.monotonic() > until:
            raise TimeoutError(f"The first process of this run has not made {path}.")
        time.sleep(0.2)


@contextmanager
def lock(
    folder: Path,
    *,
    busy: str = "Argument 'run.dir': another process trains {folder}. Wait for it or stop it.",
    seconds: float = LOCK_SECONDS,
    helpers: bool = False,
) -> Iterator[None]:
    """Hold a folder against other processes; a killed one lets go.

    Without it a run could be resumed while the process that trains it goes on unseen, a child
    whose parent was killed. Helpers of a distributed run do not lock its folder: the first process
    does. Where the file system has no locks there is a warning and no lock.

    Args:
        folder: which must be there.
        busy: message where another process holds it.
        seconds: how long to wait for it.
        helpers: whether helpers of a distributed run lock too, because each writes by itself.

    Raises:
        BusyError: another process holds it.
    """
    if is_helper() and not helpers:
        yield
        return
    filelock = require("filelock", extra="train", purpose="Writing into a folder")
    held = filelock.FileLock(folder / LOCK)
    try:
        held.acquire(timeout=seconds, poll_interval=min(0.5, seconds / 100))
    except filelock.Timeout:
        raise BusyError(busy.format(folder=folder)) from None
    except (OSError, NotImplementedError) as error:
        warnings.warn(
            f"{folder} cannot be locked ({error}): take care that only one process writes into it.",
            stacklevel=3,
        )
    try:
        yield
    finally:
        held.release()
