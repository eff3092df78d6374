"""Test sets by the labels of a run: those of its data, or class folders anywhere."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from rootspace._terminal import one_line, say
from rootspace.config import Config, LoaderConfig
from rootspace.continual.live import known_labels
from rootspace.data import (
    DataModule,
    FileImages,
    LabeledDataset,
    View,
    data_with_images,
)
from rootspace.data.folders import class_folders, list_images
from rootspace.run import Run
from rootspace.train.evaluation import check_shape, check_tests, own_labels

from ._embedding import Unread, image_shape, readable_batches


class TestSet(NamedTuple):
    """Labeled inputs that a run can be tried on.

    Attributes:
        name: of the set.
        data: its inputs, under their own labels.
        own: `[classes of the data]` the run's labels of these.
        loader: how they are read.
    """

    name: str
    data: LabeledDataset
    own: Tensor
    loader: LoaderConfig

    def path(self, row: int) -> str:
        """Where an input comes from, its number where nobody has named it."""
        name = place_of(self.data, row)
        return str(row) if name is None else name


def place_of(data: LabeledDataset, row: int) -> str | None:
    """Where an input comes from: the path of a file, or the name that its data give it."""
    name, holder = data.name(row), data
    while isinstance(holder, View):
        holder = holder.data
    root = f"{holder.root}/" if isinstance(holder, FileImages) else ""
    return None if name is None else root + name


class Seen(NamedTuple):
    """A batch of a test set.

    Attributes:
        rows: `[B]` numbers of the inputs in the set.
        labels: `[B]`, of the run.
        z: `[B, dim]` embeddings in the frame of the prototypes.
    """

    rows: Tensor
    labels: Tensor
    z: Tensor


def split_settings(arguments: list[str]) -> tuple[list[str], list[str]]:
    """The arguments of this command, and those of the data, each with its value."""
    own: list[str] = []
    settings: list[str] = []
    rest = iter(arguments)
    for argument in rest:
        name = argument.partition("=")[0]
        if name in ("--data", "--config") or name.startswith(("--data.", "--loader.")):
            settings.append(argument)
            if name == argument:
                settings += [value for value in [next(rest, None)] if value is not None]
        else:
            own.append(argument)
    return own, settings


def data_config(trained: Run, settings: list[str], prog: str) -> Config:
    """The settings of a run, with the data that a command names in the place of its own."""
    if not settings:
        return trained.config
    # Its parser takes longer to import than torch.
    from ._config import check_whole_data, config_parser, parse  # noqa: PLC0415

    check_whole_data(settings)
    parser = config_parser(prog, trained.config, skip=("data",))
    config = parse(settings, parser, prog, trained.config)
    shape = trained.model.preprocessing
    if shape is None or config.data == trained.config.data:
        return config
    return replace(config, data=data_with_images(config.data, shape.size, shape.interpolation))


def sets_of_data(trained: Run, data: DataModule, *, renamed: bool) -> list[TestSet]:
    """The test sets of some data.

    Args:
        trained: the run.
        data: not set up yet.
        renamed: find their classes by the names that the run's registry has too; those of the data
            that a run was trained on stay what they were.

    Raises:
        ValueError: the data have other classes or inputs of another shape, or no test set.
    """
    data.setup(tests_only=True)
    if renamed:
        check_shape(trained.model, data, "The run")
        own, unknown = _own(trained, data.class_names)
        if unknown:
            raise ValueError(
                f"{_unknown(unknown, 'the data')}. Rename them, or give the run these names as "
                "aliases (`rootspace classes RUN alias CLASS NAME`)."
            )
    else:
        own = own_labels(trained.model, data)
    check_tests(data)
    return [TestSet(name, images, own, data.loader) for name, images in data.test_datasets.items()]


def sets_of_folders(
    trained: Run, folders: Sequence[Path], loader: LoaderConfig, *, ignore_unknown: bool = False
) -> list[TestSet]:
    """Folders of class folders as test sets, named by their last part where that tells them apart.

    Args:
        trained: a run on images.
        folders: of the sets.
        loader: how they are read.
        ignore_unknown: leave out class folders that the run does not know, and say so.

    Raises:
        ValueError: no such folder, no class folders in it, or unknown ones.
    """
    shape = image_shape(trained)
    last = [folder.resolve().name for folder in folders]
    sets = []
    for folder, name in zip(folders, last, strict=True):
        if not folder.is_dir():
            raise ValueError(f"{folder} is not a folder; expected one with a folder a class.")
        names = class_folders(folder)
        own, unknown = _own(trained, names)
        if unknown and not ignore_unknown:
            raise ValueError(
                f"{_unknown(unknown, str(folder))}. Rename them, give the run these names as "
                "aliases (`rootspace classes RUN alias CLASS NAME`), or leave them out with "
                "--ignore_unknown."
            )
        if unknown:
            say(f"Left out: {_unknown(unknown, str(folder))}")
        wanted = {*names} - {*unknown}
        if not wanted:
            raise ValueError(f"{folder} holds no class that the run knows.")
        files, labels = list_images(folder, names, wanted)
        shown = name if last.count(name) == 1 else str(folder)
        images = FileImages(folder, files, labels, shape)
        sets.append(TestSet(shown, images, own, loader))
    return sets


def look_at(trained: Run, test: TestSet, title: str, unread: Unread) -> Iterator[Seen]:
    """Those inputs of a test set that can be read, in batches.

    Args:
        trained: the run.
        test: the set.
        title: beside the progress bar.
        unread: takes the other inputs.
    """
    for x, labels, rows in readable_batches(test.data, test.loader, title, unread):
        yield Seen(rows, test.own[labels], trained.embed_batch(x))


def _own(trained: Run, names: Sequence[str]) -> tuple[Tensor, list[str]]:
    """`[len(names)]` the run's labels of classes, -1 for unknown ones; and the names of these."""
    texts = [name for name in names if _is_text(name)]  # a file system has other names too
    found = dict(zip(texts, known_labels(trained.folder, trained.names, texts), strict=True))
    labels = [found.get(name) for name in names]
    unknown = [name for name, label in zip(names, labels, strict=True) if label is None]
    return torch.tensor([-1 if label is None else label for label in labels]), unknown


def _is_text(name: str) -> bool:
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True


def _unknown(names: list[str], holder: str) -> str:
    shown = ", ".join(f"'{one_line(name)}'" for name in names[:5])
    more = ", ..." if len(names) > 5 else ""
    return f"{len(names):,} of the classes of {holder} are unknown to the run: {shown}{more}"
