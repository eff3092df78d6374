"""Class maps on disk."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from rootspace import ClassMap
from rootspace.systems import Orbit, RootA, Table, Union

GENERATOR = torch.Generator().manual_seed(0)
MAPS = {
    "formula": ClassMap(RootA(384, interpolations=1), 50_000_000, seed=2**63),
    "natural": ClassMap(Orbit(9, {2: 1, 1: 2}, signed=True), 100, "natural"),
    "names": ClassMap(RootA(4), 3, names=["one", "zwei", "三"]),
    "table": ClassMap(Table(torch.randn(12, 5, generator=GENERATOR)), 10, seed=1),
    "table in float64": ClassMap(Table(torch.randn(12, 5, generator=GENERATOR).double()), 10),
    "assigned": ClassMap.assigned(RootA(30), torch.tensor([5, 700, 3])),
}


def same(a: ClassMap, b: ClassMap) -> bool:
    labels = torch.arange(min(a.num_classes, 1000))
    return (
        repr(a) == repr(b)
        and a.names == b.names
        and torch.equal(a.vectors(labels), b.vectors(labels))
    )


@pytest.mark.parametrize("name", MAPS)
def test_round_trip(name: str, tmp_path: Path) -> None:
    classes = MAPS[name]
    path = tmp_path / "classes.json"
    classes.save(path)
    assert same(ClassMap.load(path), classes)
    assert same(ClassMap.load(str(path)), classes)
    assert not list(tmp_path.glob("*.tmp"))


def test_a_formula_takes_less_than_a_kilobyte(tmp_path: Path) -> None:
    MAPS["formula"].save(tmp_path / "classes.json")
    assert [p.name for p in tmp_path.iterdir()] == ["classes.json"]
    assert (tmp_path / "classes.json").stat().st_size < 1000


def test_the_file_is_readable_text(tmp_path: Path) -> None:
    MAPS["names"].save(tmp_path / "classes.json")
    assert json.loads((tmp_path / "classes.json").read_text(encoding="utf-8")) == {
        "format": 1,
        "system": "RootA(4)",
        "num_classes": 3,
        "order": "shuffled",
        "seed": 0,
        "names": ["one", "zwei", "三"],
    }


def test_a_map_is_replaced_at_once(tmp_path: Path) -> None:
    path = tmp_path / "classes.json"
    ClassMap(RootA(4), 3).save(path)
    ClassMap(RootA(5), 4).save(path)
    assert ClassMap.load(path).num_classes == 4


def _file(tmp_path: Path, **changes: Any) -> Path:
    content = {
        "format": 1, "system": "RootA(4)", "num_classes": 5, "order": "natural", "seed": 0
    } | changes  # fmt: skip
    path = tmp_path / "classes.json"
    path.write_text(json.dumps({k: v for k, v in content.items() if v is not None}))
    return path


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"format": 2},
            "'format' must be 1, which this version .* reads, not 2: upgrade",
        ),
        ({"format": None}, "A class map needs 'format', which is missing"),
        ({"seed": None}, "A class map needs 'seed', which is missing"),
        ({"system": None}, "A class map needs 'system', which is missing"),
        ({"system": "RootZ(4)"}, "Unknown vector system 'RootZ'"),
        ({"system": "RootA(4) or exit()"}, "Expected a vector system"),
        ({"num_classes": 21}, "must be at most 20"),
        ({"num_classes": "5"}, "'num_classes' must be of type int, not '5'"),
        ({"order": "random"}, "'order' must be 'shuffled' or 'natural'"),
        ({"names": ["a"]}, "'names' must hold 5 names"),
    ],
    ids=lambda value: str(value) if isinstance(value, dict) else "",
)
def test_wrong_content(tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        ClassMap.load(_file(tmp_path, **changes))


@pytest.mark.parametrize("text", ["", "{", "[1, 2]", "5", '"RootA(4)"', "null", "not json"])
def test_foreign_files(tmp_path: Path, text: str) -> None:
    path = tmp_path / "classes.json"
    path.write_text(text)
    with pytest.raises(ValueError, match=r"classes\.json is not a class map of rootspace"):
        ClassMap.load(path)


@pytest.mark.parametrize("content", [b"\xff\xfe\x00", b'{"format": 1, "system": 5}'])
def test_other_foreign_files(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "classes.json"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"is not a class map of rootspace"):
        ClassMap.load(path)


def array_of(path: Path) -> Path:
    """The one array beside a class map."""
    (array,) = path.parent.glob(f"{path.name}.*.npy")
    return array


def test_an_interrupted_save_leaves_the_older_map(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, before, after = tmp_path / "classes.json", MAPS["assigned"], MAPS["table"]
    before.save(path)
    other = ClassMap.assigned(RootA(30), torch.tensor([5, 700]))

    def killed(*_: object, **__: object) -> str:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(json, "dumps", killed)  # after the arrays, before the file that names them
        other.save(path)
    assert same(ClassMap.load(path), before)
    for classes in (other, after):
        classes.save(path)
        assert same(ClassMap.load(path), classes) and array_of(path).exists()


def test_missing_files(tmp_path: Path) -> None:
    path = tmp_path / "classes.json"
    with pytest.raises(FileNotFoundError, match=r"classes\.json"):
        ClassMap.load(path)
    MAPS["table"].save(path)
    array_of(path).unlink()
    with pytest.raises(FileNotFoundError, match=r"classes\.json\.table-[0-9a-f]{8}\.npy"):
        ClassMap.load(path)


def test_another_table(tmp_path: Path) -> None:
    path = tmp_path / "classes.json"
    MAPS["table"].save(path)
    MAPS["table in float64"].save(tmp_path / "other.json")
    array_of(tmp_path / "other.json").replace(array_of(path))
    with pytest.raises(ValueError, match=r"classes\.json\.table-.* is not the array that it names"):
        ClassMap.load(path)


class TestWhatCannotBeReadAgain:
    """A map is saved in a way that it can be loaded, or not at all."""

    def test_union_with_a_table(self, tmp_path: Path) -> None:
        system = Union([Orbit(3, {1: 1}), Table([[1.0, 1, 0], [1, -1, 0]])])
        self._saved_or_refused(ClassMap(system, 4), tmp_path / "classes.json")

    def test_assigned_rows_of_a_table(self, tmp_path: Path) -> None:
        classes = ClassMap.assigned(
            Table(torch.randn(12, 5, generator=GENERATOR)), torch.tensor([3, 1])
        )
        self._saved_or_refused(classes, tmp_path / "classes.json")

    def test_path_that_ends_like_an_array(self, tmp_path: Path) -> None:
        self._saved_or_refused(MAPS["table"], tmp_path / "classes.npy")

    @staticmethod
    def _saved_or_refused(classes: ClassMap, path: Path) -> None:
        try:
            classes.save(path)
        except ValueError:
            return
        assert same(ClassMap.load(path), classes)


def test_two_maps_of_one_stem_do_not_mix(tmp_path: Path) -> None:
    a = ClassMap.assigned(RootA(30), torch.tensor([5, 700]))
    b = ClassMap.assigned(RootA(30), torch.tensor([6, 701]))
    a.save(tmp_path / "classes.json")
    b.save(tmp_path / "classes.map")
    assert same(ClassMap.load(tmp_path / "classes.json"), a)


def test_codes_of_another_map(tmp_path: Path) -> None:
    path = tmp_path / "classes.json"
    MAPS["assigned"].save(path)
    for numbers in ([5, 700], [6, 701, 4]):
        ClassMap.assigned(RootA(30), torch.tensor(numbers)).save(tmp_path / "other.json")
        array_of(tmp_path / "other.json").replace(array_of(path))
        with pytest.raises(ValueError, match=r"codes-.* is not the array that it names"):
            ClassMap.load(path)
    array_of(path).write_bytes(b"")
    with pytest.raises(ValueError, match=r"codes-.*\.npy is empty"):
        ClassMap.load(path)
    content = json.loads(path.read_text()) | {"codes": "classes.json.codes.npy"}
    path.write_text(json.dumps(content))
    with pytest.raises(ValueError, match="'codes' must name a 'file' and its 'sha256', not 'cl"):
        ClassMap.load(path)
