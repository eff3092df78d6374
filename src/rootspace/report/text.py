"""Numbers, durations and class names as text for readers; everything that reaches the page."""

from __future__ import annotations

import html
import math
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal

NBSP = "\u00a0"
ABSENT = "–"
_LONGEST_NAME = 40


def escape(text: object) -> str:
    """Text for HTML content and quoted attributes; characters no page may hold made visible."""
    return html.escape(visible(text), quote=True)


def figure_text(text: str) -> str:
    """Text for a plotly label or hover box, which would read markup in it."""
    return html.escape(visible(text), quote=False)


def visible(text: object) -> str:
    """Text with the characters that no page may hold made visible."""
    return "".join(map(_visible, str(text)))


def percent(fraction: float | None) -> str:
    """A fraction in per cent; only what is exactly 1 is shown as 100."""
    if fraction is None or math.isnan(fraction):
        return ABSENT
    text = f"{100 * fraction:.2f}"
    return f">99.99{NBSP}%" if text == "100.00" and fraction < 1 else f"{text}{NBSP}%"


def count(number: int) -> str:
    """An integer of any magnitude."""
    if number < 10**15:
        return f"{number:,}"
    mantissa, exponent = f"{Decimal(number):.2e}".split("e+")
    superscript = exponent.translate(str.maketrans("0123456789", "⁰¹²³⁴⁵⁶⁷⁸⁹"))
    return f"{mantissa}{NBSP}×{NBSP}10{superscript}"


def quantity(number: float) -> str:
    """A measured number without trailing zeros."""
    return f"{number:,.6g}" if abs(number) < 10**6 else f"{number:,.0f}"


def data_size(size: float) -> str:
    """Bytes in decimal units, three digits."""
    for unit in ("B", "kB", "MB", "GB", "TB"):
        if size < 999.5 or unit == "TB":
            digits = 0 if unit == "B" or size >= 99.95 else 1 if size >= 9.995 else 2
            return f"{size:,.{digits}f}{NBSP}{unit}"
        size /= 1000
    raise AssertionError("the last unit takes everything")


def duration(seconds: float) -> str:
    """Wall time in the two units that matter."""
    if seconds < 60:
        return f"{seconds:.3g}{NBSP}s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes}{NBSP}min" + (f"{NBSP}{rest}{NBSP}s" if rest else "")
    return f"{minutes // 60}{NBSP}h{NBSP}{minutes % 60}{NBSP}min"


def listing(parts: Sequence[str]) -> str:
    """ "a", "a and b", "a, b and c"."""
    return " and ".join([", ".join(parts[:-1]), parts[-1]] if len(parts) > 1 else parts)


def plural(number: int, noun: str, nouns: str | None = None) -> str:
    return f"{count(number)} {noun if number == 1 else nouns or noun + 's'}"


@dataclass(frozen=True)
class ClassName:
    """A class name ready to be escaped: `text` is short and visible, `title` is everything."""

    text: str
    code: str  # "U+0394" for a single character, else ""
    title: str


def class_name(names: Mapping[int, str], label: int) -> ClassName:
    """The name of class `label`; classes without one are numbered, negative ones are none."""
    if label < 0:
        return ClassName("no class", "", "no class")
    name = names.get(label, "")
    if not name:
        return ClassName(f"class {label}", "", f"class {label}")
    if len(name) > 1:
        short = name if len(name) <= _LONGEST_NAME else name[: _LONGEST_NAME - 1] + "…"
        return ClassName(short, "", name)
    code = f"U+{ord(name):04X}"
    known = unicodedata.name(name, "")
    category = unicodedata.category(name)
    text = name
    if category[0] == "M":  # a combining mark needs something to sit on
        text = "◌" + name
    elif category in ("Zs", "Zl", "Zp", "Cf"):  # nothing to see
        text = known.lower() or code
    return ClassName(text, code, f"{name} {code} {known}".rstrip())


# Characters that turn the direction of what follows; <bdi> does not stop them within a name.
_DIRECTIONAL = frozenset("\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")


def _visible(character: str) -> str:
    point = ord(character)
    if character in "\t\n":
        return character
    if point < 0x20:
        return chr(0x2400 + point)  # the picture of the control character
    if point == 0x7F:
        return "\u2421"
    forbidden = 0x80 <= point < 0xA0 or 0xD800 <= point < 0xE000
    return "\ufffd" if forbidden or character in _DIRECTIONAL else character
