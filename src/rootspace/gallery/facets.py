"""What filters ask for, in memory: for each field the number of each item's value.

What equals a value is looked up; other conditions are decided once for each different value. Fields
are read when a filter first names them, and take 4 bytes an item from then on, beside their
different values. Of the keys of payloads the last `KEYS` are kept.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np

from .filters import Condition
from .items import FIELDS, Value

KEYS = 64
"""Keys of payloads that are kept. Clients may ask for any."""

Columns = Callable[[Sequence[str]], dict[str, list[Any]]]
"""From names of a table's columns to their values, in the order of the rows."""


class _Coded:
    """A value for each row by its number, -1 for none."""

    def __init__(self, size: int) -> None:
        self.codes = np.full(size, -1, np.int32)
        self.values: list[Value] = []
        self._number: dict[tuple[type, Value], int] = {}

    def code(self, value: Value | None) -> int:
        if value is None:
            return -1
        # 1, 1.0 and True are equal, and not the same here.
        key = (type(value), value)
        if key not in self._number:
            self._number[key] = len(self.values)
            self.values.append(value)
        return self._number[key]

    def holds(self, condition: Condition) -> np.ndarray:
        """bool `[rows]`; O(rows), and O(different values) for orders such as `<`."""
        if condition.operator in ("=", "!=", "in"):
            numbers = self._equal(condition.values)
            if condition.operator == "!=":
                return (self.codes >= 0) & ~np.isin(self.codes, numbers)
            return np.isin(self.codes, numbers)
        # The last place is looked up for code -1.
        table = np.zeros(len(self.values) + 1, bool)
        for number, value in enumerate(self.values):
            table[number] = condition.holds(value)
        return table[self.codes]

    def _equal(self, values: Iterable[Value]) -> list[int]:
        """Numbers of the values here that equal one of those."""
        keys = (
            (kind, value)
            for value in values
            for kind in ((int, float) if type(value) in (int, float) else (type(value),))
        )
        return [self._number[key] for key in keys if key in self._number]


class Facets:
    """Values of labels, paths and payloads, by rows of an index."""

    def __init__(self) -> None:
        self._size = 0
        self._texts: dict[str, _Coded] = {}  # label, path
        self._keys: dict[str, _Coded] = {}  # of payloads, the last that was asked for at the end

    def prepare(self, where: Iterable[Condition], size: int, columns: Columns) -> None:
        """Read what a filter asks for and is not here yet.

        Args:
            where: the filter.
            size: number of rows.
            columns: reads columns.
        """
        self._size = size
        names = dict.fromkeys(condition.field for condition in where)
        for name in ("label", "path"):
            if name in names and name not in self._texts:
                coded = _Coded(size)
                values = columns([name])[name]
                coded.codes = np.fromiter(map(coded.code, values), np.int32, size)
                self._texts[name] = coded
        keys = [name for name in names if name not in FIELDS]
        new = {name: _Coded(size) for name in keys if name not in self._keys}
        if new:
            _take_payloads(new, range(size), columns(["payload"])["payload"])
        for name in keys:
            self._keys[name] = new[name] if name in new else self._keys.pop(name)
        for name in [*self._keys][: -max(KEYS, len(keys))]:
            del self._keys[name]

    def mask(self, where: Iterable[Condition], ids: np.ndarray) -> np.ndarray:
        """bool `[rows]`, for which all conditions hold."""
        keep = np.ones(len(ids), bool)
        for condition in where:
            if condition.field == "id":
                keep &= _ids(condition, ids)
            else:
                coded = self._texts if condition.field in self._texts else self._keys
                keep &= coded[condition.field].holds(condition)
        return keep

    def append(self, rows: Any) -> None:
        """Take the values of more rows, an Arrow table."""
        start, self._size = self._size, self._size + rows.num_rows
        for coded in [*self._texts.values(), *self._keys.values()]:
            coded.codes = np.concatenate([coded.codes, np.full(rows.num_rows, -1, np.int32)])
        self._take(range(start, self._size), rows)

    def update(self, places: np.ndarray, rows: Any) -> None:
        """Take other values of rows that are here."""
        for coded in self._keys.values():
            coded.codes[places] = -1
        self._take(places.tolist(), rows)

    def keep(self, rows: np.ndarray) -> None:
        """Only these rows are left, in their order."""
        self._size = len(rows)
        for coded in [*self._texts.values(), *self._keys.values()]:
            coded.codes = coded.codes[rows]

    def _take(self, places: Sequence[int], rows: Any) -> None:
        for name, coded in self._texts.items():
            for place, value in zip(places, rows[name].to_pylist(), strict=True):
                coded.codes[place] = coded.code(value)
        if self._keys:
            _take_payloads(self._keys, places, rows["payload"].to_pylist())


def _take_payloads(
    keys: dict[str, _Coded], places: Iterable[int], texts: Iterable[str | None]
) -> None:
    """The values of some keys in payloads."""
    for place, text in zip(places, texts, strict=True):
        content = {} if text is None else json.loads(text)
        for key in keys.keys() & content.keys():
            keys[key].codes[place] = keys[key].code(content[key])


def _ids(condition: Condition, ids: np.ndarray) -> np.ndarray:
    numbers = [
        v for v in condition.values if isinstance(v, int | float) and not isinstance(v, bool)
    ]
    if condition.operator in ("=", "!=", "in"):
        found = np.isin(ids, numbers)
        return ~found if condition.operator == "!=" else found
    if not numbers:
        return np.zeros(len(ids), bool)
    compare = {"<": np.less, "<=": np.less_equal, ">": np.greater, ">=": np.greater_equal}
    return compare[condition.operator](ids, numbers[0])
