"""Data for a run: a source, and how its data become batches."""

from __future__ import annotations

import copy
from collections.abc import Callable, Container, Sequence
from dataclasses import dataclass, replace
from functools import partial
from hashlib import sha256
from typing import Any

import numpy as np
import torch
from torch.utils.data import Dataset

from rootspace.config import ClassSpec, Config, LoaderConfig
from rootspace.heads import Head
from rootspace.sampling import BatchSampler, ClassBatchSampler, InOrder, ResumableLoader

from .aside import set_aside
from .checking import without_broken
from .datasets import Batches, LabeledDataset, Transformed, View, WithTargets, as_is
from .errors import DataError, check_names
from .preprocessing import ImagePreprocessing
from .source import Content, DataSource, RetrievalSet
from .torch_dataset import as_source
from .transforms import UNCHANGED, ImageTransform
from .unique import ImageNames, images_tested, unique_images

VALIDATION = ("validation", "valid", "val")
"""Names of a test set by which a run chooses, the first of them where several are there."""


def validation_of(tests: Container[str]) -> str | None:
    """Which of these test sets choices go by; None where there is none that is meant for it."""
    return next((name for name in VALIDATION if name in tests), None)


MakeTransform = Callable[[ImagePreprocessing | None], Callable[[Any], Any]]
"""From the preprocessing of the images to a transform of training inputs."""


@dataclass(frozen=True)
class Fingerprint:
    """What makes data the same for a run, wherever they lie.

    Attributes:
        names: SHA-256 of the names of the classes.
        labels: SHA-256 of the labels of the training inputs.
        train: number of these.
        tests: test set -> number of its inputs.
    """

    names: str
    labels: str
    train: int
    tests: dict[str, int]


class DataModule:
    """Labeled data for a run. Everything but the arguments exists after `setup()`.

    Args:
        source: of the data.
        loader: how they become batches.
        transform: of training inputs, drawn anew in each epoch.
        noise_seed: of the choice of wrong labels, where `loader.label_noise` asks for some.
    """

    def __init__(
        self,
        source: DataSource,
        loader: LoaderConfig | None = None,
        transform: MakeTransform | None = None,
        noise_seed: int = 0,
    ) -> None:
        self.source = source
        self.loader = LoaderConfig() if loader is None else loader
        self.make_transform = transform
        self.noise_seed = noise_seed
        self.targets: np.ndarray | None = None
        """`[training inputs, dim]`, of which training batches bring their rows as a third part."""
        self._content: Content | None = None

    def setup(self, *, tests_only: bool = False) -> None:
        """Read the data; once.

        Args:
            tests_only: nobody will take training inputs: they are not looked through for
                `loader.skip_broken`, unless test sets are made of them.
        """
        if self._content is not None:
            return
        if self.loader.unique_labels is not None:
            self.source = copy.copy(self.source)
            self.source.test_fraction = 0.0  # the training inputs are the test set
        content = self.source.read()
        if self.loader.skip_broken:
            train = not tests_only or self.loader.validation > 0
            train = train or self.loader.unique_labels is not None
            content = without_broken(content, self.loader.num_workers, train=train)
        name = f"The {type(self.source).__name__} data"
        if len(content.train) < 2:
            raise DataError(f"{name} hold {len(content.train)} training input: at least 2 needed.")
        unique = self.loader.unique_labels
        if unique is not None:
            views = unique_images(content.train, unique, self.loader.seed)
            names = ImageNames(views, content.class_names)
            tests = {"train": images_tested(views, self.loader.unique_tests, self.loader.seed)}
            content = replace(content, class_names=names, train=views, tests=tests)
        check_names(content.class_names, name, repeated=unique is None)
        for test in (*content.tests, *content.retrieval):
            if not test or set("/\\\0") & set(test):
                raise DataError(f"{name} have the test set {test!r}: name it without slashes.")
        empty = [test for test, data in content.tests.items() if not len(data)]
        if empty:
            tests = {test: data for test, data in content.tests.items() if len(data)}
            notes = (*content.notes, f"not used: test set {', '.join(empty)}, which is empty")
            content = replace(content, tests=tests, notes=notes)
        if self.loader.validation:
            content = self._with_validation(content, name)
        self._content = content
        if self.loader.label_noise:
            self._disturb_labels(self.loader.label_noise)

    def _with_validation(self, content: Content, name: str) -> Content:
        """Set a share of the training inputs aside, of those that are new."""
        given = validation_of(content.tests)
        if given is not None:
            raise DataError(
                f"Argument 'loader.validation' must be 0, not {self.loader.validation}: {name} "
                f"have the validation set '{given}'."
            )
        old, labels = self.source.num_remembered, content.train.labels
        aside = torch.zeros(len(labels), dtype=torch.bool)
        aside[old:] = set_aside(
            labels[old:], content.class_names, self.loader.validation, self.loader.seed
        )
        if not bool(aside.any()):
            raise DataError(
                f"Argument 'loader.validation' = {self.loader.validation} leaves nothing to set "
                f"aside: {name} have no class of three training inputs or more."
            )
        parts = (View.some(content.train, rows.nonzero()[:, 0]) for rows in (~aside, aside))
        train, validation = parts
        return replace(content, train=train, tests={VALIDATION[0]: validation, **content.tests})

    def _disturb_labels(self, share: float) -> None:
        """Give training inputs wrong labels, to see what they do to a method."""
        generator = torch.Generator().manual_seed(self.noise_seed)
        train = self.content.train
        labels = train.labels.clone()
        wrong = torch.randperm(len(labels), generator=generator)[: round(share * len(labels))]
        shift = torch.randint(1, self.num_classes, (len(wrong),), generator=generator)
        labels[wrong] = (labels[wrong] + shift) % self.num_classes
        self._content = replace(self.content, train=View(train, labels))

    def number_as(self, names: Sequence[str]) -> None:
        """Give the classes the numbers that they have among other names; after `setup`.

        Args:
            names: of all classes from now on, some of which may have no input.

        Raises:
            ValueError: a class of the data is not among them.
        """
        if list(names) == list(self.class_names):
            return
        number = {name: label for label, name in enumerate(names)}
        unknown = [name for name in self.class_names if name not in number]
        if unknown:
            raise ValueError(
                f"{len(unknown)} of the {self.num_classes} classes are not among these "
                f"{len(names)}, such as {unknown[0]!r}."
            )
        new = torch.tensor([number[name] for name in self.class_names])
        content = self.content
        self._content = replace(
            content,
            class_names=list(names),
            train=View(content.train, new[content.train.labels]),
            tests={name: View(test, new[test.labels]) for name, test in content.tests.items()},
        )

    # ---------------------------------------------------------------- facts

    @property
    def content(self) -> Content:
        if self._content is None:
            raise RuntimeError("Call DataModule.setup() before using its data.")
        return self._content

    @property
    def class_names(self) -> Sequence[str]:
        """Label -> name."""
        return self.content.class_names

    @property
    def num_classes(self) -> int:
        return len(self.content.class_names)

    @property
    def train_dataset(self) -> LabeledDataset:
        return self.content.train

    @property
    def test_datasets(self) -> dict[str, LabeledDataset]:
        """Name -> test set, in the order of `test_loaders`."""
        return self.content.tests

    @property
    def retrieval_sets(self) -> dict[str, RetrievalSet]:
        """Name -> queries and gallery, of classes that are not trained on."""
        return self.content.retrieval

    @property
    def preprocessing(self) -> ImagePreprocessing | None:
        """Of the images; None for inputs that are no images."""
        return self.content.preprocessing

    @property
    def validation(self) -> str | None:
        """The test set that choices go by; None where there is none that is meant for it."""
        return validation_of(self.test_datasets)

    def needs_views(self) -> bool:
        """Whether no class has two inputs, and none is drawn anew in each epoch."""
        most = int(torch.bincount(self.train_dataset.labels).max())
        return self.make_transform is None and most == 1

    def describe(self) -> str:
        """Classes, inputs and test sets in one line, and notes in lines of their own."""
        shape = self.preprocessing
        kind = "inputs" if shape is None else f"images {shape.channels}x{shape.size}x{shape.size}"
        tests = ", ".join(f"{name} ({len(data):,})" for name, data in self.test_datasets.items())
        line = (
            f"{type(self.source).__name__}: {self.num_classes:,} classes, "
            f"{len(self.train_dataset):,} training {kind}, test sets: {tests or 'none'}"
        )
        for name, found in self.retrieval_sets.items():
            gallery = "" if found.gallery is None else f" in {len(found.gallery):,}"
            line += f", retrieval set: {name} ({len(found.queries):,}{gallery})"
        return "\n".join([line, *self.content.notes])

    def fingerprint(self) -> Fingerprint:
        """Of these data."""
        names = sha256()
        for name in self.class_names:
            names.update(name.encode(errors="surrogateescape") + b"\0")
        labels = sha256(self.train_dataset.labels.numpy().tobytes()).hexdigest()
        tests = {name: len(data) for name, data in self.test_datasets.items()}
        return Fingerprint(names.hexdigest(), labels, len(self.train_dataset), tests)

    def difference(self, then: Fingerprint, names: Sequence[str] | None) -> str:
        """How these data differ from others, for the user of a run that was begun on those.

        Args:
            then: of the others.
            names: of their classes, where they are known.
        """
        now, found = self.fingerprint(), []
        if now.names != then.names and names is not None:
            came, went = {*self.class_names} - {*names}, {*names} - {*self.class_names}
            for what, some in (("new", came), ("gone", went)):
                if some:
                    shown = ", ".join(map(repr, sorted(some)[:3]))
                    found.append(f"{len(some)} classes are {what}, such as {shown}")
        if now.names != then.names and not found:
            found.append("the classes have other names or another order")
        if now.train != then.train:
            found.append(f"{now.train:,} training inputs instead of {then.train:,}")
        elif now.labels != then.labels and not found:
            found.append("the training inputs have other classes")
        if now.tests != then.tests:
            found.append(f"test sets {now.tests or 'none'} instead of {then.tests or 'none'}")
        fewer = now.train < then.train or any(
            number < then.tests.get(test, 0) for test, number in now.tests.items()
        )
        # Whoever was told of an image that cannot be read may have removed it.
        hint = "; for an image that cannot be read, any other of its class will do" * fewer
        return (
            f"The data are not those that the run was begun on: {'; '.join(found)}. Bring those "
            f"back{hint}, or begin a new run; 'run.init' takes over the network."
        )

    # ---------------------------------------------------------------- loaders

    def train_loader(self, head: Head, seed: int, *, pairs: bool | None = None) -> ResumableLoader:
        """All training data, transformed, in an order that is a function of (seed, epoch).

        Args:
            head: whose similar classes come together.
            seed: of the run.
            pairs: whether batches have several inputs of a class, where `loader.per_class` does not
                say it; by default where the head needs them now.
        """
        settings, seed = self.loader, self.loader.seed + seed
        data = self.source.epoch(self.train_dataset, seed)
        draws = self.make_transform is not None
        if self.make_transform is not None:
            data = Transformed(data, self.make_transform(self.preprocessing), seed)
        if self.targets is not None:
            data = WithTargets(data, self.targets)
        pairs = head.needs_pairs if pairs is None else pairs
        per_class = settings.per_class or (2 if pairs else 1)
        sampler = ClassBatchSampler(
            data.labels,
            settings.batch_size,
            per_class=per_class,
            similar=head if head.class_map is not None or not head.ready else None,
            neighbors=settings.neighbors,
            seed=seed,
            fill=draws,
            numbered=draws,
        )
        return self._loader(data, sampler, kept=True)

    def test_loaders(self, *, sharded: bool = True) -> list[ResumableLoader]:
        """One loader for each test set, in order.

        Args:
            sharded: False gives every process of a distributed run all inputs.
        """
        return [self.loader_of(data, sharded=sharded) for data in self.test_datasets.values()]

    def in_order(self, *, sharded: bool = True) -> ResumableLoader:
        """All training data in their own order and as they are, to take class means."""
        return self.loader_of(self.train_dataset, sharded=sharded)

    def loader_of(self, data: LabeledDataset, *, sharded: bool = True) -> ResumableLoader:
        """Any labeled data in their own order, with the batch size and workers of the run.

        The workers end with each pass: those of many test sets would add up.
        """
        sampler = InOrder(len(data), self.loader.batch_size, sharded=sharded)
        return self._loader(data, sampler, kept=False)

    def _loader(
        self, data: LabeledDataset, sampler: BatchSampler, *, kept: bool
    ) -> ResumableLoader:
        workers = self.loader.num_workers
        return ResumableLoader(
            Batches(data),
            batch_sampler=sampler,
            num_workers=workers,
            persistent_workers=kept and workers > 0,
            pin_memory=torch.cuda.is_available(),
            collate_fn=as_is,
            # Without its own generator a loader draws from the global one, and what the model then
            # draws would depend on how often data were loaded.
            generator=torch.Generator().manual_seed(self.loader.seed),
        )


def make_data(config: Config) -> DataModule:
    """The data that settings describe; reads no files yet.

    Raises:
        ValueError: naming the setting that cannot be.
    """
    source = config.data.build((DataSource, Dataset), "data", run_dir=config.run.dir)
    source, spec = as_source(source), config.transform
    if spec is None and source.default_transform is not None:
        spec = ClassSpec(source.default_transform)
    transform = None
    if spec is not None and spec.class_path not in UNCHANGED:
        transform = partial(_transform, spec)
    return DataModule(source, config.loader, transform, config.train.seed)


def _transform(spec: ClassSpec, shape: ImagePreprocessing | None) -> Callable[[Any], Any]:
    if shape is None:
        return spec.build_callable("transform")
    filled: dict[str, Any] = {"size": shape.size}
    if spec.class_path.startswith(f"{__package__}."):  # others mean other things by these names
        for name in ("fit", "background", "interpolation"):
            filled[name] = getattr(shape, name)
    return ImageTransform(spec.build_callable("transform", **filled), shape)
