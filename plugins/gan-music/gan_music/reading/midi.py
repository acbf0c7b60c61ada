"""Reads Standard MIDI Files with symusic.

The chunk headers are checked against limits before anything of their size is allocated. Files of which a parser would
silently lose something (tracks that the header promises and the file lacks, SMPTE time, the independent patterns of
format 2) are rejected with a reason.
"""

from __future__ import annotations

import struct
from typing import Any

import numpy as np
from gan.errors import BadData

from gan_music.reading.score import MAX_BYTES, MAX_TRACKS, Part, Score, checked


def read_midi(data: bytes) -> Score:
    """A Standard MIDI File of format 0 or 1. Raises `BadData`."""
    data = _check_chunks(data)
    import symusic

    try:
        parsed: Any = symusic.Score.from_midi(data)  # its stubs do not know the attributes of a score in ticks
    except Exception as error:  # noqa: BLE001  (symusic raises RuntimeError, ValueError and its own kinds)
        reason = str(error).partition(": iostream")[0].removeprefix("MiniMidi: ").strip().replace("\n", " ")
        raise BadData(f"is not a valid MIDI file: {reason[:120]}") from None
    parts = []
    for track in parsed.tracks:
        columns = track.notes.numpy()
        time, length = columns["time"].astype(np.int64), columns["duration"].astype(np.int64)
        notes = np.stack([time, time + length, columns["pitch"], columns["velocity"]], axis=1).astype(np.int64)
        notes = notes[np.lexsort((notes[:, 2], notes[:, 0]))]
        parts.append(Part(track.name, int(track.program), bool(track.is_drum), notes))
    meters = sorted((int(m.time), int(m.numerator), int(m.denominator)) for m in parsed.time_signatures)
    tempos = [(int(t.time), float(t.mspq)) for t in parsed.tempos]
    if not tempos or min(tempos)[0] > 0:
        tempos.insert(0, (0, 500_000.0))  # the default of MIDI: 120 quarter notes per minute
    score = Score(int(parsed.ticks_per_quarter), parts, meters, tempos=sorted(tempos))
    score.seconds = _seconds(score.end, tempos, score.division)
    return checked(score)


def _check_chunks(data: bytes) -> bytes:
    """The file as it should be parsed. Raises `BadData` when a parser would misread or lose something.

    Only the chunk headers are read. A header that promises fewer tracks than there are is corrected, because the
    parser would skip the others.
    """
    if len(data) > MAX_BYTES:
        raise BadData(f"{len(data):,} bytes, more than the limit of {MAX_BYTES:,}")
    start = data.find(b"MThd", 0, 128) if data[:4] == b"RIFF" else 0
    if start < 0 or data[start : start + 4] != b"MThd" or len(data) < start + 14:
        raise BadData("is not a MIDI file: it does not begin with MThd")
    if start:
        raise BadData("is a RIFF file around MIDI; save it as a Standard MIDI File")
    length, kind, promised, division = struct.unpack(">IHHH", data[4:14])
    if division & 0x8000:
        raise BadData("counts time in SMPTE frames, not in beats")
    if division == 0:
        raise BadData("has zero ticks per beat")
    if kind > 1:
        raise BadData(
            "is of MIDI format 2, independent patterns without a common time line"
            if kind == 2
            else f"claims MIDI format {kind}"
        )
    if promised > MAX_TRACKS:
        raise BadData(f"promises {promised:,} tracks, more than the limit of {MAX_TRACKS:,}")
    found, here = 0, 8 + length
    while here + 8 <= len(data):
        size = int.from_bytes(data[here + 4 : here + 8], "big")
        if data[here : here + 4] == b"MTrk":
            found += 1
            if here + 8 + size > len(data):
                raise BadData(f"is cut off in track {found} of {promised}")
        here += 8 + size
    if found < promised:
        raise BadData(f"promises {promised} tracks and holds {found}")
    if found > MAX_TRACKS:
        raise BadData(f"holds {found:,} tracks, more than the limit of {MAX_TRACKS:,}")
    return data if found == promised else data[:10] + struct.pack(">H", found) + data[12:]


def _seconds(end: int, tempos: list[tuple[int, float]], division: int) -> float:
    """Playing time until tick `end`; `tempos` are (tick, microseconds per quarter note), 500,000 before the first."""
    total, since, pace = 0.0, 0, 500_000.0
    for tick, microseconds in sorted(tempos):
        tick = min(max(tick, since), end)
        total += (tick - since) * pace
        since, pace = tick, microseconds
    return (total + (end - since) * pace) / division / 1e6
