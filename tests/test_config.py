"""Settings: YAML and back, what is refused, and classes named by their import path."""

import math
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from rootspace import ClassMap
from rootspace.config import (
    ClassSpec,
    Config,
    LoaderConfig,
    MemoryConfig,
    ParentConfig,
    PrototypesConfig,
    RunConfig,
    TeacherConfig,
    TrainConfig,
    check_trusted,
    spec_from,
)
from rootspace.heads import CosFaceHead, Head, LinearHead, PrototypeHead
from rootspace.losses import ClassLoss, InBatchSoftmaxLoss
from rootspace.runs.folder import read_config
from rootspace.systems import RootA

FULL = Config(
    data=ClassSpec("my.Data", {"root": "here", "parts": [1, 2.5, None, True]}),
    head=ClassSpec("rootspace.heads.CosFaceHead", {"margin": 0.3}),
    loss=ClassSpec("rootspace.losses.InBatchSoftmaxLoss", {"scale": 8.0}),
    transform=ClassSpec(
        "torchvision.transforms.v2.Compose",
        {"transforms": [{"class_path": "my.Crop", "init_args": {"size": 3}}]},
    ),
    scheduler=ClassSpec("torch.optim.lr_scheduler.StepLR", {"step_size": 2}),
    loggers=[ClassSpec("lightning.pytorch.loggers.CSVLogger", {"save_dir": "x"})],
    callbacks=[ClassSpec("my.Callback"), ClassSpec("my.Other", {"a": {"b": "c"}})],
    run=RunConfig("runs/x", ["LinearHead"], class_means=True, init="runs/y"),
    loader=LoaderConfig(32, 2, 5, per_class=3, unique_labels="all", label_noise=0.5),
    prototypes=PrototypesConfig("file", vectors="v.npy", after=0.2, again="epochs", refine=0),
    train=TrainConfig(3, 1e-5, "constant", precision="bf16", gradient_clip=1.0),
    memory=MemoryConfig(10, "herding", 0.25, distillation=1.5),
    parent=ParentConfig("runs/p", "abc"),
    teacher=TeacherConfig(timm="resnet18", weights="pretrained"),
)


@pytest.mark.parametrize("config", [Config(), FULL], ids=["default", "full"])
def test_round_trip_through_yaml(config: Config) -> None:
    text = yaml.safe_dump(config.as_dict(), sort_keys=False)
    again = Config.from_dict(yaml.safe_load(text))
    assert again == config
    assert again.as_dict() == config.as_dict()
    assert list(config.as_dict()) == [
        name for name in Config.__dataclass_fields__ if getattr(config, name) is not None
    ]


def test_every_setting_has_a_default() -> None:
    assert Config.from_dict({}) == Config()
    assert Config.from_dict({"train": {"epochs": 3}}).train == TrainConfig(epochs=3)
    assert Config.from_dict({"loss": None, "memory": None}) == Config()


def test_numbers_become_what_the_setting_is() -> None:
    config = Config.from_dict(
        {"train": {"lr": 1, "gradient_clip": 2}, "loader": {"per_class": 0x2}}
    )
    assert (config.train.lr, config.train.gradient_clip) == (1.0, 2.0)
    assert isinstance(config.train.lr, float)
    assert config.loader.per_class == 2
    assert Config.from_dict({"loader": {"unique_labels": 7}}).loader.unique_labels == 7


def test_what_yaml_has_no_word_for_becomes_text() -> None:
    from pathlib import Path  # noqa: PLC0415

    from torchvision.transforms import InterpolationMode  # noqa: PLC0415

    spec = ClassSpec("my.T", {"mode": InterpolationMode.BILINEAR, "at": Path("x"), "size": (1, 2)})
    found = Config(transform=spec).as_dict()["transform"]["init_args"]
    assert found == {"mode": "BILINEAR", "at": "x", "size": [1, 2]}


@pytest.mark.parametrize(
    ("sections", "message"),
    [
        ({"trainer": {}}, "Unknown settings trainer; 'config' has data, model"),
        ({"train": {"epoch": 3}}, "Unknown settings train.epoch; 'train' has epochs"),
        ({"train": {"b": 3, "a": 1}}, "Unknown settings train.a, train.b"),
        ({"train": 3}, "'train' must hold settings, not 3"),
        ({"run": None}, "'run' must hold settings, not None"),
        ({"train": {"epochs": "three"}}, "'train.epochs' must be int, not 'three'"),
        ({"train": {"epochs": 3.0}}, "'train.epochs' must be int, not 3.0"),
        ({"train": {"epochs": True}}, "'train.epochs' must be int, not True"),
        ({"train": {"epochs": None}}, "'train.epochs' must be int, not None"),
        ({"train": {"lr": "fast"}}, "'train.lr' must be float | None, not 'fast'"),
        ({"train": {"lr": False}}, "'train.lr' must be float | None, not False"),
        ({"train": {"schedule": "linear"}}, "'train.schedule' must be 'constant' or 'cosine', not"),
        ({"train": {"precision": 8}}, "'train.precision' must be one of 32, bf16, 16, 32-true,"),
        ({"train": {"precision": 1.5}}, "'train.precision' must be str | int, not 1.5"),
        ({"run": {"class_means": 1}}, "'run.class_means' must be bool, not 1"),
        ({"run": {"baselines": "LinearHead"}}, "'run.baselines' must be a list of str, not"),
        ({"run": {"baselines": [1]}}, "'run.baselines[0]' must be str, not 1"),
        ({"run": {"init": 3}}, "'run.init' must be str | None, not 3"),
        ({"loader": {"unique_labels": "some"}}, "must be int | 'all' | None, not 'some'"),
        ({"head": "PrototypeHead"}, "'head' must have 'class_path' and 'init_args', not 'Proto"),
        ({"head": {"class_path": "a.B", "args": {}}}, "'head' must have 'class_path' and"),
        ({"head": {"class_path": 3}}, "'head' must have 'class_path'"),
        ({"head": {"class_path": "a.B", "init_args": [1]}}, "'head' must have 'class_path'"),
        ({"callbacks": [{"init_args": {}}]}, "'callbacks[0]' must have 'class_path'"),
        ({"callbacks": {"class_path": "a.B"}}, "'callbacks' must be a list of ClassSpec, not"),
        ({"callbacks": None}, "'callbacks' must be a list of ClassSpec, not None"),
        ({"parent": {"run": "x"}}, "'parent.weights' is missing"),
        ({"teacher": {"run": "x", "timm": "y"}}, "not 'teacher.run' and 'teacher.timm'"),
        ({"train": {3: 4}}, "Unknown settings train.3"),
    ],
)
def test_unknown_settings_and_wrong_types(sections: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError) as error:
        Config.from_dict(sections)
    assert message in str(error.value)


def test_whole_numbers_are_as_a_file_gives_them_back() -> None:
    config = Config(
        train=TrainConfig(lr=1, gradient_clip=1),
        loader=LoaderConfig(validation=0),
        prototypes=PrototypesConfig(after=1),
        memory=MemoryConfig(share=0, distillation=4),
    )
    read = Config.from_dict(yaml.safe_load(yaml.safe_dump(config.as_dict())))
    # 1 and 1.0 are equal, but not to `ChoosePrototypes`, nor as texts.
    assert repr(read) == repr(config)


@pytest.mark.parametrize(
    ("kind", "settings", "message"),
    [
        (TrainConfig, {"epochs": 0}, "'train.epochs' must be at least 1, not 0"),
        (TrainConfig, {"eval_every": 0}, "'train.eval_every' must be at least 1"),
        (TrainConfig, {"devices": 0}, "'train.devices' must be at least 1"),
        (TrainConfig, {"accumulate_grad_batches": 0}, "must be at least 1"),
        (TrainConfig, {"warmup_steps": -1}, "'train.warmup_steps' must be at least 0, not -1"),
        (TrainConfig, {"gradient_clip": -0.5}, "'train.gradient_clip' must be at least 0"),
        (TrainConfig, {"gradient_clip": math.nan}, "'train.gradient_clip' must be at least 0"),
        (TrainConfig, {"lr": 0.0}, "'train.lr' must be positive, not 0.0"),
        (TrainConfig, {"lr": math.nan}, "'train.lr' must be positive"),
        (TrainConfig, {"checkpoint_minutes": 0}, "'train.checkpoint_minutes' must be positive"),
        (TrainConfig, {"seed": -1}, r"'train.seed' must lie in \[0, 2\*\*31\), not -1"),
        (TrainConfig, {"seed": 2**31}, "'train.seed' must lie in"),
        (LoaderConfig, {"batch_size": 1}, "'loader.batch_size' must be at least 2, not 1"),
        (LoaderConfig, {"num_workers": -1}, "'loader.num_workers' must be at least 0"),
        (LoaderConfig, {"seed": -1}, "'loader.seed' must be at least 0"),
        (LoaderConfig, {"neighbors": 0}, "'loader.neighbors' must be at least 1"),
        (LoaderConfig, {"per_class": 0}, "'loader.per_class' must be at least 1"),
        (LoaderConfig, {"unique_labels": 1}, "'loader.unique_labels' must be 'all' or .* not 1"),
        (LoaderConfig, {"label_noise": 1.5}, r"'loader.label_noise' must lie in \[0, 1\], not 1.5"),
        (LoaderConfig, {"label_noise": math.nan}, "'loader.label_noise' must lie in"),
        (PrototypesConfig, {"after": 1.5}, "'prototypes.after' must be a share"),
        (PrototypesConfig, {"refine": -1}, "'prototypes.refine' must be at least 0"),
        (PrototypesConfig, {"seed": -1}, "'prototypes.seed' must be at least 0"),
        (PrototypesConfig, {"source": "teacher"}, "'prototypes.teacher' must name the folder"),
        (PrototypesConfig, {"source": "file"}, "'prototypes.vectors' must name a .npy file"),
        (PrototypesConfig, {"teacher": "x"}, "needs 'prototypes.source' = 'teacher', not 'data'"),
        (PrototypesConfig, {"vectors": "x"}, "needs 'prototypes.source' = 'file', not 'data'"),
        (MemoryConfig, {"size": -1}, "'memory.size' must be at least 0"),
        (MemoryConfig, {"share": 1.0}, r"'memory.share' must lie in \[0, 1\), not 1.0"),
        (MemoryConfig, {"distillation": -0.5}, "'memory.distillation' must be at least 0 .* -0.5"),
        (MemoryConfig, {"distillation": math.nan}, "'memory.distillation' must be at least 0"),
        (TeacherConfig, {}, "Exactly one of .* must be given, not none"),
        (TeacherConfig, {"timm": "x"}, "'teacher.weights' must be"),
        (TeacherConfig, {"run": "x", "weights": "y"}, "'teacher.weights' must be"),
        (TeacherConfig, {"embeddings": "x", "targets": "own"}, "needs 'teacher.run'"),
    ],
)
def test_ranges(kind: Any, settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        kind(**settings)


# -------------------------------------------------------------------- classes by their import path


def spec(path: str, **arguments: Any) -> ClassSpec:
    return ClassSpec(path, arguments)


class Holder:
    """Takes anything by keyword."""

    def __init__(self, first: Any = None, **others: Any) -> None:
        self.first, self.others = first, others


def double(x: float, factor: float = 2.0) -> float:
    return x * factor


def test_build_fills_only_what_the_class_takes() -> None:
    head = spec("rootspace.heads.PrototypeHead", temperature=0.3).build(
        Head, "head", num_classes=5, dim=16, in_channels=3
    )
    assert isinstance(head, PrototypeHead)
    assert (head.num_classes, head.dim, head.temperature) == (5, 16, 0.3)
    # What init_args have stands.
    head = spec("rootspace.heads.CosFaceHead", dim=8).build(Head, "head", num_classes=5, dim=16)
    assert isinstance(head, CosFaceHead)
    assert head.dim == 8
    # A class that takes any keyword is given none that it does not name.
    held = spec(f"{__name__}.Holder", x=1).build(Holder, "model", first=2, dim=3)
    assert (held.first, held.others) == (2, {"x": 1})
    net = nn.Linear(2, 3)
    sgd = spec("torch.optim.SGD", lr=0.5).build(
        torch.optim.Optimizer, "optimizer", net.parameters(), lr=0.1, weight_decay=0.2
    )
    assert (sgd.defaults["lr"], sgd.defaults["weight_decay"]) == (0.5, 0.2)
    class_map = ClassMap(RootA(8), 5)
    loss = spec("rootspace.losses.InBatchSoftmaxLoss", scale=3.0).build(
        ClassLoss, "loss", class_map
    )
    assert isinstance(loss, InBatchSoftmaxLoss)
    assert (loss.classes, loss.scale) == (class_map, 3.0)


@pytest.mark.parametrize("as_spec", [True, False])
def test_build_makes_specs_within_specs(as_spec: bool) -> None:
    inner: Any = spec("torch.nn.ReLU") if as_spec else {"class_path": "torch.nn.ReLU"}
    linear = {"class_path": "torch.nn.Linear", "init_args": {"in_features": 2, "out_features": 3}}
    held = spec(
        f"{__name__}.Holder", first=[linear, (inner, 4)], x={"y": inner, "z": "text"}
    ).build(Holder, "model")
    assert isinstance(held.first[0], nn.Linear)
    assert isinstance(held.first[1][0], nn.ReLU)
    assert isinstance(held.others["x"]["y"], nn.ReLU)
    assert held.others["x"]["z"] == "text"
    config = Config(model=spec("my.Net", first=[inner]))
    assert [found.class_path for _, found in config.specs()][:3] == [
        "rootspace.data.Characters",
        "my.Net",
        "torch.nn.ReLU",
    ]
    assert Config.from_dict(yaml.safe_load(yaml.safe_dump(config.as_dict()))).as_dict() == (
        config.as_dict()
    )


@pytest.mark.parametrize(
    ("path", "arguments", "message"),
    [
        ("torch.nn.ReLU", {}, "'head' must name a subclass of rootspace.heads.Head, not torch.nn"),
        ("rootspace.heads.base.count_classes", {}, "must name a subclass"),
        ("rootspace.heads.Nothing", {}, "rootspace.heads.Nothing cannot be imported: module"),
        ("rootspace.nothing.Head", {}, "cannot be imported: No module named 'rootspace.nothing'"),
        ("nowhere_at_all.Head", {}, "cannot be imported"),
        ("Head", {}, "'head' must be an import path, not 'Head'"),
        ("", {}, "'head' must be an import path, not ''"),
        (".heads.Head", {}, "'head' must be an import path"),
        ("..Head", {}, "'head' must be an import path"),
        ("rootspace.heads.LinearHead", {"widht": 3}, "unexpected keyword argument 'widht'"),
        ("rootspace.heads.LinearHead", {"dim": {"class_path": "x"}}, "must be an import path"),
        ("rootspace.heads.LinearHead", {"dim": {"class_path": 3}}, "must have 'class_path'"),
    ],
)
def test_build_says_what_is_wrong(path: str, arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError) as error:
        ClassSpec(path, arguments).build(Head, "head", num_classes=3)
    assert message in str(error.value)
    assert "'head'" in str(error.value)


def test_build_names_a_missing_argument() -> None:
    with pytest.raises(ValueError, match=r"'model': torch\.nn\.Linear: missing .*'in_features'"):
        spec("torch.nn.Linear", out_features=3).build(nn.Module, "model")
    with pytest.raises(ValueError, match=r"a subclass of torch\.nn\.Module or "):
        spec(f"{__name__}.Holder").resolve((nn.Module, Config), "model")
    assert spec("rootspace.heads.LinearHead").resolve(Head, "head") is LinearHead
    assert spec("rootspace.heads.LinearHead").name == "LinearHead"


def test_build_callable() -> None:
    assert spec(f"{__name__}.double").build_callable("transform") is double
    triple = spec(f"{__name__}.double", factor=3.0).build_callable("transform")
    assert isinstance(triple, partial)
    assert triple(2.0) == 6.0
    flatten = spec("torch.nn.Flatten", start_dim=0).build_callable("transform")
    assert flatten(torch.ones(2, 3)).shape == (6,)
    inner = {"class_path": f"{__name__}.Holder"}
    held = spec(f"{__name__}.double", factor=inner).build_callable("transform")
    assert isinstance(held, partial)
    assert isinstance(held.keywords["factor"], Holder)
    for path, arguments, message in (
        (f"{__name__}.Holder", {}, "'transform' must name something that can be called"),
        (f"{__name__}.double", {"faktor": 3}, "unexpected keyword argument 'faktor'"),
        ("torch.nn.Flatten", {"faktor": 3}, "unexpected keyword argument 'faktor'"),
        (f"{__name__}.FULL", {}, "'transform' must name something that can be called"),
    ):
        with pytest.raises(ValueError, match=message):
            ClassSpec(path, arguments).build_callable("transform")


def test_spec_from() -> None:
    assert spec_from({"class_path": "a.B"}, "head") == ClassSpec("a.B")
    assert spec_from({"class_path": "a.B", "init_args": {"c": 1}}, "head") == spec("a.B", c=1)
    assert spec_from({"class_path": "a.B", "init_args": None}, "head") == ClassSpec("a.B")


# -------------------------------------------------------------------- a stranger's settings


def test_classes_of_known_packages_are_trusted() -> None:
    check_trusted(Config(), "runs/x")
    check_trusted(
        Config(
            loss=spec("rootspace.losses.CosineLoss"),
            scheduler=spec("torch.optim.lr_scheduler.StepLR"),
            transform=spec("torchvision.transforms.v2.Compose"),
            callbacks=[spec("lightning.pytorch.callbacks.EarlyStopping", monitor="loss")],
            loggers=[spec("lightning.pytorch.loggers.CSVLogger", save_dir="x")],
        ),
        "runs/x",
    )


EVIL: dict[str, Any] = {"class_path": "os.system", "init_args": {"command": "x"}}


@pytest.mark.parametrize(
    ("config", "setting", "path"),
    [
        (Config(model=spec("my.Net")), "model", "my.Net"),
        (Config(model=spec("rootspaces.Net")), "model", "rootspaces.Net"),
        (Config(model=spec("torchvision_extra.Net")), "model", "torchvision_extra.Net"),
        (Config(callbacks=[spec("rootspace.X"), spec("my.C")]), "callbacks", "my.C"),
        (Config(transform=spec("torchvision.T", parts=[EVIL])), "transform", "os.system"),
        (Config(model=spec("torch.nn.S", a={"b": ({"c": EVIL},)})), "model", "os.system"),
        (
            Config(model=spec("torch.nn.S", a={"class_path": "torch.nn.T", "init_args": EVIL})),
            "model",
            "os.system",
        ),
        (Config(loss=spec("torch.nn.S", a=spec("my.Loss"))), "loss", "my.Loss"),
        # Makes a process with any command.
        (
            Config(
                transform=spec(
                    "torch.distributed.elastic.multiprocessing.subprocess_handler.SubprocessHandler"
                )
            ),
            "transform",
            "torch.distributed.elastic",
        ),
        (Config(transform=spec("torch.hub.load")), "transform", "torch.hub.load"),
        # Unpickles a file of the working directory.
        (Config(data=spec("torchvision.datasets.LSUN", root="x")), "data", "datasets.LSUN"),
    ],
)
def test_other_classes_are_not(config: Config, setting: str, path: str) -> None:
    with pytest.raises(ValueError, match=r"runs/x names .* trust_code=True") as error:
        check_trusted(config, "runs/x")
    assert path in str(error.value)
    assert f"as '{setting}'" in str(error.value)


SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8)
ANYTHING = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(SCALARS, inner, max_size=3),
    max_leaves=6,
)


@st.composite
def changed_settings(draw: st.DrawFn) -> dict[str, Any]:
    """Settings of which one value, at any depth, is something else."""
    sections = FULL.as_dict()
    place: Any = sections
    while True:
        keys = list(place) if isinstance(place, dict) else list(range(len(place)))
        key = draw(st.sampled_from(keys))
        if isinstance(place[key], dict | list) and place[key] and draw(st.booleans()):
            place = place[key]
            continue
        place[key] = draw(ANYTHING)
        return sections


@given(changed_settings() | ANYTHING)
def test_any_settings_are_taken_or_refused(sections: Any) -> None:
    try:
        config = Config.from_dict(sections)
    except ValueError as error:
        assert str(error)
    else:
        plain = config.as_dict()
        assert repr(Config.from_dict(plain).as_dict()) == repr(plain)  # which NaN equals, too


@given(st.data())
def test_any_file_of_settings_is_taken_or_named(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    path = tmp_path_factory.getbasetemp() / "fuzzed" / "config.yaml"
    path.parent.mkdir(exist_ok=True)
    content = bytearray(yaml.safe_dump(FULL.as_dict()).encode())
    for _ in range(data.draw(st.integers(1, 3))):
        start = data.draw(st.integers(0, len(content)))
        stop = start + data.draw(st.sampled_from([0, 1, 7, 1000]))
        content[start:stop] = data.draw(st.binary(max_size=6))
    path.write_bytes(content)
    try:
        read_config(path.parent)
    except ValueError as error:
        assert str(path) in str(error) and "\n" not in str(error)


@pytest.mark.parametrize(
    "content",
    [
        "[" * 200_000,
        "a: " + "{a: " * 5_000,
        "x: &a [1, 1]\n" + "".join(f"x{i}: &b{i} [*a, *a]\n" for i in range(9)),
        "just a word",
        "",
    ],
    ids=["brackets", "braces", "aliases", "scalar", "empty"],
)
def test_hostile_settings_are_named(tmp_path: Path, content: str) -> None:
    (tmp_path / "config.yaml").write_text(content)
    with pytest.raises(ValueError, match=r"config\.yaml is damaged: "):
        read_config(tmp_path)


def test_a_billion_laughs(tmp_path: Path) -> None:
    lines = ["a0: &a0 [ha, ha, ha, ha, ha, ha, ha, ha, ha, ha]"]
    lines += [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 10)}]" for i in range(1, 10)]
    inside = ["train:", "  epochs: *a9"]
    (tmp_path / "config.yaml").write_text("\n".join([*lines, *inside]))
    with pytest.raises(ValueError, match=r"config\.yaml is damaged: ") as error:
        read_config(tmp_path)
    assert len(str(error.value)) < 2_000


@pytest.mark.parametrize(
    ("given", "precision"),
    [(32, "32"), (16, "16"), ("32-true", "32"), ("bf16-mixed", "bf16"), ("16-mixed", "16")],
)
def test_precision_by_lightnings_names_and_as_numbers(given: Any, precision: str) -> None:
    assert TrainConfig(precision=given).precision == precision
