"""What `rootspace.data` offers, and how the command line finds it."""

from __future__ import annotations

import importlib
import inspect
import pkgutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from rootspace import data
from rootspace.cli._config import config_parser, parse
from rootspace.config import Config
from rootspace.data import (
    ArrayImages,
    Characters,
    DataError,
    DataSource,
    FileImages,
    Grown,
    ImageFolder,
    ImagePreprocessing,
    Strings,
    TorchData,
    make_data,
    store_images,
)

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


PIXELS, LABELS = torch.zeros(2, 1, 8, 8, dtype=torch.uint8), torch.zeros(2, dtype=torch.int64)
GRAY = ImagePreprocessing(1, 8, (0.5,), (0.5,))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (
            lambda: ArrayImages(PIXELS.float(), LABELS),
            r"'images' must be a torch.uint8 tensor \[N, C, H, W\], not torch.float32 \[2, 1, 8, 8",
        ),
        (lambda: ArrayImages(PIXELS[0], LABELS), r"'images' .* not torch.uint8 \[1, 8, 8\]"),
        (lambda: ArrayImages(PIXELS.numpy(), LABELS), "'images' .* not ndarray"),  # pyright: ignore[reportArgumentType]
        (lambda: ArrayImages(PIXELS, LABELS.int()), r"'labels' .* not torch.int32 \[2\]"),
        (lambda: ArrayImages(PIXELS, LABELS[:1]), "'labels' must .* each of the 2 images, not 1"),
        (lambda: FileImages(Path(), ["a"], LABELS, GRAY), "'labels' .* each of the 1 files, not 2"),
        (lambda: FileImages(Path(), ["a"], LABELS[:1].float(), GRAY), "'labels' .* torch.float32"),
        (
            lambda: Strings(np.zeros(3), np.array([3])),
            r"'data' must be an array of uint8 with one dimension, not float64 \[3\]",
        ),
        (
            lambda: Strings(np.zeros(3, np.uint8), np.array([2])),
            "'ends' must end with the 3 bytes of 'data', not 2",
        ),
    ],
)
def test_arguments_that_cannot_be(make: Callable[[], object], message: str) -> None:
    with pytest.raises(DataError, match=message):
        make()


def test_images_to_store_that_are_not_counted_right(tmp_path: Path) -> None:
    keys = np.zeros(2)
    for batches in ([PIXELS, PIXELS], [PIXELS[:1]], []):
        with pytest.raises(DataError, match=r"'labels' must have one for each of the . images"):
            store_images(tmp_path / "x", batches, LABELS.numpy(), keys, ["a"], (1, 8, 8))
    with pytest.raises(DataError, match="'keys' must have one for each of the 2 labels, not 1"):
        store_images(tmp_path / "x", [PIXELS], LABELS.numpy(), keys[:1], ["a"], (1, 8, 8))
    assert not (tmp_path / "x").exists()
