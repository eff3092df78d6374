"""Classes added to a trained run: `rootspace extend`.

The run that is extended is only read. The extended one is a run folder of its own:

    config.yaml   written first: from here on the extension can be resumed
    start/        the run with the new classes' vectors, before training; appears when complete
    start/replay  the images that training repeats
    ...           what `rootspace train` writes
    replay        what is remembered for the next extension
    manifest.json written last: the run is complete

Whatever is written appears under its name when it is whole, and each step is skipped where its
result is there, so a process may be killed at any moment.
"""

from __future__ import annotations

import inspect
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import torch

from rootspace._files import appearing, is_helper, lock, wait_for_first
from rootspace._terminal import say
from rootspace.choosing import class_means, evaluation_mode, to_device
from rootspace.config import (
    ClassSpec,
    Config,
    LoaderConfig,
    MemoryConfig,
    ParentConfig,
    RunConfig,
    spec_from,
)
from rootspace.continual.live import (
    REGISTRY,
    carry_registry,
    copy_registry,
    known_labels,
)
from rootspace.data import (
    DataModule,
    Grown,
    LabeledDataset,
    StoredImages,
    View,
    data_with_images,
    make_data,
)
from rootspace.data.grown import ADDED, GROWN, Part, rows_not_in
from rootspace.data.module import VALIDATION, validation_of
from rootspace.model_file import Model, class_names, write_model
from rootspace.run import Run, load, read_config
from rootspace.runs import RunRecord
from rootspace.runs import folder as files
from rootspace.train.begun import DATA, check_data, write_data
from rootspace.train.checks import check_batches
from rootspace.train.evaluation import check_shape
from rootspace.train.forgetting import LessForgetting
from rootspace.train.module import check_optimizer
from rootspace.train.trainer import check_machine, device_of
from rootspace.train.training import check_folder, conclude, fit

from .replay import carry, remember

FIXED = ("model", "head", "loss", "prototypes")
"""Settings that an extension takes over as they are."""

LOWER_RATE = 0.1
"""Learning rate of an extension, relative to that of the run; measured (docs/incremental.md)."""

PART = f"{Part.__module__}.{Part.__qualname__}"


def base_config(run: Run) -> Config:
    """The settings of a run from which those of an extension start.

    The learning rate is a tenth of that from scratch, which would undo what the run has learned
    before it has learned again; a further extension keeps that of the one before.

    Args:
        run: to be extended.

    Raises:
        ValueError: it is not finished.
    """
    files.check_finished(run.folder)
    config = run.config
    train = config.train
    if config.parent is None:
        rate = run.model.embedder.default_lr if train.lr is None else train.lr
        train = replace(train, lr=LOWER_RATE * rate)
    return replace(
        config,
        run=RunConfig(),
        # Numbers would name the classes, and what was set aside is not new.
        loader=replace(config.loader, unique_labels=None, validation=0.0),
        train=train,
        memory=config.memory or MemoryConfig(),
        teacher=None,
    )


def extend(
    run: Path, config: Config, *, resume: bool = False, command: str = ""
) -> RunRecord | None:
    """Add the classes of new data to a run and train on, in a new run folder.

    The network keeps its shape, the old classes keep their prototypes to the bit. New classes get
    the next vectors of a formula, or of prototypes chosen from data the free ones nearest to the
    means of their embeddings, by the network as it is. Then training goes on with the run's loss on
    the new images and the replay memory, and no class gets another prototype at the end.

    Memory does not depend on the number of images: see `Grown` and `remember`. The class means of
    the new classes take `ClassMeans`.

    Args:
        run: folder of the run to extend, only read.
        config: as `base_config`, `data` the new images and `run.dir` the new folder; when resuming
            those of the extension, but for where it is computed and its new data lie.
        resume: continue the extension in `run.dir`.
        command: that extends the run, for the history of the class registry.

    Returns:
        The record of the run; None in a helper process of a distributed run.

    Raises:
        ValueError: settings, data or a run that cannot work; nothing has been written then.
        StoppedByUser: on Ctrl-C, after the state was saved.
    """
    folder = Path(config.run.dir)
    check_folder(folder, resume)
    wait_for_first(folder / files.START)
    if resume:
        _check_parent(run, folder, config)
        check_machine(config)
    elif is_helper():  # the first process of a distributed run has begun it
        config = read_config(folder)
    else:
        config = planned(load(run), config)
        folder.mkdir(parents=True, exist_ok=True)
        files.write_config(folder, config)
    start = folder / files.START
    if not start.exists():
        with lock(folder):
            prepare(load(run, device_of(config.train)), start, config, command)
    files.check_whole(start)
    model = load(start).model
    data = make_data(config)
    data.setup()
    check_data(start, data, model.head.names)
    say(data.describe())
    say(_found(data))

    def finish(model: Model, record: RunRecord) -> RunRecord:
        return conclude_memory(folder, data, config, model, record)

    record = fit(
        config,
        folder,
        data,
        model,
        resume=resume,
        less_forgetting=_less_forgetting(config, model, _source(data).num_old),
        finish=finish,
    )
    if record is not None:
        conclude(folder, [])
    return record


def _less_forgetting(config: Config, model: Model, num_old: int) -> LessForgetting | None:
    """What holds old classes where they were, as the settings ask for."""
    assert config.memory is not None
    if not config.memory.distillation:
        return None
    return LessForgetting(model.embedder, num_old, config.memory.distillation)


def _found(data: DataModule) -> str:
    """What an extension trains on, in one line."""
    source, images = _source(data), len(data.train_dataset)
    return (
        f"{data.num_classes - source.num_old:,} new classes, {source.num_old:,} kept, "
        f"{images - source.num_remembered:,} new images, {source.num_remembered:,} remembered"
    )


def planned(run: Run, config: Config) -> Config:
    """The complete settings of an extension, with everything checked that can be before it begins.

    Raises:
        ValueError: naming the argument.
    """
    base, folder = base_config(run), Path(config.run.dir)
    files.check_whole(run.folder)
    if run.folder.resolve() == folder.resolve() or run.folder.resolve() in folder.resolve().parents:
        raise ValueError(f"Argument 'run.dir' must lie outside of {run.folder}, not in {folder}.")
    _check_sections(run.folder, base, config)
    check_machine(config)
    class_map = run.class_map
    if class_map is None:
        raise ValueError(
            f"Argument 'RUN' must be a run with prototypes: {run.folder} has a learned head "
            f"({config.head.name}), whose shape would change."
        )
    if run.model.preprocessing is None:
        raise ValueError(
            f"Argument 'RUN' must be a run on images, which a memory can keep: {run.folder} is not."
        )
    if config.data.class_path == GROWN:
        raise ValueError(
            f"Argument 'data' must name the new data, not those of {run.folder} with its memory."
        )
    shape = run.model.preprocessing
    config = replace(config, data=data_with_images(config.data, shape.size, shape.interpolation))
    share = config.loader.validation
    new = make_data(replace(config, loader=replace(config.loader, validation=0.0)))
    new.setup()
    check_shape(run.model, new, f"Argument 'data': {run.folder}")
    found = known_labels(run.folder, run.names, list(new.class_names))
    count = sum(label is None for label in found)
    images = torch.bincount(new.train_dataset.labels, minlength=new.num_classes).tolist()
    for name, label, number in zip(new.class_names, found, images, strict=True):
        if label is None and not number:
            raise ValueError(
                f"Argument 'data' must bring a training image of every new class: {name!r} has "
                "none."
            )
    if len(run.names) + count > class_map.capacity:
        raise ValueError(
            f"Argument 'data' must bring at most {class_map.capacity - len(run.names)} new "
            f"classes, not {count}: {class_map.system!r} has {class_map.capacity} vectors, of "
            f"which {len(run.names)} are in use."
        )
    same = {
        name: run.names[label]
        for name, label in zip(new.class_names, found, strict=True)
        if label is not None and name != run.names[label]
    }
    memory = config.memory or MemoryConfig()
    if memory.size and not (run.folder / files.REPLAY).is_dir():
        try:
            _run_images(run)
        except (ValueError, OSError) as error:
            raise ValueError(
                f"Argument 'memory.size' must be 0, not {memory.size}: {run.folder} has no replay "
                f"memory, and its data cannot be read: {error}"
            ) from error
    if not count:
        _check_new_images(run, new, found)
    data, tests = grown_data(run, config.data, same, memory, list(new.test_datasets), folder)
    validation = validation_of(tests)
    if share and validation is not None:
        raise ValueError(
            f"Argument 'loader.validation' must be 0, not {share}: the validation set of the "
            f"extended run is '{validation}'."
        )
    check_batches(config, run.model.head, new, VALIDATION[0] if share else validation)
    check_optimizer(config, run.model.embedder, run.model.head)
    return replace(
        base,
        run=RunConfig(dir=str(folder)),
        data=data,
        loader=config.loader,
        transform=config.transform,
        optimizer=config.optimizer,
        scheduler=config.scheduler,
        loggers=config.loggers,
        callbacks=config.callbacks,
        train=config.train,
        memory=memory,
        parent=ParentConfig(str(run.folder), files.digest(run.folder / files.MODEL)),
    )


def _check_new_images(run: Run, new: DataModule, labels: Sequence[int | None]) -> None:
    """Raise a ValueError where known classes get no image that the run was not trained on."""
    try:
        old = _run_images(run)
    except (ValueError, OSError):  # its data are gone: what it remembers of them
        if not (run.folder / files.REPLAY).is_dir():
            return
        old = StoredImages(run.folder / files.REPLAY)
    own = torch.tensor([-1 if label is None else label for label in labels])
    if not len(rows_not_in(old, new.train_dataset, own[new.train_dataset.labels])):
        raise ValueError(
            f"Argument 'data' must bring a class or an image that {run.folder} was not trained on: "
            f"all {new.num_classes:,} classes and {len(new.train_dataset):,} images are known. "
            "Name other data, such as --data ImageFolder --data.root new."
        )


def grown_data(
    run: Run,
    new: ClassSpec,
    same: dict[str, str],
    memory: MemoryConfig,
    tests: Sequence[str],
    folder: Path,
) -> tuple[ClassSpec, set[str]]:
    """The data of the extended run: its memory, the new images, all test sets; and their names.

    Test sets keep the names that they have in the run. One of the new data whose name is taken gets
    that of the new run's folder behind it. Where the new data are those of the run or of an earlier
    extension, with more in them by now, their test sets take the place of the old ones.

    Args:
        run: that is extended.
        new: the new data.
        same: name of a class of it -> name that the class has in the run.
        memory: settings.
        tests: names of the new data's test sets.
        folder: of the new run.
    """
    own, taken = run.config.data, set(RunRecord.read(run.folder).test)
    old: list[Mapping[str, object] | None] = []
    if own.class_path == GROWN:
        old = [*own.init_args["old"], own.init_args["new"]]
    elif run.config.loader.unique_labels is None:
        old = [_part(own, tests={name: name for name in taken})]
    else:
        old = [None]
        say("Old test sets are left out: each image was a class of its own.")
    shown, names = dict[str, str](), set[str]()
    for number, part in enumerate(old):
        if part is None:
            continue
        its = _tests_of(part)
        taken |= {*its, *its.values()}
        if _arguments(_shaped(_data_of(part), run), "data") == _arguments(new, "data"):
            shown |= its
            old[number] = None
        else:
            there = _test_sets(part, run.config)
            names |= {its.get(name, name) for name in there if not its or name in its}
            old[number] = part if there else None
    for name in tests:
        if name not in shown:
            shown[name] = f"{name}@{folder.resolve().name}" if name in taken else name
            while shown[name] in taken:
                shown[name] += "+"
            taken.add(shown[name])
    arguments = {
        "memory": f"{files.START}/{files.REPLAY}",
        "new": _part(new, same, shown),
        "old": old,
        "share": memory.share,
    }
    return ClassSpec(GROWN, arguments), names | {*shown.values()}


def _shaped(data: ClassSpec, run: Run) -> ClassSpec:
    """Data with the images of a run, where their settings leave size and interpolation open."""
    shape = run.model.preprocessing
    return data if shape is None else data_with_images(data, shape.size, shape.interpolation)


def _part(
    data: ClassSpec, same: Mapping[str, str] | None = None, tests: Mapping[str, str] | None = None
) -> Mapping[str, object]:
    """A `Part` as settings name it."""
    return asdict(ClassSpec(PART, {"data": data, "same": same or {}, "tests": tests or {}}))


def new_data(config: Config) -> ClassSpec:
    """The data that an extension has added, from its settings; those of any other run."""
    grown = config.data.class_path == GROWN
    return _data_of(config.data.init_args["new"]) if grown else config.data


def with_new_data(found: Config, config: Config) -> Config:
    """Settings of an extension whose data are the new ones alone, with the others as they were.

    Args:
        found: of the extension, with all its data.
        config: the same with `new_data`, which may lie elsewhere now.
    """
    if found.data.class_path != GROWN:
        return config
    part = spec_from(found.data.init_args["new"], "data")
    new = replace(part, init_args={**part.init_args, "data": asdict(config.data)})
    data = replace(found.data, init_args={**found.data.init_args, "new": asdict(new)})
    return replace(config, data=data)


def _data_of(part: Mapping[str, object]) -> ClassSpec:
    """The data of a `Part` from what `_part` gave."""
    return spec_from(spec_from(part, "data").init_args["data"], "data")


def _tests_of(part: Mapping[str, object]) -> Mapping[str, str]:
    """Test set of a `Part` -> name that it has in the run."""
    return spec_from(part, "data").init_args["tests"]


def _test_sets(part: Mapping[str, object], config: Config) -> list[str]:
    """Test sets of old data as they are now; none, with a message, where the data are gone."""
    try:
        data = make_data(replace(config, data=_data_of(part), loader=LoaderConfig()))
        data.setup()
    except (ValueError, OSError) as error:
        say(f"Old test sets are left out: {error}")
        return []
    return list(data.test_datasets)


def prepare(run: Run, start: Path, config: Config, command: str) -> None:
    """What the extension begins from: memory, prototypes, weights, registry.

    Args:
        run: that is extended.
        start: folder to write, which appears when it is complete.
        config: of the extension.
        command: for the history of the class registry.
    """
    with appearing(start) as temporary:
        old_memory(run, temporary / files.REPLAY, config)
        memory = str((temporary / files.REPLAY).resolve())
        spec = ClassSpec(GROWN, {**config.data.init_args, "memory": memory})
        data = make_data(replace(config, data=spec, loader=_noiseless(config.loader)))
        data.setup()
        source = _source(data)
        np.save(temporary / ADDED, source.added)
        names = list(data.class_names[source.num_old :])
        head, embedder = run.model.head, run.model.embedder
        assert head.class_map is not None
        if names and head.class_map.order == "assigned":
            rows = (data.train_dataset.labels >= source.num_old).nonzero()[:, 0]
            labels = data.train_dataset.labels[rows] - source.num_old
            loader = data.loader_of(View(data.train_dataset, labels, rows))
            means = class_means(embedder, loader, len(names), device=run.device)
            head.extend(names, means.means())
            if config.prototypes.follow:
                head.follow(source.num_old)
        elif names:
            head.extend(names)
        shutil.copyfile(run.folder / files.CONFIG, temporary / files.CONFIG)
        write_model(temporary / files.MODEL, run.model)
        came = torch.bincount(
            data.train_dataset.labels[source.num_remembered :], minlength=data.num_classes
        )
        images = {label: number for label, number in enumerate(came.tolist()) if number}
        carry_registry(
            run.folder,
            temporary,
            head.class_map,
            class_names(run.model),
            images,
            settled=not head.follows,
            command=command,
            data=_data_of(config.data.init_args["new"]).name,
        )
        if config.loader.label_noise:  # which the means above are without
            data = make_data(replace(config, data=spec))
            data.setup()
        write_data(temporary, data)
        files.finish(temporary, REGISTRY, DATA, ADDED)


def conclude_memory(
    folder: Path, data: DataModule, config: Config, model: Model, record: RunRecord
) -> RunRecord:
    """What makes the extended run complete beside its record: what it remembers, the registry.

    Args:
        folder: of the run.
        data: that it was trained on.
        config: of the run.
        model: trained.
        record: of the run so far.
    """
    start, replay, source = folder / files.START, folder / files.REPLAY, _source(data)
    assert config.memory is not None and config.parent is not None
    if (start / REGISTRY).exists() and not (folder / REGISTRY).exists():
        copy_registry(start, folder, model.head.class_map)
    old = StoredImages(start / files.REPLAY)
    if not replay.exists():
        rows = torch.arange(source.num_remembered, len(data.train_dataset))
        new = View(data.train_dataset, data.train_dataset.labels[rows], rows)
        step = len(config.data.init_args["old"])
        device = next(model.embedder.parameters()).device
        with evaluation_mode(model.embedder):
            remember(
                replay,
                old,
                new,
                data.class_names,
                old.image_shape,
                config.memory,
                (config.train.seed, step),
                lambda images: model.head.transform(model.embedder(to_device(images, device))),
            )
    return replace(
        record,
        parent=config.parent.run,
        old_classes=source.num_old,
        replayed_images=source.num_remembered,
        remembered_images=len(StoredImages(replay)),
    )


def old_memory(run: Run, folder: Path, config: Config) -> None:
    """The memory to train with: the run's, or one chosen from its data where it has none."""
    memory, shape = config.memory, run.model.preprocessing
    assert memory is not None and shape is not None
    old, new = None, None
    if (run.folder / files.REPLAY).is_dir():
        old = StoredImages(run.folder / files.REPLAY)
        if len(old) <= memory.size:
            carry(folder, old)
            return
    elif memory.size:
        new = _run_images(run)
    seed = (config.train.seed, 0)
    image_shape = (shape.channels, shape.size, shape.size)
    remember(folder, old, new, run.names, image_shape, memory, seed, run.embed_batch)


def _source(data: DataModule) -> Grown:
    assert isinstance(data.source, Grown)
    return data.source


def _run_images(run: Run) -> LabeledDataset:
    """The training images of a run, under its labels; without those of classes that came later.

    Raises:
        ValueError, OSError: the data are no longer there, or other ones.
    """
    data = make_data(replace(run.config, loader=_noiseless(run.config.loader)))
    data.setup()
    number = {name: label for label, name in enumerate(run.names)}
    check_shape(run.model, data, "The run")
    own = torch.tensor([number.get(name, -1) for name in data.class_names])
    labels = own[data.train_dataset.labels]
    rows = (labels >= 0).nonzero()[:, 0]
    if not len(rows):
        raise ValueError(f"the data have no image of the run's classes: {data.describe()}.")
    return View(data.train_dataset, labels[rows], rows)


def _noiseless(loader: LoaderConfig) -> LoaderConfig:
    return replace(loader, label_noise=0.0)


def _check_sections(run: Path, base: Config, config: Config) -> None:
    for section in FIXED:
        mine, its = _settings(section, config), _settings(section, base)
        for key in its | mine:
            if mine.get(key) != its.get(key):
                raise ValueError(
                    f"Argument '{key}' must stay {its.get(key)!r} as in {run}, not "
                    f"{mine.get(key)!r}: extending keeps the network and the prototypes."
                )
    for key in ("baselines", "class_means"):
        if getattr(config.run, key):
            raise ValueError(
                f"Argument 'run.{key}' must be left out to extend a run, not "
                f"{getattr(config.run, key)!r}."
            )
    if config.loader.unique_labels is not None:
        raise ValueError(
            "Argument 'loader.unique_labels' must be left out to extend a run, not "
            f"{config.loader.unique_labels!r}: classes are told apart by their names."
        )


def _settings(section: str, config: Config) -> dict[str, object]:
    """All settings of a section by their names, whether they are given or defaults."""
    settings = getattr(config, section)
    if settings is None:
        return {}
    if isinstance(settings, ClassSpec):
        return _arguments(settings, section)
    return {f"{section}.{key}": value for key, value in asdict(settings).items()}


def _arguments(spec: ClassSpec, section: str) -> dict[str, object]:
    """A class and all its arguments by their names, whether they are given or defaults."""
    cls = spec.resolve(object, section)
    found: dict[str, object] = {section: cls.__name__}
    for name, parameter in inspect.signature(cls).parameters.items():
        if parameter.default is not parameter.empty:
            found[f"{section}.{name}"] = parameter.default
    return found | {f"{section}.{key}": value for key, value in spec.init_args.items()}


def _check_parent(run: Path, folder: Path, config: Config) -> None:
    """That an extension is resumed from the run that it began from, as far as it needs it still."""
    if config.parent is None:
        raise ValueError(
            f"Argument 'run.dir' must be an extension to be resumed: "
            f"{folder / files.CONFIG} extends no run. "
            f"{files.resume_hint(folder, config)}"
        )
    if (folder / files.START).exists():
        return
    files.check_finished(run)
    files.check_whole(run)
    if files.digest(run / files.MODEL) != config.parent.weights:
        raise ValueError(
            f"Argument 'RUN' must be the run that {folder} extends, {config.parent.run} with the "
            f"weights it had, not {run}."
        )
