"""Reads scores that are not MIDI: MusicXML and ABC with music21, and the JSON of the JSB chorale collections."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from fractions import Fraction
from typing import TYPE_CHECKING, Any

import numpy as np
from gan.errors import BadData

from gan_music.reading.score import MAX_BYTES, MAX_NOTES, Part, Score, checked

if TYPE_CHECKING:
    from gan.source import SourceFile

DIVISION = 5040
"""Ticks per quarter note for sources without ticks: divisible by 2 … 10, so that tuplets are exact."""
MAX_ABC_TUNES = 10_000
MAX_DIGITS, MAX_BEATS, MAX_NOTE_VALUE = 6, 512, 4096
"""Most digits of a number in a score, beats of a bar, and parts of a whole note."""


def read_notation(file: SourceFile) -> Iterator[Score]:
    """The pieces of a MusicXML, ABC or JSON file. Raises `BadData`."""
    if file.size > MAX_BYTES:
        raise BadData(f"{file.size:,} bytes, more than the limit of {MAX_BYTES:,}")
    if file.suffix == ".json":
        yield from _read_json(file.data())
    elif file.suffix == ".abc":
        yield from _with_music21(file.data(), "abc")
    else:
        yield from _with_music21(file.data(), "musicxml")


def _with_music21(data: bytes, kind: str) -> Iterator[Score]:
    if kind == "musicxml" and data[:2] == b"PK":
        data = _unpacked_mxl(data)
    text = _decoded(data)
    if kind == "musicxml" and "<score-partwise" not in text and "<score-timewise" not in text:
        raise BadData("is XML but not a MusicXML score")
    if "<!ENTITY" in text:
        raise BadData("declares XML entities, which a score never needs")
    _refuse_absurd(text, kind)
    from music21 import converter, stream

    try:
        parsed = converter.parseData(text, format=kind)
    except Exception as error:  # noqa: BLE001  (music21 lets any error of its parsers through)
        raise BadData(f"is not readable {kind}: {str(error).strip()[:120] or type(error).__name__}") from None
    tunes = list(parsed.scores) if isinstance(parsed, stream.Opus) else [parsed]
    for tune in tunes[:MAX_ABC_TUNES]:
        yield score_of(tune)


def _refuse_absurd(text: str, kind: str) -> None:
    """Refuse numbers that music21 would turn into bars and rests without end. Raises `BadData`."""
    if kind == "musicxml":
        if found := re.search(rf"<(\w[\w-]*)[^<>]*>\s*[-+]?[\d.]{{{MAX_DIGITS + 1},}}\s*<", text):
            raise BadData(f"has a number of more than {MAX_DIGITS} digits in <{found[1][:40]}>")
        return
    for line in text.splitlines():
        field = line[0] if line[1:2] == ":" and line[:1].isalpha() else ""
        if field and field not in "KLMPQV":
            continue  # a title, words, an author
        notes = re.sub(r'"[^"]*"|%.*', "", line)
        if re.search(rf"\d{{{MAX_DIGITS + 1},}}", notes):
            raise BadData(f"has a number of more than {MAX_DIGITS} digits in the line {line.strip()[:40]!r}")
        for inner, above, below in re.findall(r"(?:^|\[)([LM]):\s*(\d+)\s*/\s*(\d+)", notes):
            if not 0 < int(below) <= MAX_NOTE_VALUE or int(above) > MAX_BEATS:
                raise BadData(f"has the {'meter' if inner == 'M' else 'note length'} {above}/{below}")


def _decoded(data: bytes) -> str:
    for encoding in ("utf-16",) if data[:2] in (b"\xff\xfe", b"\xfe\xff") else ("utf-8-sig", "latin-1"):
        try:
            return data.decode(encoding)
        except UnicodeDecodeError:
            continue
    raise BadData("its text cannot be decoded")


def _unpacked_mxl(data: bytes) -> bytes:
    """The score inside a compressed MusicXML archive. Raises `BadData`, also when it exceeds the size limit."""
    import io
    import zipfile

    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            names = archive.namelist()
            container = (
                archive.open("META-INF/container.xml").read(1 << 16).decode()
                if "META-INF/container.xml" in names
                else ""
            )
            match = re.search(r'full-path="([^"]+)"', container)
            inner = (
                match[1]
                if match and match[1] in names
                else next((n for n in names if n.endswith((".xml", ".musicxml")) and "/" not in n), None)
            )
            if inner is None:
                raise BadData("is an archive without a score")
            text = archive.open(inner).read(MAX_BYTES + 1)
    except (
        zipfile.BadZipFile,
        OSError,
        KeyError,
        EOFError,
        RuntimeError,
        NotImplementedError,
        UnicodeDecodeError,
    ) as error:
        raise BadData(f"is not readable compressed MusicXML: {error}") from None
    if len(text) > MAX_BYTES:
        raise BadData(f"unpacks to more than {MAX_BYTES:,} bytes")
    return text


def score_of(piece: Any) -> Score:
    """A `music21` score as a `Score`: ties are joined, a pickup becomes a short first bar. Raises `BadData`."""
    from music21 import chord, harmony, instrument, meter, note, stream, tempo

    parts_of = list(piece.parts) if isinstance(piece, stream.Score) and piece.parts else [piece]
    parts = []
    for part in parts_of:
        playing = part.getElementsByClass(instrument.Instrument).first() or next(
            iter(part.recurse().getElementsByClass(instrument.Instrument)), None
        )
        program = getattr(playing, "midiProgram", None)
        drums = isinstance(playing, instrument.UnpitchedPercussion)
        rows = []
        flat = part.flatten()
        if any(n.tie is not None for n in flat.notes):
            flat = part.stripTies().flatten()
        for item in flat.notes:
            if isinstance(item, harmony.Harmony) or item.duration.isGrace or not item.duration.quarterLength:
                continue
            start, end = (_ticks(q) for q in (item.offset, item.offset + item.duration.quarterLength))
            loudness = int(item.volume.velocity or 90)
            if isinstance(item, (note.Note, chord.Chord)):
                rows += [(start, end, int(p.midi), loudness) for p in item.pitches if 0 <= p.midi <= 127]
            if len(rows) > MAX_NOTES:
                raise BadData(f"more than the limit of {MAX_NOTES:,} notes")
        if rows:
            notes = np.array(sorted(set(rows), key=lambda r: (r[0], r[2])), np.int64)
            parts.append(Part(str(part.partName or part.id or ""), int(program or 0), drums, notes))
    meters = _meters(parts_of[0], meter, stream)
    score = Score(DIVISION, parts, meters, tempos=_tempos(piece, tempo))
    score.seconds = score.end / DIVISION / 2  # the tempo of written scores is not used; 120 quarter notes per minute
    return checked(score)


def _meters(part: Any, meter: Any, stream: Any) -> list[tuple[int, int, int]]:
    """(tick, numerator, denominator) of each change of meter; an incomplete first bar is a bar of its own length."""
    changes: list[tuple[int, int, int]] = []
    for signature in part.recurse().getElementsByClass(meter.TimeSignature):
        changes.append(
            (_ticks(signature.getOffsetInHierarchy(part)), int(signature.numerator), int(signature.denominator))
        )
    bars = list(part.getElementsByClass(stream.Measure))
    if len(bars) > 1 and changes and changes[0][0] == 0:
        pickup = Fraction(bars[1].offset).limit_denominator(64)
        _, above, below = changes[0]
        if 0 < pickup < Fraction(4 * above, below):
            sixteenths = pickup * 4
            if sixteenths.denominator == 1:
                changes[0] = (0, int(sixteenths), 16)
                if not any(tick == _ticks(pickup) for tick, _, _ in changes):
                    changes.append((_ticks(pickup), above, below))
    return sorted(changes)


def _tempos(piece: Any, tempo: Any) -> list[tuple[int, float]]:
    """(tick, microseconds per quarter note) of the metronome marks that have a number."""
    found = {}
    for mark in piece.recurse().getElementsByClass(tempo.MetronomeMark):
        pace = mark.getQuarterBPM()
        if pace is not None and pace > 0:
            found[_ticks(mark.getOffsetInHierarchy(piece))] = 60e6 / float(pace)
    return sorted(found.items())


def _ticks(quarters: Any) -> int:
    return round(Fraction(quarters).limit_denominator(10_000) * DIVISION)


def _read_json(data: bytes) -> Iterator[Score]:
    """The JSB collections: a piece is a list of time steps, a step a list of pitches (-1: rest), four voices from the
    top down.

    The files do not say whether their steps are quarter notes or sixteenths. Pieces whose steps all have four pitches
    are read as four voices in sixteenths; pieces whose steps have different lengths as one part of chords in quarter
    notes.
    """
    try:
        content = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise BadData(f"is not readable JSON: {str(error)[:100]}") from None
    groups = content.values() if isinstance(content, dict) else [content]
    pieces = [piece for group in groups if isinstance(group, list) for piece in group]
    if not pieces or not all(_is_piece(piece) for piece in pieces):
        raise BadData("is JSON, but not a list of pieces made of time steps with pitches")
    separate = all(len(step) == 4 for piece in pieces for step in piece)
    for piece in pieces:
        yield checked(_voices(piece) if separate else _chords(piece))


def _is_piece(piece: Any) -> bool:
    return (
        isinstance(piece, list)
        and 0 < len(piece) <= MAX_NOTES // 4
        and all(isinstance(step, list) and len(step) <= 16 for step in piece)
        and all(isinstance(p, int) and -1 <= p <= 127 for step in piece for p in step)
    )


def _voices(piece: list[list[int]]) -> Score:
    """Four voices in sixteenths; a repeated pitch is one held note."""
    parts = []
    for voice, name in enumerate(("Soprano", "Alto", "Tenor", "Bass")):
        line = [step[voice] for step in piece]
        parts.append(Part(name, 52, False, _held(line)))
    score = Score(4, parts)
    score.seconds = score.end / 8
    return score


def _chords(piece: list[list[int]]) -> Score:
    rows = []
    for pitch in sorted({p for step in piece for p in step if p >= 0}):
        rows += _held([pitch if pitch in step else -1 for step in piece]).tolist()
    notes = np.array(sorted(rows, key=lambda r: (r[0], r[2])), np.int64).reshape(-1, 4)
    score = Score(1, [Part("chords", 0, False, notes)])
    score.seconds = score.end / 2
    return score


def _held(line: list[int]) -> np.ndarray[Any, Any]:
    rows, start = [], 0
    for index in range(1, len(line) + 1):
        if index == len(line) or line[index] != line[start]:
            if line[start] >= 0:
                rows.append((start, index, line[start], 90))
            start = index
    return np.array(rows, np.int64).reshape(-1, 4)
