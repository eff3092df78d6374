"""One training run from its settings to its folder."""

from __future__ import annotations

import logging
import os
import time
import warnings
from collections.abc import Callable, Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

import lightning as L
import torch
from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.pytorch.loggers import TensorBoardLogger
from rich.console import Console

import rootspace
from rootspace._text_table import text_table
from rootspace.classes import ClassMap
from rootspace.data import ImageData
from rootspace.models import num_parameters
from rootspace.planning import CODE_DIM
from rootspace.report import write_report

from . import run_folder as files
from .assignment import Assigner, make_assigner
from .build import (
    build_assigned_objective,
    build_network,
    build_objective,
    build_system,
    check_loss,
)
from .callbacks import Checkpoints, Display, History, StoppedByUser
from .config import ClassesConfig, RunConfig, TrainConfig, WarmupConfig
from .embedder import Embedder
from .evaluation import class_means, evaluate, save_samples
from .memory import peak_megabytes, reset_peak
from .module import LSCModule
from .objectives import (
    LEARNED_LOSSES,
    VECTOR_LOSSES,
    Objective,
    VectorObjective,
    WarmupObjective,
)

PRECISION = {"32": "32-true", "bf16": "bf16-mixed", "16": "16-mixed"}


def train(config: Mapping[str, Any], *, resume: bool = False) -> dict[str, Any]:
    """Train a network and its baselines, and write the run folder with its report.

    Args:
        config: sections `run`, `data`, `model`, `classes`, `loss`, `warmup`, `train`, complete, as
            `rootspace train --print_config` shows them.
        resume: continue the run in `run.dir` from its last checkpoint.

    Returns:
        The content of `metrics.json`.

    Raises:
        ValueError: settings or data that cannot work; nothing has been written then.
        StoppedByUser: on Ctrl-C, after the state was saved.
    """
    run = settings_from(RunConfig, config["run"])
    settings = settings_from(TrainConfig, config["train"])
    folder = Path(run.dir)
    console = Console(stderr=True)
    check_folder(folder, resume)
    for section, what in ((files.PARENT, "extends another run"), (files.TEACHER, "has a teacher")):
        if resume and section in files.read_config(folder):
            raise ValueError(f"Argument 'run.dir': {folder} {what}. {files.resume_hint(folder)}")
    check_devices(settings)
    _check_losses(config, run)
    settings_from(ClassesConfig, config["classes"])
    data = files.make_data(config["data"])
    data.setup()
    if settings.label_noise:
        data.disturb_labels(settings.label_noise, settings.seed)
    console.print(data.describe(), highlight=False, markup=False, soft_wrap=True)
    parts = build_parts(config, data)  # before anything is written: settings may not fit the data
    folder.mkdir(parents=True, exist_ok=True)
    metrics = train_parts(config, settings, folder, data, parts, console, resume)
    for name in run.baselines:
        baseline = baseline_config(config, name, parts.dim)
        baseline_folder = folder / files.BASELINES / name
        baseline_folder.mkdir(parents=True, exist_ok=True)
        train_parts(
            baseline,
            settings,
            baseline_folder,
            data,
            build_parts(baseline, data),
            console,
            resume and (baseline_folder / files.CONFIG).exists(),
        )
    if metrics:  # else a helper process of a distributed run
        conclude(folder, run.baselines, console)
    return metrics


def conclude(folder: Path, baselines: list[str], console: Console) -> None:
    """Write the report of a finished run and print its final figures."""
    report = write_report(folder)
    console.print(summary(folder, baselines), highlight=False, markup=False, soft_wrap=True)
    console.print(f"Report: {report}", highlight=False, markup=False, soft_wrap=True)


def check_folder(folder: Path, resume: bool) -> None:
    """A new run needs an empty or absent, writable folder; a resumed one its own.

    Raises:
        ValueError: naming the folder and what to do.
    """
    if resume:
        files.read_config(folder)
        return
    if files.is_helper():
        return  # the first process has checked it, and begun to write
    if folder.exists() and not folder.is_dir():
        raise ValueError(f"Argument 'run.dir' must be a folder, not the file {folder}.")
    if folder.is_dir() and any(folder.iterdir()):
        raise ValueError(
            f"Argument 'run.dir' must be new or empty: {folder} holds files. Continue that run "
            "with --resume, or name another folder."
        )
    existing = folder
    while not existing.exists():
        existing = existing.parent
    if not os.access(existing, os.W_OK | os.X_OK) or not existing.is_dir():
        raise ValueError(f"Argument 'run.dir' must be writable: cannot create {folder}.")


def baseline_config(config: Mapping[str, Any], loss: str, dim: int) -> dict[str, Any]:
    """The same run with another loss at its defaults, and no vector system if it is learned."""
    learned = loss in LEARNED_LOSSES
    return {
        **config,
        "run": {**config["run"], "dir": "", "baselines": []},
        "model": {**config["model"], "dim": dim if learned else config["model"]["dim"]},
        "loss": {"name": loss},
    }


class Parts:
    """What a run trains: network, objective and, for LSC, its classes."""

    def __init__(self, embedder: Embedder, objective: Objective, assigner: Assigner | None) -> None:
        self.embedder = embedder
        self.objective = objective
        self.assigner = assigner

    @property
    def classes(self) -> ClassMap | None:
        """The class map, once there is one; never for a learned head."""
        objective = self.objective
        if isinstance(objective, VectorObjective) and objective.ready:
            return objective.classes
        return None

    @property
    def dim(self) -> int:
        return self.embedder.network.dim  # pyright: ignore[reportReturnType]


def build_parts(config: Mapping[str, Any], data: ImageData) -> Parts:
    """Everything that a run trains, from its settings and its data."""
    torch.manual_seed(config["train"]["seed"])
    dim = config["model"].get("dim")
    settings, loss = settings_from(ClassesConfig, config["classes"]), config["loss"]
    warmup = settings_from(WarmupConfig, config["warmup"])
    system = None
    if loss["name"] in VECTOR_LOSSES:
        system = build_system(settings, data.num_classes, dim)
        dim = system.dim
    dim = CODE_DIM if dim is None else dim
    network = build_network(config["model"], dim, data.in_channels, data.image_size)
    embedder, assigner = Embedder(network, data.mean, data.std), None
    if init := settings_from(RunConfig, config["run"]).init:
        embedder = files.read_network(init, embedder)
    if system is not None and settings.assignment != "random":
        assigner = make_assigner(settings, system, embedder, data)
        check_loss(loss, system)  # it comes after the assignment
    if system is None:
        objective = build_objective(loss, None, dim, data.num_classes)
    elif settings.assignment != "random":
        first = settings.assignment == "warmup"
        epochs = warmup.epochs_of(config["train"]["epochs"]) if first else 0
        objective = build_assigned_objective(loss, settings.assignment, warmup, epochs)
    else:
        classes = ClassMap(
            system, data.num_classes, settings.order, settings.seed, data.class_names
        )
        objective = build_objective(loss, classes, dim, data.num_classes)
    return Parts(embedder, objective, assigner)


def train_parts(
    config: Mapping[str, Any],
    settings: TrainConfig,
    folder: Path,
    data: ImageData,
    parts: Parts,
    console: Console,
    resume: bool,
    finish: Callable[[LSCModule], dict[str, Any]] | None = None,
) -> dict[str, Any]:
    """Train what `parts` holds and write its folder; the metrics, which make it complete, last.

    Args:
        config: to be kept with the run.
        settings: of the training.
        folder: of the run, which exists.
        data: set up.
        parts: to train.
        console: to print to.
        resume: go on from the last checkpoint, if there is one.
        finish: called with the trained module before the metrics are written, which take up what it
            returns; after a crash it may be called again.

    Returns:
        The content of `metrics.json`; nothing in a helper process of a distributed run.

    Raises:
        ValueError: another process trains this run.
        StoppedByUser: on Ctrl-C, after the state was saved.
    """
    with files.sole_writer(folder):
        if resume and (folder / files.METRICS).exists():
            if files.is_helper():
                return {}
            console.print(f"{folder} is complete.", highlight=False, markup=False)
            return files.read_metrics(folder)
        shape = {"in_channels": data.in_channels, "image_size": data.image_size, "dim": parts.dim}
        files.write_config(folder, config)
        objective = parts.objective
        data.order_seed = data.seed + settings.seed
        data.per_class = objective.config.per_class if isinstance(objective, WarmupObjective) else 1
        module = LSCModule(parts.embedder, parts.objective, settings, data, parts.assigner)
        history = History(folder / files.HISTORY)
        trainer = _trainer(settings, folder, history, console, title=config["loss"]["name"])
        reset_peak(trainer.strategy.root_device)
        last = folder / files.LAST
        with warnings.catch_warnings():
            _silence_lightning()
            try:
                trainer.fit(
                    module,
                    datamodule=data,
                    ckpt_path=last if resume and last.exists() else None,
                    weights_only=False,  # our own checkpoint: tallies and the record of epochs
                )
            except StoppedByUser:
                if parts.objective.ready and trainer.is_global_zero:
                    files.write_model(
                        folder, parts.embedder, parts.objective, shape, data.class_names
                    )
                raise
        module.to(trainer.strategy.root_device)  # from where the trainer's end has put it
        # Of a run that was killed between that and its figures.
        module.assign_if_due(settings.epochs)
        peak = peak_megabytes(trainer.strategy.root_device)
        # Each process of a distributed run takes its part of the means.
        means = class_means(module, data) if config["run"]["class_means"] else None
        if not trainer.is_global_zero:
            return {}
        tests, arrays = evaluate(module, data, means)
        files.write_model(folder, parts.embedder, parts.objective, shape, data.class_names)
        files.write_arrays(folder / files.EVALUATION, arrays)
        save_samples(data, folder / files.SAMPLES)
        metrics = _metrics(
            config, parts, data, history, tests, peak, str(trainer.strategy.root_device)
        )
        metrics["assignment"] = module.assignment
        if finish is not None:
            metrics |= finish(module)
        files.write_json(folder / files.METRICS, metrics)
        return metrics


def _trainer(
    settings: TrainConfig, folder: Path, history: History, console: Console, title: str
) -> L.Trainer:
    _quiet_lightning()
    return L.Trainer(
        max_epochs=settings.epochs,
        accelerator=settings.accelerator,
        devices=settings.devices,
        precision=PRECISION[settings.precision],  # pyright: ignore[reportArgumentType]
        gradient_clip_val=settings.gradient_clip or None,
        callbacks=[
            history,
            Display(console, history, title),
            Checkpoints(folder / files.CHECKPOINTS, settings.checkpoint_minutes),
        ],
        logger=TensorBoardLogger(str(folder), name="tensorboard", version=""),
        num_sanity_val_steps=0,
        use_distributed_sampler=False,  # EpochSampler divides the samples itself
        enable_progress_bar=False,
        enable_model_summary=False,
        log_every_n_steps=1,
    )


def _quiet_lightning() -> None:
    for name in ("lightning.pytorch", "lightning.fabric"):
        logging.getLogger(name).setLevel(logging.WARNING)


def _silence_lightning() -> None:
    # Advice about worker processes: images in memory need none.
    warnings.filterwarnings("ignore", message=".*does not have many workers.*")
    # Lightning's own use of what torch has deprecated.
    warnings.filterwarnings("ignore", message=".*treespec, LeafSpec.*")


def _metrics(
    config: Mapping[str, Any],
    parts: Parts,
    data: ImageData,
    history: History,
    tests: dict[str, Any],
    peak: float,
    device: str,
) -> dict[str, Any]:
    row, classes = history.rows[-1], parts.classes
    head = num_parameters(parts.objective)
    return {
        "version": rootspace.__version__,
        "finished": time.strftime("%Y-%m-%d %H:%M:%S"),
        "method": "learned" if classes is None else "lsc",
        "loss": config["loss"]["name"],
        "scale": parts.objective.scale,
        "system": None if classes is None else repr(classes.system),
        "order": None if classes is None else classes.order,
        "capacity": None if classes is None else classes.capacity,
        "min_angle": None if classes is None else classes.system.min_angle,
        "num_classes": data.num_classes,
        "dim": parts.dim,
        "model": config["model"]["name"],
        "data": data.describe(),
        "batch_size": data.batch_size,
        "epochs": row["epoch"],
        "seconds": row["seconds"],
        "seconds_per_epoch": round(row["seconds"] / row["epoch"], 3),
        "peak_memory_mb": round(peak, 1),
        "device": device,
        "parameters": {"backbone": num_parameters(parts.embedder), "head": head},
        "bytes_per_class": 4.0 * parts.dim if classes is None else classes.bytes_per_class,
        # Unknown where the classes got their vectors after the last epoch.
        "train": {
            "loss": row["train/loss"],
            "accuracy": None if row["train/accuracy"] == "" else row["train/accuracy"],
        },
        "test": tests,
    }


def summary(folder: Path, baselines: list[str]) -> str:
    """The final figures of a run and its baselines as a text table."""
    folders = [folder, *(folder / files.BASELINES / name for name in baselines)]
    rows = [files.read_metrics(f) for f in folders]
    tests = list(rows[0]["test"])
    lines = [["loss", "system", "dim", "head parameters", "s/epoch", "train", *tests]]
    for row in rows:
        lines.append(
            [
                row["loss"],
                row["system"] or "learned",
                str(row["dim"]),
                f"{row['parameters']['head']:,}",
                f"{row['seconds_per_epoch']:.1f}",
                "" if row["train"]["accuracy"] is None else f"{row['train']['accuracy']:.1%}",
                *(f"{row['test'][name]['accuracy']:.1%}" for name in tests),
            ]
        )
    return text_table(lines[0], lines[1:])


def _check_losses(config: Mapping[str, Any], run: RunConfig) -> None:
    known = [*VECTOR_LOSSES, *LEARNED_LOSSES]
    for name in [config["loss"]["name"], *run.baselines]:
        if name not in known:
            raise ValueError(f"Unknown loss {name!r}; expected one of {', '.join(known)}.")


def check_devices(settings: TrainConfig) -> None:
    """Show that this machine has what a run asks for, before anything is written.

    Raises:
        ValueError: it has not.
    """
    _quiet_lightning()
    try:
        L.Trainer(
            accelerator=settings.accelerator,
            devices=settings.devices,
            logger=False,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
        )
    except (MisconfigurationException, ValueError) as error:
        raise ValueError(
            "Arguments 'train.accelerator' and 'train.devices' must be of this machine, not "
            f"{settings.accelerator!r} and {settings.devices}: {error}"
        ) from error


def device_of(settings: TrainConfig) -> torch.device:
    """For embeddings before the trainer chooses its own."""
    usable = settings.accelerator in ("auto", "gpu", "cuda") and torch.cuda.is_available()
    return torch.device("cuda" if usable else "cpu")


def settings_from(cls: Any, section: Mapping[str, Any]) -> Any:
    """A settings object from a section of a config, which may hold no other keys."""
    unknown = set(section) - {f.name for f in fields(cls)}
    if unknown:
        raise ValueError(f"Unknown settings {sorted(unknown)} for {cls.__name__}.")
    return cls(**section)
