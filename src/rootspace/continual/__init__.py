"""A label set that lives: a registry of classes that change, and inputs that belong to none."""

from ._exclude import predict_without as predict_without
from ._records import Change as Change
from ._records import ClassEntry as ClassEntry
from ._records import StaleRegistryError as StaleRegistryError
from ._registry import ClassRegistry as ClassRegistry
