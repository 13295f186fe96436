"""PNG files written while somebody waits: twenty times as fast as Pillow, a seventh larger.

Prepared images are written once and kept, and so by `data.image.encode_png`.
"""

from __future__ import annotations

import struct

import numpy as np
from isal import isal_zlib
from numpy.typing import NDArray

SIGNATURE = b"\x89PNG\r\n\x1a\n"
COLOUR_TYPES = {1: 0, 3: 2, 4: 6}  # by channels: grey, RGB, RGBA (PNG, third edition, table 12)
UP = 2  # filter: the difference from the row above (section 9.2)
LEVEL = 1


def encode_png(pixels: NDArray[np.uint8]) -> bytes:
    """Lossless PNG of grey (H, W), RGB (H, W, 3) or RGBA (H, W, 4), uint8, without metadata."""
    height, width = pixels.shape[:2]
    rows = np.ascontiguousarray(pixels).reshape(height, -1)
    channels = rows.shape[1] // width
    filtered = np.empty((height, 1 + rows.shape[1]), np.uint8)
    filtered[:, 0] = UP
    filtered[0, 1:] = rows[0]
    np.subtract(rows[1:], rows[:-1], out=filtered[1:, 1:])
    header = struct.pack(">IIBBBBB", width, height, 8, COLOUR_TYPES[channels], 0, 0, 0)
    return b"".join(
        (
            SIGNATURE,
            _chunk(b"IHDR", header),
            _chunk(b"IDAT", isal_zlib.compress(filtered, LEVEL)),
            _chunk(b"IEND", b""),
        )
    )


def _chunk(kind: bytes, payload: bytes) -> bytes:
    """Length, kind, payload, and their check sum (section 5.3)."""
    return (
        struct.pack(">I", len(payload))
        + kind
        + payload
        + struct.pack(">I", isal_zlib.crc32(payload, isal_zlib.crc32(kind)))
    )
