"""The manifest of a finished run: what is missing, damaged or exchanged is named."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from rootspace.config import Config, RunConfig
from rootspace.runs import folder as files


@pytest.fixture
def run(tmp_path: Path) -> Path:
    folder = tmp_path / "run"
    folder.mkdir()
    files.write_config(folder, Config(run=RunConfig(dir=str(folder))))
    (folder / files.MODEL).write_bytes(bytes(range(256)))
    (folder / files.REPLAY).mkdir()
    (folder / files.REPLAY / "images.npy").write_bytes(b"images")
    files.finish(folder)
    return folder


def test_what_was_written_is_whole(run: Path):
    assert files.is_finished(run)
    files.check_finished(run)
    files.check_whole(run)
    assert files.checked(run / files.MODEL) == run / files.MODEL
    run.rename(run.with_name("moved"))
    files.check_whole(run.with_name("moved"))


def _flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


@pytest.mark.parametrize("name", [files.CONFIG, files.MODEL, f"{files.REPLAY}/images.npy"])
@pytest.mark.parametrize(
    "harm",
    [
        _flip,
        lambda path: path.write_bytes(b""),
        lambda path: path.write_bytes(path.read_bytes()[:-1]),
        lambda path: path.write_text("of another run"),
        Path.unlink,
    ],
    ids=["flipped", "emptied", "truncated", "exchanged", "removed"],
)
def test_harm_is_named(run: Path, name: str, harm: Callable[[Path], None]):
    harm(run / name)
    for look in (files.check_whole, lambda folder: files.checked(folder / name, folder)):
        with pytest.raises(ValueError, match=rf"run/{name} is .* the run folder again") as error:
            look(run)
        assert "\n" not in str(error.value)


@pytest.mark.parametrize("content", ["", "{", "[]", '{"sha256": []}', "null"])
def test_a_damaged_manifest_is_named(run: Path, content: str):
    (run / files.MANIFEST).write_text(content)
    with pytest.raises(ValueError, match=r"manifest\.json is (damaged|not JSON)"):
        files.checked(run / files.MODEL)


def test_a_file_may_come_later(run: Path):
    (run / files.REJECTOR).write_text("{}")
    with pytest.raises(ValueError, match=r"rejector\.json is damaged or not of this run"):
        files.checked(run / files.REJECTOR)
    files.record(run, files.REJECTOR)
    files.check_whole(run)
    files.checked(run / files.REJECTOR)


def test_an_unfinished_run_is_not_checked(run: Path):
    files.reopen(run)
    _flip(run / files.MODEL)
    assert files.checked(run / files.MODEL) == run / files.MODEL
    with pytest.raises(ValueError, match=r"not a finished run: .* train --resume --run\.dir"):
        files.check_finished(run)


def test_settings_of_an_unfinished_run_are_checked(run: Path):
    files.reopen(run)
    text = (run / files.CONFIG).read_text()
    changed = text.replace("epochs: 10", "epochs: 90")
    assert changed != text
    (run / files.CONFIG).write_text(changed)
    with pytest.raises(ValueError, match=r"config\.yaml is damaged: .* remove its last line"):
        files.read_config(run)
    (run / files.CONFIG).write_text(changed[: changed.rindex("#")])
    assert files.read_config(run).train.epochs == 90
