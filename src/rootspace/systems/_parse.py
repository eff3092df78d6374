"""From text to a vector system, without evaluating code."""

from __future__ import annotations

import ast
from collections.abc import Callable, Mapping
from typing import Any

from .base import VectorSystem

MOST_SHOWN = 200
"""Letters of a wrong text in a message."""


def parse_expression(text: str, names: Mapping[str, Callable[..., VectorSystem]]) -> VectorSystem:
    """Build the system that `text`, a constructor call such as `RootA(384)`, describes.

    Args:
        text: the `repr` of a system; literals, keyword arguments and nested calls.
        names: the constructors that may be called.

    Raises:
        ValueError: not such an expression, an unknown name, or wrong arguments.
    """
    try:
        node = ast.parse(text.strip(), mode="eval").body
        if not isinstance(node, ast.Call):
            raise SyntaxError
        return _build(node, names)
    except (SyntaxError, MemoryError, RecursionError) as error:  # of thousands of parentheses
        shown = text if len(text) <= MOST_SHOWN else f"{text[:MOST_SHOWN]}..."
        raise ValueError(
            f"Expected a vector system such as 'RootA(384)', not {shown!r}."
        ) from error


def _build(node: ast.expr, names: Mapping[str, Callable[..., VectorSystem]]) -> Any:
    if isinstance(node, ast.Call):
        name = ast.unparse(node.func)
        if name not in names:
            raise ValueError(
                f"Unknown vector system {name!r}; expected one that `register_system` has made "
                f"known, or one of {', '.join(sorted(names))}."
            )
        if any(keyword.arg is None for keyword in node.keywords):
            raise ValueError(f"Expected plain arguments in {ast.unparse(node)!r}.")
        try:
            return names[name](
                *(_build(argument, names) for argument in node.args),
                **{str(k.arg): _build(k.value, names) for k in node.keywords},
            )
        except (TypeError, AttributeError) as error:
            raise ValueError(f"Wrong arguments in {ast.unparse(node)!r}: {error}") from error
    if isinstance(node, ast.List):
        return [_build(element, names) for element in node.elts]
    try:
        return ast.literal_eval(node)
    except ValueError as error:
        raise ValueError(f"Expected a literal, not {ast.unparse(node)!r}.") from error
