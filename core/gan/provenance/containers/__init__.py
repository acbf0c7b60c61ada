"""Put a record into a file's own container and read it back: PNG, JPEG, WebP, GIF, WAV, FLAC, OGG, MP3, MIDI, MP4, GLB,
PLY and OBJ, from the bytes alone.

A format is recognised by its content, so that a suffix cannot mislead; OBJ, which is plain text, by its suffix. The
record is one line of ASCII (JSON), which every format stores unchanged. Nothing is decoded: the pixels, samples and
vertices stay the bytes that they were.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import NamedTuple

from gan.provenance.containers import raster, scenes, waves

__all__ = ["MAX_RECORD", "embed", "extract", "format_of"]

MAX_RECORD = 32_000
"""Longest record in bytes: a JPEG segment has room for 65,533 bytes, and there the record is escaped."""


class _Format(NamedTuple):
    name: str
    starts: Callable[[bytes], bool]
    embed: Callable[[bytes, str, str], bytes]
    """(content, record, name of the software) -> content with the record in place of an earlier one."""
    extract: Callable[[bytes], str | None]


def _begins(*magic: bytes, at: int = 0) -> Callable[[bytes], bool]:
    return lambda content: content[at:].startswith(magic) if at == 0 else content[at : at + 4] in magic


_FORMATS = (
    _Format("png", _begins(b"\x89PNG\r\n\x1a\n"), raster.embed_png, raster.extract_png),
    _Format("jpeg", _begins(b"\xff\xd8\xff"), raster.embed_jpeg, raster.extract_jpeg),
    _Format("gif", _begins(b"GIF87a", b"GIF89a"), raster.embed_gif, raster.extract_gif),
    _Format("webp", lambda content: _riff(content, b"WEBP"), raster.embed_webp, raster.extract_webp),
    _Format("wav", lambda content: _riff(content, b"WAVE"), waves.embed_wav, waves.extract_wav),
    _Format("flac", _begins(b"fLaC"), waves.embed_flac, waves.extract_flac),
    _Format("ogg", _begins(b"OggS"), waves.embed_ogg, waves.extract_ogg),
    _Format("midi", _begins(b"MThd"), waves.embed_midi, waves.extract_midi),
    _Format("mp3", waves.is_mp3, waves.embed_mp3, waves.extract_mp3),
    _Format("mp4", _begins(b"ftyp", at=4), scenes.embed_mp4, scenes.extract_mp4),
    _Format("glb", _begins(b"glTF"), scenes.embed_glb, scenes.extract_glb),
    _Format("ply", _begins(b"ply\n", b"ply\r\n"), scenes.embed_ply, scenes.extract_ply),
    _Format("obj", lambda content: False, scenes.embed_obj, scenes.extract_obj),
)
_OBJ = _FORMATS[-1]


def _riff(content: bytes, kind: bytes) -> bool:
    return content[:4] == b"RIFF" and content[8:12] == kind


def _find(content: bytes, suffix: str) -> _Format | None:
    found = next((one for one in _FORMATS if one.starts(content)), None)
    return _OBJ if found is None and suffix == ".obj" else found


def format_of(content: bytes, suffix: str) -> str:
    """Name of the format of a file with this `suffix` (lower case, with the dot); ``""`` for one without a place."""
    found = _find(content, suffix)
    return "" if found is None else found.name


def embed(content: bytes, suffix: str, record: str, software: str) -> bytes | None:
    """`content` with `record`, one line of ASCII; None where the format has no place for it or is damaged.

    `software` is the name and version of what wrote it, for the fields that other programs show.
    """
    found = _find(content, suffix)
    if found is None or len(record) > MAX_RECORD or not record.isascii() or "\n" in record:
        return None
    try:
        return found.embed(content, record, software)
    except (struct.error, IndexError, ValueError, KeyError):
        return None


def extract(content: bytes, suffix: str) -> str | None:
    """The record in `content`, which may be anything; None where there is none."""
    found = _find(content, suffix)
    if found is None:
        return None
    try:
        record = found.extract(content)
    except (struct.error, IndexError, ValueError, KeyError, RecursionError):
        return None
    return record if record and len(record) <= MAX_RECORD else None
