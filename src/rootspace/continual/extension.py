"""Classes added to a trained run: `rootspace extend`.

The run that is extended is only read. The extended one is a run folder of its own:

    config.yaml   written first: from here on the extension can be resumed
    start/        the run with the new classes' vectors, before training; appears when complete
    start/replay  the images that training repeats
    ...           what `rootspace train` writes
    replay        what is remembered for the next extension
    metrics.json  written last: the run is complete

Whatever is written appears under its name when it is whole, and each step is skipped where its
result is there, so a process may be killed at any moment.
"""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Callable, Mapping
from copy import deepcopy
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from rootspace._files import appearing, replacing
from rootspace._terminal import say
from rootspace.classes import ClassMap, ClassMeans
from rootspace.data import (
    DataError,
    Grown,
    ImageData,
    LabelledImages,
    RelabelledImages,
    StoredImages,
)
from rootspace.runs import RunRecord
from rootspace.runs.folder import CLASSES, CONFIG, METRICS, PARENT, REPLAY, START, WEIGHTS
from rootspace.train import Embedder, LSCModule, TrainConfig, TrainedRun, WarmupConfig, read_run
from rootspace.train import run_folder as files
from rootspace.train.build import build_assigned_objective, build_loss
from rootspace.train.objectives import VectorObjective
from rootspace.train.run import (
    Parts,
    check_devices,
    check_folder,
    conclude,
    device_of,
    settings_from,
    train_parts,
)

from ._memory_config import MemoryConfig
from .of_run import REGISTRY, carry_registry, is_registry, known_labels
from .replay import carry, link_or_copy, remember

FIXED = ("model", "classes")
"""Sections of a config that an extension takes over as they are."""

LOWER_RATE = 0.1
"""Learning rate of an extension, relative to that of the run; measured (docs/continual.md)."""

OF_LOADING = ("batch_size", "num_workers", "seed", "augment")
"""Settings of the new data that hold for all images of the extended run."""


def base_config(run: Path) -> dict[str, Any]:
    """The settings of a run from which those of an extension start.

    The learning rate is a tenth of that from scratch, which would undo what the run has learned
    before it has learned again; a further extension keeps that of the one before.

    Args:
        run: folder of the run; the data settings are those of its last extension, if it has one.

    Raises:
        ValueError: it is not a finished run.
    """
    config = deepcopy(files.read_config(run))
    files.read_classes(run)
    if not (run / METRICS).is_file():
        raise ValueError(f"{run} is not a finished run. {files.resume_hint(run)}")
    data, training = config["data"], config["train"]
    if PARENT not in config:
        rate = training["lr"]
        rate = read_run(run).embedder.network.default_lr if rate is None else rate
        assert isinstance(rate, int | float)
        training["lr"] = LOWER_RATE * rate
    if data["name"] == Grown.name:
        config["data"] = {key: value for key, value in data["new"].items() if key != "same"}
    config["data"]["unique_labels"] = None  # numbers of images would name their classes
    return {
        "run": {"dir": "runs/default", "baselines": [], "class_means": False},
        **{key: config[key] for key in ("data", "model", "classes", "loss", "warmup", "train")},
        "memory": config.get("memory", asdict(MemoryConfig())),
    }


def extend(
    run: Path, config: Mapping[str, Any], *, resume: bool = False, command: str = ""
) -> RunRecord | None:
    """Add the classes of new data to a run and train on, in a new run folder.

    The network keeps its shape, the old classes keep their vectors to the bit. New classes get the
    next vectors of a formula, or of vectors chosen from data the free ones nearest to the means of
    their embeddings, by the network as it is. Then training goes on with the run's loss on the new
    images and the replay memory; a run that was warmed up keeps its contrastive loss and grouped
    batches, and no class gets another vector at the end.

    Memory does not depend on the number of images: see `Grown` and `remember`. The class means of
    the new classes take `ClassMeans`.

    Args:
        run: folder of the run to extend, only read.
        config: sections as in `base_config`, `data` those of the new images and `run.dir` the new
            folder; ignored when resuming.
        resume: continue the extension in `run.dir`.
        command: that extends the run, for the history of the class registry.

    Returns:
        The record of the run; None in a helper process of a distributed run.

    Raises:
        ValueError: settings, data or a run that cannot work; nothing has been written then.
        StoppedByUser: on Ctrl-C, after the state was saved.
    """
    folder = Path(config["run"]["dir"])
    check_folder(folder, resume)
    if resume:
        config = files.read_config(folder)
        _check_parent(run, folder, config)
    else:
        config = planned(run, config)
    settings = settings_from(TrainConfig, config["train"])
    if not resume:
        folder.mkdir(parents=True, exist_ok=True)
        files.write_config(folder, config)
    start = folder / START
    if not start.exists():
        prepare(run, start, config, device_of(settings), command)
    data = files.make_data(files.read_config(folder)["data"])
    data.setup()
    assert isinstance(data, Grown)
    if settings.label_noise:
        data.disturb_labels(settings.label_noise, settings.seed)
    say(data.describe())

    def finish(module: LSCModule, record: RunRecord) -> RunRecord:
        memory = settings_from(MemoryConfig, config["memory"])
        return conclude_memory(folder, data, memory, settings.seed, module.embedder, record)

    parts = parts_of(read_run(start), config)
    record = train_parts(config, settings, folder, data, parts, resume, finish)
    if record is not None:
        conclude(folder, [])
    return record


def planned(run: Path, config: Mapping[str, Any]) -> dict[str, Any]:
    """The complete config of an extension, with everything checked that can be before it begins.

    Raises:
        ValueError: naming the argument.
    """
    base, folder = base_config(run), Path(config["run"]["dir"])
    if run.resolve() == folder.resolve() or run.resolve() in folder.resolve().parents:
        raise ValueError(f"Argument 'run.dir' must lie outside of {run}, not in {folder}.")
    _check_sections(run, base, config)
    memory = settings_from(MemoryConfig, config["memory"])
    check_devices(settings_from(TrainConfig, config["train"]))
    warmup = replace(settings_from(WarmupConfig, config["warmup"]), reassign="never")
    trained = read_run(run)
    if not isinstance(trained.objective, VectorObjective):
        raise ValueError(
            f"Argument 'RUN' must be a run with predefined class vectors: {run} has a learned head "
            f"({base['loss']['name']}), whose shape would change."
        )
    if config["data"].get("unique_labels") is not None:
        raise ValueError(
            "Argument 'data.unique_labels' must be left out to extend a run, not "
            f"{config['data']['unique_labels']!r}: classes are told apart by their names."
        )
    new = files.make_data(config["data"])
    new.setup()
    _check_shape(trained, new)
    found = known_labels(run, trained.names, list(new.class_names))
    count = sum(label is None for label in found)
    images = torch.bincount(new.train_dataset.labels, minlength=new.num_classes).tolist()
    for name, label, number in zip(new.class_names, found, images, strict=True):
        if label is None and not number:
            raise ValueError(
                f"Argument 'data' must bring a training image of every new class: {name!r} has "
                "none."
            )
    classes = trained.objective.classes
    if len(trained.names) + count > classes.capacity:
        raise ValueError(
            f"Argument 'data' must bring at most {classes.capacity - len(trained.names)} new "
            f"classes, not {count}: {classes.system!r} has {classes.capacity} vectors, of which "
            f"{len(trained.names)} are in use."
        )
    build_loss(config["loss"], classes)
    same = {
        name: trained.names[label]
        for name, label in zip(new.class_names, found, strict=True)
        if label is not None and name != trained.names[label]
    }
    own = trained.config["data"]
    if memory.size and not (run / REPLAY).is_dir():
        try:
            _run_images(run, trained)
        except (ValueError, OSError) as error:
            raise ValueError(
                f"Argument 'memory.size' must be 0, not {memory.size}: {run} has no replay memory, "
                f"and its data cannot be read: {error}"
            ) from error
    old = [*own["old"], own["new"]] if own["name"] == Grown.name else [own]
    data = {
        "name": Grown.name,
        "memory": str(folder / START / REPLAY),
        "new": {**config["data"], "same": same},
        "old": [_if_readable(part) for part in old],
        "share": memory.share,
        **{key: config["data"][key] for key in OF_LOADING},
    }
    return {
        "run": {**base["run"], "dir": str(folder)},
        "data": data,
        **{key: base[key] for key in FIXED},
        "loss": config["loss"],
        "warmup": asdict(warmup),
        "train": config["train"],
        "memory": asdict(memory),
        PARENT: {"run": str(run), "weights": _digest(run / WEIGHTS)},
    }


def prepare(
    run: Path, start: Path, config: Mapping[str, Any], device: torch.device, command: str
) -> None:
    """What the extension begins from: memory, class vectors, weights, registry.

    Args:
        run: folder of the run that is extended.
        start: folder to write, which appears when it is complete.
        config: of the extension.
        device: for the embeddings.
        command: for the history of the class registry.
    """
    with appearing(start) as temporary:
        _prepare(run, temporary, config, device, command)


def _prepare(
    run: Path, folder: Path, config: Mapping[str, Any], device: torch.device, command: str
) -> None:
    trained = read_run(run, device)
    assert isinstance(trained.objective, VectorObjective)
    old_memory(run, folder / REPLAY, trained, config)
    memory = {"memory": str(folder / REPLAY)}
    data = files.make_data({**config["data"], **memory})
    data.setup()
    assert isinstance(data, Grown)
    classes = grown_classes(trained.objective.classes, data, trained.embed)
    # In this order: the registry and `read_run` go by the config and the classes.
    shutil.copyfile(run / CONFIG, folder / CONFIG)
    classes.save(folder / CLASSES)
    link_or_copy(run / WEIGHTS, folder / WEIGHTS)
    came = torch.bincount(
        data.train_dataset.labels[data.num_remembered :], minlength=data.num_classes
    )
    images = {label: number for label, number in enumerate(came.tolist()) if number}
    names, source = list(data.class_names), str(config["data"]["new"]["name"])
    carry_registry(run, folder, classes, names, images, command=command, data=source)


def grown_classes(classes: ClassMap, data: Grown, embed: Callable[[Tensor], Tensor]) -> ClassMap:
    """The class map with the classes that the data add; the old ones keep their vectors.

    Args:
        classes: of the run.
        data: set up.
        embed: uint8 images `[B, C, H, W]` -> `[B, dim]`, for vectors chosen from data.

    Raises:
        ValueError: a new class has no image.
    """
    names = list(data.class_names[data.num_old :])
    if classes.order != "assigned":
        return classes.extend(names)
    if not names:
        return classes
    means = ClassMeans(len(names), classes.dim)
    for images, labels in data.means_dataloader():
        new = labels >= data.num_old
        if bool(new.any()):
            means.add(embed(images[new]), labels[new] - data.num_old)
    return classes.extend_assigned(means.means(), names)


def parts_of(trained: TrainedRun, config: Mapping[str, Any]) -> Parts:
    """A run as something to train on: as it was trained, with its classes settled.

    Args:
        trained: with the class map to train towards.
        config: of the extension.
    """
    assert isinstance(trained.objective, VectorObjective)
    classes, assignment = trained.objective.classes, config["classes"]["assignment"]
    if assignment == "random":
        objective = VectorObjective(build_loss(config["loss"], classes))
    else:
        warmup = settings_from(WarmupConfig, config["warmup"])
        objective = build_assigned_objective(config["loss"], assignment, warmup, 0)
        objective.settle(classes)
    return Parts(trained.embedder.train(), objective.train(), None)


def conclude_memory(
    folder: Path,
    data: Grown,
    config: MemoryConfig,
    seed: int,
    embedder: Embedder,
    record: RunRecord,
) -> RunRecord:
    """What makes the extended run complete beside its record: what it remembers, the registry.

    Args:
        folder: of the run.
        data: that it was trained on.
        config: of the memory.
        seed: of the run.
        embedder: trained.
        record: of the run.

    Returns:
        The record, with what belongs to an extension.
    """
    start, replay = folder / START, folder / REPLAY
    if is_registry(start / REGISTRY) and not (folder / REGISTRY).exists():
        with replacing(folder / REGISTRY) as copy:
            shutil.copyfile(start / REGISTRY, copy)
    old = StoredImages(start / REPLAY)
    if not replay.exists():
        rows = torch.arange(data.num_remembered, len(data.train_dataset))
        new = RelabelledImages(data.train_dataset, data.train_dataset.labels[rows], rows)
        step = len(files.read_config(folder)["data"]["old"])
        device = embedder.mean.device
        embedder.eval()
        remember(
            replay,
            old,
            new,
            data.class_names,
            old.image_shape,
            config,
            (seed, step),
            lambda images: embedder(images.to(device)),
        )
    return replace(
        record,
        parent=files.read_config(folder)[PARENT]["run"],
        old_classes=data.num_old,
        replayed_images=data.num_remembered,
        remembered_images=len(StoredImages(replay)),
    )


def old_memory(run: Path, folder: Path, trained: TrainedRun, config: Mapping[str, Any]) -> None:
    """The memory to train with: the run's, or one chosen from its data where it has none."""
    memory = settings_from(MemoryConfig, config["memory"])
    shape = (trained.in_channels, trained.image_size, trained.image_size)
    old, new = None, None
    if (run / REPLAY).is_dir():
        old = StoredImages(run / REPLAY)
        if len(old) <= memory.size:
            carry(folder, old)
            return
    elif memory.size:
        new = _run_images(run, trained)
    seed = (config["train"]["seed"], 0)
    remember(folder, old, new, trained.names, shape, memory, seed, trained.embed)


def _run_images(run: Path, trained: TrainedRun) -> LabelledImages:
    """The training images of a run, under its labels.

    Raises:
        ValueError, OSError: the data are no longer there, or other ones.
    """
    data = files.make_data(files.read_config(run)["data"])
    data.setup()
    number = {name: label for label, name in enumerate(trained.names)}
    unknown = [name for name in data.class_names if name not in number]
    if unknown:
        raise ValueError(
            f"the data have {len(unknown)} classes that the run lacks, such as {unknown[0]!r}."
        )
    _check_shape(trained, data)
    own = torch.tensor([number[name] for name in data.class_names])
    return RelabelledImages(data.train_dataset, own[data.train_dataset.labels])


def _if_readable(part: dict[str, Any] | None) -> dict[str, Any] | None:
    """Settings of old data, None where they are gone: their test sets are then left out."""
    if part is None:
        return None
    try:
        files.make_data({k: v for k, v in part.items() if k != "same"}).setup()
    except (DataError, OSError) as error:
        say(f"Old test sets are left out: {error}")
        return None
    return part


def _check_sections(run: Path, base: Mapping[str, Any], config: Mapping[str, Any]) -> None:
    for section in FIXED:
        for key, value in config[section].items():
            if value != base[section].get(key):
                raise ValueError(
                    f"Argument '{section}.{key}' must stay {base[section].get(key)!r} as in {run}, "
                    f"not {value!r}: extending keeps the network and the vectors."
                )
    if config["loss"]["name"] != base["loss"]["name"]:
        raise ValueError(
            f"Argument 'loss.name' must stay {base['loss']['name']!r} as in {run}, not "
            f"{config['loss']['name']!r}."
        )
    for key in ("baselines", "class_means"):
        if config["run"][key]:
            raise ValueError(
                f"Argument 'run.{key}' must be left out to extend a run, not "
                f"{config['run'][key]!r}."
            )


def _check_shape(trained: TrainedRun, data: ImageData) -> None:
    own, given = (trained.in_channels, trained.image_size), (data.in_channels, data.image_size)
    if own != given:
        raise ValueError(
            f"Argument 'data.image_size': the run takes images of {own[0]} x {own[1]} x {own[1]}, "
            f"the data have {given[0]} x {given[1]} x {given[1]}."
        )


def _check_parent(run: Path, folder: Path, config: Mapping[str, Any]) -> None:
    """That an extension is resumed from the run that it began from, as far as it needs it still."""
    parent = config.get(PARENT)
    if parent is None:
        raise ValueError(
            f"Argument 'run.dir' must be an extension to be resumed: {folder} extends no run. "
            f"{files.resume_hint(folder)}"
        )
    if (folder / START).exists():
        return
    files.read_classes(run)
    if _digest(run / WEIGHTS) != parent["weights"]:
        raise ValueError(
            f"Argument 'RUN' must be the run that {folder} extends, {parent['run']} with the "
            f"weights it had, not {run}."
        )


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
