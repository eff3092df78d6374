"""A small network trained on what a large one made of the inputs: `rootspace distill`.

The run folder is that of `rootspace train` with one more folder:

    config.yaml    written first: from here on the distillation can be resumed
    targets/       what the teacher's one pass left; appears when complete
    ...            what `rootspace train` writes
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, replace
from pathlib import Path
from typing import cast

import numpy as np
import torch

from rootspace._files import lock, wait_for_first
from rootspace._terminal import say
from rootspace.building import TABLE, check_acting, make_head, make_loss
from rootspace.classes import ClassMap
from rootspace.config import ClassSpec, Config, PrototypesConfig, TeacherConfig
from rootspace.data import DataModule, make_data
from rootspace.heads import Head, PrototypeHead
from rootspace.model_file import Model, read_head
from rootspace.run import read_config
from rootspace.runs import RunRecord, TeacherRecord
from rootspace.runs import folder as files
from rootspace.systems import Table
from rootspace.train.begun import check_data
from rootspace.train.checks import check_batches, check_every_class, check_network
from rootspace.train.module import check_optimizer
from rootspace.train.trainer import check_machine, device_of
from rootspace.train.training import (
    check_folder,
    conclude,
    fit,
    make_network,
    with_expected_images,
)
from rootspace.vector_file import read_table, read_vectors

from .targets import CLASSES, IMAGES, take_own, take_targets
from .teachers import open_teacher

OWN, CODES = "own", "codes"

LOSS = ClassSpec("rootspace.losses.InBatchSoftmaxLoss", {"negatives": 4096})
"""A softmax over as many classes as a step bears, measured: docs/distillation.md."""


def distill(config: Config, *, resume: bool = False) -> RunRecord | None:
    """Train a student towards a teacher's embeddings, in a new run folder (Sec. 6.5).

    The teacher embeds the training data once, in evaluation mode and as they are, and has left
    memory before the student's first step, which then costs what it costs without a teacher. The
    student begins with the prototypes it ends with: no contrastive stage, no further choice.

    Args:
        config: of the student, and its `teacher`; when resuming those of the run, but for where it
            is computed and its data lie.
        resume: continue the distillation in `run.dir`; a complete pass of the teacher is not made
            again, and the teacher may be gone.

    Returns:
        The record of the run; None in a helper process of a distributed run.

    Raises:
        ValueError: settings, data or a teacher that cannot work; nothing has been written then.
        StoppedByUser: on Ctrl-C in training, after the state was saved.
    """
    folder = Path(config.run.dir)
    check_folder(folder, resume)
    teaching = config.teacher
    if teaching is None:
        raise ValueError(
            f"Argument 'run.dir' must be a distillation to be resumed: "
            f"{folder / files.CONFIG} has no teacher. "
            f"{files.resume_hint(folder, config)}"
        )
    check_machine(config)
    if not resume:
        _check_settings(config, teaching)
        config = with_expected_images(config)
    data = make_data(config)
    data.setup()
    say(data.describe())
    targets = folder / files.TARGETS
    wait_for_first(targets)
    if not targets.exists():
        config = _make_targets(config, teaching, data, folder)
    elif not resume:  # a helper process of a distributed run
        config = read_config(folder)
    files.check_whole(targets)
    check_data(targets, data)
    if (targets / CLASSES).exists():
        data.number_as(ClassMap.load(targets / CLASSES).names or [])
    if (targets / IMAGES).exists():
        data.targets = np.load(targets / IMAGES, mmap_mode="r")

    def finish(model: Model, record: RunRecord) -> RunRecord:
        assert config.teacher is not None and config.teacher.targets is not None
        teacher = asdict(config.teacher) | {"targets": config.teacher.targets}
        return replace(record, teacher=TeacherRecord(**teacher))

    torch.manual_seed(config.train.seed)
    head = _head(config, targets, data)
    embedder, preprocessing = make_network(config, head.dim, data)
    model = Model(embedder, head, preprocessing)
    record = fit(config, folder, data, model, resume=resume, finish=finish)
    if record is not None:  # else a helper process of a distributed run
        conclude(folder, [])
    return record


def _head(config: Config, targets: Path, data: DataModule) -> PrototypeHead:
    """The student's head, with the prototypes that the teacher gave."""
    loss = make_loss(config)
    if (targets / CLASSES).exists():
        return PrototypeHead.from_map(ClassMap.load(targets / CLASSES), loss)
    assert config.teacher is not None
    if config.teacher.targets == CODES:
        head = cast(PrototypeHead, make_head(config, data.class_names))
        head.choose(read_vectors(targets / files.VECTORS, head.dim, data.class_names))
        return head
    table = read_table(targets / files.VECTORS)
    names = list(data.class_names)
    return PrototypeHead.from_map(ClassMap(table, len(names), "natural", names=names), loss)


def _make_targets(
    config: Config, teaching: TeacherConfig, data: DataModule, folder: Path
) -> Config:
    """Make the teacher's pass; the settings of the student that trains towards it.

    Everything that can be wrong shows before anything is written. The teacher is known here only,
    and its memory is free when this returns.
    """
    targets = folder / files.TARGETS
    own = _own_classes(teaching, data)
    if own is not None:
        class_map, names = own
        config = _towards(config, teaching, OWN)
        if config.head.init_args.get("system") not in (None, TABLE, repr(class_map.system)):
            raise ValueError(
                f"Argument 'head.system' must be left out, not {config.head.init_args['system']!r}:"
                f" the student takes the prototypes of its teacher, of {class_map.system!r}; else "
                "set 'teacher.targets'."
            )
        _check_student(config, class_map, data)
        with _begun(folder, config):
            take_own(targets, class_map, names, data)
        return config
    check_every_class(data)
    teacher = open_teacher(teaching, data, config.train, device_of(config.train))
    kind = teaching.targets or CODES
    config = _towards(config, teaching, kind)
    if kind == CODES:
        dim = make_head(config, data.class_names).dim
    else:
        dim = config.head.init_args.get("dim") or teacher.dim
    _check_student(config, ClassMap(Table(torch.ones(1, dim)), 1, "natural"), data)
    rotates = config.head.init_args.get("rotate", True)
    turns = rotates and (kind == CODES or dim != teacher.dim)
    seed = config.head.init_args.get("seed", 0) if turns else None
    with _begun(folder, config):
        take_targets(targets, teacher, data, dim, seed, images=kind == "images")
    return config


def _own_classes(teaching: TeacherConfig, data: DataModule) -> tuple[ClassMap, list[str]] | None:
    """The class map of a teacher that the student shares, and the names of its classes.

    Raises:
        ValueError: the targets are to be the teacher's own prototypes and cannot.
    """
    if teaching.run is None or teaching.targets not in (None, OWN):
        return None
    folder = Path(teaching.run)
    try:
        # Not its network, which nothing is embedded by.
        settings = read_config(folder)
        files.check_finished(folder)
        head = read_head(files.checked(folder / files.MODEL), settings)
    except ValueError as error:
        raise ValueError(f"Argument 'teacher.run': {error}") from error
    if head.class_map is None:
        if teaching.targets is None:
            return None
        raise ValueError(
            f"Argument 'teacher.targets' = 'own' needs a teacher with prototypes: "
            f"{teaching.run} has a learned head ({settings.head.name})."
        )
    names = head.names or [str(label) for label in range(head.num_classes)]
    known = set(names)
    unknown = [name for name in data.class_names if name not in known]
    if unknown:
        raise ValueError(
            f"Argument 'teacher.targets' = 'own' needs data whose classes are all the teacher's: "
            f"{teaching.run} lacks {len(unknown)} of {data.num_classes}, such as {unknown[0]!r}. "
            "Set it to codes, means or images."
        )
    return head.class_map, names


def _towards(config: Config, teaching: TeacherConfig, kind: str) -> Config:
    """The settings of a student: its targets and loss as resolved, and no contrastive loss."""
    arguments = {**config.head.init_args, "contrastive_weight": 0.0}
    head = replace(config.head, init_args=arguments)
    teacher = replace(teaching, targets=kind)  # pyright: ignore[reportArgumentType]
    return replace(config, head=head, loss=config.loss or LOSS, teacher=teacher)


def _check_settings(config: Config, teaching: TeacherConfig) -> None:
    """What a student of any teacher cannot have."""
    if config.run.baselines:
        raise ValueError(
            f"Argument 'run.baselines' must be left out to distill, not {config.run.baselines!r}: "
            "a baseline has no teacher."
        )
    if not issubclass(config.head.resolve(Head, "head"), PrototypeHead):  # pyright: ignore[reportAbstractUsage]
        raise ValueError(
            f"Argument 'head' must be a PrototypeHead to distill, not {config.head.class_path}: "
            "the teacher gives the prototypes."
        )
    for name, value in asdict(config.prototypes).items():
        if value != getattr(PrototypesConfig, name):
            raise ValueError(
                f"Argument 'prototypes.{name}' must be left out to distill, not {value!r}: the "
                "teacher gives the prototypes."
            )
    check_acting(config)
    system = config.head.init_args.get("system")
    if system is not None and teaching.targets not in (None, CODES):
        raise ValueError(
            f"Argument 'head.system' = {system!r} needs 'teacher.targets' = 'codes', not "
            f"{teaching.targets!r}."
        )


def _check_student(config: Config, class_map: ClassMap, data: DataModule) -> None:
    wanted, dim = config.head.init_args.get("dim"), class_map.dim
    if wanted not in (None, dim):
        raise ValueError(
            f"Argument 'head.dim' must be {dim}, the dimension of the teacher's prototypes, or "
            f"be left out, not {wanted}."
        )
    head = PrototypeHead.from_map(class_map, make_loss(config))
    embedder, preprocessing = make_network(config, head.dim, data, load_weights=False)
    model = Model(embedder, head, preprocessing)
    check_batches(config, head, data, data.validation)
    check_optimizer(config, model.embedder, head)
    check_network(model, data)


@contextmanager
def _begun(folder: Path, config: Config) -> Iterator[None]:
    """Write the settings, and hold the folder against other processes."""
    folder.mkdir(parents=True, exist_ok=True)
    with lock(folder):
        files.write_config(folder, config)
        yield
