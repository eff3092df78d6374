"""One training run from its settings to its folder."""

from __future__ import annotations

import logging
import math
import os
import pickle
import time
import warnings
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import lightning as L
import torch
from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.pytorch.accelerators import CPUAccelerator
from lightning.pytorch.loggers import Logger, TensorBoardLogger

import rootspace
from rootspace._cpu import has_bfloat16
from rootspace._files import LOCK, is_helper, lock
from rootspace._memory import peak_megabytes, reset_peak
from rootspace._terminal import say, table
from rootspace.building import (
    baseline_config,
    images_of_weights,
    make_embedder,
    make_head,
    normalized_for,
)
from rootspace.callbacks import ChoosePrototypes, choice_record
from rootspace.choosing import choose_prototypes
from rootspace.config import Config, TrainConfig
from rootspace.continual.live import renew_registry
from rootspace.data import DataModule, ImagePreprocessing, data_with_images, make_data
from rootspace.data.datasets import generators_kept
from rootspace.heads import Head, PrototypeHead
from rootspace.model_file import Model, read_network, read_preprocessing, write_model
from rootspace.models import Embedder, num_parameters
from rootspace.report import write_report
from rootspace.run import load, read_config
from rootspace.runs import ChoiceRecord, Parameters, RunRecord, TestResult, Training
from rootspace.runs import folder as files
from rootspace.vector_file import read_vectors

from .callbacks import Checkpoints, Display, History
from .evaluation import check_shape, evaluate, mean_directions, save_samples
from .forgetting import LessForgetting
from .module import SETTINGS, CheckpointDict, RunModule, check_optimizer, settings_of

PRECISION = {"32": "32-true", "bf16": "bf16-mixed", "16": "16-mixed"}


def train(config: Config, *, resume: bool = False) -> RunRecord | None:
    """Train a network and its baselines, and write the run folder with its report.

    Args:
        config: of the run.
        resume: continue the run in `run.dir` from its last checkpoint.

    Returns:
        The record of the run; None in a helper process of a distributed run.

    Raises:
        ValueError: settings or data that cannot work; nothing has been written then.
        StoppedByUser: on Ctrl-C, after the state was saved.
    """
    folder = Path(config.run.dir)
    check_folder(folder, resume)
    if resume:
        check_resumed_here(folder, read_config(folder, trust_code=True))
    check_machine(config)
    config = with_expected_images(config)
    data = make_data(config)
    data.setup(config.train.seed)
    say(data.describe())
    model = build(config, data)  # before anything is written: settings may not fit the data
    check_network(model, data)
    if not (resume and (folder / files.LAST).exists()):  # else the checkpoint has what they gave
        check_given(config, model, data)
    baselines = {
        name: baseline_config(config, name, model.head.dim) for name in config.run.baselines
    }
    for name, baseline in baselines.items():
        check_baseline(name, baseline, data)
    folder.mkdir(parents=True, exist_ok=True)
    record = fit(config, folder, data, model, resume=resume)
    for name, baseline in baselines.items():
        own = folder / files.BASELINES / name
        own.mkdir(parents=True, exist_ok=True)
        again = resume and (own / files.CONFIG).exists()
        fit(baseline, own, data, build(baseline, data), resume=again)
    if record is not None:
        conclude(folder, list(baselines))
    return record


def check_resumed_here(folder: Path, config: Config) -> None:
    """Raise a ValueError for a run that another command has begun.

    Args:
        folder: of the run.
        config: of it.
    """
    for section, what in (
        (config.parent, "extends another run"),
        (config.teacher, "has a teacher"),
    ):
        if section is not None:
            hint = files.resume_hint(folder, config)
            raise ValueError(f"Argument 'run.dir': {folder} {what}. {hint}")


def conclude(folder: Path, baselines: list[str]) -> None:
    """Write the report of a finished run and print its final figures."""
    report = write_report(folder)
    say(summary([folder, *(folder / files.BASELINES / name for name in baselines)]))
    say(f"Report: {report}")


def check_folder(folder: Path, resume: bool) -> None:
    """A new run needs an empty or absent, writable folder; a resumed one its own.

    Raises:
        ValueError: naming the folder and what to do.
    """
    if resume:
        files.read_config(folder)
        return
    if is_helper():
        return  # the first process has checked it, and begun to write
    if folder.exists() and not folder.is_dir():
        raise ValueError(f"Argument 'run.dir' must be a folder, not the file {folder}.")
    begun = (LOCK, f"{files.CONFIG}.tmp")  # of a process that was killed before it wrote settings
    if folder.is_dir() and any(path.name not in begun for path in folder.iterdir()):
        raise ValueError(
            f"Argument 'run.dir' must be new or empty: {folder} holds files. Continue that run "
            "with --resume, or name another folder."
        )
    existing = folder
    while not existing.exists():
        existing = existing.parent
    if not os.access(existing, os.W_OK | os.X_OK) or not existing.is_dir():
        raise ValueError(f"Argument 'run.dir' must be writable: cannot create {folder}.")


def build(config: Config, data: DataModule) -> Model:
    """Everything that a run trains, from its settings and its data.

    Raises:
        ValueError: naming the setting that cannot work.
    """
    torch.manual_seed(config.train.seed)
    head = make_head(config, data.class_names)
    embedder, preprocessing = make_network(config, head.dim, data)
    check_batches(config, head, data, data.validation)
    check_optimizer(config, embedder, head)
    return Model(embedder, head, preprocessing)


def with_expected_images(config: Config) -> Config:
    """The settings of a new run, with images as those that its first weights were trained on.

    These are of an earlier run or pretrained; size and interpolation of the images are theirs where
    the settings of the data leave them open.

    Raises:
        ValueError: naming the setting of the weights.
    """
    if config.run.init is not None:
        with _of_init():
            found = read_preprocessing(_model_of(config.run.init))
        size, interpolation = (None, None) if found is None else (found.size, found.interpolation)
    else:
        expected = images_of_weights(config.model)
        if expected is None:
            return config
        size, interpolation = expected.size, expected.interpolation
    return replace(config, data=data_with_images(config.data, size, interpolation))


def make_network(
    config: Config, dim: int, data: DataModule, *, load_weights: bool = True
) -> tuple[Embedder, ImagePreprocessing | None]:
    """The network of a run before its first step, and the preprocessing that it goes with.

    Args:
        config: of the run.
        dim: of the embedding.
        data: set up.
        load_weights: False leaves out pretrained ones, to look at the network alone.

    Raises:
        ValueError: naming the setting that cannot work.
    """
    init = config.run.init
    preprocessing = data.preprocessing
    if init is None:
        preprocessing = normalized_for(config.model, preprocessing)
    load_weights = load_weights and init is None
    embedder = make_embedder(config.model, dim, preprocessing, load_weights=load_weights)
    if init is not None:
        with _of_init():
            earlier = read_network(_model_of(init), embedder)
        if preprocessing is not None and earlier is not None:
            preprocessing = replace(preprocessing, mean=earlier.mean, std=earlier.std)
    if preprocessing is not None and (init is not None or images_of_weights(config.model)):
        say(f"the network begins with weights that were trained before; {preprocessing.describe()}")
    return embedder, preprocessing


def _model_of(init: str) -> Path:
    """The model file of a finished run."""
    folder = Path(init)
    read_config(folder)
    files.check_finished(folder)
    return files.checked(folder / files.MODEL)


@contextmanager
def _of_init() -> Iterator[None]:
    """Errors of the earlier run, as those of the setting that names it."""
    try:
        yield
    except ValueError as error:
        raise ValueError(f"Argument 'run.init': {error}") from error


def check_batches(config: Config, head: Head, data: DataModule, validation: str | None) -> None:
    """Show that settings fit a head and its data, before anything is written.

    Args:
        config: of the run.
        head: to train.
        data: set up.
        validation: name of the set that choices go by; None where there is none.

    Raises:
        ValueError: naming the setting that cannot work.
    """
    source, train = config.prototypes.source, config.train
    if not head.ready and source == "data" and data.needs_views():
        raise ValueError(
            "Argument 'prototypes.source' = 'data' needs two inputs of a class, and these data "
            "have one of each: set 'transform', which draws it anew each time, or another source."
        )
    if head.needs_pairs and config.loader.per_class == 1:
        raise ValueError(
            "Argument 'loader.per_class' must be at least 2, not 1, where a contrastive loss "
            "trains: with prototypes from the data, or 'head.contrastive_weight'."
        )
    asked = {"early_stopping": train.early_stopping is not None, "keep": train.keep == "best"}
    for setting, wanted in asked.items():
        if wanted and validation is None:
            raise ValueError(
                f"Argument 'train.{setting}' = {getattr(train, setting)!r} needs a validation set: "
                "set 'loader.validation' to a share of the training data, such as 0.1, or name a "
                "test set 'validation'."
            )
    if data.make_transform is not None:
        _check_transform(config, data.make_transform(data.preprocessing), data.preprocessing)


def _check_transform(
    config: Config, draw: Callable[[Any], Any], shape: ImagePreprocessing | None
) -> None:
    """Show that a transform takes an image, by a black one."""
    if shape is None:
        return
    try:
        with generators_kept():
            draw(torch.zeros(shape.channels, shape.size, shape.size, dtype=torch.uint8))
    except (AttributeError, LookupError, TypeError, ValueError, RuntimeError) as error:
        name = config.transform.class_path if config.transform is not None else type(draw).__name__
        reason = " ".join(str(error).split()) or type(error).__name__
        raise ValueError(
            f"Argument 'transform': {name} cannot take a uint8 tensor {shape.channels} x "
            f"{shape.size} x {shape.size} ({reason})."
        ) from error


def check_baseline(name: str, config: Config, data: DataModule) -> None:
    """Show that a baseline's head can be made and fits the data, before the run is trained.

    Args:
        name: of the baseline in the settings.
        config: of it.
        data: set up.

    Raises:
        ValueError: it does not.
    """
    try:
        with torch.random.fork_rng(devices=[]):
            check_batches(config, make_head(config, data.class_names), data, data.validation)
    except ValueError as error:
        raise ValueError(f"Argument 'run.baselines': {name}: {error}") from error


@torch.no_grad()
def check_network(model: Model, data: DataModule) -> None:
    """Show that the network takes the data and gives what the head takes, by two inputs.

    Raises:
        ValueError: it does not.
    """
    network, shape = model.embedder, data.preprocessing
    if shape is None:
        x = data.train_dataset.batch([0, 1])[0]
    else:
        x = torch.zeros(2, shape.channels, shape.size, shape.size, dtype=torch.uint8)
    name = type(network.network).__name__
    with torch.random.fork_rng(devices=[]):
        training = network.training
        try:
            z = network.eval()(x)
        except (RuntimeError, ValueError, AssertionError) as error:
            what = "the data" if shape is None else f"images of {shape.size} x {shape.size} pixels"
            hint = "" if shape is None else ", or set 'data.image_size' to what it takes"
            reason = " ".join(str(error).split()) or type(error).__name__
            raise ValueError(
                f"Argument 'model': {name} cannot take {what} ({reason}). Choose another{hint}."
            ) from error
        finally:
            network.train(training)
    if not isinstance(z, torch.Tensor) or z.shape != (2, model.head.dim):
        found = list(z.shape) if isinstance(z, torch.Tensor) else type(z).__name__
        raise ValueError(
            f"Argument 'model': {name} must give embeddings [B, {model.head.dim}], as the head "
            f"takes, not {found} for two inputs."
        )
    if not num_parameters(network) + num_parameters(model.head):
        raise ValueError(
            f"Argument 'model': {name} must have parameters that train; it has none, nor has the "
            "head. Freeze less, or set 'head.dim' to another number than the network's features, "
            "for a projection."
        )


def check_given(config: Config, model: Model, data: DataModule) -> None:
    """Show that a teacher or a file can give the prototypes, before anything is written.

    Raises:
        ValueError: naming the setting.
    """
    if model.head.ready:
        return
    if config.prototypes.source == "file":
        read_vectors(str(config.prototypes.vectors), model.head.dim, data.class_names)
    if config.prototypes.source == "teacher":
        read_teacher(str(config.prototypes.teacher), data, torch.device("cpu"))


def choose_before(config: Config, model: Model, data: DataModule) -> ChoiceRecord | None:
    """Choose prototypes from a teacher or a file, which need no training.

    The teacher is in memory during this one pass only.

    Returns:
        How well they fit; None where there was nothing to choose.

    Raises:
        ValueError: what they name does not fit the data.
    """
    settings, head = config.prototypes, cast(PrototypeHead, model.head)
    if head.ready or settings.source not in ("teacher", "file"):
        return None  # a learned head is ready
    device = device_of(config.train)
    if settings.source == "file":
        found = head.choose(read_vectors(str(settings.vectors), head.dim, data.class_names))
    else:
        teacher = read_teacher(str(settings.teacher), data, device)
        loader = data.in_order()
        found = choose_prototypes(head, teacher.embedder, loader, teacher=True, device=device)
    return choice_record(found)


def read_teacher(
    folder: str, data: DataModule, device: torch.device, setting: str = "prototypes.teacher"
) -> Model:
    """A finished run on images of the same shape as the data's.

    Args:
        folder: of the run.
        data: set up.
        device: for the network.
        setting: that named the folder, for the message.

    Raises:
        ValueError: naming the setting.
    """
    try:
        teacher = load(folder, device).model
    except ValueError as error:
        raise ValueError(f"Argument '{setting}': {error}") from error
    check_shape(teacher, data, f"Argument '{setting}': {folder}")
    return teacher


def fit(
    config: Config,
    folder: Path,
    data: DataModule,
    model: Model,
    *,
    resume: bool = False,
    less_forgetting: LessForgetting | None = None,
    finish: Callable[[Model, RunRecord], RunRecord] | None = None,
) -> RunRecord | None:
    """Train a model and write its folder; the record, which makes it complete, last.

    Args:
        config: to be kept with the run.
        folder: of the run, which exists.
        data: set up.
        model: to train.
        resume: go on from the last checkpoint, if there is one.
        less_forgetting: holds what was learned before, in an extension.
        finish: from the trained model and its record to the record that is written. After a crash
            it may be called again.

    Returns:
        The record; None in a helper process of a distributed run.

    Raises:
        ValueError: another process trains this run.
        StoppedByUser: on Ctrl-C, after the state was saved.
    """
    with lock(folder):
        finished = resume and files.is_finished(folder)
        if finished and config.train.epochs <= files.read_config(folder).train.epochs:
            if is_helper():
                return None
            files.check_whole(folder)
            say(f"{folder} is complete; more --train.epochs would train it longer.")
            return RunRecord.read(folder)
        last = folder / files.LAST
        resumes = resume and last.exists()
        if resumes and read_checkpoint(last).get(SETTINGS) != settings_of(config):
            raise ValueError(
                f"{last} is of other settings than {folder / files.CONFIG}: one of them is damaged "
                "or of another run. Copy the run folder again."
            )
        if not is_helper():
            files.reopen(folder)
            files.write_config(folder, config)
        choice = None if resumes else choose_before(config, model, data)
        head = model.head
        model.embedder.train()  # those that were read are in evaluation mode
        head.train()
        loader = data.train_loader(head, config.train.seed)
        module = RunModule(model.embedder, head, config, data, loader, less_forgetting)
        choosing = _choosing(config, head, data)
        history = History(folder, config.train.eval_every, choosing, choice)
        display = Display(history, title(config))
        trainer = _trainer(config, folder, [*choosing, history, display])
        reset_peak(trainer.strategy.root_device)
        say(
            f"{config.model.name}: {num_parameters(model.embedder):,} parameters, precision "
            f"{config.train.precision}, on {trainer.strategy.root_device}; {len(loader):,} batches "
            "an epoch"
        )
        with warnings.catch_warnings():
            _silence_lightning()
            trainer.fit(
                module,
                loader,
                data.test_loaders(),
                ckpt_path=last if resumes else None,
                weights_only=True,
            )
        device = trainer.strategy.root_device
        module.to(device)  # from where the trainer's end has put it
        for callback in choosing:  # of a run that was killed between its end and its figures
            callback.choose_if_due(trainer, module, config.train.epochs)
        best = None
        if config.train.keep == "best":
            best = restore_best(folder / files.BEST, module, choosing)
        model.head.settle()
        peak = peak_megabytes(device)
        # Each process of a distributed run takes its part of the means.
        means = mean_directions(model, data) if config.run.class_means else None
        if not trainer.is_global_zero:
            return None
        tests, evaluation = evaluate(model, data, means)
        write_model(folder / files.MODEL, model)
        renew_registry(folder, model.head.class_map)
        evaluation.write(folder)
        save_samples(data, folder / files.SAMPLES)
        record = _record(config, model, data, history, choosing, tests, peak, str(device), best)
        if finish is not None:
            record = finish(model, record)
        record.write(folder)
        files.finish(folder)
        return record


def read_checkpoint(path: Path) -> CheckpointDict:
    """A checkpoint of a run, which runs none of what it may hold.

    Raises:
        ValueError: it is damaged, or holds more than tensors and plain values.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about pickles of other protocols, which are refused
            with zipfile.ZipFile(path) as archive:  # torch does not look at the check sums
                wrong = archive.testzip()
            if wrong is not None:
                raise ValueError(f"the check sum of {wrong} is another")
            content = torch.load(path, map_location="cpu", weights_only=True)
    except (
        *(pickle.UnpicklingError, RuntimeError, EOFError, ValueError),
        *(zipfile.BadZipFile, zlib.error, NotImplementedError),
    ) as error:
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise ValueError(
            f"{path} is damaged: {reason}. Copy it again; without it the run begins anew."
        ) from error
    if not isinstance(content, dict) or "state_dict" not in content:
        raise ValueError(f"{path} is damaged: it is no checkpoint of a run.")
    return content


def restore_best(path: Path, module: RunModule, choosing: list[ChoosePrototypes]) -> int:
    """Give a model the weights and prototypes that were best on the validation set.

    Returns:
        After which epoch they were.
    """
    checkpoint = read_checkpoint(path)
    module.load_state_dict(checkpoint["state_dict"])
    for callback in choosing:
        callback.load_state_dict(checkpoint["callbacks"][callback.state_key])
    return checkpoint["epoch"] + 1


def _choosing(config: Config, head: Head, data: DataModule) -> list[ChoosePrototypes]:
    """What chooses prototypes while the run trains; none where they are known."""
    settings = config.prototypes
    if head.ready or settings.source != "data":
        return []
    return [
        ChoosePrototypes(
            settings.after,
            settings.refine,
            again=settings.again,
            follow=settings.follow,
            loader=lambda _: data.in_order(),
        )
    ]


def _trainer(config: Config, folder: Path, callbacks: list[L.Callback]) -> L.Trainer:
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
        strategy=settings.strategy,
        precision=PRECISION[settings.precision],  # pyright: ignore[reportArgumentType]
        enable_progress_bar=False,
        enable_model_summary=False,
        **more,
    )


def _quiet_lightning() -> None:
    for name in ("lightning.pytorch", "lightning.fabric"):
        logging.getLogger(name).setLevel(logging.WARNING)


def _silence_lightning() -> None:
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


def title(config: Config) -> str:
    """Of a run: its loss, which is a learned head's name or that of a loss against prototypes."""
    return config.head.name if config.loss is None else config.loss.name


def _record(
    config: Config,
    model: Model,
    data: DataModule,
    history: History,
    choosing: list[ChoosePrototypes],
    tests: dict[str, TestResult],
    peak: float,
    device: str,
    best: int | None,
) -> RunRecord:
    row, head = history.rows[-1], model.head
    class_map = head.class_map
    fits = [callback.fit for callback in choosing if callback.fit is not None]
    system = None if class_map is None else class_map.system
    return RunRecord(
        version=rootspace.__version__,
        finished=time.strftime("%Y-%m-%d %H:%M:%S"),
        method="learned" if class_map is None else "prototypes",
        loss=title(config),
        scale=head.scale,
        system=None if system is None else repr(system),
        order=None if class_map is None else class_map.order,
        capacity=None if class_map is None else class_map.capacity,
        min_angle=None if system is None else system.min_angle,
        num_classes=data.num_classes,
        dim=head.dim,
        model=config.model.name,
        data=data.describe(),
        batch_size=config.loader.batch_size,
        epochs=row.epoch,
        best_epoch=best,
        seconds=row.seconds,
        seconds_per_epoch=round(row.seconds / row.epoch, 3),
        peak_memory_mb=round(peak, 1),
        device=device,
        parameters=Parameters(num_parameters(model.embedder), num_parameters(head)),
        bytes_per_class=4.0 * head.dim if class_map is None else class_map.bytes_per_class,
        train=Training(row.loss, None if math.isnan(row.accuracy) else row.accuracy),
        test=tests,
        choice=fits[0] if fits else history.choice,
    )


def summary(folders: list[Path]) -> str:
    """The final figures of some runs on the same data as a text table."""
    records = [RunRecord.read(folder) for folder in folders]
    tests = list(records[0].test)
    header = ["loss", "system", "dim", "head parameters", "s/epoch", "train", *tests]
    rows = [
        [
            record.loss,
            record.system or "learned",
            str(record.dim),
            f"{record.parameters.head:,}",
            f"{record.seconds_per_epoch:.1f}",
            "" if record.train.accuracy is None else f"{record.train.accuracy:.1%}",
            *(f"{record.test[name].accuracy:.1%}" for name in tests),
        ]
        for record in records
    ]
    return table(header, rows)


def check_machine(config: Config) -> None:
    """Show that this machine has what a run asks for, before anything is written.

    Raises:
        ValueError: it has not.
    """
    settings, cores = config.train, os.cpu_count() or 1
    _quiet_lightning()
    try:
        trainer = _trainer_on(settings, logger=False, enable_checkpointing=False)
        on_cpu = isinstance(trainer.accelerator, CPUAccelerator)
        if on_cpu and settings.devices > max(2, cores):
            raise ValueError(f"that is a process each, and there are {cores} cores.")
    except (MisconfigurationException, ValueError) as error:
        raise ValueError(
            "Arguments 'train.accelerator', 'train.devices' and 'train.strategy' must be of this "
            f"machine, not {settings.accelerator!r}, {settings.devices} and {settings.strategy!r}: "
            f"{error}"
        ) from error
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
    """For embeddings before the trainer chooses its own."""
    usable = settings.accelerator in ("auto", "gpu", "cuda") and torch.cuda.is_available()
    return torch.device("cuda" if usable else "cpu")
