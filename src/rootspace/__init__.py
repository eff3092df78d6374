"""rootspace: classification with any number of classes and no classifier layer."""

from .classes import ClassMap as ClassMap
from .planning import plan as plan

__version__ = "0.1.0"
