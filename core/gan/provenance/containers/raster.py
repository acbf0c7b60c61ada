"""Records in PNG, JPEG, WebP and GIF files.

PNG, JPEG and WebP hold an XMP packet (ISO 16684-1) with the property ``Iptc4xmpExt:DigitalSourceType``, which platforms
look for, and the record as ``gan:record``; PNG also holds the record as iTXt ``provenance``, JPEG and GIF as a comment.
"""

from __future__ import annotations

import html
import re
import struct
import zlib
from collections.abc import Iterator

GENERATED = "http://cv.iptc.org/newscodes/digitalsourcetype/trainedAlgorithmicMedia"
"""IPTC's term for media that a trained model generated."""
KEYWORD = b"provenance"
_XMP_PNG = b"XML:com.adobe.xmp"
_XMP_JPEG = b"http://ns.adobe.com/xap/1.0/\0"
_RECORD = re.compile(rb'gan:record="([^"]*)"|<gan:record>([^<]*)</gan:record>')


def xmp_packet(record: str, software: str) -> bytes:
    """An XMP packet that says that the file was generated, with the record."""
    return (
        '<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?>'
        '<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">'
        '<rdf:Description rdf:about="" xmlns:xmp="http://ns.adobe.com/xap/1.0/"'
        ' xmlns:Iptc4xmpExt="http://iptc.org/std/Iptc4xmpExt/2008-02-29/" xmlns:gan="urn:gan:provenance:1"'
        f' Iptc4xmpExt:DigitalSourceType="{GENERATED}" xmp:CreatorTool="{html.escape(software)}"'
        f' gan:record="{html.escape(record)}"/></rdf:RDF></x:xmpmeta><?xpacket end="r"?>'
    ).encode()


def record_in_xmp(packet: bytes) -> str | None:
    """The record of an XMP packet, as an attribute or, where another program has written it again, as an element."""
    found = _RECORD.search(packet)
    return None if found is None else html.unescape((found[1] or found[2] or b"").decode("ascii"))


# PNG


def _png_chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def _png_chunks(content: bytes) -> Iterator[tuple[bytes, int, int]]:
    """(type, start of the chunk, its end)."""
    place = 8
    while place + 12 <= len(content):
        end = place + 12 + struct.unpack_from(">I", content, place)[0]
        yield content[place + 4 : place + 8], place, end
        place = end


def embed_png(content: bytes, record: str, software: str) -> bytes:
    """Two iTXt chunks after the header."""
    if content[12:16] != b"IHDR":
        raise ValueError("the header is missing")
    text = _png_chunk(b"iTXt", KEYWORD + b"\0\0\0\0\0" + record.encode())
    return (
        content[:33]
        + text
        + _png_chunk(b"iTXt", _XMP_PNG + b"\0\0\0\0\0" + xmp_packet(record, software))
        + content[33:]
    )


def extract_png(content: bytes) -> str | None:
    """The record in an iTXt chunk."""
    packet = None
    for kind, start, end in _png_chunks(content):
        if kind == b"iTXt":
            keyword, _, rest = content[start + 8 : end - 4].partition(b"\0")
            if keyword == KEYWORD and rest.startswith(b"\0\0\0\0"):
                return rest[4:].decode("ascii")
            if keyword == _XMP_PNG:
                packet = packet or record_in_xmp(rest)
    return packet


# JPEG


def _jpeg_segments(content: bytes) -> Iterator[tuple[int, int, int]]:
    """(marker, start of the segment, its end) up to the image data."""
    place = 2
    while content[place] == 0xFF and content[place + 1] not in (0xDA, 0xD9):
        end = place + 2 + struct.unpack_from(">H", content, place + 2)[0]
        yield content[place + 1], place, end
        place = end


def embed_jpeg(content: bytes, record: str, software: str) -> bytes:
    """An APP1 segment with XMP and a comment, after the JFIF segment."""
    place = next((end for marker, _, end in _jpeg_segments(content) if marker == 0xE0), 2)
    segments = b""
    for marker, data in ((0xE1, _XMP_JPEG + xmp_packet(record, software)), (0xFE, record.encode())):
        segments += struct.pack(">BBH", 0xFF, marker, len(data) + 2) + data
    return content[:place] + segments + content[place:]


def extract_jpeg(content: bytes) -> str | None:
    """The record in the XMP packet, else in a comment."""
    comment = None
    for marker, start, end in _jpeg_segments(content):
        data = content[start + 4 : end]
        if marker == 0xE1 and data.startswith(_XMP_JPEG) and (found := record_in_xmp(data)):
            return found
        if marker == 0xFE and data.startswith(b"{"):
            comment = comment or data.decode("ascii")
    return comment


# WebP


def _riff_chunks(content: bytes) -> Iterator[tuple[bytes, int, int]]:
    """(four-letter name, start of the data, their end) of a RIFF file."""
    place, last = 12, min(len(content), 8 + struct.unpack_from("<I", content, 4)[0])
    while place + 8 <= last:
        size = struct.unpack_from("<I", content, place + 4)[0]
        yield content[place : place + 4], place + 8, min(place + 8 + size, last)
        place += 8 + size + size % 2


def riff(kind: bytes, chunks: list[tuple[bytes, bytes]]) -> bytes:
    """A RIFF file of (name, data) chunks."""
    body = b"".join(name + struct.pack("<I", len(data)) + data + b"\0" * (len(data) % 2) for name, data in chunks)
    return b"RIFF" + struct.pack("<I", 4 + len(body)) + kind + body


def riff_chunks(content: bytes) -> list[tuple[bytes, bytes]]:
    """The (name, data) chunks of a RIFF file."""
    return [(name, content[start:end]) for name, start, end in _riff_chunks(content)]


_HAS_XMP, _HAS_ALPHA = 0x04, 0x10


def embed_webp(content: bytes, record: str, software: str) -> bytes:
    """A chunk ``XMP `` at the end; a file of the simple layout becomes one of the extended layout."""
    chunks = [chunk for chunk in riff_chunks(content) if chunk[0] != b"XMP "]
    name, data = chunks[0]
    if name == b"VP8X":
        head = bytes([data[0] | _HAS_XMP]) + data[1:]
    elif name == b"VP8L":
        bits = struct.unpack_from("<I", data, 1)[0]
        flags = _HAS_XMP | (_HAS_ALPHA if bits >> 28 & 1 else 0)
        head = _extended(flags, bits & 0x3FFF, bits >> 14 & 0x3FFF)
    elif name == b"VP8 ":
        width, height = struct.unpack_from("<HH", data, 6)
        head = _extended(_HAS_XMP, (width & 0x3FFF) - 1, (height & 0x3FFF) - 1)
    else:
        raise ValueError("starts with an unknown chunk")
    rest = chunks[1:] if name == b"VP8X" else chunks
    return riff(b"WEBP", [(b"VP8X", head), *rest, (b"XMP ", xmp_packet(record, software))])


def _extended(flags: int, width: int, height: int) -> bytes:
    """The header of the extended layout; sides are given less one."""
    return struct.pack("<I", flags) + width.to_bytes(3, "little") + height.to_bytes(3, "little")


def extract_webp(content: bytes) -> str | None:
    """The record in the XMP packet."""
    packet = next((content[start:end] for name, start, end in _riff_chunks(content) if name == b"XMP "), None)
    return None if packet is None else record_in_xmp(packet)


# GIF


def _gif_start(content: bytes) -> int:
    """Where the first block begins, after the global colour table."""
    flags = content[10]
    return 13 + (3 << (flags & 7) + 1 if flags & 0x80 else 0)


def embed_gif(content: bytes, record: str, software: str) -> bytes:
    """A comment in front of the first picture; GIF87a, which has no comments, becomes GIF89a."""
    place, data = _gif_start(content), record.encode()
    blocks = b"".join(bytes([len(part)]) + part for part in (data[at : at + 255] for at in range(0, len(data), 255)))
    return b"GIF89a" + content[6:place] + b"\x21\xfe" + blocks + b"\0" + content[place:]


def extract_gif(content: bytes) -> str | None:
    """The first comment that is a record, in front of the pictures."""
    place = _gif_start(content)
    while content[place] == 0x21:
        label, place, data = content[place + 1], place + 2, b""
        while size := content[place]:
            data += content[place + 1 : place + 1 + size]
            place += 1 + size
        place += 1
        if label == 0xFE and data.startswith(b"{"):
            return data.decode("ascii")
    return None
