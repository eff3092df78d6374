"""The classes of a run as they change: names, aliases, retired ones, counts and where from."""

from ._store import Change as Change
from ._store import ClassEntry as ClassEntry
from ._store import StaleRegistryError as StaleRegistryError
from .registry import ClassRegistry as ClassRegistry
