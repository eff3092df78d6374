"""Training: Algorithm 1 of arXiv 2510.04090 on Lightning, from settings to a run folder."""

from .callbacks import StoppedByUser as StoppedByUser
from .module import RunModule as RunModule
from .training import train as train
