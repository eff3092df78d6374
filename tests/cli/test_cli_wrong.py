"""Wrong command lines: each ends with one line, exit code 2, and nothing written."""

from __future__ import annotations

import shlex
from pathlib import Path

import pytest
from calling import refusal

from rootspace.runs.folder import MANIFEST

NUMBER = "9" * 150

WRONG = {
    "plan": "the following arguments are required: num_classes",
    "plan 0": "must be a positive integer, not 0",
    "plan ten": "Argument 'num_classes' must be an integer, not 'ten'",
    f"plan {NUMBER}": "'num_classes' must be at most 10,000,000,000",
    "plan 10 --dim 99999999999": "'dim' must be at most 65,536",
    "plan 10 --dim 0": "'dim' must be a positive integer, not 0",
    "plan 10 --dim -3": "'dim' must be a positive integer, not -3",
    "plan 10 20": "unrecognized arguments: 20",
    "plan 10 --format csv": "invalid choice: 'csv'",
    "predict": "the following arguments are required: run, paths",
    "predict RUN": "the following arguments are required: paths",
    "predict none RUN": "none is not a run folder",
    "predict RUN none.png": "none.png does not exist",
    "predict RUN EMPTY": "holds no image file",
    "predict RUN IMAGE --top 0": "'--top' must lie in [1, 5], not 0",
    "predict RUN IMAGE --top 6": "'--top' must lie in [1, 5], not 6",
    "predict RUN IMAGE --top x": "Argument '--top' must be an integer, not 'x'",
    "predict RUN IMAGE --min_cosine nan": "'--min_cosine' must be a number in [-1, 1], not 'nan'",
    "predict RUN IMAGE --min_cosine 7": "'--min_cosine' must be a number in [-1, 1], not '7'",
    "predict RUN IMAGE --min_cosine inf": "must be a number in [-1, 1], not 'inf'",
    "predict RUN IMAGE --device meta": "must be a device of torch on this machine",
    "predict RUN IMAGE --device cpu:99": "such as cpu, not 'cpu:99'",
    "predict RUN IMAGE --device cuda:77": "such as cpu, not 'cuda:77'",
    "predict RUN IMAGE --device ''": "such as cpu, not ''",
    "predict RUN IMAGE --unknown": "Make it with `rootspace calibrate",
    "predict RUN IMAGE --rejector none.json": "none.json does not exist",
    "predict RUN IMAGE --rejector IMAGE": "is not a rejector of rootspace",
    "predict RUN IMAGE --format xml": "invalid choice: 'xml'",
    "predict RUN IMAGE --json": "unrecognized arguments: --json",
    "embed RUN IMAGE": "the following arguments are required: --out",
    "embed RUN IMAGE --out OUT/x.csv": "must end in .parquet or .npy",
    "embed RUN IMAGE --out OUT/none/x.npy": "does not exist",
    "embed RUN IMAGE --out ''": "must end in .parquet or .npy",
    "embed RUN IMAGE --out OUT/x.npy --device meta": "must be a device of torch",
    "evaluate": "the following arguments are required: run",
    "evaluate none": "none is not a run folder",
    "evaluate RUN none": "none is not a folder",
    "evaluate RUN IMAGE": "is not a folder",
    "evaluate RUN EMPTY": "holds no class folders",
    "evaluate RUN --top": "expected at least one argument",
    "evaluate RUN --top 99": "'--top' must lie in [1, 5], not 99",
    "evaluate RUN --train.lr -1": "unrecognized arguments: --train.lr -1",
    "evaluate RUN --data nothing": "data",
    "evaluate RUN --data": "data",
    "evaluate RUN --loader.num_workers -1": "num_workers",
    "classes RUN": "the following arguments are required: ACTION",
    "classes RUN forget a": "invalid choice: 'forget'",
    "classes RUN list --start -1": "must be at least 0 and 1",
    "classes RUN list --limit 0": "must be at least 0 and 1",
    "classes RUN show nobody": "not 'nobody'",
    "classes RUN show 99 --by_label": "must be a label in [0, 5), not 99",
    f"classes RUN show {NUMBER} --by_label": "must be a label in [0, 5)",
    "classes RUN show ² --by_label": "must be a label with --by_label, not '²'",
    "classes RUN rename a f": "'f' is the name of class",
    "classes RUN rename a ' '": "must be text of one line",
    "classes RUN retire a a": "retired already",
    "classes RUN retire a f 猫 '=d'": "must leave two classes at least",
    "classes RUN restore a": "is not retired",
    "classes RUN retire a --expected 99": "'expected' must be 1",
    "classes RUN import none.csv": "none.csv",
    "classes RUN export --out OUT/none/x.csv": "does not exist",
    "calibrate RUN --false_reject 0": "must be a number between 0 and 1, not '0'",
    "calibrate RUN --false_reject nan": "must be a number between 0 and 1, not 'nan'",
    "calibrate RUN --false_reject 0.0001": "bring 9999 or more",
    "calibrate RUN --false_accept 0.1": "needs '--unknown'",
    "calibrate RUN --unknown none": "none does not exist",
    "calibrate RUN --top 999": "'--top' must lie in [2, 5], not 999",
    "calibrate RUN --known nobody": "one of the run's test sets, val, not 'nobody'",
    "calibrate RUN --out OUT/none/x.json": "does not exist",
    "unknowns RUN IMAGE": "the following arguments are required: --out",
    "unknowns RUN IMAGE --out OUT/x.json": "Make it with `rootspace calibrate",
    "unknowns RUN IMAGE --out OUT/x.json --min_cosine 7": "must be a number in [-1, 1], not '7'",
    "unknowns RUN IMAGE --out OUT/x.json --min_size 0": "'--min_size' must be at least 1, not 0",
    "export RUN --out OUT/x.pt": "must end in .onnx",
    "export RUN --out OUT/x.onnx --opset 999": "'--opset' must lie in [18, 23], not 999",
    "export RUN --out OUT/x.onnx --opset 7": "'--opset' must lie in [18, 23], not 7",
    "export RUN --out OUT/x.onnx --top 6": "'top' must be an integer in [1, 5], not 6",
    "report none": "none is not a run folder",
    "report RUN none": "none is not a run folder",
    "report RUN --out OUT/none/x.html": "does not exist",
    "report RUN --out OUT/x.pdf": "must end in .html",
}


@pytest.mark.parametrize("line", WRONG, ids=lambda line: line[:60])
def test_wrong_command_lines(
    line: str,
    trained_folders: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
):
    out, empty, here = tmp_path / "out", tmp_path / "empty", tmp_path / "here"
    for folder in (out, empty, here):
        folder.mkdir()
    monkeypatch.chdir(here)
    names = {
        "RUN": str(trained_folders),
        "IMAGE": str(trained_folders.parent / "images/val/a/0.png"),
        "OUT": str(out),
        "EMPTY": str(empty),
    }
    words = []
    for word in shlex.split(line):
        first, slash, rest = word.partition("/")
        words.append(names.get(first, first) + slash + rest)
    assert WRONG[line] in refusal(capsys, *words)
    assert not list(out.iterdir()) and not list(here.iterdir())


def test_a_report_beside_a_run_that_trains_still(
    folder_run: Path, trained_folders: Path, capsys: pytest.CaptureFixture[str]
):
    for name in ("metrics.json", MANIFEST):
        (folder_run / name).unlink()
    message = refusal(capsys, "report", trained_folders, folder_run)
    assert f"{folder_run} is not a finished run" in message and "--resume" in message
