"""Lightning's trainer on this machine."""

from __future__ import annotations

import logging
import os
import warnings
from dataclasses import replace
from pathlib import Path
from typing import Any

import lightning as L
import torch
from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.pytorch.accelerators import CPUAccelerator
from lightning.pytorch.loggers import Logger, TensorBoardLogger

from rootspace._cpu import has_bfloat16
from rootspace._terminal import say
from rootspace.config import Config, TrainConfig

from .callbacks import Checkpoints

PRECISION = {"32": "32-true", "bf16": "bf16-mixed", "16": "16-mixed"}


def check_machine(config: Config) -> None:
    """Show that this machine has what a run asks for, before anything is written.

    Raises:
        ValueError: it has not.
    """
    settings, cores = config.train, os.cpu_count() or 1
    _quiet_lightning()
    try:
        # In float32: of another precision it says only that it takes the next best.
        plain = replace(settings, precision="32")
        trainer = _trainer_on(plain, logger=False, enable_checkpointing=False)
        on_cpu = isinstance(trainer.accelerator, CPUAccelerator)
        if on_cpu and settings.devices > max(2, cores):
            raise ValueError(f"that is a process each, and there are {cores} cores.")
    except (MisconfigurationException, ValueError) as error:
        raise ValueError(
            "Arguments 'train.accelerator', 'train.devices' and 'train.strategy' must be of this "
            f"machine, not {settings.accelerator!r}, {settings.devices} and {settings.strategy!r}: "
            f"{error}"
        ) from error
    if on_cpu and settings.precision == "16":
        raise ValueError("Argument 'train.precision' must be 32 or bf16 on a CPU, not '16'.")
    if on_cpu and settings.precision == "bf16" and not has_bfloat16():
        say(
            "This CPU has no instructions for bfloat16: --train.precision 32 is several times "
            "faster here."
        )
    most = max(64, 8 * cores)
    if config.loader.num_workers > most:
        raise ValueError(
            f"Argument 'loader.num_workers' must be at most {most} on {cores} cores, not "
            f"{config.loader.num_workers}."
        )


def device_of(settings: TrainConfig) -> torch.device:
    """For embeddings before the trainer chooses its own; of several processes each has one."""
    usable = settings.accelerator in ("auto", "gpu", "cuda") and torch.cuda.is_available()
    if not usable:
        return torch.device("cpu")
    return torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0")))


def make_trainer(config: Config, folder: Path, callbacks: list[L.Callback]) -> L.Trainer:
    """The trainer of a run.

    Args:
        config: of the run.
        folder: of the run, for checkpoints and logs.
        callbacks: to call, before those of the settings.
    """
    _quiet_lightning()
    settings = config.train
    return _trainer_on(
        settings,
        max_epochs=settings.epochs,
        gradient_clip_val=settings.gradient_clip or None,
        accumulate_grad_batches=settings.accumulate_grad_batches,
        callbacks=[
            *callbacks,
            Checkpoints(folder, settings.checkpoint_minutes, settings.early_stopping),
            *(spec.build(L.Callback, "callbacks") for spec in config.callbacks),
        ],
        logger=[
            TensorBoardLogger(str(folder), name="tensorboard", version=""),
            *(spec.build(Logger, "loggers") for spec in config.loggers),
        ],
        num_sanity_val_steps=0,
        use_distributed_sampler=False,  # the samplers divide the data themselves
        log_every_n_steps=1,
    )


def _trainer_on(settings: TrainConfig, **more: Any) -> L.Trainer:
    """A silent trainer on the devices that settings ask for."""
    return L.Trainer(
        accelerator=settings.accelerator,
        devices=settings.devices,
        num_nodes=settings.num_nodes,
        strategy=settings.strategy,
        precision=PRECISION[str(settings.precision)],  # pyright: ignore[reportArgumentType]
        enable_progress_bar=False,
        enable_model_summary=False,
        **more,
    )


def _quiet_lightning() -> None:
    for name in ("lightning.pytorch", "lightning.fabric"):
        logging.getLogger(name).setLevel(logging.WARNING)


def silence_lightning() -> None:
    """Leaves out warnings that say nothing to who trains."""
    # Advice about worker processes: images in memory need none.
    warnings.filterwarnings("ignore", message=".*does not have many workers.*")
    # Lightning's own use of what torch has deprecated.
    warnings.filterwarnings("ignore", message=".*treespec, LeafSpec.*")
    # Before the classes have prototypes there is no accuracy to choose the best checkpoint by.
    warnings.filterwarnings("ignore", message=".*could not find the monitored key.*")
    # Nor by those that lie elsewhere, where the folder of a resumed run has been moved.
    warnings.filterwarnings("ignore", message=".*The dirpath has changed from.*")
    # Data for retrieval on unseen classes have no test set of those that are trained on.
    warnings.filterwarnings("ignore", message=".*Total length of `list` across ranks is zero.*")
    # Frozen layers are meant to be.
    warnings.filterwarnings("ignore", message=".*module.* in eval mode at the start of training.*")
    # What is logged has been computed over all processes.
    warnings.filterwarnings("ignore", message=".*It is recommended to use .*sync_dist=True.*")
    # A resumed run finds its own checkpoints there.
    warnings.filterwarnings("ignore", message=".*Checkpoint directory .* exists and is not empty.*")
