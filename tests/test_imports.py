"""Which room may import which, and that the core needs torch and numpy only."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

SOURCE = Path(__file__).parents[1] / "src" / "rootspace"

ROOMS = {
    "systems": set(),
    "classes": {"_extras", "systems"},
    "planning": {"_text_table", "systems", "classes"},
    "losses": {"classes", "systems"},
    "testing": {"systems"},
    "models": {"_extras"},
    "data": {"_extras", "classes"},
    "report": {"_extras"},
    "export": {"_extras", "systems", "classes"},
    "train": {
        "_extras",
        "_text_table",
        "systems",
        "classes",
        "planning",
        "losses",
        "models",
        "data",
        "report",
    },
    "continual": {"_extras", "systems", "classes", "data", "train"},
    "distill": {"_extras", "systems", "classes", "models", "data", "train"},
    "reproduce": {
        "_extras",
        "_text_table",
        "systems",
        "classes",
        "planning",
        "losses",
        "models",
        "data",
        "report",
        "train",
    },
    "cli": {
        "_extras",
        "_text_table",
        "systems",
        "classes",
        "planning",
        "losses",
        "models",
        "data",
        "report",
        "train",
        "export",
        "continual",
        "distill",
        "reproduce",
    },
}
CORE = ("systems", "classes", "losses", "planning", "testing")


def files(room: str) -> list[Path]:
    """Of a package, or of a module by itself."""
    return [*(SOURCE / room).rglob("*.py")] or [SOURCE / f"{room}.py"]


def imports(file: Path) -> set[str]:
    """Dotted names of the modules that a file imports from elsewhere than its own package."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and not node.level and node.module:
            found.add(node.module)
    return found


@pytest.mark.parametrize("room", ROOMS)
def test_rooms_import_one_way(room: str):
    for file in files(room):
        for name in imports(file):
            if name.startswith("rootspace."):
                other = name.split(".")[1]
                assert other == room or other in ROOMS[room], f"{file.name} imports {name}"


def test_every_room_is_listed():
    rooms = {p.stem for p in SOURCE.iterdir() if p.name[0] != "_" and p.name != "py.typed"}
    assert rooms == set(ROOMS)


@pytest.mark.parametrize("room", CORE)
def test_core_needs_torch_and_numpy_only(room: str):
    allowed = {"torch", "numpy", "rootspace", *sys.stdlib_module_names}
    for file in files(room):
        foreign = {name.split(".")[0] for name in imports(file)} - allowed
        assert not foreign, f"{file.name} imports {foreign}"


BLOCKED = """
import sys

class Block:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in {blocked!r}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)

sys.meta_path.insert(0, Block())
"""
EXTRAS = {
    "freetype",
    "jsonargparse",
    "lightning",
    "matplotlib",
    "onnxscript",
    "PIL",
    "plotly",
    "pyarrow",
    "pytorch_metric_learning",
    "rich",
    "safetensors",
    "scipy",
    "timm",
    "torchmetrics",
    "torchvision",
    "yaml",
}


def python(code: str, blocked: set[str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", BLOCKED.format(blocked=blocked) + code],
        capture_output=True,
        text=True,
        check=False,
    )


def test_core_works_without_any_extra():
    code = """
import torch
from rootspace import ClassMap, plan
from rootspace.continual import ClassRegistry
from rootspace.losses import SystemSoftmaxLoss
from rootspace.systems import RootA
from rootspace.testing import check_system
from rootspace.cli import main
classes = ClassMap(RootA(9), 50)
SystemSoftmaxLoss(classes)(torch.randn(4, 9), torch.arange(4))
assert main(["plan", "1000"]) == 0
"""
    done = python(code, EXTRAS)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    ("code", "blocked", "message"),
    [
        (
            "from rootspace.models import TimmBackbone; TimmBackbone('resnet18', 8)",
            {"timm"},
            "pip install 'rootspace[models]'",
        ),
        (
            "import torch; from torch import nn; from rootspace import ClassMap\n"
            "from rootspace.export import export_onnx; from rootspace.systems import RootA\n"
            "export_onnx(nn.Identity(), ClassMap(RootA(3), 12), torch.randn(2, 3), 'x.onnx')",
            {"onnxscript"},
            "pip install 'rootspace[onnx]'",
        ),
        (
            "from rootspace.cli import main; sys.exit(main(['train']))",
            {"lightning"},
            "pip install 'rootspace[train]'",
        ),
        (
            "from rootspace.cli import main; sys.exit(main(['predict', 'x', 'y']))",
            {"safetensors"},
            "pip install 'rootspace[train]'",
        ),
    ],
)
def test_an_absent_extra_says_what_to_install(code: str, blocked: set[str], message: str):
    done = python(code, blocked)
    assert done.returncode != 0
    assert message in done.stderr.strip().splitlines()[-1], done.stderr
