"""The IDX format of MNIST and its successors: four magic bytes, the shape, the values."""

from __future__ import annotations

import gzip
import math
import struct
import zlib
from pathlib import Path

import numpy as np

from ._errors import DataError

_UNSIGNED_BYTE = 8


def read_idx(path: Path, num_axes: int) -> np.ndarray:
    """Read an IDX file of unsigned bytes, gzipped or not.

    Args:
        path: of the file.
        num_axes: 3 for images, 1 for labels.

    Raises:
        DataError: it is not such a file, or cut off.
    """
    data = path.read_bytes()
    if data[:2] == b"\x1f\x8b":
        try:
            data = gzip.decompress(data)
        except (OSError, EOFError, zlib.error) as error:
            raise DataError(f"'{path}' is a damaged gzip file ({error}): copy it again.") from error
    magic = bytes((0, 0, _UNSIGNED_BYTE, num_axes))
    if data[:4] != magic:
        raise DataError(
            f"'{path}' is not an IDX file of {num_axes} axes: its magic number must be "
            f"0x{magic.hex()}, not 0x{data[:4].hex()}."
        )
    header = 4 + 4 * num_axes
    if len(data) < header:
        raise DataError(f"'{path}' is cut off within its header: copy it again.")
    shape = struct.unpack(f">{num_axes}I", data[4:header])
    expected = header + math.prod(shape)
    if len(data) != expected:
        raise DataError(
            f"'{path}' must hold {expected} bytes for its shape {shape}, not {len(data)}: copy it "
            "again."
        )
    return np.frombuffer(data, dtype=np.uint8, offset=header).reshape(shape)
