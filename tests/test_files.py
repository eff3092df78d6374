"""Files that appear whole or not at all, and the lock of a run folder."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
import threading
from pathlib import Path

import filelock
import pytest
import torch
from safetensors.torch import save_file

from rootspace import _files
from rootspace._files import appearing, lock, replacing, wait_for_first, write_json


@pytest.mark.parametrize("shared", [False, True])
def test_a_file_is_replaced_when_it_is_whole(tmp_path: Path, shared: bool):
    path = tmp_path / "a.txt"
    path.write_text("old")
    with replacing(path, shared=shared) as temporary:
        temporary.write_text("new")
        assert path.read_text() == "old"
        assert temporary.parent == tmp_path
    assert path.read_text() == "new"
    with pytest.raises(RuntimeError), replacing(path, shared=shared) as temporary:
        temporary.write_text("half")
        raise RuntimeError
    assert path.read_text() == "new"
    assert list(tmp_path.iterdir()) == [path]


def test_two_processes_may_write_a_shared_file(tmp_path: Path):
    path = tmp_path / "a"
    with replacing(path, shared=True) as one, replacing(path, shared=True) as other:
        assert one != other
        one.write_text("one")
        other.write_text("other")
    assert path.read_text() == "one"


def test_what_a_killed_process_left_is_replaced(tmp_path: Path):
    for _ in range(2):
        code = (
            "import os, pathlib, rootspace._files as f\n"
            f"with f.replacing({str(tmp_path / 'a')!r}) as t: t.touch(); os._exit(1)"
        )
        subprocess.run([sys.executable, "-c", code], check=False)
    assert len(list(tmp_path.iterdir())) == 1
    write_json(tmp_path / "a", {"é": 1})
    assert (tmp_path / "a").read_text(encoding="utf-8") == '{\n  "é": 1\n}\n'
    assert len(list(tmp_path.iterdir())) == 1


def test_the_mode_is_that_of_the_process(tmp_path: Path):
    before = os.umask(0o022)
    try:
        write_json(tmp_path / "a.json", {})
        with replacing(tmp_path / "b") as temporary:
            save_file({"a": torch.zeros(1)}, temporary)  # which writes for the owner alone
    finally:
        os.umask(before)
    for name in ("a.json", "b"):
        assert (tmp_path / name).stat().st_mode & 0o777 == 0o644


def test_a_folder_appears_when_it_is_whole(tmp_path: Path):
    folder = tmp_path / "deep" / "folder"
    (tmp_path / "deep" / "folder.tmp").mkdir(parents=True)  # of a process that was killed
    (tmp_path / "deep" / "folder.tmp" / "old").touch()
    with pytest.raises(RuntimeError), appearing(folder) as temporary:
        assert list(temporary.iterdir()) == []
        raise RuntimeError
    assert list(folder.parent.iterdir()) == []
    with appearing(folder) as temporary:
        (temporary / "a").touch()
        assert not folder.exists()
    assert [path.name for path in folder.iterdir()] == ["a"]
    assert list(folder.parent.iterdir()) == [folder]


def test_a_folder_is_held_by_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(_files, "LOCK_SECONDS", 0)
    code = (
        "import pathlib, rootspace._files as f\n"
        f"with f.lock(pathlib.Path({str(tmp_path)!r})): print('held', flush=True); input()"
    )
    holder = subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert holder.stdout is not None and holder.stdin is not None
    assert holder.stdout.readline() == b"held\n"
    with pytest.raises(ValueError, match="another process trains"), lock(tmp_path):
        pass
    monkeypatch.setenv("LOCAL_RANK", "1")
    with lock(tmp_path):  # a helper of a distributed run
        pass
    monkeypatch.delenv("LOCAL_RANK")
    holder.kill()
    holder.wait()
    holder.stdin.close()
    holder.stdout.close()
    with lock(tmp_path):
        pass


@pytest.mark.parametrize(
    ("environment", "helper"),
    [
        ({}, False),
        ({"RANK": "0", "LOCAL_RANK": "0"}, False),
        ({"RANK": "1", "LOCAL_RANK": "1"}, True),
        ({"RANK": "8", "LOCAL_RANK": "0"}, True),  # the first of another machine
        ({"SLURM_PROCID": "0", "SLURM_JOB_NAME": "train"}, False),
        ({"SLURM_PROCID": "1", "SLURM_LOCALID": "1", "SLURM_JOB_NAME": "train"}, True),
        ({"SLURM_PROCID": "1", "SLURM_JOB_NAME": "bash"}, False),  # a shell is one process
        ({"SLURM_PROCID": "0", "SLURM_JOB_NAME": "bash", "LOCAL_RANK": "1"}, True),
        ({"JSM_NAMESPACE_RANK": "3"}, True),
        ({"LOCAL_RANK": "1"}, True),
        ({"LOCAL_RANK": "0", "NODE_RANK": "1"}, True),
    ],
)
def test_helpers_are_known_by_their_launcher(
    monkeypatch: pytest.MonkeyPatch, environment: dict[str, str], helper: bool
):
    for name in _files._RANKS:
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert _files.is_helper() == helper


@pytest.mark.parametrize("code", [errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP])
def test_without_locks_there_is_a_warning(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int
):
    def fail(self: filelock.FileLock, **options: object) -> None:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(filelock.FileLock, "acquire", fail)
    entered = False
    with pytest.warns(UserWarning, match="cannot be locked"), lock(tmp_path):
        entered = True
    assert entered


def test_helpers_wait_for_what_the_first_process_makes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    path = tmp_path / "targets"
    wait_for_first(path)  # the first process itself
    monkeypatch.setenv("RANK", "1")
    with pytest.raises(TimeoutError, match=r"has not made .*targets"):
        wait_for_first(path, 0.01)
    threading.Timer(0.3, path.mkdir).start()
    wait_for_first(path, 60)
    assert path.exists()
