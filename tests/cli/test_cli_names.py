"""`rootspace classes`: names in bulk, names that cannot be seen, and a class that is left."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from calling import CLASSES, answer, output, refusal, rows

from rootspace.cli._names import read_names
from rootspace.cli._output import csv_text, from_csv_text
from rootspace.continual import ClassRegistry

HOSTILE = [
    "\x1b[31mred",
    "a\nb",
    "=1+1",
    "+1",
    "-1",
    "@x",
    "'=1",
    "''-",
    "'quoted'",
    "a,b",
    '"',
    "",
]


def names_of(run: Path) -> list[str]:
    with ClassRegistry(run / "registry.sqlite") as registry:
        return [entry.name for entry in registry.entries()]


def generation(run: Path) -> int:
    with ClassRegistry(run / "registry.sqlite") as registry:
        return registry.generation


def test_old_and_new_names(folder_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    """Names may move from class to class; an alias finds its class."""
    output(capsys, "classes", folder_run, "alias", "f", "the last")
    before = names_of(folder_run)
    file = tmp_path / "names.csv"
    file.write_text('\ufeffold,new\na,猫\n猫,a\nthe last,"F, or f"\n\'=d,=D\n', encoding="utf-8")
    text = output(capsys, "classes", folder_run, "import", file, "--source=a list")
    assert text.startswith("4 classes have other names now")
    moved = {"a": "猫", "猫": "a", "f": "F, or f", "=d": "=D"}
    assert names_of(folder_run) == [moved.get(name, name) for name in before]
    history = answer(capsys, "classes", folder_run, "show", "F, or f")["history"]
    assert history[-1]["action"] == "rename" and history[-1]["source"] == "a list"
    assert "rootspace classes" in history[-1]["command"]


def test_a_column_old_alone_says_nothing(
    folder_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    file = tmp_path / "names.csv"
    file.write_text("label,name,old\n0,first,whatever\n", encoding="utf-8")
    output(capsys, "classes", folder_run, "import", file)
    assert names_of(folder_run)[0] == "first"


def test_a_page_after_the_last_class_is_empty(folder_run: Path, capsys: pytest.CaptureFixture[str]):
    for start in (5, 10**20):
        found = answer(capsys, "classes", folder_run, "list", f"--start={start}")
        assert found["classes"] == [] and found["num_classes"] == 5
    assert answer(capsys, "classes", folder_run, "list", "--retired", "--start=9999999999999999999")


def test_what_export_writes_is_read_back(
    folder_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    output(capsys, "classes", folder_run, "rename", "a", "=1+1", "--keep")
    output(capsys, "classes", folder_run, "alias", "f", "x, y")
    output(capsys, "classes", folder_run, "retire", "猫")
    file = tmp_path / "classes.csv"
    output(capsys, "classes", folder_run, "export", f"--out={file}")
    before, now = file.read_bytes(), generation(folder_run)
    assert {row["name"] for row in rows(file)} == {"'=1+1", "猫", "'=d", "'-e", "f"}
    text = output(capsys, "classes", folder_run, "import", file)
    assert text == "0 classes have other names now; 0 were retired or restored\n"
    assert generation(folder_run) == now
    output(capsys, "classes", folder_run, "rename", "f", "ff")
    output(capsys, "classes", folder_run, "restore", "猫")
    output(capsys, "classes", folder_run, "alias", "=d", "more")
    output(capsys, "classes", folder_run, "import", file)
    output(capsys, "classes", folder_run, "export", f"--out={file}")
    assert file.read_bytes() == before


def test_names_that_came_with_the_data_stay(tmp_path: Path):
    """They may hold what nobody may give a class."""
    with ClassRegistry.create(tmp_path / "r.sqlite", ["a\x1bb", "c"]) as registry:
        entries = list(registry.entries())
        file = tmp_path / "names.csv"
        file.write_text("label,name\n0,a\\x1bb\n1,d\n", encoding="utf-8")
        assert read_names(file, entries).names == {0: "a\x1bb", 1: "d"}


@pytest.mark.parametrize("name", HOSTILE)
def test_cells_are_no_formulas_and_are_read_back(name: str):
    cell = csv_text(name)
    assert cell[:1] not in ("=", "+", "-", "@", "\t", "\r")
    assert "\x1b" not in cell
    if "\x1b" not in name:
        assert from_csv_text(cell) == name


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "must have the columns old and new, or label and name, not nothing"),
        ("a,b\n1,2\n", "or label and name, not a, b"),
        ("old,new\nnobody,x\n", "line 2: no class has the name or alias 'nobody'"),
        ("old,new\na,x\na,y\n", "line 3: class 0 comes twice"),
        ("old,new\na\n", "line 2: 2 cells expected, as in the first line, not 1"),
        ("old,new\na,f\n", "'f' is the name of class"),
        ("old,new\na,x\nf,x\n", "'x' is the name of class"),
        ("old,new\na,\n", "must be text without NUL, not ''"),
        ('old,new\na," "\n', "must be text of one line that can be seen"),
        ('old,new\na,"x\ny"\n', "without control characters, not 'x\\ny'"),
        ("old,new\na,x\x1b[31m\n", "without control characters"),
        ('old,new\na,"x', "not CSV"),
        ("label,name\n5,x\n", "'label' must lie in [0, 5), not '5'"),
        ("label,name\n-1,x\n", "'label' must lie in [0, 5), not '-1'"),
        ("label,name\n²,x\n", "'label' must lie in [0, 5)"),
        (f"label,name\n{'9' * 9999},x\n", "'label' must lie in [0, 5)"),
        ("label,name,vector\n0,x,77\n", "another vector: the file is of another run"),
        ("label,name,aliases\n0,x,7\n", "'aliases' must be a JSON list of texts, not '7'"),
        (f"label,name,aliases\n0,x,{'[' * 99999}\n", "'aliases' must be a JSON list"),
        ('label,name,aliases\n0,x,"[""f""]"\n', "'f' is the name of class"),
        ("label,name,retired\n0,x,maybe\n", "'retired' must be True or False, not 'maybe'"),
        (
            "label,name,retired\n0,a,True\n1,x,True\n2,y,True\n3,z,True\n",
            "must leave two classes at least: 4 of 5 would be retired",
        ),
    ],
)
def test_files_that_are_refused_change_nothing(
    text: str, message: str, folder_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    before = output(capsys, "classes", folder_run, "export")
    file = tmp_path / "names.csv"
    file.write_text(text, encoding="utf-8", newline="\n")
    said = refusal(capsys, "classes", folder_run, "import", file)
    # Labels are sorted by name: '-e', '=d', 'a', 'f', '猫'.
    assert message.replace("class 0 comes", "class 2 comes") in said
    assert output(capsys, "classes", folder_run, "export") == before


def test_files_that_are_no_csv(
    folder_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    file = tmp_path / "names.csv"
    file.write_bytes(b"old,new\na,caf\xe9\n")
    assert f"{file} is not UTF-8" in refusal(capsys, "classes", folder_run, "import", file)
    assert "No such file" in refusal(capsys, "classes", folder_run, "import", tmp_path / "x.csv")
    assert "Is a directory" in refusal(capsys, "classes", folder_run, "import", tmp_path)
    file.write_text("old,new\na,b\n", encoding="utf-8")
    message = refusal(capsys, "classes", folder_run, "import", file, "--expected=9")
    assert "'expected' must be 1" in message


@pytest.mark.parametrize("name", ["", " ", "\t", "a\nb", "a\x1b[31m", "\x07", "a\u202eb", "\u2028"])
@pytest.mark.parametrize("action", ["rename", "alias"])
def test_names_that_cannot_be_seen(
    action: str, name: str, folder_run: Path, capsys: pytest.CaptureFixture[str]
):
    message = refusal(capsys, "classes", folder_run, action, "a", name)
    assert "must be text" in message and "\x1b" not in message
    assert sorted(names_of(folder_run)) == sorted(CLASSES)


def test_two_classes_are_left(folder_run: Path, capsys: pytest.CaptureFixture[str]):
    output(capsys, "classes", folder_run, "retire", "a", "f")
    message = refusal(capsys, "classes", folder_run, "retire", "猫", "=d")
    assert "must leave two classes at least: 4 of 5 would be retired" in message
    assert answer(capsys, "classes", folder_run, "list")["retired"] == 2


def test_lists_as_json(folder_run: Path, capsys: pytest.CaptureFixture[str]):
    found = answer(capsys, "classes", folder_run, "list", "--limit=2")
    assert found["num_classes"] == 5 and len(found["classes"]) == 2
    shown = answer(capsys, "classes", folder_run, "show", "猫")
    assert shown["name"] == "猫" and shown["history"][0]["action"] == "create"
    whole = json.loads(output(capsys, "classes", folder_run, "export", "--format=json"))
    assert [entry["name"] for entry in whole["classes"]] == names_of(folder_run)


def test_many_names_at_once(tmp_path: Path):
    """All statements are looked up in an index: twice the classes, twice the steps."""
    steps = []
    for number in (200, 400):
        path = tmp_path / f"{number}.sqlite"
        with ClassRegistry.create(path, [f"U+{i:04X}" for i in range(number)]) as registry:
            count = 0

            def step() -> int:
                nonlocal count
                count += 1
                return 0

            registry._store.connection.set_progress_handler(step, 10)
            turned = {i: f"U+{(i + 1) % number:04X}" for i in range(number)}
            assert registry.name_all(turned) == number
            registry._store.connection.set_progress_handler(None, 0)
            assert registry.names([0, number - 1]) == ["U+0001", "U+0000"]
            assert registry.generation == number + 1
            steps.append(count)
    assert steps[1] < 2.5 * steps[0]
