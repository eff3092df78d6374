"""The files of a run folder: their names, and its settings. No torch here."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from rootspace._extras import require
from rootspace._files import replacing
from rootspace.config import Config, check_trusted

CONFIG, MODEL = "config.yaml", "model.safetensors"
METRICS, HISTORY, EVALUATION = "metrics.json", "metrics.csv", "evaluation.npz"
CHECKPOINTS, BASELINES, SAMPLES = "checkpoints", "baselines", "samples"
LAST = f"{CHECKPOINTS}/last.ckpt"
REGISTRY, REJECTOR = "registry.sqlite", "rejector.json"

# Of runs that `rootspace extend` wrote: what they began from, and what they remember.
START, REPLAY = "start", "replay"

# Of runs that `rootspace distill` wrote: what the teacher's one pass left.
TARGETS, VECTORS = "targets", "vectors.npy"


def write_config(folder: Path, config: Config) -> None:
    """Write the settings of a run: all or nothing."""
    yaml = require("yaml", extra="train", purpose="Settings in YAML")
    with replacing(folder / CONFIG) as temporary:
        text = yaml.safe_dump(config.as_dict(), sort_keys=False, allow_unicode=True)
        temporary.write_text(text, encoding="utf-8")


def read_config(folder: Path, *, trust_code: bool = True) -> Config:
    """The settings of a run.

    Args:
        folder: of the run; `run.dir` names it, wherever it has been moved to.
        trust_code: whether they may name classes of packages that are not known.

    Raises:
        ValueError: the folder does not hold a run, its settings are damaged, or name unknown code.
    """
    path = folder / CONFIG
    if not path.is_file():
        raise ValueError(
            f"{folder} is not a run folder: {CONFIG} is missing. Train one with "
            "`rootspace train --config FILE --run.dir DIR`."
        )
    yaml = require("yaml", extra="train", purpose="Settings in YAML")
    try:
        sections = yaml.safe_load(path.read_text(encoding="utf-8"))
        config = Config.from_dict(sections)
        config = replace(config, run=replace(config.run, dir=str(folder)))
    except (yaml.YAMLError, UnicodeDecodeError, ValueError) as error:
        raise ValueError(f"{path} is damaged: {' '.join(str(error).split())}") from error
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


def check_finished(folder: Path) -> None:
    """Raise a ValueError for a run that was stopped: what it has learned is not the last."""
    _check_file(folder, METRICS)


def check_model(folder: Path) -> None:
    """Raise a ValueError for a run that has learned nothing yet."""
    _check_file(folder, MODEL)


def _check_file(folder: Path, name: str) -> None:
    if not (folder / name).is_file():
        raise ValueError(
            f"{folder} is not a finished run: {name} is missing. "
            f"{resume_hint(folder, read_config(folder))}"
        )
