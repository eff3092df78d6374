"""rootspace: classification with any number of classes and no classifier layer."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .callbacks import ChoosePrototypes as ChoosePrototypes
    from .choosing import choose_prototypes as choose_prototypes
    from .classes import ClassMap as ClassMap
    from .heads import PrototypeHead as PrototypeHead
    from .planning import plan as plan
    from .run import load as load
    from .sampling import ClassBatchSampler as ClassBatchSampler

__version__ = "0.1.0"

_MODULES = {
    "ChoosePrototypes": "callbacks",
    "ClassBatchSampler": "sampling",
    "ClassMap": "classes",
    "PrototypeHead": "heads",
    "choose_prototypes": "choosing",
    "load": "run",
    "plan": "planning",
}


def __getattr__(name: str) -> Any:
    # Imported when it is asked for: some need an extra, and the command line need not wait for
    # torch to print its help.
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    if name == "ChoosePrototypes":
        from ._extras import require  # noqa: PLC0415

        require("lightning", extra="train", purpose="ChoosePrototypes")
    return getattr(import_module(f".{_MODULES[name]}", __name__), name)


def __dir__() -> list[str]:
    return [*globals(), *_MODULES]
