"""Checks of arguments that every room makes, each with the one sentence that it raises."""

from __future__ import annotations

import operator


def integer(name: str, value: object, least: int | None = 1, most: int | None = None) -> int:
    """An integer argument, also one of numpy or torch, as an int.

    Args:
        name: of the argument.
        value: that was given.
        least: allowed; None for any integer.
        most: allowed, if there is a limit.

    Raises:
        ValueError: it is none, or out of range.
    """
    try:
        found = None if isinstance(value, bool) else operator.index(value)  # pyright: ignore[reportArgumentType]
    except TypeError:
        found = None
    if found is not None and (least is None or least <= found) and (most is None or found <= most):
        return found
    if least is None:
        wanted = "an integer"
    elif most is not None:
        wanted = f"an integer in [{least}, {most}]"
    else:
        wanted = "a positive integer" if least == 1 else f"an integer of at least {least}"
    raise ValueError(f"Argument '{name}' must be {wanted}, not {value!r}.")


def check_kind(name: str, value: object, kinds: type | tuple[type, ...], expected: str) -> None:
    """Raise a TypeError unless an argument is of one of these kinds.

    Args:
        name: of the argument.
        value: that was given.
        kinds: of which it must be an instance.
        expected: what it must be, for the message.
    """
    if not isinstance(value, kinds):
        raise wrong_kind(name, value, expected)


def wrong_kind(name: str, value: object, expected: str) -> TypeError:
    """The error of an argument that must be something else."""
    if value is None or isinstance(value, str | int | float):
        found = repr(value)
    elif isinstance(value, type):
        found = f"the class {value.__name__}"
    else:  # what it prints may be long
        found = type(value).__name__
    return TypeError(f"Argument '{name}' must be {expected}, not {found}.")
