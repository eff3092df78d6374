"""Full float32 where results must be exact, whatever the network around is set to.

Autocast rounds inputs of products to half precision. `torch.set_float32_matmul_precision("high")`,
which PyTorch and Lightning advise on recent GPUs, rounds those of float32 products to 10 bits
(TensorFloat32), and "medium" on some CPUs to 7. Cosines are then wrong in the third digit, and the
nearest prototype may not be the one that is found.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any

import torch


def full_precision(device: torch.device) -> AbstractContextManager[object]:
    """Without autocast on this device, and with products of float32 in float32.

    The precision of products is a setting of the process: other threads have it too as long as one
    is in here. In compiled code it stays as the caller has it.
    """
    if torch.compiler.is_compiling():
        return torch.autocast(device.type, enabled=False)
    return _exactly(device)


@contextmanager
def _exactly(device: torch.device) -> Iterator[None]:
    with torch.autocast(device.type, enabled=False), _SETTING:
        yield


class _Setting:
    """The precision of products, "highest" from the first who enters to the last who leaves."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._inside = 0
        self._before: list[str] = []

    def __enter__(self) -> None:
        with self._lock:
            if self._inside == 0:
                self._before = _precision()
                _set([_EXACT] * len(self._before))
            self._inside += 1

    def __exit__(self, *_: object) -> None:
        with self._lock:
            self._inside -= 1
            if self._inside == 0:
                _set(self._before)


# Since torch 2.9 each backend has a setting of its own, and reading the former one can fail.
_BACKENDS: list[Any] = [
    backend
    for backend in (torch.backends.cuda.matmul, getattr(torch.backends.mkldnn, "matmul", None))
    if hasattr(backend, "fp32_precision")
]
_EXACT = "ieee" if _BACKENDS else "highest"


def _precision() -> list[str]:
    if not _BACKENDS:
        return [torch.get_float32_matmul_precision()]
    return [backend.fp32_precision for backend in _BACKENDS]


def _set(values: list[str]) -> None:
    if not _BACKENDS:
        torch.set_float32_matmul_precision(values[0])
    for backend, value in zip(_BACKENDS, values, strict=False):
        backend.fp32_precision = value


_SETTING = _Setting()
