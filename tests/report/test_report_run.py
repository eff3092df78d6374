"""Reading run folders: what is wrong is named in one line."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from report_runs import HEADER, MakeRun, evaluation, metrics

from rootspace.report import write_report
from rootspace.report.run import ShownRun
from rootspace.runs.folder import finish


def test_reads_everything(make_run: MakeRun) -> None:
    arrays = evaluation()
    run = ShownRun.read(make_run(arrays=arrays, num_classes=20, capacity=2**70))
    assert run.name == "run" and run.record.capacity == 2**70
    assert run.record.test["seen"].images == 2222
    assert run.config == "data: <fonts>\nseed: 0\n"
    assert [list(row.tests) for row in run.epochs] == [["seen", "unseen"]] * 3
    assert run.evaluation is not None and len(run.evaluation.confusions) == 3
    confusion = run.evaluation.confusions[1]
    assert (confusion.true, confusion.predicted, confusion.test_set) == (1, 2, "unseen")
    np.testing.assert_array_equal(confusion.true_sample, arrays["confusion_true_images"][1])


def test_not_a_run_folder(tmp_path: Path, make_run: MakeRun) -> None:
    with pytest.raises(FileNotFoundError, match=r"nothing is not a run folder: no such folder"):
        write_report(tmp_path / "nothing")
    empty = tmp_path / "empty"
    empty.mkdir()
    pattern = r"empty is not a run folder: config\.yaml is missing. Train one with `rootspace "
    with pytest.raises(ValueError, match=pattern):
        write_report(empty)
    with pytest.raises(ValueError, match=pattern):
        write_report(make_run(), others=[empty])
    assert list(empty.iterdir()) == []


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"dim": "64"}, r"metrics\.json: 'dim' must be an integer, not '64'\."),
        ({"dim": True}, r"'dim' must be an integer, not True"),
        ({"parameters": {"backbone": 1}}, r"has no 'parameters\.head'; it must be an integer"),
        ({"test": {"seen": {}}}, r"has no 'test\.seen\.accuracy'; it must be a number"),
        ({"capacity": "many"}, r"'capacity' must be an integer, not 'many'"),
        ({"device": None}, r"metrics\.json: 'device' must be a string, not None"),
    ],
)
def test_metrics_of_the_wrong_kind(make_run: MakeRun, changes: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        ShownRun.read(make_run(**changes))


def test_metrics_that_are_no_object(make_run: MakeRun) -> None:
    run = make_run()
    (run / "metrics.json").write_text("{")
    with pytest.raises(ValueError, match=r"metrics\.json is damaged or not of this run"):
        ShownRun.read(run)
    finish(run)
    with pytest.raises(ValueError, match=r"metrics\.json is not JSON"):
        ShownRun.read(run)
    (run / "metrics.json").write_text("[]")
    finish(run)
    with pytest.raises(ValueError, match=r"must hold a JSON object, not list"):
        ShownRun.read(run)


def test_optional_metrics_may_be_null_or_missing(make_run: MakeRun) -> None:
    run = make_run()
    optional = ("system", "order", "scale", "capacity", "min_angle", "peak_memory_mb")
    full = metrics()
    for record in (
        {**full, **dict.fromkeys(optional)},
        {k: full[k] for k in full.keys() - optional},
    ):
        (run / "metrics.json").write_text(json.dumps(record))
        finish(run)
        page = write_report(run).read_text("utf-8")
        assert "None" not in page[: page.index("<script>")]


def test_curves_of_the_wrong_kind(make_run: MakeRun) -> None:
    with pytest.raises(ValueError, match=r"metrics\.csv has no column 'train/loss'"):
        ShownRun.read(make_run("a", csv="epoch,step,seconds,lr\n1,1,2,1\n"))
    with pytest.raises(ValueError, match=r"metrics\.csv, column 'seconds': .*soon"):
        ShownRun.read(make_run("b", csv=f"{HEADER}\n1,1,soon,1,1,1\n"))
    with pytest.raises(ValueError, match=r"metrics\.csv: column 'speed' is unknown"):
        ShownRun.read(make_run("c", csv=f"{HEADER},speed\n1,1,1,1,1,1,1\n"))
    assert ShownRun.read(make_run("d", csv=f"{HEADER}\n")).epochs == []


def test_evaluation_of_the_wrong_kind(make_run: MakeRun) -> None:
    def broken(name: str, **changes: object) -> Path:
        arrays = {**evaluation(), **changes}
        return make_run(name, arrays={k: v for k, v in arrays.items() if v is not None})

    cases = {
        r"has no array 'class_names'": {"class_names": None},
        r"has no array 'confusion_true'": {"confusion_true": None},
        r"'embeddings' must be \[S dim\] \(S = 18, dim = 64\), not \[18, 63\]": {
            "embeddings": np.zeros((18, 63))
        },
        r"'embedding_labels' must be \[S\] \(S = 18\), not \[17\]": {
            "embedding_labels": np.zeros(17, int)
        },
        r"have 2 channels, not 1 or 3": {
            key: np.zeros((3, 2, 8, 8), np.uint8)
            for key in (
                "confusion_images",
                "confusion_true_images",
                "confusion_predicted_images",
            )
        },
        r"must be uint8, not float64": {"confusion_images": np.zeros((3, 1, 16, 16))},
        r"evaluation\.npz cannot be read": {"class_names": np.array(["a", None], dtype=object)},
    }
    for i, (message, changes) in enumerate(cases.items()):
        with pytest.raises(ValueError, match=message):
            ShownRun.read(broken(f"run{i}", **changes))
    run = make_run()
    (run / "evaluation.npz").write_bytes(b"PK nothing")
    finish(run)
    with pytest.raises(ValueError, match=r"evaluation\.npz cannot be read"):
        ShownRun.read(run)
