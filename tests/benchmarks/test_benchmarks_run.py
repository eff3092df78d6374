"""The benchmarks run in their smallest form, resume, and say what is wrong."""

from __future__ import annotations

import csv
import importlib
import importlib.util
import json
import sys
from pathlib import Path
from types import ModuleType

import pytest
import torch

from rootspace.run import load

ROOT = Path(__file__).parents[2]
LOSS_COLUMNS = "cell part method system classes batch status ms update_ms mb reference_ms machine"
DECODE_COLUMNS = (
    "cell part system method classes batch queries status ms us_per_query limit_ms index_mb "
    "build_s recall own checked machine"
)
LARGE = "SystemSoftmaxLoss, RootA(384, interpolations=2)/100000000"


@pytest.fixture(autouse=True)
def _scripts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    monkeypatch.setenv("OMP_NUM_THREADS", "1")


def script(name: str) -> ModuleType:
    return importlib.import_module(name)


def rows_of(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_loss_and_resuming(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    arguments = ["--quick", f"--out={tmp_path}", "--only", LARGE, "Partial FC*/1000/"]
    script("loss").main(arguments)
    rows = rows_of(tmp_path / "loss.csv")
    assert list(rows[0]) == LOSS_COLUMNS.split()
    ours = next(row for row in rows if row["classes"] == "100000000")
    peer = next(row for row in rows if row["method"].startswith("Partial FC"))
    assert ours["status"] == peer["status"] == "ok"
    assert float(ours["ms"]) > 0 and float(peer["update_ms"]) > 0
    assert float(ours["mb"]) < 1000  # a table of that many classes would be 154 GB
    assert "Partial FC" in (tmp_path / "loss.md").read_text(encoding="utf-8")
    assert (tmp_path / "loss.png").stat().st_size > 0
    capsys.readouterr()
    script("loss").main(arguments)
    assert rows_of(tmp_path / "loss.csv") == rows
    assert "s\n" not in capsys.readouterr().err  # nothing was measured again


def test_where_memory_ends(tmp_path: Path):
    for memory, status in (("0.5", "out of memory (predicted)"), ("0.81", "out of memory")):
        folder = tmp_path / memory
        only = ["--batch=64", "--only", "Linear*/125000/"]
        script("loss").main([f"--out={folder}", f"--memory={memory}", *only])
        assert [row["status"] for row in rows_of(folder / "loss.csv")] == [status]
        assert status in (folder / "loss.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("header", [LOSS_COLUMNS, "method classes ms mb"])
def test_other_results_are_refused(tmp_path: Path, header: str):
    columns = header.split()
    text = ",".join(columns) + "\n" + "x," * (len(columns) - 1) + "another machine\n"
    (tmp_path / "loss.csv").write_text(text)
    with pytest.raises(SystemExit, match=r"loss\.csv .*--fresh"):
        script("loss").main(["--quick", f"--out={tmp_path}", "--only", "Linear*/1000/"])
    assert (tmp_path / "loss.csv").read_text() == text


def test_unknown_pattern_is_named(tmp_path: Path):
    with pytest.raises(SystemExit, match="'no such cell'"):
        script("loss").main(["--quick", f"--out={tmp_path}", "--only", "no such cell"])


def test_training(tmp_path: Path):
    only = ["follow/5000", "held*/5000", "softmax/5000"]
    script("training").main(["--quick", f"--out={tmp_path}", "--only", *only])
    rows = rows_of(tmp_path / "training.csv")
    assert [row["status"] for row in rows] == ["ok"] * 3
    assert all(float(row["ms"]) > 0 and float(row["reference_ms"]) > 0 for row in rows)
    assert "learned normalized softmax" in (tmp_path / "training.md").read_text(encoding="utf-8")


def test_decode(tmp_path: Path):
    only = ["predict, RootA*=1)/1000", "faiss HNSW", "USearch", "predict, P"]
    script("decode").main(["--quick", f"--out={tmp_path}", "--only", *only])
    rows = rows_of(tmp_path / "decode.csv")
    assert list(rows[0]) == DECODE_COLUMNS.split()
    assert {row["status"] for row in rows} == {"ok"}
    assert {row["batch"] for row in rows} == {"1", "32", "1024"}
    assert {row["part"] for row in rows} == {"formula", "codes"}
    for row in rows:
        if row["method"] == "predict":
            assert float(row["recall"]) == 1
    trained = [float(row["recall"]) for row in rows if row["queries"] == "trained"]
    assert min(trained) > 0.5
    report = (tmp_path / "decode.md").read_text(encoding="utf-8")
    assert "USearch HNSW, ef 64" in report and "faiss HNSW, ef 64" in report


def test_absent_peers_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "faiss", None)
    with pytest.raises(SystemExit, match=r"faiss.*pip install -e .\.\[benchmark\]"):
        script("decode").main(["--quick", f"--out={tmp_path}"])


@pytest.mark.slow
def test_galleries(tmp_path: Path):
    out = tmp_path / "galleries"
    script("galleries").main(["--quick", f"--out={out}"])
    rows = json.loads((out / "galleries.json").read_text(encoding="utf-8"))
    assert [row["method"] for row in rows] == [
        *(
            "prototypes of the old run",
            "prototypes, alone",
            "learned softmax, BCT",
            "learned softmax, alone",
        )
    ]
    for row in rows:
        assert row["classes"] == 40 and row["pictures"] > 2000
        assert all(0 <= value <= 1 for key, value in row.items() if " in " in key)
    # The same two old networks, whatever the upgrade.
    assert rows[0]["seen old in old"] == rows[1]["seen old in old"]
    assert rows[2]["seen old in old"] == rows[3]["seen old in old"]
    old, new = (load(out / f"prototypes_{kind}_0").model.head for kind in ("old", "same"))
    labels = torch.arange(40)
    torch.testing.assert_close(new.vectors(labels), old.vectors(labels))
