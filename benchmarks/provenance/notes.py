"""The mark of MIDI files: false positives, detection after edits, and what it costs.

    python benchmarks/provenance/notes.py

Marked: 200 excerpts of 200 notes of Bach's chorales, written with one velocity, as generated music is. Unmarked: 1,000
pieces with the velocities of people and of other programs (POP909, Freedoom, OpenMSX) and chorales whose velocities
were drawn at random, each searched with a key of its own.
"""

from __future__ import annotations

import io
import json
import time
import zipfile

import mido
import numpy as np
from common import MARKED, UNMARKED, attacked, false_positives, key, record, row
from gan.contracts import Detection
from gan.errors import BadData
from gan.source import SourceFile
from gan.testing import real_file
from gan_music.marking import VelocityMark

rng = np.random.Generator(np.random.Philox(1))


class Bytes(SourceFile):
    """A file that is only in memory."""

    def __new__(cls, content: bytes):
        made = super().__new__(cls)
        object.__setattr__(made, "content", content)
        return made

    def __init__(self, content: bytes) -> None:
        super().__init__("piece.mid", None, None, len(content))

    def data(self) -> bytes:
        return self.content


def written(notes: list[tuple[int, int, int, int]]) -> bytes:
    """A MIDI file of (start, end, pitch, velocity) in sixteenths."""
    track = mido.MidiTrack()
    events = [(end, 0, pitch, 0) for _, end, pitch, _ in notes] + [(s, 1, p, v) for s, _, p, v in notes]
    now = 0
    for tick, on, pitch, velocity in sorted(events):
        name = "note_on" if on else "note_off"
        track.append(mido.Message(name, note=pitch, velocity=velocity, time=120 * (tick - now)))
        now = tick
    file = mido.MidiFile(type=1, ticks_per_beat=480, tracks=[track])
    buffer = io.BytesIO()
    file.save(file=buffer)
    return buffer.getvalue()


def chorales() -> list[list[tuple[int, int, int]]]:
    """(start, end, pitch) of 200 notes each; those of one chorale overlap."""
    steps = json.loads(real_file("music", "jsb16thseparated_train_valid.json").read_text())
    found = []
    for piece in [*steps["train"], *steps["valid"]]:
        notes = []
        for voice in range(4):
            line = [step[voice] for step in piece]
            begin = 0
            for at in range(1, len(line) + 1):
                if at == len(line) or line[at] != line[begin]:
                    if line[begin] >= 0:
                        notes.append((begin, at, int(line[begin])))
                    begin = at
        notes.sort()
        found += [notes[at : at + 200] for at in range(0, len(notes) - 199, 50)]
    return found


def changed(content: bytes, change) -> bytes:
    """A MIDI file with each sounding (start, end, pitch, velocity) changed; None drops it."""
    file = mido.MidiFile(file=io.BytesIO(content))
    now, open_notes, notes = 0, {}, []
    for message in file.tracks[0]:
        now += message.time
        if message.type == "note_on":
            open_notes.setdefault(message.note, []).append((now // 120, message.velocity))
        elif message.type == "note_off":
            start, velocity = open_notes[message.note].pop(0)
            notes.append((start, now // 120, message.note, velocity))
    end = max(note[1] for note in notes)
    return written([new for note in notes if (new := change(note, end)) is not None])


def edit(change):
    return lambda content: changed(content, change)


ATTACKS = {
    "none": lambda content: content,
    "first third cut": edit(lambda n, end: n if n[0] >= end / 3 else None),
    "last third cut": edit(lambda n, end: n if n[1] <= 2 * end / 3 else None),
    "transposed by 5": edit(lambda n, end: (n[0], n[1], n[2] + 5, n[3])),
    "transposed by -3 and first third cut": edit(
        lambda n, end: (n[0], n[1], n[2] - 3, n[3]) if n[0] >= end / 3 else None
    ),
    "twice as fast": edit(lambda n, end: (n[0] * 2, n[1] * 2, n[2], n[3])),
    "a fifth of the notes left out": edit(lambda n, end: n if rng.random() > 0.2 else None),
    "velocities scaled to 80 %": edit(lambda n, end: (*n[:3], max(1, round(n[3] * 0.8)))),
    "velocities changed by up to 2": edit(lambda n, end: (*n[:3], int(n[3] + rng.integers(-2, 3)))),
    "velocities flattened": edit(lambda n, end: (*n[:3], 96)),
    "onsets moved by a sixteenth": edit(lambda n, end: (n[0] + (m := int(rng.integers(0, 2))), n[1] + m, *n[2:])),
}


def unmarked() -> list[bytes]:
    found = []
    for name in ("pop909.zip", "freedoom_multitrack.zip", "openmsx_multitrack.zip"):
        with zipfile.ZipFile(real_file("music", name)) as archive:
            found += [archive.read(n) for n in sorted(archive.namelist()) if n.lower().endswith((".mid", ".midi"))]
    for notes in chorales()[-100:]:
        found.append(written([(*note, int(rng.integers(60, 110))) for note in notes]))
    return found


def main() -> None:
    started = time.process_time()
    result: dict[str, object] = {}
    found: list[Detection] = []
    for number, content in enumerate(unmarked()):
        try:
            one = VelocityMark(key(number)).detect(Bytes(content))
        except BadData:
            continue
        if not one.note:
            found.append(one)
    for content in unmarked():  # the rest with further keys
        if len(found) >= UNMARKED:
            break
        try:
            one = VelocityMark(key(10_000 + len(found))).detect(Bytes(content))
        except BadData:
            continue
        if not one.note:
            found.append(one)
    result["unmarked"] = false_positives(found)
    mark = VelocityMark(key(0))
    plain = [written([(*note, 96) for note in notes]) for notes in chorales()[:MARKED]]
    marked = [mark.embed(content) for content in plain]
    result["cost"] = "velocities 94 and 98 instead of 96 (of 127)"
    result["attacks"] = attacked(marked, ATTACKS, lambda content: mark.detect(Bytes(content)))
    result["another key"] = row([VelocityMark(key(99)).detect(Bytes(content)) for content in marked])
    counts = {f"{count} notes": edit_first(count) for count in (50, 100)}
    result["lengths"] = attacked(marked, counts, lambda content: mark.detect(Bytes(content)))
    record("notes", result, started)


def edit_first(count: int):
    def attack(content: bytes) -> bytes:
        kept = iter(range(count))
        return changed(content, lambda note, end: note if next(kept, None) is not None else None)

    return attack


if __name__ == "__main__":
    main()
