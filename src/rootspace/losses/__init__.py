"""Losses: how far an embedding is from the vector of its class (f_dist, eq. (3))."""

from . import functional as functional
from .base import ClassLoss as ClassLoss
from .cosine_distance import CombinedLoss as CombinedLoss
from .cosine_distance import CosineLoss as CosineLoss
from .cosine_distance import DistanceLoss as DistanceLoss
from .gaussian import GaussianLoss as GaussianLoss
from .softmax import InBatchSoftmaxLoss as InBatchSoftmaxLoss
from .softmax import SystemSoftmaxLoss as SystemSoftmaxLoss
