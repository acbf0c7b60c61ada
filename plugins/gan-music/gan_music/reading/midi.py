"""Reads Standard MIDI Files with symusic.

The chunk headers are checked against limits before anything of their size is allocated. Files of which a parser would
silently lose something (tracks that the header promises and the file lacks, SMPTE time, the independent patterns of
format 2) are rejected with a reason.
"""

from __future__ import annotations

import struct
from itertools import accumulate
from typing import Any

import numpy as np
from gan.errors import BadData

from gan_music.reading.score import MAX_BYTES, MAX_NOTES, MAX_TRACKS, Part, Score, checked


def read_midi(data: bytes) -> Score:
    """A Standard MIDI File of format 0 or 1. Raises `BadData`."""
    data = _check_chunks(data)
    import symusic

    try:
        parsed: Any = symusic.Score.from_midi(data)  # its stubs do not know the attributes of a score in ticks
    except Exception as error:  # noqa: BLE001  (symusic raises RuntimeError, ValueError and its own kinds)
        reason = str(error).partition(": iostream")[0].removeprefix("MiniMidi: ").strip().replace("\n", " ")
        raise BadData(f"is not a valid MIDI file: {reason[:120]}") from None
    tracks = list(parsed.tracks)
    if sum(track.note_num() for track in tracks) > MAX_NOTES:
        raise BadData(f"holds more than {MAX_NOTES:,} notes, the limit")
    notes = _notes([track.notes.numpy() for track in tracks])
    parts = [Part(t.name, t.program, t.is_drum, found) for t, found in zip(tracks, notes)]
    meters = sorted([(m.time, m.numerator, m.denominator) for m in parsed.time_signatures])
    tempos = [(t.time, float(t.mspq)) for t in parsed.tempos]
    if not tempos or min(tempos)[0] > 0:
        tempos.insert(0, (0, 500_000.0))  # the default of MIDI: 120 quarter notes per minute
    score = Score(int(parsed.ticks_per_quarter), parts, meters, tempos=sorted(tempos))
    score.seconds = _seconds(score.end, tempos, score.division)
    return checked(score)


def _notes(tracks: list[dict[str, Any]]) -> list[np.ndarray[Any, Any]]:
    """``(n, 4)`` for each track: start tick, end tick, pitch, velocity; sorted by start, then pitch.

    All tracks are converted at once: most files are small, so that the number of calls matters.
    """
    ends = list(accumulate(len(track["time"]) for track in tracks))
    block = np.empty((4, ends[-1] if ends else 0), np.int64)
    parts = [block[:, begin:end] for begin, end in zip([0, *ends], ends)]
    for track, part in zip(tracks, parts):
        part[0], part[1], part[2], part[3] = track["time"], track["duration"], track["pitch"], track["velocity"]
    start, end = block[:2]
    end += start
    order = (start << 8) + block[2]
    back = np.flatnonzero(order[1:] < order[:-1]) + 1
    if not set(back.tolist()) <= set(ends):
        parts = [part[:, ((part[0] << 8) + part[2]).argsort(kind="stable")] for part in parts]
    return [part.T for part in parts]


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
