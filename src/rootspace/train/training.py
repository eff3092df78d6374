"""One training run from its settings to its folder."""

from __future__ import annotations

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
from typing import cast

import torch

import rootspace
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
from rootspace.classes import smallest_angle
from rootspace.config import Config
from rootspace.continual.live import renew_registry
from rootspace.data import DataModule, ImagePreprocessing, data_with_images, make_data
from rootspace.heads import Head, PrototypeHead
from rootspace.model_file import Model, read_network, read_preprocessing, write_model
from rootspace.models import Embedder, num_parameters
from rootspace.report import write_report
from rootspace.run import load, read_config
from rootspace.runs import ChoiceRecord, Parameters, RunRecord, TestResult, Training
from rootspace.runs import folder as files
from rootspace.vector_file import read_vectors

from .callbacks import Display, History
from .checks import check_baseline, check_batches, check_network, contrasts
from .evaluation import check_shape, evaluate, mean_directions, save_samples
from .forgetting import LessForgetting
from .module import SETTINGS, CheckpointDict, RunModule, check_optimizer, settings_of
from .trainer import check_machine, device_of, make_trainer, silence_lightning


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
    data.setup()
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
        loader = data.train_loader(head, config.train.seed, pairs=contrasts(config, head))
        module = RunModule(model.embedder, head, config, data, loader, less_forgetting)
        choosing = _choosing(config, head, data)
        history = History(folder, config.train.eval_every, choosing, choice)
        display = Display(history, title(config, head))
        trainer = make_trainer(config, folder, [*choosing, history, display])
        reset_peak(trainer.strategy.root_device)
        say(
            f"{config.model.name}: {num_parameters(model.embedder):,} parameters, precision "
            f"{config.train.precision}, on {trainer.strategy.root_device}; {len(loader):,} batches "
            "an epoch"
        )
        with warnings.catch_warnings():
            silence_lightning()
            trainer.fit(
                module,
                loader,
                data.test_loaders(),
                ckpt_path=last if resumes else None,
                weights_only=True,
            )
        device = trainer.strategy.root_device
        module.to(device)  # from where the trainer's end has put it
        if trainer.current_epoch >= config.train.epochs:
            for callback in choosing:  # of a run that was killed between its end and its figures
                callback.choose_if_due(trainer, module, config.train.epochs)
        best = None
        # A run that a callback ended early may never have been evaluated.
        if config.train.keep == "best" and (folder / files.BEST).exists():
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


def title(config: Config, head: Head) -> str:
    """Of a run: its loss, which is a learned head's name or that of a loss against prototypes."""
    learned = not isinstance(head, PrototypeHead)
    return config.head.name if learned or config.loss is None else config.loss.name


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
    choice = fits[0] if fits else history.choice
    if choice is not None and class_map is not None:
        choice = replace(choice, smallest_angle=smallest_angle(class_map))
    system = None if class_map is None else class_map.system
    vector = 4.0 * head.dim
    if class_map is None:
        stored, in_training = vector, 4 * vector
    else:
        stored = class_map.bytes_per_class
        in_training = stored + vector * history.followed
    return RunRecord(
        version=rootspace.__version__,
        finished=time.strftime("%Y-%m-%d %H:%M:%S"),
        method="learned" if class_map is None else "prototypes",
        loss=title(config, head),
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
        bytes_per_class=stored,
        training_bytes_per_class=in_training,
        train=Training(row.loss, None if math.isnan(row.accuracy) else row.accuracy),
        test=tests,
        choice=choice,
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
