"""Filters on label, path, id and payload, such as `label = 'cat' and year >= 2020`.

All conditions must hold. Values are texts in quotes ('' is a quote within), numbers, true and
false; a text of one word needs no quotes. A condition on something that an item does not have, or
has of another kind, does not hold; `!=` holds where the item has it and it is anything else.
"""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias, cast, get_args

from .items import Value

Operator: TypeAlias = Literal["=", "!=", "<", "<=", ">", ">=", "in"]

_ORDERS: dict[str, Callable[[Any, Any], bool]] = {
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}

_TOKEN = re.compile(
    r"""\s*(?:
    (?P<text>'(?:[^']|'')*'|"(?:[^"]|"")*") |
    (?P<operator><=|>=|!=|=|<|>) |
    (?P<mark>[(),]) |
    (?P<word>[^\s'"<>=!(),]+)
    )""",
    re.VERBOSE,
)
_NUMBER = re.compile(r"[-+]?(\d+(\.\d*)?|\.\d+)([eE][-+]?\d+)?")

LONGEST = 10_000
"""Characters of a filter."""

DIGITS = 1000
"""Characters of a number in it; Python reads no whole number of more than 4,300."""


class InvalidFilterError(ValueError):
    """A text that is no filter."""


@dataclass(frozen=True)
class Condition:
    """One condition of a filter.

    Attributes:
        field: `id`, `path`, `label`, or a key of the payload.
        operator: `=`, `!=`, `<`, `<=`, `>`, `>=`, or `in`.
        value: to compare with; several for `in`.

    Raises:
        ValueError: an operator that there is not, or `in` without values.
    """

    field: str
    operator: Operator
    value: Value | tuple[Value, ...]

    def __post_init__(self) -> None:
        if self.operator not in get_args(Operator):
            known = ", ".join(get_args(Operator))
            raise ValueError(f"Argument 'operator' must be one of {known}, not {self.operator!r}.")
        if isinstance(self.value, tuple) != (self.operator == "in"):
            raise ValueError(
                "Argument 'value' must be a tuple for the operator 'in', and one value for others, "
                f"not {self.value!r} for {self.operator!r}."
            )

    @property
    def values(self) -> tuple[Value, ...]:
        """All values."""
        return self.value if isinstance(self.value, tuple) else (self.value,)

    def holds(self, value: Value) -> bool:
        """Whether it holds for a value that an item has."""
        if self.operator == "in":
            return any(_same(value, other) for other in self.values)
        other = self.values[0]
        if self.operator in ("=", "!="):
            return _same(value, other) == (self.operator == "=")
        return _kind(value) == _kind(other) != "truth" and _ORDERS[self.operator](value, other)


Where: TypeAlias = str | Condition | Sequence[Condition] | None
"""A filter: as text, or as conditions that must all hold."""


def conditions(where: Where, argument: str = "where") -> tuple[Condition, ...]:
    """The conditions of a filter.

    Args:
        where: the filter.
        argument: its name, for the message.

    Raises:
        InvalidFilterError: a text that is none.
    """
    if where is None:
        return ()
    if isinstance(where, Condition):
        return (where,)
    if not isinstance(where, str):
        return tuple(where)
    return tuple(_Parser(where, argument).conditions())


class _Parser:
    def __init__(self, text: str, argument: str) -> None:
        self.text, self.argument = text, argument
        if len(text) > LONGEST:
            raise InvalidFilterError(
                f"Argument '{argument}' must have at most {LONGEST:,} characters, not "
                f"{len(text):,}."
            )
        self.tokens: list[tuple[str, str]] = []
        place = 0
        while text[place:].strip():
            match = _TOKEN.match(text, place)
            if match is None:
                raise self._error(f"it goes wrong at {text[place:].strip()[:20]!r}")
            self.tokens.append((str(match.lastgroup), match[str(match.lastgroup)]))
            place = match.end()

    def conditions(self) -> list[Condition]:
        found = [self._condition()]
        while self.tokens:
            kind, text = self._next()
            if (kind, text.lower()) != ("word", "and"):
                raise self._error(f"'and' is expected before {text[:20]!r}")
            found.append(self._condition())
        return found

    def _condition(self) -> Condition:
        kind, name = self._next()
        if kind != "word":
            raise self._error(f"a name is expected, not {name[:20]!r}")
        kind, sign = self._next()
        if kind == "operator":
            return Condition(name, cast(Operator, sign), self._value())
        if (kind, sign.lower()) != ("word", "in"):
            raise self._error(f"an operator is expected after {name[:20]!r}, not {sign[:20]!r}")
        self._mark("(")
        values = [self._value()]
        while self._mark(",)") == ",":
            values.append(self._value())
        return Condition(name, "in", tuple(values))

    def _mark(self, wanted: str) -> str:
        kind, text = self._next()
        if kind != "mark" or text not in wanted:
            raise self._error(f"{' or '.join(wanted)} is expected, not {text[:20]!r}")
        return text

    def _value(self) -> Value:
        kind, text = self._next()
        if kind == "text":
            return text[1:-1].replace(text[0] * 2, text[0])
        if kind != "word":
            raise self._error(f"a value is expected, not {text[:20]!r}")
        if text.lower() in ("true", "false"):
            return text.lower() == "true"
        if match := _NUMBER.fullmatch(text):
            whole = match[2] is None and match[3] is None and "." not in text
            if len(text) > DIGITS:
                raise self._error(f"a number has more than {DIGITS} characters")
            return int(text) if whole else float(text)
        return text

    def _next(self) -> tuple[str, str]:
        if not self.tokens:
            raise self._error("something is missing at the end")
        return self.tokens.pop(0)

    def _error(self, what: str) -> InvalidFilterError:
        return InvalidFilterError(
            f"Argument '{self.argument}' must be conditions such as \"label = 'cat' and year >= "
            f'2020", not {self.text[:80]!r}: {what}.'
        )


def _kind(value: Value) -> str:
    if isinstance(value, bool):
        return "truth"
    return "text" if isinstance(value, str) else "number"


def _same(one: Value, other: Value) -> bool:
    return _kind(one) == _kind(other) and one == other
