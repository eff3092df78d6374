"""The class registry: what it says, what it refuses, and that costs do not grow with classes."""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from rootspace.continual import ClassRegistry, StaleRegistryError
from rootspace.continual.registry._store import SCHEMA


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "registry.sqlite"


@pytest.fixture
def registry(path: Path):
    with ClassRegistry.create(
        path, ["cat", "dog", "emu"], [5, 3, 9], [10, 20, 30], system="RootA(3)", source="zoo"
    ) as registry:
        yield registry


def test_a_new_registry(registry: ClassRegistry):
    assert len(registry) == 3 and registry.generation == 1 and registry.system == "RootA(3)"
    entry = registry.entry("dog")
    assert entry == registry.entry(1)
    assert (entry.label, entry.vector, entry.images, entry.retired) == (1, 3, 20, False)
    (change,) = registry.history("dog")
    assert change.action == "create" and change.source == "zoo" and change.at.endswith("+00:00")
    with eval(repr(registry)) as again:
        assert again.generation == 1


def test_names_follow_a_class(registry: ClassRegistry):
    registry.alias("cat", "kitty")
    registry.rename("cat", "house cat")
    assert registry.label("kitty") == registry.label("house cat") == 0
    with pytest.raises(ValueError, match="'cat'"):
        registry.label("cat")
    registry.rename("house cat", "kitty")  # an alias becomes the name
    assert registry.entry(0).name == "kitty" and registry.entry(0).aliases == ()
    registry.alias(0, "tom")
    registry.remove_alias("tom")
    assert registry.entry(0).aliases == ()
    registry.alias("dog", "tom")  # free again
    assert [c.action for c in registry.history(0)] == [
        "create",
        "alias",
        "rename",
        "rename",
        "alias",
        "remove alias",
    ]


@pytest.mark.parametrize(
    "name",
    ["'; DROP TABLE classes; --", '" OR 1=1', "%", "_at", "?", ":name", "\\", "ca\ud83d\ude00"],
)
def test_names_are_values_and_no_statements(registry: ClassRegistry, path: Path, name: str):
    name = name.encode("utf-16", "surrogatepass").decode("utf-16")
    registry.rename("cat", name)
    registry.alias("dog", f"{name} too")
    (label,) = registry.add([f"new {name}"])
    assert registry.names([0, 1, 2, label]) == [name, "dog", "emu", f"new {name}"]
    assert registry.find(name) == 0 and registry.find(f"{name} too") == 1
    registry.check()
    with ClassRegistry(path) as again:
        assert [entry.name for entry in again.entries()] == [name, "dog", "emu", f"new {name}"]


def test_retired_classes_keep_what_is_theirs(registry: ClassRegistry):
    registry.retire("dog")
    assert registry.retired().tolist() == [1] and registry.retired().dtype == np.int64
    assert len(registry) == 3 and registry.entry("dog").retired
    with pytest.raises(ValueError, match="'dog' is the name of class 1"):
        registry.add(["dog"], [7])
    with pytest.raises(ValueError, match="3 belongs to class 1"):
        registry.add(["gnu"], [3])
    registry.restore("dog")
    assert registry.retired().tolist() == [] and registry.entry(1).vector == 3


def test_growth_and_counts(registry: ClassRegistry):
    with registry.change(source="batch 7", command="add"):
        labels = registry.add(["fox", "gnu"], [1, 2], [4, 5])
        registry.count_images({"cat": 2, "fox": 1})
    assert labels == range(3, 5)
    assert [e.images for e in registry.entries()] == [12, 20, 30, 5, 5]
    assert registry.history("gnu")[0].source == "batch 7" and registry.generation == 3
    assert registry.entry("gnu").added == 2
    assert [e.label for e in registry.entries(3)] == [3, 4] and not list(registry.entries(5))
    assert registry.names([4, 0, 4]) == ["gnu", "cat", "gnu"]
    assert registry.add([]) == range(5, 5)


def test_vectors_that_come_later(registry: ClassRegistry):
    registry.add(["fox", "gnu"])
    assert registry.without_vectors() == [3, 4]
    registry.give_vectors({4: 1})
    assert registry.without_vectors() == [3] and registry.entry("gnu").vector == 1
    last = registry.history()[-1]
    assert registry.generation == 3 and last.action == "choose"
    assert last.detail == "vectors for 1 classes"
    with pytest.raises(ValueError, match=r"'classes' must hold labels in \[0, 5\), not 5"):
        registry.give_vectors({3: 2, 5: 4})
    with pytest.raises(ValueError, match="'classes': a class keeps its label and vector"):
        registry.give_vectors({3: 2, 4: 4})
    assert registry.generation == 3 and registry.entry("fox").vector is None


def test_a_group_of_changes_is_one(registry: ClassRegistry):
    with pytest.raises(ValueError, match="free"), registry.change():
        registry.retire("cat")
        registry.alias("dog", "emu")
    assert registry.generation == 1 and not registry.entry("cat").retired
    with registry.change():
        registry.retire("cat")
        with pytest.raises(ValueError, match="belongs to class 0"):
            registry.add(["x", "y"], [11, 5])  # undone alone, x with it
        registry.retire("dog")
    assert registry.generation == 3 and registry.retired().tolist() == [0, 1] and len(registry) == 3


def test_a_stale_writer_is_refused(registry: ClassRegistry, path: Path):
    seen = registry.generation
    with ClassRegistry(path) as other:
        other.retire("cat")
    with (
        pytest.raises(StaleRegistryError, match=r"'expected' must be 2, .* not 1: it has changed"),
        registry.change(expected=seen),
    ):
        registry.rename("cat", "tiger")
    assert registry.entry(0).name == "cat"
    with registry.change(expected=registry.generation):
        registry.rename("cat", "tiger")


def test_a_snapshot_stays(registry: ClassRegistry, path: Path):
    with ClassRegistry(path, timeout=0.05) as other, registry.snapshot():
        assert registry.generation == 1
        with pytest.raises(TimeoutError, match=r"in use by another process for more than 0\.05 s"):
            other.retire("cat")
        assert registry.generation == 1
    with ClassRegistry(path, timeout=0.05) as other:
        other.retire("cat")


def test_packed_codes_and_learned_heads(tmp_path: Path):
    with ClassRegistry.create(tmp_path / "a", ["x", "y"], [b"\0\1", b"\0\2"]) as registry:
        assert registry.entry("y").vector == b"\0\2"
        with pytest.raises(ValueError, match="0001 belongs to class 0"):
            registry.add(["z"], [b"\0\1"])
    with ClassRegistry.create(tmp_path / "b", ["x", "y"]) as registry:
        assert registry.entry("y").vector is None and registry.system is None
    with ClassRegistry.create(tmp_path / "c", []) as registry:
        assert len(registry) == 0 and not list(registry.entries())


# Of any type, since some of the arguments are of a wrong one.
BAD: dict[str, tuple[Callable[[Any], Any], type[Exception], str]] = {
    "no such name": (lambda r: r.label("cow"), ValueError, "'which' must be the name .* 'cow'"),
    "no such label": (lambda r: r.entry(3), ValueError, r"'which' .* \[0, 3\), not 3"),
    "negative label": (lambda r: r.retire(-1), ValueError, r"'which' .* \[0, 3\), not -1"),
    "not a label": (lambda r: r.entry(1.0), TypeError, "'which' must be an integer, not 1.0"),
    "bool label": (lambda r: r.entry(True), TypeError, "'which' must be an integer, not True"),
    "labels": (lambda r: r.names([0, 7]), ValueError, r"'labels' .* \[0, 3\), not 7"),
    "lone surrogate": (lambda r: r.label("\ud800"), ValueError, "'which' must be valid Unicode"),
    "empty name": (lambda r: r.rename("cat", ""), ValueError, "'name' must be text"),
    "NUL": (lambda r: r.alias("cat", "a\0"), ValueError, "'alias' must be text without NUL"),
    "name of another": (lambda r: r.rename("cat", "dog"), ValueError, "'dog' is the name of .* 1"),
    "own name": (lambda r: r.rename("cat", "cat"), ValueError, "'cat' is the name of class 0"),
    "alias in use": (lambda r: r.alias("cat", "emu"), ValueError, "'emu' is the name of class 2"),
    "no alias": (lambda r: r.remove_alias("cat"), ValueError, "'cat' is the name of class 0"),
    "unknown alias": (lambda r: r.remove_alias("x"), ValueError, "'x' is that of no class"),
    "restore": (lambda r: r.restore("cat"), ValueError, r"Class 0 \('cat'\) is not retired"),
    "few vectors": (lambda r: r.add(["a", "b"], [1]), ValueError, "'vectors' must hold 2 .* not 1"),
    "many images": (
        lambda r: r.add(["a"], [1], [1, 2]),
        ValueError,
        "'images' must hold 1 .*not 2",
    ),
    "name twice": (lambda r: r.add(["a", "b", "a"]), ValueError, "'a' is the name of class 3"),
    "vector twice": (lambda r: r.add(["a", "b"], [7, 7]), ValueError, "7 belongs to class 3"),
    "vector": (lambda r: r.add(["a"], [-1]), ValueError, r"'vectors' .* not -1"),
    "vector kind": (lambda r: r.add(["a"], [0.5]), TypeError, "'vectors' must be an integer"),
    "name kind": (lambda r: r.add([7]), TypeError, "'names' must be text, not int"),
    "count": (lambda r: r.count_images({"cat": -1}), ValueError, "'numbers' .* not -1"),
    "too many": (lambda r: r.count_images({"cat": 2**63 - 1}), ValueError, "CHECK constraint"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input(registry: ClassRegistry, case: str):
    call, error, message = BAD[case]
    before = list(registry.entries())
    with pytest.raises(error, match=message):
        call(registry)
    assert registry.generation == 1 and list(registry.entries()) == before


def test_retired_twice(registry: ClassRegistry):
    registry.retire("cat")
    with pytest.raises(ValueError, match="retired already"):
        registry.retire("cat")


def test_files_that_are_no_registry(tmp_path: Path, path: Path):
    with pytest.raises(FileNotFoundError, match="expected a class registry"):
        ClassRegistry(path)
    assert not path.exists()
    path.write_text("just text, " * 1000)
    with pytest.raises(ValueError, match="is not a class registry: file is not a database"):
        ClassRegistry(path)
    with pytest.raises(FileExistsError, match="exists already"):
        ClassRegistry.create(path, ["a"])
    assert path.read_text().startswith("just text")
    other = tmp_path / "other"
    with sqlite3.connect(other) as connection:
        connection.execute("CREATE TABLE mine (x)")
    connection.close()
    with pytest.raises(ValueError, match="holds other tables"):
        ClassRegistry(other)
    empty = tmp_path / "empty"
    empty.touch()
    with pytest.raises(ValueError, match=r"is empty or damaged\. Copy it again, or remove it"):
        ClassRegistry(empty)
    with pytest.raises(FileExistsError, match="exists already"):
        ClassRegistry.create(empty, ["b"])
    with pytest.raises(FileNotFoundError, match="none"):
        ClassRegistry.create(tmp_path / "none" / "registry", ["a"])


def test_newer_schema(registry: ClassRegistry, path: Path):
    connection = sqlite3.connect(path)
    connection.execute(f"PRAGMA user_version = {SCHEMA + 1}")
    connection.close()
    with pytest.raises(ValueError, match=r"has schema 2, .* reads 1: upgrade it"):
        ClassRegistry(path)


@pytest.mark.parametrize(
    ("statement", "message"),
    [
        ("UPDATE classes SET vector = 4 WHERE label = 0", "keeps its label and vector"),
        ("UPDATE classes SET label = 4 WHERE label = 0", "keeps its label and vector"),
        ("DELETE FROM classes WHERE label = 0", "never deleted"),
        ("UPDATE changes SET source = ''", "not rewritten"),
        ("DELETE FROM changes", "not deleted"),
        ("INSERT INTO classes VALUES (3, 5, 0, 0, 1)", "UNIQUE"),
        ("INSERT INTO names VALUES ('second', 0, 0)", "UNIQUE"),
    ],
)
def test_the_database_refuses_by_itself(
    registry: ClassRegistry, path: Path, statement: str, message: str
):
    """Old vectors never move, whatever program writes."""
    connection = sqlite3.connect(path)
    with pytest.raises(sqlite3.IntegrityError, match=re.escape(message)):
        connection.execute(statement)
    connection.close()


def test_costs_do_not_grow_with_the_classes(tmp_path: Path):
    """Steps of SQLite's machine for each method, at 5,000 and at 50,000 classes."""
    calls: dict[str, Callable[[ClassRegistry], Any]] = {
        "len": len,
        "generation": lambda r: r.generation,
        "label": lambda r: r.label("class 7"),
        "entry": lambda r: r.entry(9),
        "names": lambda r: r.names([1, 50]),
        "retired": lambda r: r.retired(),
        "history": lambda r: r.history(3),
        "first entry": lambda r: next(iter(r.entries())) and None,
        "rename": lambda r: r.rename(5, "five"),
        "alias": lambda r: r.alias(6, "six"),
        "retire": lambda r: r.retire(7),
        "restore": lambda r: r.restore(7),
        "add": lambda r: r.add(["new"], [10**9]),
        "count": lambda r: r.count_images({3: 1}),
    }
    steps = {}
    for number in (5_000, 50_000):
        names = [f"class {i}" for i in range(number)]
        registry = ClassRegistry.create(tmp_path / str(number), names, range(number))
        for name, call in calls.items():
            taken = []
            # Called every 20 steps of the machine.
            registry._store.connection.set_progress_handler(
                lambda taken=taken: taken.append(1) and 0, 20
            )
            call(registry)
            steps.setdefault(name, []).append(len(taken))
        registry.close()
    for name, (few, many) in steps.items():
        assert many <= few + 2, (name, few, many)


def test_any_turned_bit_of_an_answer_is_noticed(tmp_path: Path):
    """Or else changes no name, label, vector or mark of retirement."""
    path = tmp_path / "registry"
    names = [f"class {i}" for i in range(60)]
    with ClassRegistry.create(path, names, range(100, 160)) as registry:
        registry.retire("class 3")
        registry.alias("class 5", "five")
        expected = _answers(registry)
    content, random = path.read_bytes(), np.random.default_rng(0)
    noticed = 0
    for place in random.choice(8 * len(content), 400, replace=False).tolist():
        changed = bytearray(content)
        changed[place // 8] ^= 1 << place % 8
        path.write_bytes(changed)
        try:
            with ClassRegistry(path) as registry:
                registry.check()
                assert _answers(registry) == expected, place
        except ValueError as error:
            assert str(path) in str(error)
            noticed += 1
    assert noticed > 20


def _answers(registry: ClassRegistry) -> object:
    entries = [(e.label, e.name, e.aliases, e.vector, e.retired) for e in registry.entries()]
    return entries, registry.retired().tolist(), registry.find("five"), registry.names([7])
