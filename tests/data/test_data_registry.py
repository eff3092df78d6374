from __future__ import annotations

import inspect
import subprocess
import sys

import pytest

from rootspace import data
from rootspace.data import DATASETS, Characters, ImageData, ImageFolder


def test_every_data_set_is_registered_and_public():
    assert {cls.__name__ for cls in DATASETS.values()} <= set(data.__all__)
    subclasses = {
        cls for cls in ImageData.__subclasses__() if cls.__module__.startswith("rootspace.")
    }
    assert subclasses == set(DATASETS.values())
    for name, cls in DATASETS.items():
        assert cls.name == name and not inspect.isabstract(cls)


@pytest.mark.parametrize("cls", DATASETS.values())
def test_every_parameter_is_typed_and_documented(cls):
    documented = inspect.getdoc(cls)
    for name, parameter in inspect.signature(cls).parameters.items():
        assert parameter.annotation is not parameter.empty, name
        assert f"\n    {name}: " in documented, name
    common = {"batch_size": 256, "num_workers": 0, "seed": 0}
    parameters = inspect.signature(cls).parameters
    assert {name: parameters[name].default for name in common} == common


def same(data: ImageData) -> ImageData:
    return data


def test_the_command_line_builds_data_sets(tmp_path, capsys):
    jsonargparse = pytest.importorskip("jsonargparse")

    def build(*arguments: str) -> ImageData:
        return jsonargparse.auto_cli(
            same, args=list(arguments), as_positional=False, allow_abbrev=False
        )

    characters = build(
        "--data=rootspace.data.Characters",
        '--data.train_fonts=["DejaVuSans", "DejaVuSerif"]',
        "--data.ranges=U+41-U+5A",
        "--data.num_classes=5",
        "--data.seed=3",
    )
    assert isinstance(characters, Characters)
    characters.setup()
    assert (characters.num_classes, characters.seed) == (5, 3)
    folder = build("--data=rootspace.data.ImageFolder", f"--data.root={tmp_path}")
    assert isinstance(folder, ImageFolder) and str(folder.root) == str(tmp_path)
    for cls in DATASETS.values():
        with pytest.raises(SystemExit):
            build(f"--data.help={cls.__module__}.{cls.__name__}")
        assert "of the order of the training images" in " ".join(capsys.readouterr().out.split())


def test_optional_dependencies_are_imported_where_used():
    optional = "{'torchvision', 'PIL', 'freetype', 'matplotlib'}"
    code = (
        "import sys, lightning; before = set(sys.modules); import rootspace.data; "
        f"assert not {optional} & (set(sys.modules) - before)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
