"""Records in MP4, GLB, PLY and OBJ files."""

from __future__ import annotations

import json
import re
import struct
from collections.abc import Iterator

from gan.provenance.containers.raster import GENERATED, record_in_xmp, xmp_packet

# MP4 (ISO/IEC 14496-12)

_XMP_UUID = bytes.fromhex("be7acfcb97a942e89c71999491e3afac")
"""The type of the box with an XMP packet (ISO 16684-3)."""
_HANDLER = bytes(8) + b"mdirappl" + bytes(9)


def _box(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", 8 + len(data)) + kind + data


def _boxes(content: bytes, place: int, end: int) -> Iterator[tuple[bytes, int, int, int]]:
    """(type, start of the box, start of its data, its end)."""
    while place + 8 <= end:
        size, data = struct.unpack_from(">I", content, place)[0], place + 8
        if size == 1:
            size, data = struct.unpack_from(">Q", content, data)[0], place + 16
        stop = end if size == 0 else place + size
        if stop < data or stop > end:
            raise ValueError("a box is longer than its file")
        yield content[place + 4 : place + 8], place, data, stop
        place = stop


def _parts(data: bytes) -> list[tuple[bytes, bytes]]:
    return [(kind, data[start:end]) for kind, _, start, end in _boxes(data, 0, len(data))]


def _replaced(parts: list[tuple[bytes, bytes]], kind: bytes, data: bytes) -> bytes:
    """The boxes `parts` with `data` in place of the first of this `kind`, or after them."""
    place = next((number for number, part in enumerate(parts) if part[0] == kind), len(parts))
    parts = [*parts[:place], (kind, data), *parts[place + 1 :]]
    return b"".join(_box(*part) for part in parts)


def _part(parts: list[tuple[bytes, bytes]], kind: bytes) -> bytes:
    return next((data for name, data in parts if name == kind), b"")


def embed_mp4(content: bytes, record: str, software: str) -> bytes:
    """The comment of the file (``moov/udta/meta/ilst/©cmt``) and an XMP packet in a box at the end."""
    (_, start, inner, end), *more = [box for box in _boxes(content, 0, len(content)) if box[0] == b"moov"]
    if more:
        raise ValueError("two moov boxes")
    moov = _parts(content[inner:end])
    udta = _parts(_part(moov, b"udta"))
    meta = _part(udta, b"meta")
    fields = _parts(meta[4:]) if meta else [(b"hdlr", _HANDLER)]
    items = [item for item in _parts(_part(fields, b"ilst")) if item[0] != b"\xa9cmt"]
    items.append((b"\xa9cmt", _box(b"data", struct.pack(">II", 1, 0) + record.encode())))
    fields_data = _replaced(fields, b"ilst", b"".join(_box(*item) for item in items))
    changed = _replaced(moov, b"udta", _replaced(udta, b"meta", bytes(4) + fields_data))
    grown = 8 + len(changed) - (end - start)
    before = {kind for kind, place, _, _ in _boxes(content, 0, len(content)) if place < start}
    if grown and b"mdat" not in before:
        changed = _shifted(changed, grown)
    whole = content[:start] + _box(b"moov", changed) + content[end:]
    return whole + _box(b"uuid", _XMP_UUID + xmp_packet(record, software))


_CONTAINERS = (b"trak", b"mdia", b"minf", b"stbl")


def _shifted(boxes: bytes, shift: int) -> bytes:
    """The boxes inside a moov that stands before the frames, with the offsets of the frames moved by `shift`."""
    found = []
    for kind, data in _parts(boxes):
        if kind in _CONTAINERS:
            data = _shifted(data, shift)
        elif kind in (b"stco", b"co64"):
            form = ">I" if kind == b"stco" else ">Q"
            places = [place + shift for (place,) in struct.iter_unpack(form, data[8:])]
            data = data[:8] + b"".join(struct.pack(form, place) for place in places)
        found.append(_box(kind, data))
    return b"".join(found)


def extract_mp4(content: bytes) -> str | None:
    """The record in the comment, else in an XMP packet."""
    packet = None
    for kind, _, data, end in _boxes(content, 0, len(content)):
        if kind == b"moov":
            meta = _part(_parts(_part(_parts(content[data:end]), b"udta")), b"meta")
            item = _part(_parts(_part(_parts(meta[4:]), b"ilst")), b"\xa9cmt")
            text = _part(_parts(item), b"data")[8:]
            if text.startswith(b"{"):
                return text.decode("ascii")
        if kind == b"uuid" and content[data : data + 16] == _XMP_UUID:
            packet = packet or record_in_xmp(content[data + 16 : end])
    return packet


# GLB (glTF 2.0)


def _glb(content: bytes) -> tuple[dict[str, object], bytes]:
    """(the JSON document, the chunks after it)."""
    size, kind = struct.unpack_from("<II", content, 12)
    document = json.loads(content[20 : 20 + size])
    if kind != 0x4E4F534A or not isinstance(document, dict):
        raise ValueError("the first chunk is no JSON document")
    return document, content[20 + size :]


def embed_glb(content: bytes, record: str, software: str) -> bytes:
    """``asset.generator`` and ``asset.extras.provenance``."""
    document, rest = _glb(content)
    asset = dict(document["asset"])  # type: ignore[call-overload]
    extras = {**asset.get("extras", {}), "digitalSourceType": GENERATED, "provenance": json.loads(record)}
    document["asset"] = {**asset, "generator": software, "extras": extras}
    text = json.dumps(document, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 4)
    chunks = struct.pack("<II", len(text), 0x4E4F534A) + text + rest
    return struct.pack("<III", 0x46546C67, 2, 12 + len(chunks)) + chunks


def extract_glb(content: bytes) -> str | None:
    """The record in ``asset.extras.provenance``, as one line."""
    document, _ = _glb(content)
    asset = document["asset"]
    found = asset.get("extras", {}).get("provenance") if isinstance(asset, dict) else None
    return None if found is None else json.dumps(found, sort_keys=True, separators=(",", ":"))


# PLY and OBJ

_NOTE = "provenance "


def embed_ply(content: bytes, record: str, software: str) -> bytes:
    """A comment after the line that names the format."""
    newline = b"\r\n" if content.startswith(b"ply\r\n") else b"\n"
    place = content.index(newline, 5) + len(newline)
    return content[:place] + f"comment {_NOTE}{record}".encode() + newline + content[place:]


def extract_ply(content: bytes) -> str | None:
    """The record in a comment of the header."""
    head = content[: max(0, content.find(b"end_header"))]
    found = re.search(rb"^comment provenance (\{.*\})\r?$", head, re.MULTILINE)
    return None if found is None else found[1].decode("ascii")


def embed_obj(content: bytes, record: str, software: str) -> bytes:
    """A comment on the first line."""
    return f"# {_NOTE}{record}\n".encode() + content


def extract_obj(content: bytes) -> str | None:
    """The record in a comment before everything else."""
    found = re.match(rb"(?:#.*\r?\n)*?# provenance (\{.*\})\r?\n", content)
    return None if found is None else found[1].decode("ascii")
