"""What a request is refused with, and its wording."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rootspace._terminal import one_line

SHOWN = 100
"""Characters of what a client has sent that a message repeats."""

GONE = 499
"""What is counted where the client has left before its answer."""

CODES = {
    400: "bad_request",
    401: "unauthorized",
    403: "forbidden",
    404: "not_found",
    405: "method_not_allowed",
    408: "too_slow",
    409: "conflict",
    413: "too_large",
    415: "media_type",
    421: "wrong_host",
    422: "invalid",
    GONE: "client_gone",
    500: "internal",
    503: "overloaded",
    504: "too_slow",
}


class RefusedError(Exception):
    """A request that is answered with an error.

    Args:
        status: of HTTP.
        message: for readers.
        code: for programs; by the status if None.
    """

    def __init__(self, status: int, message: str, code: str | None = None) -> None:
        super().__init__(message)
        self.status, self.message = status, message
        self.code = CODES.get(status, "error") if code is None else code


def shown(value: object) -> str:
    """What a client has sent, as a message repeats it: on one line, and not all of it."""
    if isinstance(value, bytes | list):
        value = value[: SHOWN + 1]  # a whole body, maybe
    text = value if isinstance(value, str) else repr(value)
    text = one_line(text[: SHOWN + 1])
    text = f"{text[:SHOWN]}..." if len(text) > SHOWN else text
    return repr(text) if isinstance(value, str) else text


# Pydantic's kinds of errors -> what was expected, with their context.
_EXPECTED = {
    "greater_than_equal": "at least {ge}",
    "less_than_equal": "at most {le}",
    "greater_than": "more than {gt}",
    "less_than": "less than {lt}",
    "int_parsing": "a whole number",
    "int_parsing_size": "a smaller whole number",
    "int_type": "a whole number",
    "int_from_float": "a whole number",
    "float_parsing": "a number",
    "float_type": "a number",
    "finite_number": "a finite number",
    "bool_parsing": "true or false",
    "bool_type": "true or false",
    "string_type": "text",
    "string_too_short": "at least {min_length} characters long",
    "string_too_long": "at most {max_length} characters long",
    "too_short": "at least {min_length} of them",
    "too_long": "at most {max_length} of them",
    "list_type": "a list",
    "dict_type": "a JSON object",
    "model_type": "a JSON object",
    "model_attributes_type": "a JSON object",
    "literal_error": "{expected}",
}


def wording(errors: Sequence[Mapping[str, Any]]) -> str:
    """What the first error of a validation says, as the rest of the library words it."""
    error = errors[0]
    place = [str(part) for part in error["loc"] if part not in ("query", "body", "path", "header")]
    name = shown(".".join(place) or "body")
    kind, context = error["type"], error.get("ctx", {})
    if kind == "missing":
        return f"Argument {name} is missing."
    if kind == "extra_forbidden":
        return f"Argument {name} is not known."
    if kind == "json_invalid":
        return f"The body is not JSON: {context.get('error', 'it cannot be read')}."
    if kind == "value_error":  # of a check of ours
        return f"Argument {name} {context['error']}, not {shown(error.get('input'))}."
    if kind in _EXPECTED:
        given = shown(error.get("input"))
        if kind.endswith(("than", "than_equal")):
            given = given.strip("'")  # a number; in a query it is text
        return f"Argument {name} must be {_EXPECTED[kind].format(**context)}, not {given}."
    return f"Argument {name}: {error['msg']}."
