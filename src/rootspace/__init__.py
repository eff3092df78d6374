"""rootspace: classification with any number of classes and no classifier layer."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .choosing import choose_prototypes as choose_prototypes
from .classes import ClassMap as ClassMap
from .heads import PrototypeHead as PrototypeHead
from .planning import plan as plan
from .sampling import ClassBatchSampler as ClassBatchSampler

if TYPE_CHECKING:
    from .callbacks import ChoosePrototypes as ChoosePrototypes

__version__ = "0.1.0"


def __getattr__(name: str) -> Any:
    # What needs an extra is imported when it is asked for.
    if name == "ChoosePrototypes":
        from ._extras import require  # noqa: PLC0415

        require("lightning", extra="train", purpose="ChoosePrototypes")
        from .callbacks import ChoosePrototypes  # noqa: PLC0415

        return ChoosePrototypes
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
