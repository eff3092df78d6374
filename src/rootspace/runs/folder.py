"""The files of a run folder: their names, its settings, and whether it is whole. No torch here.

A finished run has a manifest with the SHA-256 of its files, written last. What is read of it is
held against that first: a damaged or exchanged file is named, and none answers in silence.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

from rootspace._extras import require
from rootspace._files import read_json, write_json, write_text
from rootspace.config import Config, check_trusted

CONFIG, MODEL = "config.yaml", "model.safetensors"
METRICS, HISTORY, EVALUATION = "metrics.json", "metrics.csv", "evaluation.npz"
CHECKPOINTS, BASELINES, SAMPLES = "checkpoints", "baselines", "samples"
LAST, BEST = f"{CHECKPOINTS}/last.ckpt", f"{CHECKPOINTS}/best.ckpt"
REGISTRY, REJECTOR = "registry.sqlite", "rejector.json"

# Of runs that `rootspace extend` wrote: what they began from, and what they remember.
START, REPLAY = "start", "replay"

# Of runs that `rootspace distill` wrote: what the teacher's one pass left.
TARGETS, VECTORS = "targets", "vectors.npy"

MANIFEST = "manifest.json"

_CHECKSUM = "# sha256 "


def write_config(folder: Path, config: Config) -> None:
    """Write the settings of a run: all or nothing.

    The last line is a comment with the SHA-256 of the others: a run may be resumed long before it
    has a manifest.
    """
    yaml = require("yaml", extra="train", purpose="A run folder")
    text = yaml.safe_dump(config.as_dict(), sort_keys=False, allow_unicode=True)
    write_text(folder / CONFIG, f"{text}{_CHECKSUM}{_digest_of(text)}\n")


def read_config(folder: Path, *, trust_code: bool = True) -> Config:
    """The settings of a run.

    Args:
        folder: of the run; `run.dir` names it, wherever it has been moved to.
        trust_code: whether they may name classes of packages that are not known.

    Raises:
        ValueError: the folder holds no run, its settings are damaged, or name unknown code.
    """
    path = folder / CONFIG
    if not path.is_file():
        absent = f"{CONFIG} is missing" if folder.exists() else "it does not exist"
        raise ValueError(
            f"{folder} is not a run folder: {absent}. Train one with `rootspace train --data "
            f"ImageFolder --data.root IMAGES --run.dir {folder}`."
        )
    yaml = require("yaml", extra="train", purpose="A run folder")
    checked(path)
    try:
        text, found, checksum = path.read_text(encoding="utf-8").rpartition(_CHECKSUM)
        if found and checksum.strip() != _digest_of(text):
            raise ValueError(
                "it is not what was written. Copy it again; or, if you have changed it, remove its "
                "last line"
            )
        sections = yaml.safe_load(text if found else checksum)
        config = Config.from_dict(sections)
        config = replace(config, run=replace(config.run, dir=str(folder)))
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        reason = " ".join(str(error).split())
        raise ValueError(f"{path} is damaged: {reason}") from error
    if not trust_code:
        check_trusted(config, str(path))
    return config


def resume_hint(folder: Path, config: Config) -> str:
    """How to continue a run that is not finished."""
    if config.teacher is not None:
        return f"Continue it with `rootspace distill --resume --run.dir {folder}`."
    if config.parent is None:
        return f"Continue it with `rootspace train --resume --run.dir {folder}`."
    return f"Continue it with `rootspace extend {config.parent.run} --resume --run.dir {folder}`."


def is_finished(folder: Path) -> bool:
    """Whether a run has come to its end: what it has learned is the last."""
    return (folder / MANIFEST).is_file()


def check_finished(folder: Path) -> None:
    """Raise a ValueError for a run that was stopped, or is none."""
    if not is_finished(folder):
        hint = resume_hint(folder, read_config(folder))
        raise ValueError(f"{folder} is not a finished run: {MANIFEST} is missing. {hint}")


def finish(folder: Path, *more: str) -> None:
    """Write the manifest of a run, or of a part of one that is complete now.

    The class registry, checkpoints and what is only shown are not in it.

    Args:
        folder: of the run.
        *more: files in it beside those that every run has.
    """
    names = [CONFIG, MODEL, METRICS, HISTORY, EVALUATION, *more]
    paths = [folder / name for name in names if (folder / name).is_file()]
    for inner in (folder / REPLAY, folder / TARGETS):
        paths += sorted(path for path in inner.rglob("*") if path.is_file())
    _write_manifest(folder, {_name(path, folder): digest(path) for path in paths})


def record(folder: Path, name: str) -> None:
    """Take a file into the manifest of a finished run that was written after it."""
    _write_manifest(folder, {**_manifest(folder), name: digest(folder / name)})


def reopen(folder: Path) -> None:
    """A finished run is unfinished from here on: before its files change."""
    (folder / MANIFEST).unlink(missing_ok=True)
    (folder / REJECTOR).unlink(missing_ok=True)  # that of the former weights


def checked(path: Path, folder: Path | None = None) -> Path:
    """The path of a file, once its content is what a finished run wrote.

    An unfinished run has no manifest: its files are not checked.

    Args:
        path: of the file.
        folder: of the run; that of the file by default.

    Raises:
        ValueError: the file is missing, or its content is another.
    """
    folder = path.parent if folder is None else folder
    if is_finished(folder):
        check_whole(folder, [_name(path, folder)])
    return path


def check_whole(folder: Path, names: Iterable[str] | None = None) -> None:
    """Check all files of a finished run's manifest, see `checked`; those named, if any are."""
    manifest = _manifest(folder)
    for name in manifest if names is None else names:
        path = folder / name
        if not path.is_file():
            raise ValueError(
                f"{path} is missing, which {folder / MANIFEST} names: copy the run folder again."
            )
        if manifest.get(name) != digest(path):
            raise ValueError(
                f"{path} is damaged or not of this run: it is not what {folder / MANIFEST} says. "
                "Copy the run folder again."
            )


def _name(path: Path, folder: Path) -> str:
    return path.relative_to(folder).as_posix()


def _digest_of(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def digest(path: Path) -> str:
    """The SHA-256 of a file, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _write_manifest(folder: Path, digests: dict[str, str]) -> None:
    write_json(folder / MANIFEST, {"sha256": digests})


def _manifest(folder: Path) -> dict[str, str]:
    """File -> SHA-256."""
    path = folder / MANIFEST
    content = read_json(path)
    digests = content.get("sha256") if isinstance(content, dict) else None
    if not isinstance(digests, dict):
        raise ValueError(f"{path} is damaged: copy the run folder again.")
    return digests
