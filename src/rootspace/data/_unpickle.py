"""Reading a pickle that may come from anyone: arrays, numbers, texts and containers only."""

from __future__ import annotations

import io
import pickle
from typing import Any

import numpy as np


class UnsafePickleError(ValueError):
    """The pickle is damaged, or asks for more than arrays and plain values."""


def unpickle_arrays(data: bytes) -> Any:
    """Load a pickle of Python 2 or 3 without running anything it names.

    Texts of Python 2 come back as bytes, and so do dictionary keys of any pickle: `b"data"`.

    Raises:
        UnsafePickleError: it names anything but numpy's arrays, or is damaged.
    """
    try:
        loaded = _ArrayUnpickler(io.BytesIO(data), encoding="bytes").load()
    except UnsafePickleError:
        raise
    except Exception as error:  # The machine that reads pickles raises anything on a damaged one.
        raise UnsafePickleError(f"it is a damaged pickle ({error})") from error
    if isinstance(loaded, dict):
        return {key.encode() if isinstance(key, str) else key: loaded[key] for key in loaded}
    return loaded


def _latin1(text: str, encoding: str) -> bytes:
    """`_codecs.encode`, by which old pickle protocols write bytes, for its one harmless use."""
    if encoding != "latin1":
        raise UnsafePickleError(f"it asks for the encoding '{encoding}'")
    return text.encode("latin1")


# How numpy rebuilds an array, without naming the private module it lives in.
_reconstruct = np.empty(0).__reduce__()[0]
_frombuffer = np.empty(0).__reduce_ex__(5)[0]

_ALLOWED = {
    ("numpy", "dtype"): np.dtype,
    ("numpy", "ndarray"): np.ndarray,
    ("_codecs", "encode"): _latin1,
    **{
        (f"numpy.{core}.{module}", name): function
        for core in ("core", "_core")  # before and since numpy 2
        for module, name, function in (
            ("multiarray", "_reconstruct", _reconstruct),
            ("numeric", "_frombuffer", _frombuffer),
        )
    },
}


class _ArrayUnpickler(pickle.Unpickler):
    def find_class(self, module_name: str, global_name: str) -> Any:
        try:
            return _ALLOWED[module_name, global_name]
        except KeyError:
            raise UnsafePickleError(f"it asks for {module_name}.{global_name}") from None
