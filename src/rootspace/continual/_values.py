"""What a registry may hold, checked before it gets there."""

from __future__ import annotations

import numpy as np


def check_name(name: object, argument: str) -> str:
    if not isinstance(name, str):
        raise TypeError(f"Argument '{argument}' must be text, not {type(name).__name__}.")
    if not name or "\0" in name:
        raise ValueError(f"Argument '{argument}' must be text without NUL, not {name!r}.")
    return check_text(name, argument)


def check_text(name: str, argument: str = "which") -> str:
    try:
        name.encode()
    except UnicodeEncodeError as error:
        raise ValueError(f"Argument '{argument}' must be valid Unicode, not {name!r}.") from error
    return name


def check_whole(number: object, argument: str) -> int:
    if isinstance(number, bool) or not isinstance(number, int | np.integer):
        kind = type(number).__name__
        raise TypeError(f"Argument '{argument}' must be an integer, not {number!r} ({kind}).")
    return int(number)


def check_count(number: object, argument: str) -> int:
    count = check_whole(number, argument)
    if not 0 <= count < 2**63:
        raise ValueError(f"Argument '{argument}' must hold counts in [0, 2**63), not {count}.")
    return count


def check_vector(vector: object) -> int | bytes | None:
    if vector is None or isinstance(vector, bytes):
        return vector
    return check_count(vector, "vectors")
