"""Data whose images get a size and an interpolation from what will take them."""

from __future__ import annotations

import inspect
from dataclasses import replace

from torch.utils.data import Dataset

from rootspace.config import ClassSpec

from .source import DataSource
from .torch_dataset import TorchData


def data_with_images(spec: ClassSpec, size: int | None, interpolation: str | None) -> ClassSpec:
    """Data whose images have a size and an interpolation, where their settings leave these open.

    A data set of torch becomes `TorchData` of it, which has these settings.

    Args:
        spec: of the data.
        size: height and width of the images in pixels; None for none in particular.
        interpolation: of scaling; likewise.
    """
    wanted = {"image_size": size, "interpolation": interpolation}
    wanted = {name: value for name, value in wanted.items() if value is not None}
    if not wanted:
        return spec
    cls = spec.resolve((DataSource, Dataset), "data")
    if not issubclass(cls, DataSource):
        spec, cls = ClassSpec(f"{TorchData.__module__}.TorchData", {"train": spec}), TorchData
    parameters = inspect.signature(cls).parameters
    filled = {
        name: value
        for name, value in wanted.items()
        if name in parameters
        and parameters[name].default is None
        and spec.init_args.get(name) is None
    }
    return replace(spec, init_args={**spec.init_args, **filled})
