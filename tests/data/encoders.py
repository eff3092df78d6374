"""PNG and TIFF files written without an image library, so that what is read can be told apart."""

from __future__ import annotations

import struct
import zlib

import numpy as np

GRAY, RGB, PALETTE, GRAY_ALPHA, RGBA = 0, 2, 3, 4, 6
"""Color types of PNG."""

UNSIGNED, SIGNED, FLOAT = 1, 2, 3
"""Sample formats of TIFF."""


def png(samples: np.ndarray, kind: int, bits: int, **chunks: bytes) -> bytes:
    """A PNG file.

    Args:
        samples: `[H, W, C]`, in [0, 2**bits).
        kind: its color type.
        bits: of a sample.
        **chunks: others, such as `PLTE`, before the pixels.
    """
    height, width, _ = samples.shape
    rows = b"".join(b"\0" + _packed(row.reshape(-1), bits) for row in samples)
    header = struct.pack(">IIBBBBB", width, height, bits, kind, 0, 0, 0)
    parts = [(b"IHDR", header), *((name.encode(), data) for name, data in chunks.items())]
    parts += [(b"IDAT", zlib.compress(rows)), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))
        for name, data in parts
    )


def tiff(samples: np.ndarray, bits: int, kind: int = UNSIGNED, *, white: int = 255) -> bytes:
    """An uncompressed gray TIFF file in little-endian order.

    Args:
        samples: `[H, W]`.
        bits: of a sample; 12 are packed.
        kind: its sample format.
        white: 0 writes it as "white is zero".
    """
    height, width = samples.shape
    if bits == 12:
        pixels = b"".join(_packed(row, 12) for row in samples)
    else:
        letter = {UNSIGNED: "u", SIGNED: "i", FLOAT: "f"}[kind]
        pixels = samples.astype(f"<{letter}{bits // 8}").tobytes()
    tags = [
        (256, 3, width),
        (257, 3, height),
        (258, 3, bits),
        (259, 3, 1),
        (262, 3, int(white != 0)),
        (273, 4, 8),
        (277, 3, 1),
        (278, 3, height),
        (279, 4, len(pixels)),
        (339, 3, kind),
    ]
    entries = b"".join(struct.pack("<HHII", tag, size, 1, value) for tag, size, value in tags)
    pixels += b"\0" * (len(pixels) % 2)
    start = struct.pack("<2sHI", b"II", 42, 8 + len(pixels))
    return start + pixels + struct.pack("<H", len(tags)) + entries + struct.pack("<I", 0)


def _packed(row: np.ndarray, bits: int) -> bytes:
    """Samples of so many bits one after another, the high bit first."""
    each = (row[:, None].astype(np.int64) >> np.arange(bits)[::-1]) & 1
    return np.packbits(each.reshape(-1).astype(np.uint8)).tobytes()
