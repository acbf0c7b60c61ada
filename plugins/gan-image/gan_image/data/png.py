"""PNG files that are written row by row, for images that are larger than the memory (ISO/IEC 15948)."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterable
from pathlib import Path
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

COLOUR_TYPES = {1: 0, 3: 2, 4: 6}
"""Channels -> the colour type of the header: grey, RGB, RGBA."""
FILTER_UP = 2
"""Each row is stored as its difference from the row above."""


def write_rows(
    path: Path, width: int, height: int, strips: Iterable[NDArray[np.uint8]], profile: bytes | None = None
) -> None:
    """Write strips ``(rows, width, channels)`` uint8, from the first row to the last, as one image of 8 bits a
    channel."""
    packer = zlib.compressobj(6)
    above: NDArray[np.uint8] | None = None
    with path.open("wb") as file:
        file.write(b"\x89PNG\r\n\x1a\n")
        for strip in strips:
            rows = strip.reshape(len(strip), -1)
            if above is None:
                above = np.zeros(rows.shape[1], np.uint8)
                header = (width, height, 8, COLOUR_TYPES[strip.shape[2]], 0, 0, 0)
                _chunk(file, b"IHDR", struct.pack(">IIBBBBB", *header))
                if profile is not None:
                    _chunk(file, b"iCCP", b"ICC Profile\0\0" + zlib.compress(profile))
            filtered = np.empty((len(rows), rows.shape[1] + 1), np.uint8)
            filtered[:, 0] = FILTER_UP
            np.subtract(rows[0], above, out=filtered[0, 1:])
            np.subtract(rows[1:], rows[:-1], out=filtered[1:, 1:])
            above = rows[-1].copy()
            _chunk(file, b"IDAT", packer.compress(filtered.data))
        _chunk(file, b"IDAT", packer.flush())
        _chunk(file, b"IEND", b"")


def _chunk(file: BinaryIO, kind: bytes, data: bytes) -> None:
    if data or kind == b"IEND":
        file.write(struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(data, zlib.crc32(kind))))
