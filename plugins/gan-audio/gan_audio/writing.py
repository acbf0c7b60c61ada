"""Writing of sound files whose bytes depend on the samples only."""

from __future__ import annotations

import io
from collections.abc import Iterable
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

FORMATS = {
    "wav": ("WAV", "PCM_16"),
    "flac": ("FLAC", "PCM_16"),
    "ogg": ("OGG", "VORBIS"),
    "mp3": ("MP3", "MPEG_LAYER_III"),
}
"""Suffix -> libsndfile's names of the container and the encoding."""
SERIAL = 1
"""Serial number of the stream in OGG files, where libsndfile draws a random one."""
BLOCK = 1 << 16


def encoded(sound: NDArray[np.int16], rate: int, suffix: str) -> bytes:
    """``(channels, samples)`` int16 as the content of a file; equal sounds give equal bytes."""
    buffer = io.BytesIO()
    _write(buffer, [sound], len(sound), rate, suffix)
    content = buffer.getvalue()
    return with_serial(content, SERIAL) if suffix == "ogg" else content


def write_parts(path: Path, parts: Iterable[NDArray[np.int16]], channels: int, rate: int, suffix: str) -> None:
    """Write a file of parts ``(channels, n)`` int16 that follow each other, with the bytes that `encoded` gives for the
    whole, in the memory of a part (OGG: and of the file)."""
    with open(path, "w+b") as file:
        _write(file, parts, channels, rate, suffix)
    if suffix == "ogg":
        path.write_bytes(with_serial(path.read_bytes(), SERIAL))


def _write(target: BinaryIO, parts: Iterable[NDArray[np.int16]], channels: int, rate: int, suffix: str) -> None:
    import soundfile

    container, subtype = FORMATS[suffix]
    rest = np.zeros((channels, 0), np.int16)
    with soundfile.SoundFile(target, "w", rate, channels, subtype, format=container) as file:
        for part in parts:  # in equal blocks, whatever the parts; libsndfile overflows its stack on long Vorbis blocks
            rest = np.concatenate([rest, part], 1)
            while rest.shape[1] >= BLOCK:
                file.write(np.ascontiguousarray(rest[:, :BLOCK].T))
                rest = rest[:, BLOCK:]
        if rest.shape[1]:
            file.write(np.ascontiguousarray(rest.T))


def with_serial(content: bytes, serial: int) -> bytes:
    """An OGG file of one stream with another serial number; the checksum of each page is computed again (RFC 3533)."""
    data, place = bytearray(content), 0
    while place < len(data):
        segments = data[place + 26]
        end = place + 27 + segments + sum(data[place + 27 : place + 27 + segments])
        data[place + 14 : place + 18] = serial.to_bytes(4, "little")
        data[place + 22 : place + 26] = bytes(4)
        data[place + 22 : place + 26] = _checksum(data[place:end]).to_bytes(4, "little")
        place = end
    return bytes(data)


def _table() -> list[int]:
    table = []
    for byte in range(256):
        value = byte << 24
        for _ in range(8):
            value = (value << 1) ^ (0x04C11DB7 if value & 0x80000000 else 0)
        table.append(value & 0xFFFFFFFF)
    return table


_CRC: Any = _table()


def _checksum(page: bytes | bytearray) -> int:
    """The CRC-32 of OGG pages: polynomial 0x04C11DB7, not reflected, from 0."""
    value = 0
    for byte in page:
        value = ((value << 8) & 0xFFFFFFFF) ^ _CRC[(value >> 24) ^ byte]
    return value
