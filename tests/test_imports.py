"""Which room may import which, and that the core needs torch and numpy only."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

SOURCE = Path(__file__).parents[1] / "src" / "rootspace"

SHARED = {"_checks", "_errors", "_extras", "_files", "_terminal"}
ROOMS: dict[str, set[str]] = {
    "config": set(),
    "metrics": set(),
    "images": set(),
    "systems": set(),
    "models": set(),
    "vector_file": {"systems"},
    "search": {"systems"},
    "classes": {"systems", "search"},
    "testing": {"systems"},
    "runs": {"config"},
    "report": {"runs"},
    "losses": {"systems", "classes"},
    "planning": {"systems", "classes"},
    "continual": {"metrics", "systems", "classes", "runs"},
    "heads": {"systems", "classes", "losses", "planning"},
    "sampling": {"classes", "heads"},
    "export": {"images", "systems", "classes", "heads"},
    "data": {"config", "images", "runs", "heads", "sampling"},
    "choosing": {"classes", "heads", "sampling"},
    "callbacks": {"classes", "runs", "heads", "sampling", "choosing"},
    "building": {
        "config",
        "systems",
        "models",
        "vector_file",
        "classes",
        "losses",
        "planning",
        "heads",
        "data",
    },
    "model_file": {"config", "models", "heads", "data", "building"},
    "run": {"config", "classes", "runs", "continual", "choosing", "model_file"},
    "train": {
        "continual",
        "config",
        "systems",
        "models",
        "vector_file",
        "classes",
        "runs",
        "report",
        "heads",
        "sampling",
        "data",
        "choosing",
        "callbacks",
        "building",
        "model_file",
        "run",
    },
    "extend": {"config", "runs", "continual", "data", "choosing", "model_file", "run", "train"},
    "distill": {
        "config",
        "systems",
        "models",
        "vector_file",
        "classes",
        "runs",
        "heads",
        "data",
        "choosing",
        "building",
        "model_file",
        "run",
        "train",
    },
    "gallery": {
        "images",
        "search",
        "systems",
        "classes",
        "runs",
        "continual",
        "heads",
        "data",
        "run",
    },
    "serve": {"images", "runs", "continual", "run", "gallery"},
    "cli": {
        "building",
        "config",
        "metrics",
        "models",
        "runs",
        "search",
        "report",
        "losses",
        "planning",
        "continual",
        "heads",
        "sampling",
        "export",
        "data",
        "model_file",
        "run",
        "serve",
        "train",
        "extend",
        "distill",
        "gallery",
    },
}
"""Which rooms each may import, from the ground up: none knows one below it in this list."""
CORE = (
    "systems",
    "search",
    "classes",
    "planning",
    "losses",
    "heads",
    "sampling",
    "choosing",
    "testing",
    "metrics",
)


def files(room: str) -> list[Path]:
    """Of a package, or of a module by itself."""
    return [*(SOURCE / room).rglob("*.py")] or [SOURCE / f"{room}.py"]


def imports(file: Path) -> set[str]:
    """Dotted names of the modules that a file imports, relative ones made absolute."""
    found: set[str] = set()
    package = file.relative_to(SOURCE.parent).parts[:-1] if SOURCE in file.parents else ()
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.level:
            above = package[: len(package) - node.level + 1]
            names = [node.module] if node.module else [alias.name for alias in node.names]
            found |= {".".join((*above, name)) for name in names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found.add(node.module)
    return found


@pytest.mark.parametrize("room", ROOMS)
def test_rooms_import_one_way(room: str):
    for file in files(room):
        for name in imports(file):
            if name.startswith("rootspace."):
                other = name.split(".")[1]
                assert other in {
                    room,
                    *SHARED,
                    "_cpu",
                    "_distributed",
                    "_host_array",
                    "_memory",
                    "_precision",
                    *ROOMS[room],
                }, f"{file.name} imports {name}"


def test_there_is_no_circle():
    above: set[str] = set()
    for room, known in ROOMS.items():
        assert known <= above, f"{room} knows {known - above}, which come after it"
        above.add(room)


def test_every_room_is_listed():
    rooms = {p.stem for p in SOURCE.iterdir() if p.name[0] != "_" and p.name != "py.typed"}
    assert rooms == set(ROOMS)


PAPERS = Path(__file__).parents[1] / "papers"


def test_papers_come_last():
    """The library knows no paper; of a paper's modules one knows how the library trains."""
    for file in SOURCE.rglob("*.py"):
        assert not any(name.split(".")[0] == "papers" for name in imports(file)), file
    for file in PAPERS.rglob("*.py"):
        trains = any(name.startswith("rootspace.train") for name in imports(file))
        assert not trains or file.name == "training.py", file


@pytest.mark.parametrize("room", CORE)
def test_core_needs_torch_and_numpy_only(room: str):
    allowed = {"torch", "numpy", "rootspace", *sys.stdlib_module_names}
    for file in files(room):
        foreign = {name.split(".")[0] for name in imports(file)} - allowed
        assert not foreign, f"{file.name} imports {foreign}"


@pytest.mark.parametrize("name", sorted(SHARED))
def test_what_all_rooms_share_needs_the_standard_library_only(name: str):
    found = imports(SOURCE / f"{name}.py") - {f"rootspace.{shared}" for shared in SHARED}
    assert {module.split(".")[0] for module in found} <= set(sys.stdlib_module_names)


def test_runs_know_no_torch_module():
    for file in (SOURCE / "runs").rglob("*.py"):
        assert "torch" not in {name.split(".")[0] for name in imports(file)}, file.name


BLOCKED = """
import sys

class Block:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in {blocked!r}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)

sys.meta_path.insert(0, Block())
"""
EXTRAS = {
    "filelock",
    "freetype",
    "jinja2",
    "jsonargparse",
    "lancedb",
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
            "In a checkout of rootspace: pip install -e '.[models]'",
        ),
        (
            "import torch; from torch import nn; from rootspace import ClassMap\n"
            "from rootspace.export import export_onnx; from rootspace.systems import RootA\n"
            "export_onnx(nn.Identity(), ClassMap(RootA(3), 12), torch.randn(2, 3), 'x.onnx')",
            {"onnxscript"},
            "In a checkout of rootspace: pip install -e '.[onnx]'",
        ),
        (
            "from rootspace.cli import main; sys.exit(main(['train']))",
            {"lightning"},
            "In a checkout of rootspace: pip install -e '.[train]'",
        ),
        (
            "from pathlib import Path; from rootspace.config import Config\n"
            "from rootspace.model_file import read_model; read_model(Path('x'), Config())",
            {"safetensors"},
            "In a checkout of rootspace: pip install -e '.[train]'",
        ),
        (
            "from pathlib import Path; from rootspace.gallery import Pin\n"
            "from rootspace.gallery.lance import LanceStore\n"
            "LanceStore.create(Path('x'), Pin('', 2), Path('y'))",
            {"lancedb"},
            "In a checkout of rootspace: pip install -e '.[gallery]'",
        ),
    ],
)
def test_an_absent_extra_says_what_to_install(code: str, blocked: set[str], message: str):
    done = python(code, blocked)
    assert done.returncode != 0
    assert message in done.stderr.strip().splitlines()[-1], done.stderr
