"""Classes added to a trained run, with a memory of its old images: `rootspace extend`."""

from .extension import base_config as base_config
from .extension import extend as extend
