"""Records in WAV, FLAC, OGG (Vorbis, Opus), MP3 and MIDI files, in the field that players show as the comment."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator

from gan.provenance.containers.raster import riff, riff_chunks

# WAV


def embed_wav(content: bytes, record: str, software: str) -> bytes:
    """A chunk LIST INFO with the software (ISFT) and the comment (ICMT), in place of others."""
    items = b""
    for name, text in ((b"ISFT", software), (b"ICMT", record)):
        data = text.encode() + b"\0"
        items += name + struct.pack("<I", len(data)) + data + b"\0" * (len(data) % 2)
    chunks = [(name, data) for name, data in riff_chunks(content) if name != b"LIST" or data[:4] != b"INFO"]
    place = [name for name, _ in chunks].index(b"data")
    return riff(b"WAVE", [*chunks[:place], (b"LIST", b"INFO" + items), *chunks[place:]])


def extract_wav(content: bytes) -> str | None:
    """The comment that is a record."""
    for name, data in riff_chunks(content):
        place = 4
        while name == b"LIST" and data[:4] == b"INFO" and place + 8 <= len(data):
            size = struct.unpack_from("<I", data, place + 4)[0]
            text = data[place + 8 : place + 8 + size].rstrip(b"\0")
            if data[place : place + 4] == b"ICMT" and text.startswith(b"{"):
                return text.decode("ascii")
            place += 8 + size + size % 2
    return None


# Vorbis comments, of FLAC and OGG


def _comments(data: bytes) -> tuple[bytes, list[bytes], bytes]:
    """(vendor, entries, what follows) of a Vorbis comment."""
    size = struct.unpack_from("<I", data)[0]
    vendor, place = data[4 : 4 + size], 4 + size
    count, place = struct.unpack_from("<I", data, place)[0], place + 4
    entries = []
    for _ in range(min(count, len(data))):
        size = struct.unpack_from("<I", data, place)[0]
        entries.append(data[place + 4 : place + 4 + size])
        place += 4 + size
    return vendor, entries, data[place:]


def _with_comment(data: bytes, record: str, software: str) -> bytes:
    vendor, entries, rest = _comments(data)
    kept = [entry for entry in entries if entry.partition(b"=")[0].upper() not in (b"COMMENT", b"SOFTWARE")]
    entries = [*kept, b"SOFTWARE=" + software.encode(), b"COMMENT=" + record.encode()]
    body = struct.pack("<I", len(vendor)) + vendor + struct.pack("<I", len(entries))
    return body + b"".join(struct.pack("<I", len(entry)) + entry for entry in entries) + rest


def _record_in_comments(data: bytes) -> str | None:
    for entry in _comments(data)[1]:
        name, _, text = entry.partition(b"=")
        if name.upper() == b"COMMENT" and text.startswith(b"{"):
            return text.decode("ascii")
    return None


# FLAC

_COMMENT_BLOCK = 4


def _flac_blocks(content: bytes) -> tuple[list[tuple[int, bytes]], int]:
    """((type, data) of every metadata block, where the frames begin)."""
    blocks, place, last = [], 4, False
    while not last:
        head, size = content[place], int.from_bytes(content[place + 1 : place + 4], "big")
        blocks.append((head & 0x7F, content[place + 4 : place + 4 + size]))
        last, place = bool(head & 0x80), place + 4 + size
    return blocks, place


def embed_flac(content: bytes, record: str, software: str) -> bytes:
    """A metadata block of comments in place of the old one."""
    blocks, place = _flac_blocks(content)
    old = next((data for kind, data in blocks if kind == _COMMENT_BLOCK), bytes(8))
    blocks = [block for block in blocks if block[0] != _COMMENT_BLOCK]
    blocks.insert(1, (_COMMENT_BLOCK, _with_comment(old, record, software)))
    heads = [kind | 0x80 * (number == len(blocks) - 1) for number, (kind, _) in enumerate(blocks)]
    body = b"".join(bytes([head]) + len(data).to_bytes(3, "big") + data for head, (_, data) in zip(heads, blocks))
    return content[:4] + body + content[place:]


def extract_flac(content: bytes) -> str | None:
    """The comment that is a record."""
    data = next((data for kind, data in _flac_blocks(content)[0] if kind == _COMMENT_BLOCK), None)
    return None if data is None else _record_in_comments(data)


# OGG

_MIRRORED = bytes(int(f"{byte:08b}"[::-1], 2) for byte in range(256))


def ogg_checksum(page: bytes) -> int:
    """The CRC-32 of OGG pages (polynomial 0x04C11DB7, not mirrored, from 0) by zlib's, which mirrors every byte."""
    mirrored = zlib.crc32(page.translate(_MIRRORED), 0xFFFFFFFF) ^ 0xFFFFFFFF
    return int(f"{mirrored:032b}"[::-1], 2)


def _ogg_pages(content: bytes) -> Iterator[tuple[bytes, bytes, bytes]]:
    """(header of 27 bytes, segment table, body) of each page (RFC 3533)."""
    place = 0
    while place < len(content):
        head = content[place : place + 27]
        if head[:4] != b"OggS":
            raise ValueError("a page is missing")
        table = content[place + 27 : place + 27 + head[26]]
        body = place + 27 + head[26]
        place = body + sum(table)
        yield head, table, content[body:place]


def _ogg_page(head: bytes, number: int, table: bytes, body: bytes) -> bytes:
    page = head[:18] + struct.pack("<II", number, 0) + bytes([len(table)]) + table + body
    return page[:22] + struct.pack("<I", ogg_checksum(page)) + page[26:]


def _ogg_headers(content: bytes) -> tuple[list[bytes], int, int]:
    """(packets after the first page that lie on pages of their own, how many pages these are, their end).

    They are the comment and, in Vorbis, the setup.
    """
    pages = _ogg_pages(content)
    _, table, body = next(pages)
    wanted = 1 if body.startswith(b"OpusHead") else 2
    packets, packet, count, end = [], b"", 1, 27 + len(table) + len(body)
    for _, table, body in pages:
        count, end, place = count + 1, end + 27 + len(table) + len(body), 0
        for size in table:
            packet, place = packet + body[place : place + size], place + size
            if size < 255:
                packets.append(packet)
                packet = b""
        if len(packets) >= wanted:
            break
    if len(packets) != wanted or packet:
        raise ValueError("the headers do not end with a page")
    return packets, count, end


def embed_ogg(content: bytes, record: str, software: str) -> bytes:
    """The comment packet anew; the pages after it are numbered again."""
    packets, count, end = _ogg_headers(content)
    first_head, first_table, first_body = next(_ogg_pages(content))
    start = 7 if packets[0].startswith(b"\x03vorbis") else 8  # "OpusTags"
    packets[0] = packets[0][:start] + _with_comment(packets[0][start:], record, software)
    table = b"".join(b"\xff" * (len(packet) // 255) + bytes([len(packet) % 255]) for packet in packets)
    body = b"".join(packets)
    written = [_ogg_page(first_head, 0, first_table, first_body)]
    place = 0
    for at in range(0, len(table), 255):
        part = table[at : at + 255]
        continued = at > 0 and table[at - 1] == 255
        ends = any(size < 255 for size in part)
        granule = b"\0" * 8 if ends else b"\xff" * 8  # no packet ends on this page
        head = b"OggS\0" + bytes([continued]) + granule + first_head[14:18]
        written.append(_ogg_page(head, len(written), part, body[place : place + sum(part)]))
        place += sum(part)
    shift = len(written) - count
    rest = content[end:]
    if not shift:
        return b"".join(written) + rest
    for head, part, data in _ogg_pages(rest):
        written.append(_ogg_page(head, struct.unpack_from("<I", head, 18)[0] + shift, part, data))
    return b"".join(written)


def extract_ogg(content: bytes) -> str | None:
    """The comment that is a record."""
    packet = _ogg_headers(content)[0][0]
    return _record_in_comments(packet[7 if packet.startswith(b"\x03vorbis") else 8 :])


# MP3


def is_mp3(content: bytes) -> bool:
    """Whether it begins with an ID3 tag or the frame of an MPEG layer III."""
    return content[:3] == b"ID3" or (len(content) > 2 and content[0] == 0xFF and content[1] & 0xE6 == 0xE2)


def _id3_size(content: bytes) -> int:
    """Length of the tag in front of the frames (ID3v2, sizes of 7 bits a byte)."""
    if content[:3] != b"ID3":
        return 0
    size = _from_seven(content[6:10])
    return 10 + size + (10 if content[5] & 0x10 else 0)


def _from_seven(data: bytes) -> int:
    """A number of 7 bits a byte."""
    return sum((byte & 0x7F) << shift for byte, shift in zip(data, (21, 14, 7, 0)))


def _seven(size: int) -> bytes:
    return bytes(size >> shift & 0x7F for shift in (21, 14, 7, 0))


def embed_mp3(content: bytes, record: str, software: str) -> bytes:
    """An ID3v2.4 tag with the software (TSSE) and the comment (COMM) in place of the old tag."""
    frames = b""
    for name, data in ((b"TSSE", b"\0" + software.encode()), (b"COMM", b"\0eng\0" + record.encode())):
        frames += name + _seven(len(data)) + b"\0\0" + data
    return b"ID3\x04\0\0" + _seven(len(frames)) + frames + content[_id3_size(content) :]


def extract_mp3(content: bytes) -> str | None:
    """The comment that is a record, of an ID3v2.3 or 2.4 tag."""
    place, end, seven = 10, _id3_size(content), content[3] >= 4
    while place + 10 <= end and content[place]:
        raw = content[place + 4 : place + 8]
        size = _from_seven(raw) if seven else int.from_bytes(raw, "big")
        data = content[place + 10 : place + 10 + size]
        if content[place : place + 4] == b"COMM" and data[:1] in (b"\0", b"\x03"):
            text = data[4:].partition(b"\0")[2]
            if text.startswith(b"{"):
                return text.rstrip(b"\0").decode("ascii")
        place += 10 + size
    return None


# MIDI

_TEXT_EVENT = b"\0\xff\x01"


def _varying(number: int) -> bytes:
    """A number of variable length: 7 bits a byte, all but the last with the highest bit set."""
    found = [number & 0x7F]
    while number := number >> 7:
        found.append(number & 0x7F | 0x80)
    return bytes(reversed(found))


def _first_track(content: bytes) -> int:
    """Where the data of the first track begin."""
    place: int = 8 + struct.unpack_from(">I", content, 4)[0]
    while content[place : place + 4] != b"MTrk":
        place += 8 + struct.unpack_from(">I", content, place + 4)[0]
    return place + 8


def embed_midi(content: bytes, record: str, software: str) -> bytes:
    """A text event at the beginning of the first track."""
    place = _first_track(content)
    event = _TEXT_EVENT + _varying(len(record)) + record.encode()
    size = struct.unpack_from(">I", content, place - 4)[0] + len(event)
    return content[: place - 4] + struct.pack(">I", size) + event + content[place:]


def extract_midi(content: bytes) -> str | None:
    """The first text event at the beginning of the first track that is a record."""
    place = _first_track(content)
    while content[place : place + 2] == b"\0\xff":
        kind, place, size = content[place + 2], place + 3, 0
        while content[place] & 0x80:
            size, place = size << 7 | content[place] & 0x7F, place + 1
        size, place = size << 7 | content[place], place + 1
        text = content[place : place + size]
        if kind == 1 and text.startswith(b"{"):
            return text.decode("ascii")
        place += size
    return None
