"""A small network trained on what a large one made of the images: `rootspace distill`.

The run folder is that of `rootspace train` with one more folder:

    config.yaml    written first: from here on the distillation can be resumed
    targets/       what the teacher's one pass left; appears when complete
    ...            what `rootspace train` writes

Settings of the section `classes` are resolved so that the run is one of assignment `file`, whose
vectors the teacher gave; of the shuffle, where a teacher's own vectors are a formula.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from rootspace._terminal import say
from rootspace.classes import ClassMap
from rootspace.data import ImageData
from rootspace.runs import RunRecord, TeacherRecord
from rootspace.runs.folder import TARGETS, TEACHER, VECTORS
from rootspace.systems import Table, VectorSystem
from rootspace.train import (
    VECTOR_LOSSES,
    ClassesConfig,
    Embedder,
    LSCModule,
    RunConfig,
    TrainConfig,
)
from rootspace.train import run_folder as files
from rootspace.train.build import build_network, build_system, check_loss
from rootspace.train.config import TABLE
from rootspace.train.run import (
    build_parts,
    check_devices,
    check_folder,
    conclude,
    device_of,
    settings_from,
    train_parts,
)

from ._config import TeacherConfig
from ._targets import CLASSES, IMAGES, take_own, take_targets
from ._teachers import open_teacher

OWN, CODES = "own", "codes"


def distill(config: Mapping[str, Any], *, resume: bool = False) -> RunRecord | None:
    """Train a student towards a teacher's embeddings, in a new run folder (Sec. 6.5).

    The teacher embeds the training images once, in evaluation mode and as they are, and has left
    memory before the student's first step, which then costs what it costs without a teacher. The
    student begins with the class vectors it ends with: no warm-up, no reassignment.

    Args:
        config: sections of `rootspace train` for the student, and `teacher`; when resuming only
            `run.dir` is looked at.
        resume: continue the distillation in `run.dir`; a complete pass of the teacher is not made
            again, and the teacher may be gone.

    Returns:
        The record of the run; None in a helper process of a distributed run.

    Raises:
        ValueError: settings, data or a teacher that cannot work; nothing has been written then.
        StoppedByUser: on Ctrl-C in training, after the state was saved.
    """
    folder = Path(config["run"]["dir"])
    check_folder(folder, resume)
    if resume:
        config = files.read_config(folder)
        if TEACHER not in config:
            raise ValueError(
                f"Argument 'run.dir' must be a distillation to be resumed: {folder} has no "
                f"teacher. {files.resume_hint(folder)}"
            )
    else:
        _check_settings(config)
    teaching = settings_from(TeacherConfig, config["teacher"])
    settings = settings_from(TrainConfig, config["train"])
    data = files.make_data(config["data"])
    data.setup()
    if settings.label_noise:
        data.disturb_labels(settings.label_noise, settings.seed)
    say(data.describe())
    targets = folder / TARGETS
    if targets.exists():  # a run that goes on, or a helper process of a distributed one
        config = files.read_config(folder)
    else:
        config = _with_targets(config, teaching, settings, data, folder)
    if (targets / CLASSES).exists():
        data.number_as(ClassMap.load(targets / CLASSES).names or [])
    if (targets / IMAGES).exists():
        data.targets = np.load(targets / IMAGES, mmap_mode="r")

    def finish(module: LSCModule, record: RunRecord) -> RunRecord:
        return replace(record, teacher=TeacherRecord(**config["teacher"]))

    parts = build_parts(config, data)
    record = train_parts(config, settings, folder, data, parts, resume, finish)
    if record is not None:
        conclude(folder, [])
    return record


def _with_targets(
    config: Mapping[str, Any],
    teaching: TeacherConfig,
    settings: TrainConfig,
    data: ImageData,
    folder: Path,
) -> dict[str, Any]:
    """Make the teacher's pass; the settings of the student that trains towards it.

    Everything that can be wrong shows before anything is written. The teacher is known here only,
    and its memory is free when this returns.
    """
    targets = folder / TARGETS
    own = _own_classes(teaching, data)
    if own is not None:
        classes, names = own
        config = _towards(config, OWN, classes, targets)
        _check_student(config, classes.system, data)
        _write_config(folder, config)
        take_own(targets, classes, names)
        return config
    _check_images(data)
    teacher = open_teacher(teaching, data, settings, device_of(settings))
    kind = teaching.targets or CODES
    system = _system(config, kind, teacher.dim, data.num_classes)
    config, dim = _towards(config, kind, None, targets), system.dim
    _check_student(config, system, data)
    _write_config(folder, config)
    given = settings_from(ClassesConfig, config["classes"])
    turns = given.rotate and (kind == CODES or dim != teacher.dim)
    labels = data.train_dataset.labels
    take_targets(
        targets, teacher, labels, data.num_classes, dim, given.seed if turns else None,
        images=kind == "images",
    )  # fmt: skip
    return config


def _own_classes(teaching: TeacherConfig, data: ImageData) -> tuple[ClassMap, list[str]] | None:
    """The class map of a teacher that the student shares, and the names of its classes.

    Raises:
        ValueError: the targets are to be the teacher's own vectors and cannot.
    """
    if teaching.run is None or teaching.targets not in (None, OWN):
        return None
    try:
        # Not its network, which nothing is embedded by.
        loss = files.read_config(Path(teaching.run))["loss"]["name"]
        classes, names = files.read_classes(Path(teaching.run))
    except (OSError, ValueError) as error:
        raise ValueError(f"Argument 'teacher.run': {error}") from error
    if classes is None:
        if teaching.targets is None:
            return None
        raise ValueError(
            f"Argument 'teacher.targets' = 'own' needs a teacher with class vectors: "
            f"{teaching.run} has a learned head ({loss})."
        )
    known = set(names)
    unknown = [name for name in data.class_names if name not in known]
    if unknown:
        raise ValueError(
            f"Argument 'teacher.targets' = 'own' needs data whose classes are all the teacher's: "
            f"{teaching.run} lacks {len(unknown)} of {data.num_classes}, such as {unknown[0]!r}. "
            "Set it to codes, means or images."
        )
    return classes, names


def _towards(
    config: Mapping[str, Any], kind: str, own: ClassMap | None, targets: Path
) -> dict[str, Any]:
    """The settings with the class vectors that the teacher gives."""
    given = settings_from(ClassesConfig, config["classes"])
    vectors = str(targets / VECTORS)
    if own is not None and given.system not in (None, TABLE, repr(own.system)):
        raise ValueError(
            f"Argument 'classes.system' must be left out, not {given.system!r}: the student takes "
            f"the vectors of its teacher, of {own.system!r}; else set 'teacher.targets'."
        )
    if own is None:
        system = given.system if kind == CODES else TABLE
        classes = replace(given, assignment="file", vectors=vectors, system=system)
    elif own.order == "assigned":
        system = TABLE if isinstance(own.system, Table) else repr(own.system)
        classes = replace(given, assignment="file", vectors=vectors, system=system)
    else:
        classes = replace(
            given, assignment="random", system=repr(own.system), order=own.order, seed=own.seed
        )
    teaching = {**config["teacher"], "targets": kind}
    return {**config, "classes": asdict(classes), "teacher": teaching}


def _system(
    config: Mapping[str, Any], kind: str, teacher_dim: int, num_classes: int
) -> VectorSystem:
    """The system of the student's class vectors; for means one that stands for their table."""
    given, dim = settings_from(ClassesConfig, config["classes"]), config["model"].get("dim")
    if kind == CODES:
        # Of another assignment than `file`, whose file is not there yet.
        return build_system(ClassesConfig(system=given.system), num_classes, dim)
    return Table(torch.ones(1, teacher_dim if dim is None else dim))


def _check_settings(config: Mapping[str, Any]) -> None:
    """What a student of any teacher cannot have."""
    teaching = settings_from(TeacherConfig, config["teacher"])
    run = settings_from(RunConfig, config["run"])
    check_devices(settings_from(TrainConfig, config["train"]))
    classes = settings_from(ClassesConfig, config["classes"])
    if run.baselines:
        raise ValueError(
            f"Argument 'run.baselines' must be left out to distill, not {run.baselines!r}: a "
            "baseline has no teacher."
        )
    if config["loss"]["name"] not in VECTOR_LOSSES:
        raise ValueError(
            f"Argument 'loss.name' must be one of {', '.join(VECTOR_LOSSES)} to distill, not "
            f"{config['loss']['name']!r}: the teacher gives the class vectors."
        )
    if classes.assignment != ClassesConfig.assignment:
        raise ValueError(
            "Argument 'classes.assignment' must be left out to distill, not "
            f"{classes.assignment!r}: the teacher gives the class vectors."
        )
    if classes.system is not None and teaching.targets not in (None, CODES):
        raise ValueError(
            f"Argument 'classes.system' = {classes.system!r} needs 'teacher.targets' = 'codes', "
            f"not {teaching.targets!r}."
        )


def _check_student(config: Mapping[str, Any], system: VectorSystem, data: ImageData) -> None:
    wanted, dim = config["model"].get("dim"), system.dim
    if wanted not in (None, dim):
        raise ValueError(
            f"Argument 'model.dim' must be {dim}, the dimension of the teacher's class vectors, or "
            f"be left out, not {wanted}."
        )
    check_loss(config["loss"], system)
    network = build_network(config["model"], dim, data.in_channels, data.image_size, False)
    if init := settings_from(RunConfig, config["run"]).init:
        files.read_network(init, Embedder(network, data.mean, data.std))


def _check_images(data: ImageData) -> None:
    counts = torch.bincount(data.train_dataset.labels, minlength=data.num_classes)
    if not bool(counts.all()):
        name = data.class_names[int((counts == 0).nonzero()[0, 0])]
        raise ValueError(
            "Argument 'data' must bring a training image of every class, to take the mean of: "
            f"{name!r} has none."
        )


def _write_config(folder: Path, config: Mapping[str, Any]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    files.write_config(folder, config)
