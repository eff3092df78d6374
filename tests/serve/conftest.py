"""A small run on characters, and applications around it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from servers import CLASSES, LIMITS
from starlette.testclient import TestClient

from rootspace.cli import main
from rootspace.serve.app import create_app
from rootspace.serve.run_model import RunModel
from rootspace.serve.service import Service


@pytest.fixture(scope="session")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Trained on the letters A to P; nobody may change it."""
    folder = tmp_path_factory.mktemp("serve") / "letters"
    settings = ["--data.ranges", "U+0041-U+0050", "--model.width", "8", "--head.dim", "32"]
    settings += ["--loader.batch_size", "32", "--train.epochs", "12", "--run.dir", str(folder)]
    assert main(["train", *settings]) == 0
    assert len(CLASSES) == 16
    return folder


@pytest.fixture(scope="session")
def letters(run: Path) -> list[tuple[str, bytes]]:
    """Names and images of letters that the run was tested on."""
    files = sorted((run / "samples").glob("*.png"))
    found = [(f.stem.rpartition("-")[2], f.read_bytes()) for f in files]
    assert len(found) >= 4
    return found


@pytest.fixture(scope="session")
def client(run: Path) -> Iterator[TestClient]:
    """Of a server without a token."""
    app = create_app(Service(RunModel(run), LIMITS), hosts={"localhost"})
    with TestClient(app, base_url="http://localhost", raise_server_exceptions=False) as client:
        yield client
