"""`rootspace calibrate`, `predict --unknown` and `unknowns` as a user calls them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from commands import error, output
from PIL import Image

from rootspace.continual import Rejector
from rootspace.continual.live import REJECTOR
from rootspace.data import Characters
from rootspace.run import load
from rootspace.runs.folder import check_whole


@pytest.fixture(scope="session")
def strangers(trained_code: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Pictures of 12 characters that the runs have not seen, in four fonts."""
    folder = tmp_path_factory.mktemp("strangers")
    trained = load(trained_code)
    content = Characters(image_size=16).read()
    seen = set(trained.names)
    new = [label for label, name in enumerate(content.class_names) if name not in seen]
    for label in new[::150][:12]:
        for number, row in enumerate((content.train.labels == label).nonzero()[:4, 0].tolist()):
            image = Image.fromarray(content.train[row][0][0].numpy())
            image.save(folder / f"{label}-{number}.png")
    return folder


def test_calibration_on_known_inputs(code_run: Path, capsys: pytest.CaptureFixture[str]):
    text = output(capsys, "calibrate", code_run, "--false_reject=0.1")
    assert "at most 10.00% false rejects, calibrated on known inputs only" in text
    rejector = Rejector.load(code_run / REJECTOR)
    assert rejector.num_known == 80 and rejector.false_reject <= 0.1
    assert 0.3 < rejector.known_cosine < 1 and "80 test images of DejaVu" in rejector.source
    rows = json.loads(
        output(
            capsys,
            *("predict", code_run, code_run / "samples"),
            *("--unknown", "--top=2", "--format=json"),
        )
    )
    plain = json.loads(
        output(capsys, "predict", code_run, code_run / "samples", "--top=2", "--format=json")
    )
    for row, before in zip(rows, plain, strict=True):
        assert row["unknown"] == (before["answers"][0]["cosine"] < rejector.threshold)
        first = "unknown" if row["unknown"] else before["answers"][0]["class"]
        assert row["answers"][0]["class"] == first and row["answers"][1:] == before["answers"][1:]


def test_the_runs_own_file_by_another_path(
    formula_run: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.chdir(formula_run.parent)
    own = formula_run.resolve() / REJECTOR
    output(capsys, "calibrate", formula_run.name, f"--out={own}", "--false_reject=0.1")
    check_whole(formula_run)
    output(capsys, "calibrate", formula_run.name, "--false_reject=0.2")
    output(capsys, "calibrate", formula_run.name, f"--out={own}", "--false_reject=0.3")
    output(capsys, "predict", formula_run.name, formula_run / "samples", "--unknown")


@pytest.mark.parametrize(
    ("kind", "options"),
    [
        ("code_run", ["--score=probability"]),
        ("formula_run", ["--score=system_probability"]),
        ("formula_run", ["--reject_unassigned"]),
        ("baseline", ["--score=probability", "--top=40"]),
    ],
)
def test_calibration_on_unknown_inputs(
    kind: str,
    options: list[str],
    strangers: Path,
    request: pytest.FixtureRequest,
    capsys: pytest.CaptureFixture[str],
):
    folder: Path = request.getfixturevalue("code_run" if kind == "baseline" else kind)
    folder = folder / "baselines/NormalizedHead" if kind == "baseline" else folder
    wanted = ["--false_accept=0.25", "--unknown", strangers]
    text = output(capsys, "calibrate", folder, *options, *wanted)
    assert "at most 25.00% false accepts, calibrated on unknown inputs" in text and "AUROC" in text
    rejector = Rejector.load(folder / REJECTOR)
    assert rejector.num_unknown == 48 and rejector.false_accept is not None
    rows = json.loads(output(capsys, "predict", folder, strangers, "--unknown", "--format=json"))
    accepted = sum(not row["unknown"] for row in rows) / 48
    assert accepted == pytest.approx(rejector.false_accept) and accepted <= 0.25
    text = output(capsys, "predict", folder, strangers, "--unknown")
    assert text.count("unknown") == sum(row["unknown"] for row in rows)


def test_inputs_of_retired_classes_become_unknown(
    code_run: Path, capsys: pytest.CaptureFixture[str]
):
    output(capsys, "calibrate", code_run)
    samples = sorted((code_run / "samples").glob("*.png"))
    rows = json.loads(output(capsys, "predict", code_run, *samples, "--unknown", "--format=json"))
    best = max(rows, key=lambda row: row["answers"][0]["cosine"])
    assert not best["unknown"]
    output(capsys, "classes", code_run, "retire", best["answers"][0]["class"])
    output(capsys, "calibrate", code_run)
    assert Rejector.load(code_run / REJECTOR).num_known == 78  # its two test images are left out
    (row,) = json.loads(
        output(capsys, "predict", code_run, best["path"], "--unknown", "--format=json")
    )
    assert row["answers"][0]["cosine"] < best["answers"][0]["cosine"]


@pytest.mark.parametrize("kind", ["code_run", "formula_run", "baseline"])
def test_proposals(
    kind: str,
    strangers: Path,
    request: pytest.FixtureRequest,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
):
    folder: Path = request.getfixturevalue("code_run" if kind == "baseline" else kind)
    folder = folder / "baselines/NormalizedHead" if kind == "baseline" else folder
    output(capsys, "calibrate", folder, "--unknown", strangers)
    out = tmp_path / "proposal.json"
    text = output(capsys, "unknowns", folder, strangers, f"--out={out}")
    content = json.loads(out.read_text(encoding="utf-8"))
    assert content["images"] == 48 and 40 <= content["unknown"] <= 48
    groups = content["groups"]
    assert groups and f"{len(groups)} groups of 2 or more" in text
    assert [g["size"] for g in groups] == sorted((g["size"] for g in groups), reverse=True)
    members = [m["path"] for g in groups for m in g["members"]]
    assert len(set(members)) == len(members) and all(Path(m).is_file() for m in members)
    assert all(g["representative"] == g["members"][0]["path"] for g in groups)
    classes = load(folder).class_map
    if classes is None:
        assert all(g["vector"] is None for g in groups)
    else:
        taken = classes.vector_ids(torch.arange(40))
        taken = {v.hex() if isinstance(v, bytes) else v for v in taken}
        new = [g["vector"] for g in groups if g["vector"] is not None]
        assert new and len(set(new) | taken) == 40 + len(new)
        assert len(new) == min(len(groups), classes.capacity - 40)
    every = [f"--out={out}", "--by=cosine", "--min_cosine=-1", "--min_size=1"]
    output(capsys, "unknowns", folder, strangers, *every)
    (group,) = json.loads(out.read_text(encoding="utf-8"))["groups"]
    assert group["size"] == content["unknown"]
    if kind != "baseline":
        by_vector = [f"--out={out}", "--by=vector", "--min_size=1"]
        output(capsys, "unknowns", folder, strangers, *by_vector)
        groups = json.loads(out.read_text(encoding="utf-8"))["groups"]
        assert sum(g["size"] for g in groups) == content["unknown"]


def test_what_is_refused(
    code_run: Path, strangers: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    learned = code_run / "baselines/NormalizedHead"
    out = f"--out={tmp_path / 'x.json'}"
    for arguments, message in (
        (["predict", code_run, strangers, "--unknown"], "Make it with `rootspace calibrate"),
        (["unknowns", code_run, strangers, out], "Make it with `rootspace calibrate"),
        (["unknowns", code_run, strangers, "--out=none/x.json"], "none does not exist"),
        (["unknowns", code_run, strangers, out, "--by=vector", "--min_cosine=1"], "'--by cosine'"),
        (["calibrate", code_run, "--false_accept=0.1"], "needs '--unknown'"),
        (["calibrate", code_run, "--false_reject=0.1", "--unknown", strangers], "leave out"),
        (["calibrate", code_run, "--false_reject=0.001"], "bring 999 or more"),
        (["calibrate", code_run, "--false_reject=2"], "must be a number between 0 and 1, not '2'"),
        (["calibrate", code_run, "--top=1"], "'--top' must lie in [2, 40], not 1"),
        (["calibrate", code_run, "--score=system_probability"], "too large to be numbered"),
        (["calibrate", code_run, "--reject_unassigned"], "Calibrate without 'reject_unassigned'"),
        (["calibrate", learned, "--score=system_probability"], "has no vector system"),
        (["calibrate", learned, "--reject_unassigned"], "has no vector system"),
        (["calibrate", code_run, "--score=entropy"], "invalid choice: 'entropy'"),
    ):
        assert message in error(capsys, *arguments)
    assert not (code_run / REJECTOR).exists() and not list(tmp_path.glob("*.json"))
    output(capsys, "calibrate", learned)
    assert "learned them" in error(capsys, "unknowns", learned, strangers, out, "--by=vector")
