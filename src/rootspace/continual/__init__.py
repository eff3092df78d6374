"""A label set that lives: names, retired classes, inputs that belong to none, new classes."""

from .discovery import Proposal as Proposal
from .discovery import group_by_cosine as group_by_cosine
from .discovery import group_by_vector as group_by_vector
from .discovery import propose as propose
from .live import LiveClasses as LiveClasses
from .live import predict_without as predict_without
from .open_set import KINDS as KINDS
from .open_set import KnownScore as KnownScore
from .open_set import Rejector as Rejector
from .open_set import fit_scale as fit_scale
from .open_set import fit_score as fit_score
from .registry import Change as Change
from .registry import ClassEntry as ClassEntry
from .registry import ClassRegistry as ClassRegistry
from .registry import StaleRegistryError as StaleRegistryError
