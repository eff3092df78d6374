"""What `rootspace.data` offers, and how the command line finds it."""

from __future__ import annotations

import importlib
import inspect
import pkgutil
import subprocess
import sys
from pathlib import Path

import pytest

from rootspace import data
from rootspace.cli._config import config_parser, parse
from rootspace.config import Config
from rootspace.data import Characters, DataSource, Grown, ImageFolder, TorchData, make_data

PROG = "rootspace train"


def sources() -> list[type[DataSource]]:
    """Every source that the package holds."""
    for module in pkgutil.walk_packages(data.__path__, f"{data.__name__}."):
        importlib.import_module(module.name)
    return [cls for cls in DataSource.__subclasses__() if cls.__module__.startswith("rootspace.")]


def parsed(*arguments: str) -> Config:
    return parse(list(arguments), config_parser(PROG, Config()), PROG)


def test_every_source_is_public() -> None:
    found = sources()
    assert len(found) >= 7
    for cls in found:
        assert getattr(data, cls.__name__) is cls and not inspect.isabstract(cls)


@pytest.mark.parametrize("cls", sources())
def test_every_parameter_is_typed_and_documented(cls: type[DataSource]) -> None:
    documented = inspect.getdoc(cls) or ""
    for name, parameter in inspect.signature(cls).parameters.items():
        assert parameter.annotation is not parameter.empty, name
        assert f"\n    {name}: " in documented, name


@pytest.mark.parametrize("cls", [cls for cls in sources() if cls is not Grown])
def test_the_command_line_finds_it_by_its_short_name(
    cls: type[DataSource], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        parsed(f"--data.help={cls.__name__}")
    shown = capsys.readouterr().out
    for name in inspect.signature(cls).parameters:
        assert f"--data.{name}" in shown


def test_the_command_line_builds_sources(tmp_path: Path) -> None:
    config = parsed(
        "--data=Characters",
        '--data.train_fonts=["DejaVuSans", "DejaVuSerif"]',
        "--data.ranges=U+41-U+5A",
        "--data.num_classes=5",
        "--data.seed=3",
        "--loader.batch_size=7",
    )
    found = make_data(config)
    found.setup()
    assert isinstance(found.source, Characters) and found.source.seed == 3
    assert found.num_classes == 5 and found.loader.batch_size == 7
    folder = make_data(parsed("--data", "ImageFolder", f"--data.root={tmp_path}")).source
    assert isinstance(folder, ImageFolder) and folder.root == tmp_path


def test_the_command_line_takes_any_torch_data_set() -> None:
    config = parsed(
        "--data=torchvision.datasets.FakeData",
        "--data.size=40",
        "--data.image_size=[3, 12, 12]",
        "--data.num_classes=4",
    )
    found = make_data(config)
    assert isinstance(found.source, TorchData)
    found.setup()
    assert found.preprocessing is not None and found.preprocessing.size == 12
    assert len(found.train_dataset) + len(found.test_datasets["test"]) == 40


def test_something_else_is_no_source() -> None:
    with pytest.raises(ValueError, match="data"):
        parsed("--data=torch.nn.ReLU")


def test_optional_dependencies_are_imported_where_used() -> None:
    optional = "{'torchvision', 'PIL', 'freetype', 'matplotlib', 'lightning', 'rich'}"
    code = f"import sys, rootspace.data; assert not {optional} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)
