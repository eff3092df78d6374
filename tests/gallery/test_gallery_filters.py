"""What filters mean, and which texts are none."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rootspace.gallery import Condition, conditions, facets
from rootspace.gallery.facets import Facets
from rootspace.gallery.filters import Operator
from rootspace.gallery.items import Value


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("label = 'cat'", [Condition("label", "=", "cat")]),
        ("label=cat", [Condition("label", "=", "cat")]),
        ('name = "it\'s" and a != \'it\'\'s\'', [Condition("name", "=", "it's"),
                                                 Condition("a", "!=", "it's")]),
        ("year >= 2020 AND size<1.5e3", [Condition("year", ">=", 2020),
                                         Condition("size", "<", 1500.0)]),
        ("ok = true and bad = False", [Condition("ok", "=", True), Condition("bad", "=", False)]),
        ("id in (1, -2)", [Condition("id", "in", (1, -2))]),
        ("label IN ('in', 'and')", [Condition("label", "in", ("in", "and"))]),
        ("label = 猫", [Condition("label", "=", "猫")]),
    ],
)  # fmt: skip
def test_texts(text: str, expected: list[Condition]):
    assert list(conditions(text)) == expected


@pytest.mark.parametrize(
    "text",
    [
        *("", "label", "label =", "label = 'cat", "= 3", "a = 1 or b = 2", "a = 1 and", "a in 3"),
        *("a in ()", "a in (1", "a in (1 2)", "a == 3", "a = 1; drop table items", "a = (1)"),
        *("a < 1 < 2", "x" * 20_000),
    ],
)
def test_texts_that_are_none(text: str):
    with pytest.raises(ValueError, match=r"^Argument '--where' must "):
        conditions(text, "--where")


def test_conditions_that_cannot_be():
    with pytest.raises(ValueError, match="one of =, !="):
        Condition("a", "like", "x")  # pyright: ignore[reportArgumentType]
    with pytest.raises(ValueError, match="must be a tuple"):
        Condition("a", "in", 3)
    assert conditions(None) == ()
    assert conditions(Condition("a", "=", 3)) == (Condition("a", "=", 3),)


@pytest.mark.parametrize(
    ("text", "rows"),
    [
        ("a = 1", [0, 1]),
        ("a != 1", [2, 3, 4]),
        ("a < 2", [0, 1]),
        ("a >= 1", [0, 1, 3]),
        ("a = true", [2]),
        ("a >= true", []),
        ("a < 'y'", [4]),
        ("a in (1, 'x')", [0, 1, 4]),
        ("b = 1", []),
        ("id in (10, 13)", [0, 3]),
        ("id > 12", [3, 4, 5]),
        ("id != 12", [0, 1, 3, 4, 5]),
        ("id < 'x'", []),
        ("id = true", []),
        ("label = l and a > 0", [0]),
        ("label != l", [1]),
    ],
)
def test_meaning(text: str, rows: list[int]):
    payloads = ['{"a": 1}', '{"a": 1.0}', '{"a": true}', '{"a": 2}', '{"a": "x"}', None]
    labels = ["l", "m", None, None, None, None]
    columns = {"payload": payloads, "label": labels}
    one, where = Facets(), conditions(text)
    one.prepare(where, 6, lambda names: {name: columns[name] for name in names})
    assert np.flatnonzero(one.mask(where, np.arange(10, 16))).tolist() == rows


values = st.one_of(
    st.booleans(),
    st.integers(-(2**63), 2**63 - 1),
    st.floats(allow_nan=False, allow_infinity=False),
    st.text(max_size=20),
)


few = st.sampled_from([0, 0.0, 1, 1.0, True, False, -1, 2**53, 2.0**53, 2**53 + 1, "", "1", "x"])


@given(
    items=st.lists(few | values | st.none(), max_size=12),
    asked=st.lists(few | values, min_size=1, max_size=3),
    sign=st.sampled_from(["=", "!=", "<", ">=", "in"]),
)
def test_all_items_at_once_are_as_one_by_one(
    items: list[Value | None], asked: list[Value], sign: Operator
) -> None:
    condition = Condition("a", sign, tuple(asked) if sign == "in" else asked[0])
    payloads = [None if value is None else json.dumps({"a": value}) for value in items]
    one = Facets()
    one.prepare([condition], len(items), lambda names: {"payload": payloads})
    found = one.mask([condition], np.arange(len(items))).tolist()
    assert found == [value is not None and condition.holds(value) for value in items]


@given(value=values, other=values)
def test_a_value_is_above_equal_or_below(value: Value, other: Value):
    equal = Condition("a", "=", other).holds(value)
    below, above = (Condition("a", sign, other).holds(value) for sign in ("<", ">"))
    assert equal + below + above <= 1
    assert Condition("a", "!=", other).holds(value) != equal
    assert Condition("a", "in", (other,)).holds(value) == equal
    assert Condition("a", "<=", other).holds(value) == (
        below or (equal and not isinstance(value, bool))
    )
    if not isinstance(value, bool):
        assert Condition("a", "=", value).holds(value)


def test_only_keys_that_filters_name_take_memory(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(facets, "KEYS", 3)
    payloads = [json.dumps({f"k{i}": i, "n": i % 2}) for i in range(50)]
    one = Facets()

    def rows(text: str) -> list[int]:
        where = conditions(text)
        one.prepare(where, 50, lambda _: {"payload": payloads})
        return np.flatnonzero(one.mask(where, np.arange(50))).tolist()

    for i in range(50):
        assert rows(f"k{i} = {i}") == [i]
        assert len(rows("n = 1")) == 25 and rows("none = 3") == []
        assert {*one._keys} == {f"k{i}", "n", "none"}
    assert rows("k1 = 1 and k2 = 2 and k3 = 3 and k4 >= 4") == [] and len(one._keys) == 4
    assert rows("k1 = 1") == [1] and len(one._keys) == 3
