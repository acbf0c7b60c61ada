"""Files of notes, whatever their format, as plain arrays in ticks: `Score`.

Standard MIDI files are parsed by symusic. What a file claims is checked against bounds before anything of its size is
allocated, and what a parser would lose in silence (tracks that the header promises and the file lacks, SMPTE time, the
independent patterns of format 2) is refused with a reason.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from gan.errors import BadData

if TYPE_CHECKING:
    from gan.source import SourceFile

MAX_BYTES = 32 << 20
MAX_TRACKS = 1_000
MAX_NOTES = 1_000_000
MAX_SECONDS = 4 * 3600.0
MAX_QUARTERS = 1 << 14
"""Bounds of one file: its size, tracks, notes, playing time and length in quarter notes."""


@dataclass
class Part:
    """The notes of one instrument."""

    name: str
    program: int
    """General MIDI program, 0 … 127."""
    drums: bool
    """Whether it plays on channel 10."""
    notes: np.ndarray[Any, Any]
    """``(n, 4)`` int64: start tick, end tick, pitch 0 … 127, velocity 1 … 127; sorted by start, then pitch."""


@dataclass
class Score:
    """A piece of music in ticks."""

    division: int
    """Ticks a quarter note."""
    parts: list[Part]
    meters: list[tuple[int, int, int]] = field(default_factory=list)
    """(tick, numerator, denominator), sorted; before the first one, 4/4 is understood."""
    seconds: float = 0.0
    """Playing time."""
    tempos: list[tuple[int, float]] = field(default_factory=list)
    """(tick, microseconds a quarter note), sorted; empty where the file has none."""

    @property
    def end(self) -> int:
        """The tick where the last note ends."""
        return max((int(part.notes[:, 1].max()) for part in self.parts if len(part.notes)), default=0)


def checked(score: Score) -> Score:
    """`score`, when it holds notes within the bounds. Raises `BadData`."""
    notes = sum(len(part.notes) for part in score.parts)
    if not notes:
        raise BadData("holds no notes")
    if notes > MAX_NOTES:
        raise BadData(f"{notes:,} notes, more than the {MAX_NOTES:,} that are read")
    for _, above, below in score.meters:
        if not (above > 0 and below > 0):
            raise BadData("has a time signature that is none (its beats or their length are zero)")
    if any(part.notes.min() < 0 for part in score.parts if len(part.notes)):
        raise BadData("its times overflow")
    if score.end > MAX_QUARTERS * score.division:
        raise BadData(f"{score.end / score.division:,.0f} beats long, more than the {MAX_QUARTERS:,} that are read")
    if not score.seconds <= MAX_SECONDS:
        raise BadData(f"lasts {score.seconds / 3600:,.1f} hours, more than the {MAX_SECONDS / 3600:.0f} that are read")
    return score


def read_midi(data: bytes) -> Score:
    """A Standard MIDI File of format 0 or 1. Raises `BadData`."""
    data = _check_chunks(data)
    import symusic

    try:
        parsed = symusic.Score.from_midi(data)
    except Exception as error:  # noqa: BLE001  (symusic raises RuntimeError, ValueError and its own kinds)
        reason = str(error).partition(": iostream")[0].removeprefix("MiniMidi: ").strip().replace("\n", " ")
        raise BadData(f"is no valid MIDI file: {reason[:120]}") from None
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
        tempos.insert(0, (0, 500_000.0))  # a file of MIDI that names no tempo has 120
    score = Score(int(parsed.ticks_per_quarter), parts, meters, tempos=sorted(tempos))
    score.seconds = _seconds(score.end, tempos, score.division)
    return checked(score)


def _check_chunks(data: bytes) -> bytes:
    """Refuse what a parser would misread or lose, from the chunk headers alone; the file as it is to be parsed.

    A header that promises fewer tracks than there are is put right: the parser would leave out the others.
    """
    if len(data) > MAX_BYTES:
        raise BadData(f"{len(data):,} bytes, more than the {MAX_BYTES:,} that are read")
    start = data.find(b"MThd", 0, 128) if data[:4] == b"RIFF" else 0
    if start < 0 or data[start : start + 4] != b"MThd" or len(data) < start + 14:
        raise BadData("is no MIDI file: it does not begin with MThd")
    if start:
        raise BadData("is a RIFF file around MIDI; save it as a Standard MIDI File")
    length, kind, promised, division = struct.unpack(">IHHH", data[4:14])
    if division & 0x8000:
        raise BadData("counts time in SMPTE frames, not in beats")
    if division == 0:
        raise BadData("has zero ticks a beat")
    if kind > 1:
        raise BadData(
            f"is of MIDI format {kind}, independent patterns without one time line"
            if kind == 2
            else f"claims MIDI format {kind}"
        )
    if promised > MAX_TRACKS:
        raise BadData(f"promises {promised:,} tracks, more than the {MAX_TRACKS:,} that are read")
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
        raise BadData(f"holds {found:,} tracks, more than the {MAX_TRACKS:,} that are read")
    return data if found == promised else data[:10] + struct.pack(">H", found) + data[12:]


def _seconds(end: int, tempos: list[tuple[int, float]], division: int) -> float:
    """Playing time until tick `end`; `tempos` are (tick, microseconds a quarter), 500,000 before the first."""
    total, since, pace = 0.0, 0, 500_000.0
    for tick, microseconds in sorted(tempos):
        tick = min(max(tick, since), end)
        total += (tick - since) * pace
        since, pace = tick, microseconds
    return (total + (end - since) * pace) / division / 1e6


def read_score(file: SourceFile) -> Iterator[Score]:
    """The pieces of one file: one of a MIDI file, many of a collection. Raises `BadData`."""
    if file.suffix in (".mid", ".midi", ".kar"):
        yield read_midi(file.data())
    else:
        from gan_music.notation import read_notation

        yield from read_notation(file)
