"""The registry of a run folder, and `rootspace classes` with the commands that heed it."""

from __future__ import annotations

import csv
import io
import json
import shutil
from pathlib import Path

import pytest
import torch
from commands import change_data, error, output

from rootspace.classes import ClassMap
from rootspace.cli import main
from rootspace.continual import ClassRegistry
from rootspace.continual.live import REGISTRY, create_registry, open_registry
from rootspace.run import load
from rootspace.systems import Orbit


def predicted(capsys: pytest.CaptureFixture[str], folder: Path, *more: str) -> list[list[str]]:
    rows = json.loads(output(capsys, "predict", folder, folder / "samples", "--format=json", *more))
    return [[answer["class"] for answer in row["answers"]] for row in rows]


@pytest.mark.parametrize("kind", ["code_run", "formula_run", "baseline"])
def test_made_from_a_run(
    kind: str, request: pytest.FixtureRequest, capsys: pytest.CaptureFixture[str]
):
    baseline = kind == "baseline"
    folder: Path = request.getfixturevalue("code_run" if baseline else kind)
    folder = folder / "baselines/NormalizedHead" if baseline else folder
    assert "40 classes" not in output(capsys, "classes", folder, "list")  # on stderr
    trained = load(folder)
    classes = trained.class_map
    with ClassRegistry(folder / REGISTRY) as registry:
        entries = list(registry.entries())
        assert [entry.name for entry in entries] == trained.names
        assert all(entry.images == 10 and not entry.retired for entry in entries)
        assert registry.system == (None if baseline else repr(classes and classes.system))
        (change,) = registry.history()
        assert change.source == "Characters" and change.command.startswith("rootspace classes")
        if classes is None:
            assert all(entry.vector is None for entry in entries)
        else:
            ids = classes.vector_ids(torch.arange(40))
            assert [entry.vector for entry in entries] == ids and len(set(ids)) == 40
            assert isinstance(ids[0], bytes if isinstance(classes.system, Orbit) else int)


def test_list_and_show(formula_run: Path, capsys: pytest.CaptureFixture[str]):
    text = output(capsys, "classes", formula_run, "list", "--start=3", "--limit=2")
    assert [line.split()[0] for line in text.splitlines()[2:]] == ["3", "4"]
    name = load(formula_run).names[3]
    output(capsys, "classes", formula_run, "alias", name, "third", "--source", "a wish")
    text = output(capsys, "classes", formula_run, "show", "third")
    assert "aliases  third\n" in text and "a wish" in text and "rootspace classes" in text
    assert text == output(capsys, "classes", formula_run, "show", "3", "--by_label")
    output(capsys, "classes", formula_run, "alias", name, "third", "--remove")
    assert "not 'third'" in error(
        capsys, "classes", formula_run, "alias", name, "third", "--remove"
    )


@pytest.mark.parametrize("kind", ["code_run", "formula_run"])
def test_predictions_heed_the_registry(
    kind: str, request: pytest.FixtureRequest, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    folder: Path = request.getfixturevalue(kind)
    before = predicted(capsys, folder, "--top=3")
    output(capsys, "classes", folder, "list")
    assert predicted(capsys, folder, "--top=3") == before
    gone, renamed = before[0][0], before[0][1]
    output(capsys, "classes", folder, "retire", gone, "--source=merged")
    output(capsys, "classes", folder, "rename", renamed, "new name", "--keep")
    names = {renamed: "new name"}
    expected = [[names.get(n, n) for n in answers if n != gone][:2] for answers in before]
    assert predicted(capsys, folder, "--top=2") == expected
    out = tmp_path / "z.parquet"
    output(capsys, "embed", folder, folder / "samples", f"--out={out}")
    assert "'--top' must lie in [1, 39], not 40" in error(
        capsys, "predict", folder, folder / "samples", "--top=40"
    )
    assert gone in output(capsys, "classes", folder, "list", "--retired")
    output(capsys, "classes", folder, "restore", gone)
    restored = predicted(capsys, folder, "--top=3")
    assert restored == [[names.get(n, n) for n in answers] for answers in before]


def test_baselines_heed_it_too(code_run: Path, capsys: pytest.CaptureFixture[str]):
    folder = code_run / "baselines/NormalizedHead"
    before = predicted(capsys, folder, "--top=3")
    gone = before[0][0]
    output(capsys, "classes", folder, "retire", gone)
    expected = [[n for n in answers if n != gone][:2] for answers in before]
    assert predicted(capsys, folder, "--top=2") == expected


def test_export(formula_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    names = load(formula_run).names
    output(capsys, "classes", formula_run, "retire", names[0], names[1])
    output(capsys, "classes", formula_run, "alias", names[2], "x, y")
    rows = list(csv.DictReader(io.StringIO(output(capsys, "classes", formula_run, "export"))))
    assert [row["name"] for row in rows] == names
    assert [row["retired"] for row in rows[:3]] == ["True", "True", "False"]
    assert json.loads(rows[2]["aliases"]) == ["x, y"] and rows[0]["source"] == "Characters"
    out = tmp_path / "classes.json"
    output(capsys, "classes", formula_run, "export", "--format=json", f"--out={out}")
    content = json.loads(out.read_text(encoding="utf-8"))
    assert content["generation"] == 4 and len(content["classes"]) == 40
    assert content["classes"][2]["aliases"] == ["x, y"]


def test_what_is_refused(formula_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    names = load(formula_run).names
    for arguments, message in (
        (["rename", names[0], names[1]], f"{names[1]!r} is the name of class 1"),
        (["retire", "no such class"], "'no such class'"),
        (["retire", "40", "--by_label"], "[0, 40), not 40"),
        (["retire", "x", "--by_label"], "must be a label with --by_label, not 'x'"),
        (["retire", names[0], names[0]], "retired already"),
        (["restore", names[0]], "not retired"),
        (["retire", names[0], "--expected=7"], "'expected' must be 1"),
        (["list", "--limit=0"], "not 0 and 0"),
        (["export", "--out=none/x.csv"], "none does not exist"),
        (["forget", names[0]], "invalid choice: 'forget'"),
    ):
        assert message in error(capsys, "classes", formula_run, *arguments)
    assert "is not a run folder" in error(capsys, "classes", tmp_path, "list")
    with ClassRegistry(formula_run / REGISTRY) as registry:
        assert registry.generation == 1  # nothing of it was done, not even in part


def test_counts_begin_at_zero_without_the_data(
    formula_run: Path, capsys: pytest.CaptureFixture[str]
):
    change_data(formula_run, test_fonts=["NoSuchFont"])
    assert main(["classes", str(formula_run), "list"]) == 0
    captured = capsys.readouterr()
    assert "Image counts begin at 0" in captured.err and "NoSuchFont" in captured.err
    with ClassRegistry(formula_run / REGISTRY) as registry:
        assert registry.entry(0).images == 0


def test_a_registry_catches_up_with_its_class_map(formula_run: Path):
    trained = load(formula_run)
    classes = trained.class_map
    assert classes is not None
    first = ClassMap(classes.system, 30, classes.order, classes.seed)  # type: ignore[arg-type]
    create_registry(formula_run, first, trained.names[:30]).close()
    with open_registry(formula_run, classes, trained.names) as registry:
        assert [entry.name for entry in registry.entries()] == trained.names
        assert [entry.vector for entry in registry.entries()] == classes.vector_ids(
            torch.arange(40)
        )
        assert registry.generation == 2
    open_registry(formula_run, first, trained.names[:30]).close()  # longer than the map: as it is


def test_an_emptied_registry_is_named(formula_run: Path, capsys: pytest.CaptureFixture[str]):
    """It may have had retired classes, which must not come back without a word."""
    (formula_run / REGISTRY).touch()
    for command in (
        ("predict", formula_run, formula_run / "samples"),
        ("classes", formula_run, "list"),
    ):
        assert "registry.sqlite is empty or damaged. Copy it again" in error(capsys, *command)
    (formula_run / REGISTRY).unlink()
    assert output(capsys, "classes", formula_run, "list").count("\n") == 42


def test_a_registry_of_another_run(
    formula_run: Path, code_run: Path, capsys: pytest.CaptureFixture[str]
):
    output(capsys, "classes", code_run, "list")
    shutil.copy(code_run / REGISTRY, formula_run / REGISTRY)
    message = error(capsys, "predict", formula_run, formula_run / "samples")
    assert "copied from another run" in message and "RootA(6)" in message
    (formula_run / REGISTRY).unlink()
    trained = load(formula_run)
    classes = trained.class_map
    assert classes is not None
    other = ClassMap(classes.system, 40, seed=classes.seed + 1)
    create_registry(formula_run, other, trained.names).close()
    with pytest.raises(ValueError, match="gives class 0 another vector"):
        open_registry(formula_run, classes, trained.names)
