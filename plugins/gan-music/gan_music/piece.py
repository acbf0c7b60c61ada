"""A user's file to be accompanied: which parts play the given tracks, its phrases, and the resulting MIDI file.

The given notes are quantised to the grid of the phrases for the network, and written as they stand in their file.
"""

from __future__ import annotations

import fnmatch
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import gcd
from typing import TYPE_CHECKING, Any

import numpy as np
from gan.errors import BadData, UsageError

from gan_music import rolls
from gan_music.config import MusicOptions
from gan_music.phrases import PhraseCutter
from gan_music.reading import Part, Score, read_score
from gan_music.tracks import Track, assign
from gan_music.velocities import Velocities
from gan_music.writing.midi import (
    TICKS,
    channels_for,
    conductor,
    file_bytes,
    instruments,
    key_shift,
    note_track,
    notes_of,
)

if TYPE_CHECKING:
    from gan.contracts import Given, Sample
    from gan.source import SourceFile

Array = np.ndarray[Any, Any]

MAX_DIVISION = 0x7FFF
"""Maximum number of ticks per quarter note of a MIDI file."""
LISTED = 12
"""Maximum number of tracks that an error message lists."""


@dataclass(frozen=True)
class Window:
    """The position of one phrase in a piece, in steps from the start of the piece."""

    first: int
    """First step of the phrase."""
    begin: int
    """First step that the result takes from this phrase; earlier steps belong to the phrase before it."""
    end: int
    """Step after the last one that the result takes from this phrase."""


@dataclass
class Piece:
    """A piece of music of which some tracks are given."""

    cutter: PhraseCutter
    score: Score
    plays: dict[int, list[int]]
    """Given track of a phrase -> the parts of the piece that play it."""
    home: int
    """Shift in semitones from the key of the piece to the key of the training data."""
    moved: int = 0
    """Ticks by which the score is later than the file, so that its notes lie on beats."""

    @classmethod
    def read(cls, cutter: PhraseCutter, file: SourceFile, given: Given) -> Piece:
        """The piece in `file`. Raises `BadData`, and `UsageError` if it is unclear which parts play the given
        tracks."""
        options = given.options
        track, number = getattr(options, "track", None), getattr(options, "piece", None)
        tracks = cutter.grid.tracks
        score = _one_piece(file, number)
        score.parts = [part for part in score.parts if len(part.notes)]
        score, moved = cutter.on_beats(score)
        places = given.places.get("roll", tuple(range(len(tracks))))
        plays = choose_parts(score.parts, tracks, places, track)
        if not cutter.passages(score):
            raise BadData(cutter.why_none(score, []))
        return cls(cutter, score, plays, cutter.shift_to_c(score) if cutter.config.normalize_key else 0, moved)

    def windows(self) -> list[Window]:
        """The phrases in order.

        The last phrase of a passage ends with it, so it may overlap the phrase before. A passage shorter than a phrase
        is padded with silence. An upbeat is not accompanied.
        """
        bars, steps = self.cutter.grid.bars, self.cutter.grid.steps
        passages = self.cutter.passages(self.score)
        found = []
        for first, last in [p for p in passages if p[1] - p[0] >= steps] or passages:
            total = -(-(last - first) // steps)
            whole = first + total * steps if (first, last) == passages[-1] else last
            for bar in range(0, total, bars):
                start = min(bar, max(total - bars, 0))
                end = min(first + (bar + bars) * steps, whole)
                found.append(Window(first + start * steps, first + bar * steps, end))
        return found

    def phrases(self) -> Iterator[Sample]:
        """The given tracks, with the others silent, in the key of the training data."""
        chosen: list[int | None] = [None] * len(self.score.parts)
        for track, parts in self.plays.items():
            for part in parts:
                chosen[part] = track
        notes, grid = self.cutter.on_grid(self.score, chosen), self.cutter.grid
        for window in self.windows():
            roll = self.cutter.roll(notes, window.first, window.first + grid.bars * grid.steps)
            yield rolls.fields_of(rolls.transpose(roll, self.home, grid.pitched))

    def composed(self, phrases: Sequence[Array], track: int) -> Array:
        """One track of the phrases, joined: ``(step, pitch)`` from the start of the piece."""
        windows = self.windows()
        line = np.zeros((windows[-1].end, phrases[0].shape[-1]), phrases[0].dtype)
        for window, roll in zip(windows, phrases, strict=True):
            phrase = roll[track].reshape(-1, roll.shape[-1])
            line[window.begin : window.end] = phrase[window.begin - window.first : window.end - window.first]
        return line

    def midi_bytes(
        self, phrases: Sequence[Array], options: MusicOptions, velocities: Velocities | None = None
    ) -> bytes:
        """A file of format 1 with the given parts as they are and the composed tracks in their key.

        It has the meter of the piece, and its tempo unless the options name one; so do the composed notes the given
        `velocities`. The option `key` transposes all pitched tracks.
        """
        grid, score = self.cutter.grid, self.score
        tracks, per_beat = grid.tracks, grid.steps_per_beat
        times = _refined(score.division, per_beat)
        division = score.division * times
        programs = {track.name: track.program for track in tracks}
        for index, parts in self.plays.items():
            programs[tracks[index].name] = score.parts[parts[0]].program
        playing = instruments(options.instruments, programs)
        lines: list[tuple[str, bool, int, Array]] = []
        start = self.windows()[0].first
        for index, track in enumerate(tracks):
            if track.name not in playing:
                continue
            program = playing[track.name]
            if index not in self.plays:
                shift = 0 if track.drums else -self.home
                line = self.composed(phrases, index)
                notes = notes_of(line, track, grid, options, velocities, division, start, shift)
                lines.append((track.name, track.drums, program, notes))
                continue
            for number in self.plays[index]:
                part = score.parts[number]
                notes = part.notes * np.array([times, times, 1, 1])
                notes[:, 1] = np.maximum(notes[:, 1], notes[:, 0] + 1)
                own = part.program if program == programs[track.name] else program
                name = part.name.encode("utf-8", "replace").decode() or track.name
                lines.append((name, part.drums, own, notes))
        if options.key is not None:
            _move(lines, options.key)
        length = max([self.windows()[-1].end * division // per_beat, score.end * times])
        tempos = [(max(tick - self.moved, 0) * times, pace) for tick, pace in score.tempos if tick < score.end]
        if options.tempo is not None or not tempos:
            tempos = [(0, 60e6 / (options.tempo or self.cutter.config.tempo))]
        meters = [
            (max(tick - self.moved, 0) * times, above, below) for tick, above, below in score.meters if tick < score.end
        ]
        written = [conductor(tempos, meters, length)]
        channels = channels_for(len(lines))
        for name, drums, program, notes in lines:
            notes[:, :2] -= self.moved * times
            notes = notes[notes[:, 1] > 0]
            notes[:, 0] = np.maximum(notes[:, 0], 0)
            notes[:, 2] += 12 * np.maximum(-(notes[:, 2] // 12), 0) - 12 * np.maximum((notes[:, 2] - 116) // 12, 0)
            written.append(note_track(name, 9 if drums else next(channels), program, notes, length))
        return file_bytes(written, division)


def _one_piece(file: SourceFile, number: int | None) -> Score:
    pieces = list(read_score(file))
    if number is None and len(pieces) > 1:
        raise UsageError(f"{file.name} holds {len(pieces)} pieces; choose one with --piece 0 … {len(pieces) - 1}")
    if number is not None and number >= len(pieces):
        raise UsageError(f"--piece {number}: {file.name} holds {len(pieces)} pieces, counted from 0")
    return pieces[number or 0]


def _refined(division: int, per_beat: int) -> int:
    """The factor of the resolution with which steps fall on ticks and a quarter note has about 480 ticks or more."""
    times = per_beat // gcd(division, per_beat)
    while division * times < TICKS:
        times *= 2
    return times if division * times <= MAX_DIVISION else 1


def _move(lines: Sequence[tuple[str, bool, int, Array]], key: str) -> None:
    """Transposes the notes of all pitched lines to `key`, in place."""
    chroma = np.zeros(12)
    pitched = [notes for _, drums, _, notes in lines if not drums]
    for notes in pitched:
        np.add.at(chroma, notes[:, 2] % 12, notes[:, 1] - notes[:, 0])
    shift = key_shift(chroma, key)
    for notes in pitched:
        notes[:, 2] += shift


# which part plays what


def choose_parts(
    parts: Sequence[Part], tracks: Sequence[Track], places: Sequence[int], wanted: str | None
) -> dict[int, list[int]]:
    """Given track of a phrase -> parts of a piece.

    Raises `UsageError` with a list of the parts when the assignment is unclear.
    """
    names = [tracks[place].name for place in places]
    if wanted is None:
        plays = _by_rules(parts, tracks, places)
    else:
        items = [item.strip() for item in wanted.split(",")]
        if len(places) == 1 and _matching(wanted.strip(), parts):
            items = [wanted.strip()]  # a name may hold a comma
        if len(items) != len(places):
            raise UsageError(
                f"--track {wanted} names {len(items)} tracks; the model takes {len(places)}, in this order: "
                f"{', '.join(names)}"
            )
        plays = {place: _named(item, parts) for place, item in zip(places, items)}
    chosen = [part for found in plays.values() for part in found]
    if len(set(chosen)) != len(chosen):
        raise UsageError(f"--track {wanted} names one track twice; the file has {listing(parts)}")
    for place, found in plays.items():
        for part in found:
            if parts[part].drums != tracks[place].drums:
                kinds = ("drums", "pitched") if parts[part].drums else ("pitched", "drums")
                raise UsageError(
                    f"track {part} is {kinds[0]} and cannot play the {tracks[place].name}, which is {kinds[1]}; "
                    f"choose another with --track: {listing(parts)}"
                )
    return plays


def _by_rules(parts: Sequence[Part], tracks: Sequence[Track], places: Sequence[int]) -> dict[int, list[int]]:
    """Assigns parts by the rules of the training files; the only part of a piece plays the only given track."""
    if len(parts) == len(places) == 1:
        return {places[0]: [0]}
    assigned = assign(parts, tracks)
    plays = {place: [part for part, track in enumerate(assigned) if track == place] for place in places}
    for place, found in plays.items():
        name = tracks[place].name
        if not found:
            raise UsageError(f"none of its tracks matches the {name}; choose one with --track: {listing(parts)}")
        if len(found) > 1 and not tracks[place].drums:
            raise UsageError(f"{len(found)} of its tracks match the {name}; choose one with --track: {listing(parts)}")
    return plays


def _named(item: str, parts: Sequence[Part]) -> list[int]:
    """``"2"``, ``"melody"``, ``"lead*"``, ``"drums"`` or several with + -> numbers of parts."""
    alone = _matching(item, parts)
    if alone or "+" not in item:
        found = [alone]
    else:
        found = [_matching(name.strip(), parts) for name in item.split("+")]
    for matches, name in zip(found, item.split("+") if len(found) > 1 else [item]):
        if len(matches) != 1:
            what = "there is no such track" if not matches else f"{len(matches)} tracks have that name"
            raise UsageError(f"--track {name.strip()}: {what}; the file has {listing(parts)}")
    return [part for matches in found for part in matches]


def _matching(item: str, parts: Sequence[Part]) -> list[int]:
    if item.isdigit():
        return [int(item)] if int(item) < len(parts) else []
    wanted = item.lower()
    found = [index for index, part in enumerate(parts) if fnmatch.fnmatchcase(part.name.strip().lower(), wanted)]
    if not found and wanted == "drums":
        found = [index for index, part in enumerate(parts) if part.drums]
    return found


def listing(parts: Sequence[Part]) -> str:
    """The parts of a piece for an error message: number, name, program, notes."""
    shown = [
        f"{index} '{' '.join(part.name.split())[:24]}' "
        f"({'drums' if part.drums else f'program {part.program}'}, {len(part.notes)} notes)"
        for index, part in enumerate(parts[:LISTED])
    ]
    return ", ".join(shown) + (f" and {len(parts) - LISTED} more" if len(parts) > LISTED else "")
