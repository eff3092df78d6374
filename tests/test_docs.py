"""Code of the README and the docs runs, and commands that they and examples show can be parsed.

The Python blocks of a page run one after another in one namespace, in a folder with a small run at
`runs/demo` and `runs/letters`. What a block takes as given (a network, data) is in `STAND_INS`.
Blocks with `>>>` are doctests. A block that is only a sketch has no language.
"""

from __future__ import annotations

import argparse
import re
import shlex
import shutil
import socket
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

import pytest
import torch
import uvicorn
from torch import nn
from torch.utils.data import DataLoader, Dataset, TensorDataset

import rootspace as rs
from rootspace.cli import _arguments, _parser, main
from rootspace.cli import check as check_command
from rootspace.cli import compare as compare_command
from rootspace.cli import distill as distill_command
from rootspace.cli import extend as extend_command
from rootspace.cli import train as train_command
from rootspace.cli._main import COMMANDS
from rootspace.config import Config, RunConfig
from rootspace.runs.folder import write_config
from rootspace.serve.app import create_app
from rootspace.serve.run_model import RunModel
from rootspace.serve.service import Limits, Service

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
SCRIPTS = [*sorted((ROOT / "examples").glob("*.py")), *sorted((ROOT / "recipes").glob("*.yaml"))]

# ---------------------------------------------------------------- what pages hold


class Snippet(NamedTuple):
    """A piece of a page, and the number of its first line."""

    line: int
    text: str


def fenced(page: Path) -> list[tuple[str, Snippet]]:
    """The blocks between fences: their language and their text."""
    found: list[tuple[str, Snippet]] = []
    language: str | None = None
    first, lines = 0, list[str]()
    for number, line in enumerate(page.read_text(encoding="utf-8").splitlines(), 1):
        if not line.startswith("```"):
            if language is not None:
                lines.append(line)
        elif language is None:
            language, first, lines = line[3:].strip(), number + 1, list[str]()
        else:
            found.append((language, Snippet(first, "\n".join(lines))))
            language = None
    assert language is None, f"{page.name}: a block that does not end"
    return found


def python_blocks(page: Path) -> list[Snippet]:
    return [b for kind, b in fenced(page) if kind == "python" and not b.text.startswith(">>>")]


def shown_commands(page: Path) -> list[Snippet]:
    """`rootspace ...` as lines of blocks and of comments, and with arguments between backquotes."""
    text = page.read_text(encoding="utf-8")
    pieces = [b for kind, b in fenced(page) if kind != "python"]
    if page.suffix != ".md":
        pieces = [Snippet(1, re.sub(r"^# ?", "", text, flags=re.MULTILINE).replace("\\\\", "\\"))]
    found = []
    for piece in pieces:
        lines = iter(enumerate(piece.text.splitlines(), piece.line))
        for number, line in lines:
            command = re.sub(r"^(\w+=\S+ )+", "", line.strip().removeprefix("$ "))
            if command.split(" ")[0] != "rootspace":
                continue
            while command.endswith("\\"):
                command = command[:-1] + next(lines)[1].strip()
            found.append(Snippet(number, command))
    if page.suffix == ".md":
        for match in re.finditer(r"`(rootspace \w+ [^`]+)`", text):
            found.append(Snippet(text[: match.start()].count("\n") + 1, match[1]))
    return sorted(found)


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.name)
def test_links_lead_somewhere(page: Path):
    """To a file, and to one of its headings where a link names one."""
    for target in re.findall(r"\]\((?!https?:)([^)]+)\)", page.read_text(encoding="utf-8")):
        name, _, heading = target.partition("#")
        file = page.parent / name if name else page
        assert file.exists(), target
        titles = re.findall(r"^#+ (.*)", file.read_text("utf-8"), re.MULTILINE) if heading else []
        slugs = [re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles]
        assert not heading or heading in slugs, target


# ---------------------------------------------------------------- Python


def readme() -> dict[str, Any]:
    labels = torch.arange(12).repeat_interleave(8)
    x = nn.functional.one_hot(labels, 12).float() + 0.1 * torch.randn(96, 12)
    dataset = TensorDataset(x, labels)
    vars(dataset).update(classes=[f"class {label}" for label in range(12)], targets=labels)
    network = nn.Sequential(nn.Linear(12, 64), nn.ReLU(), nn.Linear(64, 256))
    return {"dataset": dataset, "network": network}


def heads() -> dict[str, Any]:
    given = readme()
    x, labels = next(iter(DataLoader(given["dataset"], batch_size=96)))
    return {**given, "plain": given["dataset"], "x": x, "labels": labels}


def export() -> dict[str, Any]:
    assert main(["export", "runs/demo", "--out", "model.onnx"]) == 0
    run = rs.load("runs/demo")
    shape = run.model.preprocessing
    assert shape is not None
    example = torch.zeros(2, shape.channels, shape.size, shape.size, dtype=torch.uint8)
    return {"model": run.model.embedder, "head": run.model.head, "example": example}


def serving() -> dict[str, Any]:
    content = next(Path("runs/demo/samples").iterdir()).read_bytes()
    Path("a.jpg").write_bytes(content)
    listening = socket.create_server(("127.0.0.1", 0))
    app = create_app(Service(RunModel(Path("runs/demo")), Limits()))
    server = uvicorn.Server(uvicorn.Config(app, log_level="warning"))
    threading.Thread(target=server.run, args=([listening],), daemon=True).start()
    while not server.started:
        time.sleep(0.01)
    url = f"http://127.0.0.1:{listening.getsockname()[1]}"
    return {"url": url, "image_bytes": content}


STAND_INS: dict[str, Callable[[], dict[str, Any]]] = {
    "README": readme,
    "heads": heads,
    "export": export,
    "serving": serving,
}


@pytest.fixture(scope="session")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a tiny trained run."""
    root = tmp_path_factory.mktemp("docs")
    demo = root / "runs" / "demo"
    settings = ["--data.ranges", "U+0041-U+0050", "--model.width", "4", "--head.dim", "16"]
    settings += ["--loader.batch_size", "32", "--train.epochs", "2", "--run.dir", str(demo)]
    assert main(["train", *settings]) == 0
    assert main(["classes", str(demo), "list"]) == 0  # which makes its registry
    return root


@pytest.mark.filterwarnings("ignore")  # of other libraries
@pytest.mark.parametrize(
    "page", [p for p in PAGES if python_blocks(p)], ids=lambda p: p.relative_to(ROOT).as_posix()
)
def test_python(page: Path, runs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    for name in ("demo", "letters"):
        shutil.copytree(runs / "runs" / "demo", tmp_path / "runs" / name)
    monkeypatch.chdir(tmp_path)
    namespace: dict[str, Any] = {}
    namespace |= STAND_INS.get(page.stem, dict)()
    for block in python_blocks(page):
        # Lines have the numbers that they have in the page.
        exec(compile("\n" * (block.line - 1) + block.text, str(page), "exec"), namespace)
    if page.stem == "README":
        assert namespace["labels"].shape[1] == 5


# ---------------------------------------------------------------- commands


class Parsed(Exception):
    """A command has understood its arguments."""


class MyData(Dataset[Any]):
    """A user's data set, as commands name it."""

    def __init__(self, root: str = "") -> None:
        self.root = root


class Net(nn.Module):
    """A user's network, as commands name it."""

    def __init__(self, dim: int, width: int = 8) -> None:
        super().__init__()


@pytest.fixture
def only_parsed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Commands stop, with `Parsed`, before they do anything."""

    def stop(*_: Any, **__: Any) -> None:
        raise Parsed

    understand = argparse.ArgumentParser.parse_args
    understand_mixed = argparse.ArgumentParser.parse_intermixed_args

    def parse_args(*arguments: Any) -> None:
        understand(*arguments)
        raise Parsed

    def parse_intermixed_args(*arguments: Any) -> None:
        understand_mixed(*arguments)
        raise Parsed

    def settings(folder: Path, *_: Any, **__: Any) -> Config:
        return Config(run=RunConfig(dir=str(folder)))

    monkeypatch.setattr(_parser.Parser, "parse_args", parse_args, raising=False)
    mixed = "parse_intermixed_args"
    monkeypatch.setattr(_parser.Parser, mixed, parse_intermixed_args, raising=False)
    monkeypatch.setattr(_arguments, "device", torch.device)
    monkeypatch.setattr(check_command, "make_data", stop)
    monkeypatch.setattr(train_command, "train", stop)
    monkeypatch.setattr(train_command, "read_config", settings)
    monkeypatch.setattr(extend_command, "extend", stop)
    monkeypatch.setattr(extend_command, "load", Path)
    monkeypatch.setattr(extend_command, "read_config", settings)
    monkeypatch.setattr(extend_command, "base_config", settings)
    monkeypatch.setattr(distill_command, "distill", stop)
    monkeypatch.setattr(distill_command, "read_config", settings)
    monkeypatch.setattr(compare_command, "compare", stop)
    package = ModuleType("my_package")
    vars(package).update(MyData=MyData, Net=Net)
    monkeypatch.setitem(sys.modules, "my_package", package)
    monkeypatch.setattr(MyData, "__module__", "my_package")
    monkeypatch.setattr(Net, "__module__", "my_package")
    monkeypatch.syspath_prepend(ROOT / "examples")
    monkeypatch.setenv("ROOTSPACE_DEBUG", "1")  # errors are raised, with what they say
    # What --config names must be there.
    (tmp_path / "recipes").symlink_to(ROOT / "recipes")
    (tmp_path / "runs/demo").mkdir(parents=True)
    write_config(tmp_path / "runs/demo", Config())
    monkeypatch.chdir(tmp_path)


COMMAND_LINES = [
    pytest.param(command.text, id=f"{page.relative_to(ROOT).as_posix()}:{command.line}")
    for page in [*PAGES, *SCRIPTS]
    for command in shown_commands(page)
]


@pytest.mark.usefixtures("only_parsed")
@pytest.mark.parametrize("command", COMMAND_LINES)
def test_commands(command: str):
    words = shlex.split(command, comments=True)
    assert words[1] in COMMANDS, command
    try:
        main(words[1:])
    except (Parsed, SystemExit) as done:
        assert isinstance(done, Parsed) or not done.code, command


@pytest.mark.usefixtures("only_parsed")
@pytest.mark.parametrize("command", ["train --no.such 1", "predict runs/demo", "plan many"])
def test_wrong_commands_are_noticed(command: str):
    with pytest.raises(ValueError, match="see `rootspace"):
        main(command.split())
