"""Losses: how far an embedding is from the vector of its class (f_dist, eq. (3))."""

from . import functional as functional
from ._base import ClassLoss as ClassLoss
from ._cosine import CosineLoss as CosineLoss
from ._distance import CombinedLoss as CombinedLoss
from ._distance import DistanceLoss as DistanceLoss
from ._gaussian import GaussianLoss as GaussianLoss
from ._softmax import InBatchSoftmaxLoss as InBatchSoftmaxLoss
from ._softmax import SystemSoftmaxLoss as SystemSoftmaxLoss
