"""Writes piano rolls as Standard MIDI Files."""

from __future__ import annotations

import io
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import mido
import numpy as np
from gan.errors import UnknownName, UsageError

from gan_music import rolls
from gan_music.config import MusicOptions
from gan_music.grid import Grid
from gan_music.key import estimate_key, parse_key, shift_to
from gan_music.tracks import Track
from gan_music.velocities import Velocities

Array = np.ndarray[Any, Any]

TICKS = 480
"""Ticks per quarter note."""


def midi_bytes(
    grid: Grid, roll: Array, options: MusicOptions, tempo: float, velocities: Velocities | None = None
) -> bytes:
    """A file of format 1: a conductor track (tempo, meter), then one track per instrument with its name and program.

    `roll` is ``(track, bar, step, pitch)``, of any number of bars. Every sounding step of a drum track is a hit of one
    step. `tempo` and `velocities` apply unless the options name others.
    """
    if roll.ndim != 4 or roll.shape[0] != len(grid.tracks):
        raise ValueError(f"a roll of {len(grid.tracks)} tracks is (track, bar, step, pitch), not {roll.shape}")
    playing = instruments(options.instruments, {track.name: track.program for track in grid.tracks})
    roll = _in_key(grid, roll, options.key)
    length = roll.shape[1] * roll.shape[2] * TICKS // grid.steps_per_beat
    tracks = [conductor([(0, mido.bpm2tempo(options.tempo or tempo))], [(0, *grid.meter)], length)]
    channels = channels_for(len(grid.tracks))
    for index, track in enumerate(grid.tracks):
        channel = 9 if track.drums else next(channels)
        if track.name in playing:
            line = roll[index].reshape(-1, roll.shape[-1])
            notes = notes_of(line, track, grid, options, velocities)
            tracks.append(note_track(track.name, channel, playing[track.name], notes, length))
    return file_bytes(tracks, TICKS)


def file_bytes(tracks: list[mido.MidiTrack], division: int) -> bytes:
    """A file of format 1 with `division` ticks per quarter note."""
    file = mido.MidiFile(type=1, ticks_per_beat=division, charset="utf-8")
    file.tracks.extend(tracks)
    buffer = io.BytesIO()
    file.save(file=buffer)
    return buffer.getvalue()


def conductor(
    tempos: Sequence[tuple[int, float]], meters: Sequence[tuple[int, int, int]], length: int
) -> mido.MidiTrack:
    """The track without notes: tempos (tick, microseconds per quarter note) and meters (tick, beats, note value)."""
    track = mido.MidiTrack()
    track.append(mido.MetaMessage("track_name", name="conductor"))
    events: list[tuple[int, int, mido.MetaMessage]] = []
    for tick, pace in tempos:
        events.append((tick, 0, mido.MetaMessage("set_tempo", tempo=min(max(round(pace), 1), 0xFFFFFF))))
    for tick, above, below in meters:
        clocks = 36 if below >= 8 and above % 3 == 0 else max(96 // below, 1)
        signature = mido.MetaMessage("time_signature", numerator=above, denominator=below, clocks_per_click=clocks)
        events.append((tick, 1, signature))
    now = 0
    for tick, _, message in sorted(events, key=lambda event: event[:2]):
        track.append(message.copy(time=tick - now))
        now = tick
    track.append(mido.MetaMessage("end_of_track", time=max(length - now, 0)))
    return track


def channels_for(count: int) -> Iterator[int]:
    """Channels of `count` pitched instruments, distinct as far as possible; never channel 10, which is for drums."""
    return iter([0, 1, 2, 3, 4, 5, 6, 7, 8, 10, 11, 12, 13, 14, 15] * (1 + count // 15))


def instruments(chosen: str | None, programs: Mapping[str, int]) -> Mapping[str, int]:
    """Track name -> program of the tracks that play; by default all tracks with their `programs`."""
    if chosen is None:
        return programs
    playing = {}
    for item in chosen.split(","):
        name, equals, program = item.strip().partition("=")
        if name not in programs:
            raise UnknownName("track", name, programs)
        if equals and not (program.isdigit() and int(program) <= 127):
            raise UsageError(f"instrument {item.strip()}: a General MIDI program is a number from 0 to 127")
        playing[name] = int(program) if equals else programs[name]
    return playing


def _in_key(grid: Grid, roll: Array, key: str | None) -> Array:
    if key is None:
        return roll
    by_row = (roll[grid.pitched] > 0).sum(axis=(0, 1, 2))
    chroma = np.zeros(12)
    np.add.at(chroma, (np.arange(roll.shape[-1]) + grid.lowest) % 12, by_row)
    return rolls.transpose(roll, key_shift(chroma, key), grid.pitched)


def key_shift(chroma: Array, key: str) -> int:
    """The smallest shift in semitones that transposes music, ``(12,)`` sounding time by pitch class, to `key`.

    A minor piece is moved to the relative minor of a major key, and a major piece to the relative major of a minor
    one.
    """
    try:
        target, minor_wanted = parse_key(key)
    except ValueError as error:
        raise UsageError(f"--key: {error}") from None
    root, minor, _ = estimate_key(chroma)
    if minor and not minor_wanted:
        root = (root + 3) % 12
    elif minor_wanted and not minor:
        root = (root + 9) % 12
    return shift_to(root, target)


def ticks_of(line: Array, drums: bool, per_beat: int, swing: float, division: int = TICKS) -> Array:
    """``line (step, pitch)`` -> notes ``(n, 3)``: start tick, end tick, row."""
    if drums:
        start, row = np.nonzero(line)
        end = start + 1
    else:
        row, start, end = rolls.runs(line)
    begin, stop = (steps * division // per_beat for steps in (start, end))
    if swing:
        late = np.where(2 * (start % per_beat) == per_beat, round(swing * division / 3), 0)
        begin, stop = begin + late, np.maximum(stop, begin + late + 1)
    return np.stack([begin, stop, row], axis=1)


def notes_of(
    line: Array,
    track: Track,
    grid: Grid,
    options: MusicOptions,
    velocities: Velocities | None,
    division: int = TICKS,
    first: int = 0,
    shift: int = 0,
) -> Array:
    """``line (step, pitch)`` of a track -> notes ``(n, 4)``: start tick, end tick, MIDI pitch, velocity.

    A bar begins at step `first`; `shift` is added to the pitches.
    """
    notes = ticks_of(line, track.drums, grid.steps_per_beat, options.swing, division)
    steps = ticks_of(line, track.drums, grid.steps_per_beat, 0.0, grid.steps_per_beat)[:, 0] - first
    notes[:, 2] += grid.lowest + shift
    loud = (velocities or Velocities()).of(track.name, steps, notes[:, 2])
    return np.insert(notes, 3, loud if options.velocity is None else options.velocity, axis=1)


def note_track(name: str, channel: int, program: int, notes: Array, length: int) -> mido.MidiTrack:
    """A track of notes ``(n, 4)``: start tick, end tick, pitch, velocity."""
    track = mido.MidiTrack()
    track.append(mido.MetaMessage("track_name", name=name))
    track.append(mido.Message("program_change", channel=channel, program=program))
    events = [(end, 0, pitch, 0) for _, end, pitch, _ in notes.tolist()]
    events += [(start, 1, pitch, velocity) for start, _, pitch, velocity in notes.tolist()]
    now = 0
    for tick, on, pitch, velocity in sorted(events):
        kind = "note_on" if on else "note_off"
        track.append(mido.Message(kind, channel=channel, note=pitch, velocity=velocity, time=tick - now))
        now = tick
    track.append(mido.MetaMessage("end_of_track", time=max(length - now, 0)))
    return track
