"""The settings of a run: one tree of frozen dataclasses, parsed once.

What a user may bring (data, network, head, loss, transform, optimizer, schedule, logger, callback)
is a `ClassSpec`: a class by its import path and its arguments, in YAML as jsonargparse and
LightningCLI write it. Nothing here imports more than the standard library.
"""

from __future__ import annotations

import importlib
import inspect
import math
import os
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import MISSING, asdict, dataclass, field, fields, is_dataclass
from enum import Enum
from functools import partial
from types import UnionType
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

TRUSTED = (
    "rootspace",
    "torch.nn",
    "torch.optim",
    "torchvision",
    "lightning.pytorch.callbacks",
    "lightning.pytorch.loggers",
)
"""Packages whose classes a run folder from anywhere may name.

All of torch would be too much: some of its classes start a process with any command.
"""

UNTRUSTED = ("torchvision.datasets.LSUN", "torchvision.datasets.lsun.")
"""Among these, those that unpickle files of the working directory."""

LARGEST = 2**31 - 1
"""Of a count in the settings; what is larger is a slip, and would train on for ever."""

PRECISIONS = ("32", "bf16", "16", "32-true", "bf16-mixed", "16-mixed")
"""Of the network, the last three as Lightning calls them."""

T = TypeVar("T")


def _at_least(section: str, settings: Any, **least: int) -> None:
    """Raise unless each of these settings lies between its least value and `LARGEST`."""
    for name, minimum in least.items():
        value = getattr(settings, name)
        if not minimum <= value <= LARGEST:
            wanted = f"at least {minimum}" if not value > LARGEST else f"at most {LARGEST}"
            raise ValueError(f"Argument '{section}.{name}' must be {wanted}, not {value}.")


def _as_floats(settings: Any) -> None:
    """Whole numbers where a fraction is meant, as reading the settings from a file makes them."""
    for part in fields(settings):
        value = getattr(settings, part.name)
        if "float" in str(part.type) and isinstance(value, int) and not isinstance(value, bool):
            object.__setattr__(settings, part.name, float(value))


def _at_home(settings: Any, *names: str) -> None:
    """Paths that begin with ~ are in the user's folder, as the shell would have them."""
    for name in names:
        value = getattr(settings, name)
        if value is not None:
            object.__setattr__(settings, name, os.path.expanduser(value))


@dataclass(frozen=True)
class ClassSpec:
    """A class by its import path, and its arguments.

    Attributes:
        class_path: dotted, as `my_package.Net`.
        init_args: arguments of the class; values may be specs in their turn.
    """

    class_path: str
    init_args: Mapping[str, Any] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """Of the class."""
        return self.class_path.rpartition(".")[2]

    def resolve(self, kind: type[T] | tuple[type[T], ...], setting: str) -> type[T]:
        """Import the class.

        Args:
            kind: what it must be a subclass of.
            setting: that names it, for messages.

        Raises:
            ValueError: there is no such class, or it is of another kind.
        """
        found = _imported(self.class_path, setting)
        if not isinstance(found, type) or not issubclass(found, kind):
            kinds = kind if isinstance(kind, tuple) else (kind,)
            wanted = " or ".join(_import_path(k) for k in kinds)
            raise ValueError(
                f"Argument '{setting}' must name a subclass of {wanted}, not {self.class_path}."
            )
        if inspect.isabstract(found):
            raise ValueError(
                f"Argument '{setting}' must name a complete class, not {self.class_path}, which "
                "leaves methods to its subclasses."
            )
        return found

    def build(
        self,
        kind: type[T] | tuple[type[T], ...],
        setting: str,
        *positional: Any,
        **filled: Any,
    ) -> T:
        """Make an object of the class.

        Args:
            kind: what the class must be a subclass of.
            setting: that names it, for messages.
            *positional: arguments before the others.
            **filled: arguments that are not settings; those that the class takes are given to it,
                unless `init_args` has another value for them than None.

        Raises:
            ValueError: no such class, or one that does not take these arguments.
        """
        cls = self.resolve(kind, setting)
        accepted = inspect.signature(cls).parameters
        arguments = {key: value for key, value in filled.items() if key in accepted}
        given = {k: v for k, v in self.init_args.items() if v is not None or k not in arguments}
        arguments |= {key: _built(value, setting) for key, value in given.items()}
        try:
            inspect.signature(cls).bind(*positional, **arguments)
        except TypeError as error:
            raise ValueError(f"Argument '{setting}': {self.class_path}: {error}.") from error
        return cls(*positional, **arguments)

    def build_callable(self, setting: str, **filled: Any) -> Callable[..., Any]:
        """Make an object of the class, or take the function, that this names.

        Raises:
            ValueError: it is neither, or does not take the arguments.
        """
        found = _imported(self.class_path, setting)
        made = self.build(object, setting, **filled) if isinstance(found, type) else found
        if not callable(made):
            raise ValueError(
                f"Argument '{setting}' must name something that can be called, not "
                f"{self.class_path}."
            )
        if made is not found or not self.init_args:
            return made
        arguments = {key: _built(value, setting) for key, value in self.init_args.items()}
        try:
            inspect.signature(made).bind_partial(**arguments)
        except TypeError as error:
            raise ValueError(f"Argument '{setting}': {self.class_path}: {error}.") from error
        return partial(made, **arguments)


def _imported(path: str, setting: str) -> Any:
    module, _, name = path.rpartition(".")
    if not module or path.startswith("."):
        raise ValueError(f"Argument '{setting}' must be an import path, not {path!r}.")
    try:
        return getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError) as error:
        raise ValueError(f"Argument '{setting}': {path} cannot be imported: {error}.") from error


def _import_path(cls: type) -> str:
    """Of a class: the shortest, as packages show what their modules define."""
    path = cls.__module__
    while (package := path.rpartition(".")[0]) and (
        getattr(sys.modules.get(package), cls.__qualname__, None) is cls
    ):
        path = package
    return f"{path}.{cls.__qualname__}"


def _built(value: Any, setting: str) -> Any:
    """A value of `init_args`, with objects in the place of specs."""
    if isinstance(value, ClassSpec):
        return value.build(object, setting)
    if isinstance(value, Mapping) and "class_path" in value:
        return spec_from(value, setting).build(object, setting)
    if isinstance(value, Mapping):
        return {key: _built(part, setting) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return [_built(part, setting) for part in value]
    return value


def spec_from(value: Any, setting: str) -> ClassSpec:
    """A spec from the mapping that stands for it.

    Raises:
        ValueError: it does not.
    """
    allowed = {"class_path", "init_args"}
    if (
        not isinstance(value, Mapping)
        or not isinstance(value.get("class_path"), str)
        or not isinstance(value.get("init_args"), Mapping | None)
        or set(value) - allowed
        or not all(isinstance(name, str) for name in value.get("init_args") or ())
    ):
        raise ValueError(
            f"Argument '{setting}' must have 'class_path' and 'init_args', not {value!r}."
        )
    return ClassSpec(value["class_path"], dict(value.get("init_args") or {}))


@dataclass(frozen=True)
class RunConfig:
    """Where a run goes and what it is compared with.

    Attributes:
        dir: run folder; must not hold another run.
        baselines: learned heads to train as well, with the same network, data and epochs, into
            `baselines/` of the run folder, for example `[NormalizedHead, LinearHead]`.
        class_means: also report the accuracy by the nearest mean embedding of the training inputs
            of a class, which takes another pass over them.
        init: run folder whose network to begin with instead of new weights; of the same model,
            dimension and image shape, on any classes. Its input statistics come along.
    """

    dir: str = "runs/default"
    baselines: list[str] = field(default_factory=list)
    class_means: bool = False
    init: str | None = None

    def __post_init__(self) -> None:
        _at_home(self, "dir", "init")


@dataclass(frozen=True)
class LoaderConfig:
    """How training data become batches.

    Attributes:
        batch_size: inputs a batch, in each process.
        num_workers: processes that load beside the training process; 0 loads in it.
        seed: of the order; runs that differ in `train.seed` differ in it too.
        per_class: inputs of a class in a batch, which a contrastive loss needs; by default 2 where
            the head has one, else 1.
        neighbors: once the classes have prototypes, so many similar ones come into a batch
            together, where the losses tell them apart; 1 for random batches.
        unique_labels: make each training input a class of its own: `all`, or so many of them,
            drawn by `seed`. They are the one test set too, "train", which is never augmented.
        unique_tests: with `unique_labels`, test on so many of them, drawn by `seed`; None for all.
        validation: share of the training inputs, spread over the classes of three or more, that is
            set aside as the test set "validation", by which `best.ckpt`, `train.keep` and
            `train.early_stopping` go. Data that bring a test set named `validation`, `valid` or
            `val` need none.
        label_noise: share of the training inputs that get a wrong label, to see how much a method
            bears.
        skip_broken: read all images once before training and leave out those that cannot be
            decoded, instead of ending where one is met.
    """

    batch_size: int = 256
    num_workers: int = 0
    seed: int = 0
    per_class: int | None = None
    neighbors: int = 8
    unique_labels: int | Literal["all"] | None = None
    unique_tests: int | None = None
    validation: float = 0.0
    label_noise: float = 0.0
    skip_broken: bool = False

    def __post_init__(self) -> None:
        _as_floats(self)
        _at_least("loader", self, batch_size=2, num_workers=0, seed=0, neighbors=1)
        if self.per_class is not None:
            _at_least("loader", self, per_class=1)
        wanted = self.unique_labels
        is_number = isinstance(wanted, int) and not isinstance(wanted, bool) and wanted >= 2
        if not (wanted is None or wanted == "all" or is_number):
            raise ValueError(
                "Argument 'loader.unique_labels' must be 'all' or a number of at least 2 inputs, "
                f"not {wanted!r}."
            )
        if self.unique_tests is not None:
            _at_least("loader", self, unique_tests=1)
            if wanted is None:
                raise ValueError(
                    f"Argument 'loader.unique_tests' needs 'loader.unique_labels': "
                    f"{self.unique_tests} of which inputs?"
                )
        if not 0 <= self.validation < 1:
            raise ValueError(
                f"Argument 'loader.validation' must lie in [0, 1), not {self.validation}."
            )
        if self.validation and self.unique_labels is not None:
            raise ValueError(
                "Argument 'loader.validation' must be 0 with 'loader.unique_labels': each class "
                "has one input."
            )
        if not 0 <= self.label_noise <= 1:
            raise ValueError(
                f"Argument 'loader.label_noise' must lie in [0, 1], not {self.label_noise}."
            )


@dataclass(frozen=True)
class PrototypesConfig:
    """Which prototypes the classes have, and when they are chosen.

    Attributes:
        source: `data` trains with a contrastive loss first and takes the means of the network's own
            embeddings; `teacher` those of an earlier run and `file` rows of a file, both before the
            first epoch. `formula` gives classes vectors by `order`, whatever they look like (the
            paper's way).
        after: with `data`, the share of the epochs before the first choice.
        again: when prototypes are chosen again, nearest to what the means have become: `end`
            (after the last epoch), `epochs` (after every epoch) or `never`.
        refine: rounds in which the means are moved, before that, to where similar classes are told
            apart best; 0 for the means themselves.
        follow: with `data`, prototypes follow the network from the first choice to the last, unless
            `again` is `never`. Takes 4 * dim bytes a class on the host while the run trains.
        order: with `formula`, `shuffled` (A_nr) or `natural` (A_n).
        seed: of the shuffle.
        teacher: with `teacher`, the folder of the earlier run. Its embeddings may have any
            dimension.
        vectors: with `file`, a .npy file of one vector a class, `[num_classes, dim]`; in the order
            of the data's classes, or in that of a file of names beside it with the ending .txt (one
            a line) or .json (a list). Taken as they are: center means first.
    """

    source: Literal["data", "formula", "teacher", "file"] = "data"
    after: float = 0.1
    again: Literal["end", "epochs", "never"] = "end"
    refine: int = 8
    follow: bool = True
    order: Literal["shuffled", "natural"] = "shuffled"
    seed: int = 0
    teacher: str | None = None
    vectors: str | None = None

    def __post_init__(self) -> None:
        _as_floats(self)
        _at_home(self, "teacher", "vectors")
        for source, name, what in (
            ("teacher", "teacher", "the folder of a finished run"),
            ("file", "vectors", "a .npy file of one vector a class"),
        ):
            value, wanted = getattr(self, name), self.source == source
            if wanted and value is None:
                raise ValueError(
                    f"Argument 'prototypes.{name}' must name {what} with 'prototypes.source' = "
                    f"'{source}'."
                )
            if value is not None and not wanted:
                raise ValueError(
                    f"Argument 'prototypes.{name}' needs 'prototypes.source' = '{source}', not "
                    f"'{self.source}'."
                )
        if not 0 <= self.after <= 1:
            raise ValueError(
                f"Argument 'prototypes.after' must be a share of the epochs in [0, 1], not "
                f"{self.after}."
            )
        _at_least("prototypes", self, refine=0, seed=0)


@dataclass(frozen=True)
class TrainConfig:
    """Optimization and the machine.

    The defaults are measured ones (docs/comparison.md). The paper's (Sec. 4.1) are lr 1e-4,
    schedule `constant`, warmup_steps 0.

    Attributes:
        epochs: passes over the training data.
        lr: peak learning rate; by default what the network names as `default_lr` (6e-3 for the
            encoder; 2e-3 for a timm model with batch normalisation, 5e-4 for another one, of which
            pretrained layers get a tenth), else 1e-3.
        schedule: `constant`, or `cosine` down to zero, where no `scheduler` is given.
        warmup_steps: steps of linear learning rate warm-up, likewise; at most half of all steps.
        gradient_clip: largest gradient norm, 0 for none.
        accumulate_grad_batches: batches whose gradients make one step.
        precision: of the network, 32, bf16 or 16; losses are computed in float32 at least.
            Lightning's names are taken too.
        seed: of weights, order and dropout; the same seed gives the same run on the CPU.
        eval_every: epochs between evaluations on the test sets; the last is always evaluated.
        early_stopping: end training after so many evaluations in a row without a better accuracy
            on the validation set.
        keep: the weights and prototypes of the `last` epoch, or of the one that was `best` on the
            validation set.
        checkpoint_minutes: longest time between checkpoints within an epoch.
        accelerator: `auto`, `cpu`, `gpu`, ...
        devices: how many, on each machine; more than one trains with DistributedDataParallel.
        num_nodes: how many machines, each of which begins the command.
        strategy: of Lightning's Trainer, `auto` or for example `ddp_find_unused_parameters_true`.
    """

    epochs: int = 10
    lr: float | None = None
    schedule: Literal["constant", "cosine"] = "cosine"
    warmup_steps: int = 50
    gradient_clip: float = 0.0
    accumulate_grad_batches: int = 1
    precision: str | int = "32"  # 'precision: 16' of a YAML file is an integer
    seed: int = 0
    eval_every: int = 1
    early_stopping: int | None = None
    keep: Literal["last", "best"] = "last"
    checkpoint_minutes: float = 10.0
    accelerator: str = "auto"
    devices: int = 1
    num_nodes: int = 1
    strategy: str = "auto"

    def __post_init__(self) -> None:
        _as_floats(self)
        _at_least("train", self, epochs=1, eval_every=1, accumulate_grad_batches=1)
        _at_least("train", self, devices=1, num_nodes=1, warmup_steps=0, gradient_clip=0)
        if str(self.precision) not in PRECISIONS:
            raise ValueError(
                f"Argument 'train.precision' must be one of {', '.join(PRECISIONS)}, "
                f"not {self.precision!r}."
            )
        object.__setattr__(self, "precision", str(self.precision).partition("-")[0])
        if self.early_stopping is not None:
            _at_least("train", self, early_stopping=1)
        for name in ("lr", "checkpoint_minutes"):
            value = getattr(self, name)
            if value is not None and not value > 0:
                raise ValueError(f"Argument 'train.{name}' must be positive, not {value}.")
        if not 0 <= self.seed < 2**31:
            raise ValueError(f"Argument 'train.seed' must lie in [0, 2**31), not {self.seed}.")


@dataclass(frozen=True)
class MemoryConfig:
    """The replay memory: images of old classes that training on new ones repeats.

    Attributes:
        size: most images in all, 0 for none.
        policy: which images stay. `balanced`: equally many of each class, drawn at random.
            `herding`: equally many of each class, those whose mean embedding is nearest to that of
            the class (iCaRL, arXiv 1611.07725), which embeds every image of the classes that come
            in. `reservoir`: a uniform sample of all images that came, so large classes keep more.
        share: least share of its images among those of an epoch, in [0, 1): where they are fewer
            they are repeated. 0 for each once.
        distillation: weight of a loss that holds embeddings of old classes where the network put
            them before it met the new ones (`LessForgetting`), 0 for none.
    """

    size: int = 2000
    policy: Literal["balanced", "herding", "reservoir"] = "balanced"
    share: float = 0.5
    distillation: float = 4.0

    def __post_init__(self) -> None:
        _as_floats(self)
        _at_least("memory", self, size=0)
        policies = ("balanced", "herding", "reservoir")
        if self.policy not in policies:
            raise ValueError(
                f"Argument 'memory.policy' must be one of {', '.join(policies)}, not "
                f"{self.policy!r}."
            )
        if not 0 <= self.share < 1:
            raise ValueError(f"Argument 'memory.share' must lie in [0, 1), not {self.share}.")
        if not 0 <= self.distillation < math.inf:
            raise ValueError(
                "Argument 'memory.distillation' must be at least 0 and finite, not "
                f"{self.distillation}."
            )


@dataclass(frozen=True)
class TeacherConfig:
    """The teacher: exactly one of `run`, `timm` and `embeddings`.

    Attributes:
        run: folder of a finished run, on any loss and network.
        timm: name of a timm model, whose features before the classifier are its embeddings.
        weights: of the timm model: path of a checkpoint, or `pretrained` for timm's own.
        embeddings: file of the teacher's embeddings of the training images: a .npy `[images, dim]`
            in their order, or what `rootspace embed` writes, .parquet or .npy with paths beside it.
        targets: what the student trains towards. `own`: the prototypes of the teacher, a run
            that has some; both then share them, labels and galleries, and nothing is embedded.
            `codes`: for each class the vector of `head.system` nearest to the mean of the
            teacher's embeddings, centered and turned. `means`: the centered means themselves.
            `images`: for each image the teacher's embedding of it, centered; classes have their
            means as prototypes. By default `own` where the teacher has some, else `codes`.
    """

    run: str | None = None
    timm: str | None = None
    weights: str | None = None
    embeddings: str | None = None
    targets: Literal["own", "codes", "means", "images"] | None = None

    def __post_init__(self) -> None:
        _at_home(self, "run", "weights", "embeddings")
        given = [name for name in ("run", "timm", "embeddings") if getattr(self, name) is not None]
        if len(given) != 1:
            found = " and ".join(f"'teacher.{name}'" for name in given) or "none"
            raise ValueError(
                "Exactly one of the arguments 'teacher.run', 'teacher.timm' and "
                f"'teacher.embeddings' must be given, not {found}."
            )
        if (self.timm is None) != (self.weights is None):
            raise ValueError(
                "Argument 'teacher.weights' must be the file of a checkpoint or 'pretrained' with "
                f"'teacher.timm', and only then, not {self.weights!r}."
            )
        if self.targets == "own" and self.run is None:
            raise ValueError(
                "Argument 'teacher.targets' = 'own' needs 'teacher.run', a run with prototypes, "
                f"not 'teacher.{given[0]}'."
            )


@dataclass(frozen=True)
class ParentConfig:
    """Which run an extended one began from.

    Attributes:
        run: its folder.
        weights: SHA-256 of its model file.
    """

    run: str
    weights: str


@dataclass(frozen=True)
class Config:
    """All settings of a run.

    Attributes:
        data: a source of `rootspace.data`, or any map-style `torch.utils.data.Dataset` of (x, y).
        model: a network; `dim`, `in_channels` and `image_size` are filled where it takes them.
        head: of `rootspace.heads`.
        loss: against the prototypes; by default the softmax over those of the batch, and for
            prototypes by formula the one over all vectors of the system.
        transform: of training inputs, drawn anew in each epoch; by default that of the data, which
            is `Mild` for images from folders and archives and for the retrieval benchmarks, none
            for others. `Unchanged` is none.
        optimizer: of torch; AdamW with a weight decay of 1e-5 by default.
        scheduler: of torch, stepped after each epoch, in the place of `train.schedule`.
        loggers: of Lightning, beside `metrics.csv` and TensorBoard.
        callbacks: of Lightning.
        memory: of an extended run.
        parent: likewise.
        teacher: of a distilled run.
    """

    data: ClassSpec = ClassSpec("rootspace.data.Characters")
    model: ClassSpec = ClassSpec("rootspace.models.Encoder")
    head: ClassSpec = ClassSpec("rootspace.heads.PrototypeHead")
    loss: ClassSpec | None = None
    transform: ClassSpec | None = None
    optimizer: ClassSpec = ClassSpec("torch.optim.AdamW", {"weight_decay": 1e-5})
    scheduler: ClassSpec | None = None
    loggers: list[ClassSpec] = field(default_factory=list)
    callbacks: list[ClassSpec] = field(default_factory=list)
    run: RunConfig = RunConfig()
    loader: LoaderConfig = LoaderConfig()
    prototypes: PrototypesConfig = PrototypesConfig()
    train: TrainConfig = TrainConfig()
    memory: MemoryConfig | None = None
    parent: ParentConfig | None = None
    teacher: TeacherConfig | None = None

    def as_dict(self) -> dict[str, Any]:
        """Plain dictionaries, lists and scalars, for YAML; sections that are not set are absent."""
        return {key: value for key, value in _plain(asdict(self)).items() if value is not None}

    @classmethod
    def from_dict(cls, sections: Mapping[str, Any]) -> Config:
        """The settings from what `as_dict` gave.

        Raises:
            ValueError: naming the setting that is unknown or cannot be.
        """
        return _typed(cls, sections, "")

    def specs(self) -> Iterator[tuple[str, ClassSpec]]:
        """Every class that these settings name, and the setting; specs within specs too."""
        for part in fields(self):
            value = getattr(self, part.name)
            for spec in value if isinstance(value, list) else [value]:
                if isinstance(spec, ClassSpec):
                    yield part.name, spec
                    yield from ((part.name, inner) for inner in _inner_specs(spec.init_args))


def check_trusted(config: Config, source: str) -> None:
    """Refuse classes of unknown packages in settings that may be a stranger's.

    Args:
        config: as it was read.
        source: of the settings, for the message.

    Raises:
        ValueError: naming the class.
    """
    for setting, spec in config.specs():
        trusted = spec.class_path.startswith(tuple(f"{package}." for package in TRUSTED))
        if not trusted or spec.class_path.startswith(UNTRUSTED):
            raise ValueError(
                f"{source} names {spec.class_path} as '{setting}', code that may do anything. If "
                "you trust it, allow it with trust_code=True in Python, or ROOTSPACE_TRUST_CODE=1 "
                "on the command line."
            )


def _inner_specs(value: Any) -> Iterator[ClassSpec]:
    if isinstance(value, Mapping) and isinstance(value.get("class_path"), str):
        value = spec_from(value, "class_path")
    if isinstance(value, ClassSpec):
        yield value
        yield from _inner_specs(value.init_args)
    elif isinstance(value, Mapping):
        for part in value.values():
            yield from _inner_specs(part)
    elif isinstance(value, list | tuple):
        for part in value:
            yield from _inner_specs(part)


def _typed(cls: type[T], section: Any, prefix: str) -> T:
    """A dataclass from a mapping of its fields."""
    name = prefix.removesuffix(".")
    if cls is ClassSpec:
        return spec_from(section, name)  # pyright: ignore[reportReturnType]
    if not isinstance(section, Mapping):
        raise ValueError(f"Argument '{name or 'config'}' must hold settings, not {section!r}.")
    known = {part.name: part for part in fields(cls)}  # pyright: ignore[reportArgumentType]
    unknown = sorted(str(key) for key in section if key not in known)
    if unknown:
        raise ValueError(
            f"Unknown settings {', '.join(prefix + key for key in unknown)}; "
            f"'{name or 'config'}' has {', '.join(known)}."
        )
    missing = [
        key
        for key, part in known.items()
        if part.default is MISSING and part.default_factory is MISSING and key not in section
    ]
    if missing:
        raise ValueError(f"Argument '{prefix}{missing[0]}' is missing.")
    hints = get_type_hints(cls)
    return cls(**{key: _value(hints[key], value, prefix + key) for key, value in section.items()})


def _value(hint: Any, value: Any, name: str) -> Any:
    """A value of a field, checked against its type."""
    inner, wanted = get_args(hint), hint
    if get_origin(hint) in (UnionType, Union):
        found = next((part for kind in inner if (part := _scalar(kind, value)) is not None), None)
        if found is not None or (value is None and type(None) in inner):
            return found
        hint = next(kind for kind in inner if kind is not type(None))
    if isinstance(hint, type) and is_dataclass(hint):
        return _typed(hint, value, f"{name}.")
    if get_origin(hint) is list and isinstance(value, list | tuple):
        return [_value(inner[0], part, f"{name}[{i}]") for i, part in enumerate(value)]
    found = _scalar(hint, value)
    if found is None:
        raise ValueError(f"Argument '{name}' must be {_shown(wanted)}, not {value!r}.")
    return found


def _shown(hint: Any) -> str:
    """A type as messages name it."""
    inner = get_args(hint)
    if get_origin(hint) is Literal:
        return " or ".join(map(repr, inner))
    if get_origin(hint) is list:
        return f"a list of {_shown(inner[0])}"
    if inner:
        return " | ".join(map(_shown, inner))
    return "None" if hint is type(None) else hint.__name__


def _scalar(hint: Any, value: Any) -> Any:
    """A string, number or choice of the type; None where the value is none."""
    if get_origin(hint) is Literal:
        return value if value in get_args(hint) else None
    if isinstance(value, bool) or hint is bool:
        return value if isinstance(value, bool) and hint is bool else None
    if hint is float and isinstance(value, int | float):
        return float(value)
    return value if hint in (int, str) and isinstance(value, hint) else None


def _plain(value: Any) -> Any:
    """Tuples and mappings as YAML has them."""
    if isinstance(value, Mapping):
        return {str(key): _plain(part) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(part) for part in value]
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, Enum):
        return value.name
    return str(value)  # such as a pathlib.Path
