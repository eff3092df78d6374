"""What `rootspace.data` offers, and how the command line finds it."""

from __future__ import annotations

import importlib
import inspect
import pkgutil
import subprocess
import sys

import pytest

from rootspace import data
from rootspace.data import CIFAR10, Characters, DataSource, Grown, ImageFolder, make_data
from rootspace.train import config as train_config


def sources() -> list[type[DataSource]]:
    """Every source that the package holds."""
    for module in pkgutil.walk_packages(data.__path__, f"{data.__name__}."):
        importlib.import_module(module.name)
    return [cls for cls in DataSource.__subclasses__() if cls.__module__.startswith("rootspace.")]
