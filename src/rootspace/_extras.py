"""Optional dependencies: one place that says what to install."""

from __future__ import annotations

import importlib
from types import ModuleType


class MissingExtraError(ModuleNotFoundError):
    """An optional dependency is not installed; the message says which extra brings it."""


def require(module: str, *, extra: str, purpose: str) -> ModuleType:
    """Import `module`, or say which extra of rootspace installs it.

    Args:
        module: dotted module name, e.g. `"timm"`.
        extra: the extra that contains it, e.g. `"models"`.
        purpose: what needs it, for the message; in the singular.

    Raises:
        MissingExtraError: `module` is not installed.
    """
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        if error.name is None or module.split(".", maxsplit=1)[0] != error.name.split(".")[0]:
            raise
        raise MissingExtraError(missing(purpose, error.name, extra), name=error.name) from error


def missing(purpose: str, package: str | None, extra: str) -> str:
    """That something needs a package, and how to install it."""
    # By name pip would look on PyPI, where there is no release.
    return (
        f"{purpose} needs {package}, which is not installed. In a checkout of rootspace: "
        f"pip install -e '.[{extra}]'"
    )
